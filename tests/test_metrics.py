"""Tests of visionllm_edu/metrics.py.

Generated from nbs/15_metrics.ipynb by make export: do not edit, edit the notebook.
"""

import contextlib
import io
import json
import numpy as np
from pycocotools.coco import COCO

from visionllm_edu.metrics import (
    accuracy, bleu4, by_kind, cider, coco_ap, cumulative_iou, mean_iou, pck, precision_at,
    precision_curve,
)


# nbs/15_metrics.ipynb, cell 840defb5
import pytest

def scene(boxes, categories=None, **fields):
    "A ground truth of one image of 200 x 200 px with these xywh boxes; ids from 0 on, on purpose."
    categories = categories or [1] * len(boxes)
    coco = COCO()
    coco.dataset = {
        "images": [{"id": 7, "width": 200, "height": 200}],
        "categories": [{"id": i, "name": f"class {i}"} for i in sorted(set(categories))],
        "annotations": [{"id": i, "image_id": 7, "category_id": c, "bbox": list(b), "segmentation": [rectangle(b)]}
                        | {k: v[i] for k, v in fields.items()} for i, (b, c) in enumerate(zip(boxes, categories))]}
    with contextlib.redirect_stdout(io.StringIO()): coco.createIndex()
    return coco

def rectangle(box): x, y, w, h = box; return [x, y, x + w, y, x + w, y + h, x, y + h]
def guess(box, score=0.9, category=1, **fields): return {"image_id": 7, "category_id": category, "bbox": list(box), "score": score} | fields


# nbs/15_metrics.ipynb, cell d88955df
def test_ap_by_hand_is_cocos():
    dogs = {f"dog {i + 1}": [10 + 35 * i, 100, 30, 40] for i in range(5)}
    said = [(0.95, "dog 1"), (0.90, "dog 2"), (0.80, None), (0.70, "dog 3"), (0.60, "dog 2"), (0.50, None), (0.40, "dog 4")]
    predictions = [guess(dogs.get(dog, [10, 10, 30, 40]), score) for score, dog in said]
    hits = np.array([1, 1, 0, 1, 0, 0, 1])
    recall, precision = hits.cumsum() / 5, hits.cumsum() / np.arange(1, 8)
    levels = [precision[recall >= r - 1e-9].max(initial=0) for r in np.linspace(0, 1, 101)]
    assert np.allclose(precision_curve(scene(dogs.values()), predictions), levels)
    assert np.isclose(coco_ap(scene(dogs.values()), predictions)["AP50"], np.mean(levels))


# nbs/15_metrics.ipynb, cell fd4524f8
def test_what_moves_ap():
    true = [[10, 10, 60, 60], [100, 100, 60, 60]]
    coco, both = scene(true), [guess(b) for b in true]
    ap = lambda *predictions: coco_ap(coco, list(predictions))["AP"]
    bush = lambda score: guess([150, 5, 40, 40], score)
    assert np.isclose(ap(*both), 1)
    assert np.isclose(ap(*both, bush(0.1)), 1)             # a late false alarm costs nothing: recall is complete
    assert np.isclose(ap(*both, bush(0.99)), 2 / 3)        # an early one does: only the order of scores counts
    assert np.isclose(ap(*both, bush(0.99)), ap(*(p | {"score": p["score"] / 9} for p in both), bush(0.11)))
    assert np.isclose(ap(both[0], both[0] | {"score": 0.8}), 51 / 101)  # twice the same dog is one dog found
    assert np.isclose(ap(both[0]), 51 / 101)               # recalls 0 to 0.50 are reached: 51 of the 101 levels
    assert ap() == 0                                       # nothing said, nothing scored, nothing raised


# nbs/15_metrics.ipynb, cell 84c9a8b5
def test_categories_sizes_and_crowds():
    coco = scene([[10, 10, 20, 20], [10, 50, 20, 20], [50, 50, 120, 120]], [1, 1, 2])
    small = [guess(b) for b in ([10, 10, 20, 20], [10, 50, 20, 20])]
    report = coco_ap(coco, small)
    assert np.isclose(report["AP"], 0.5) and np.isclose(report["APs"], 1) and report["APl"] == 0 and report["APm"] == -1
    assert np.isclose(coco_ap(coco, small, category_ids=[1])["AP"], 1)
    assert coco_ap(coco, small, image_ids=[])["n"] == 0                    # no images isn't "all images"
    crowd = scene([[10, 10, 60, 60], [100, 100, 90, 90]], iscrowd=[0, 1])
    assert np.isclose(coco_ap(crowd, [guess([10, 10, 60, 60], 0.1), guess([110, 110, 30, 30], 0.9)])["AP"], 1)
    big = [[10, 10, 120, 120], [60, 60, 130, 130]]
    right, small_alarm = [guess(b, 0.5, segmentation=[rectangle(b)]) for b in big], guess(big[0], 0.9, segmentation=[rectangle([0, 150, 9, 9])])
    assert np.isclose(coco_ap(scene(big), right + [small_alarm], "segm")["APl"], 1)  # a mask's size is the mask's, not its box's


# nbs/15_metrics.ipynb, cell 961ea198
def test_truth_against_itself_scores_one():
    body = np.concatenate([np.arange(34).reshape(17, 2) * 2.0 + 20, np.full((17, 1), 2)], 1).ravel().tolist()
    coco = scene([[20, 20, 70, 70], [95, 95, 70, 70]], keypoints=[body, [v + 75 if i % 3 < 2 else v for i, v in enumerate(body)]])
    before = json.dumps(coco.dataset)
    predictions = [guess(a["bbox"], 1.0, segmentation=a["segmentation"], keypoints=a["keypoints"]) for a in coco.dataset["annotations"]]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        for kind in ("bbox", "segm", "keypoints"):
            report = coco_ap(coco, predictions, kind)
            assert np.isclose([report[k] for k in ("AP", "AP50", "AP75", "APm")], 1).all(), kind
            assert coco_ap(coco, [], kind)["AP"] == 0 and precision_curve(coco, [], kind).sum() == 0
    assert said.getvalue() == "" and json.dumps(coco.dataset) == before


# nbs/15_metrics.ipynb, cell eec44ced
def test_predictions_that_cannot_be_scored():
    coco = scene([[10, 10, 60, 60]])
    for wrong, message in [(guess([0, 0, 9, 9], category=0), "category_id is 0"), (guess([0, 0, 9, 9]) | {"image_id": 8}, "image_id is 8"),
                           ({"image_id": 7, "category_id": 1, "bbox": [0, 0, 9, 9]}, "lacks score")]:
        with pytest.raises(ValueError, match=message): coco_ap(coco, [wrong])
    with pytest.raises(ValueError, match="bbox, segm, keypoints"): coco_ap(coco, [], "boxes")
    with pytest.raises(ValueError, match="annotation 0 of image 7 has no 'keypoints'"): coco_ap(coco, [], "keypoints")
    with pytest.raises(ValueError, match="no image or category 99"): coco_ap(coco, [], category_ids=[99])


# nbs/15_metrics.ipynb, cell d3d11985
def test_precision_at_half():
    ious = [0.9, 0.5, 0.49, 0.0]
    assert precision_at(ious) == 0.5 and precision_at(ious, 0.9) == 0.25 and precision_at([]) == 0
    assert by_kind(np.array(ious) >= 0.5, ["colour", "colour", "place", "place"]) == {"colour": 1.0, "place": 0.0}


# nbs/15_metrics.ipynb, cell 231ea467
def test_mean_and_cumulative_iou():
    large, small, empty = np.ones((10, 10), dtype=bool), np.eye(4, dtype=bool), np.zeros((4, 4), dtype=bool)
    half = np.arange(100).reshape(10, 10) < 50
    assert np.isclose(mean_iou([half, small], [large, small]), 0.75)
    assert np.isclose(cumulative_iou([half, small], [large, small]), 54 / 104)
    assert mean_iou([empty], [empty]) == 1 and mean_iou([empty], [small]) == 0 and mean_iou([], []) == cumulative_iou([], []) == 0
    with pytest.raises(ValueError, match="1 predictions for 2 truths"): mean_iou([small], [small, small])


# nbs/15_metrics.ipynb, cell ee371790
def test_pck_ignores_what_is_not_labelled():
    true = np.array([[[0, 0, 2], [10, 0, 1], [99, 99, 0]]])
    points = np.array([[[0, 4], [10, 4.1], [0, 0]]])
    assert pck(points, true, [[0, 0, 20, 10]]) == 0.5          # 4 px allowed: one in, one just out, one not labelled
    assert pck(points, true * [1, 1, 0], [[0, 0, 20, 10]]) == 0 and pck([], [], []) == 0


# nbs/15_metrics.ipynb, cell 6d05b429
def test_bleu_by_hand():
    # "a dog runs on the sand" against "a dog runs on the beach": 5 of 6 words, 4 of 5 pairs, 3 of 4 triples, 2 of 3 fours
    by_hand = (5 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** 0.25
    assert np.isclose(bleu4(["a dog runs on the sand"], [["A dog runs on the beach."]]), by_hand)
    assert np.isclose(bleu4(["A dog runs on"], [["a dog runs on the beach"]]), np.exp(1 - 6 / 4))         # all right, too short
    assert np.isclose(bleu4(["a b c d e", "a b c d"], [["a b c d e", "x"], ["A, b, c, d!"]]), 1)          # uneven numbers of references
    assert bleu4(["a dog runs at the sea"], [["a dog runs on the beach"]]) == 0  # no run of four: no smoothing saves it
    assert bleu4(["dog"], [["cat"]]) == 0 and bleu4([], []) == 0
    with pytest.raises(ValueError, match="references of caption 0 are 'a dog'"): bleu4(["a dog"], ["a dog"])


# nbs/15_metrics.ipynb, cell 0ee4d41d
def test_cider_by_hand():
    refs = [["a red ball"], ["a blue kite"]]
    first = lambda caption: 2 * cider([caption, "nothing alike"], refs)  # the other image scores 0
    assert np.isclose(first("A red ball."), 7.5)
    assert np.isclose(first("a red kite"), 2.5)
    assert np.isclose(first("red red red"), 10 / 4 / (3 * np.sqrt(2)))
    assert np.isclose(first("red ball"), 10 / 4 * (1 + 1 / np.sqrt(2)) * np.exp(-1 / 72))
    assert np.isclose(cider(["a red kite", "a blue kite"], refs), (2.5 + 7.5) / 2)
    long = [["a small red ball lies there"], ["two blue kites fly very high"]]
    assert np.isclose(cider([g[0] for g in long], long), 10)            # full marks need four words or more
    assert np.isclose(cider(["a red ball", "a blue kite"], [r + ["xyz"] for r in refs]), 7.5 / 2)  # mean over references
    assert cider(["a a a", "a"], refs) == 0 and cider([], []) == 0


# nbs/15_metrics.ipynb, cell 5a0ab8ad
def test_accuracy_forgives_spelling_only():
    report = accuracy(["Two", "the Red.", "on the left"], ["2", ["red", "crimson"], "right"], ["count", "colour", "place"])
    assert np.isclose(report["accuracy"], 2 / 3) and report["n"] == 3
    assert report["by_type"] == {"colour": 1.0, "count": 1.0, "place": 0.0}
    assert accuracy([], []) == {"accuracy": 0.0, "n": 0} and accuracy([""], ["yes"])["accuracy"] == 0
    with pytest.raises(ValueError, match="1 predictions for 2 truths"): accuracy(["yes"], ["yes", "no"])
