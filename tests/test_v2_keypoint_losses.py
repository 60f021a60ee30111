"""Tests of visionllm_edu/v2/keypoint_losses.py.

Generated from nbs/52b_keypoint_losses.ipynb by make export: do not edit, edit the notebook.
"""

import contextlib
import io
import numpy as np
import pytest
import torch
from dataclasses import replace
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import nn

from visionllm_edu.data.coco import image_to_tensor
from visionllm_edu.geometry import box_cxcywh_to_xyxy
from visionllm_edu.metrics import pck
from visionllm_edu.toybox.dataset import SKELETONS
from visionllm_edu.toybox.scene import render, sample_scene
from visionllm_edu.v2.keypoint_decoder import (
    KeypointDecoder, KeypointDecoderConfig, KeypointOutput, KeypointProjection, PoseStage,
    top_poses,
)
from visionllm_edu.v2.keypoint_losses import (
    SIGMAS, keypoint_losses, keypoint_sigmas, pose_costs, pose_distance, pose_target,
)
from visionllm_edu.v2.object_decoder import CategoryProjection, pad_categories
from visionllm_edu.vision.backbone import Backbone, BackboneConfig
from visionllm_edu.vision.matching import match


# nbs/52b_keypoint_losses.ipynb, cell 68672243
def test_sigmas_belong_to_a_skeleton():
    assert keypoint_sigmas("person", ["left ear", "nose"]).tolist() == pytest.approx([0.035, 0.026])
    assert keypoint_sigmas("animal", ["left_back_paw", "left_shoulder"]).tolist() == pytest.approx([0.089, 0.079])
    for skeleton, known in SKELETONS.items():
        assert list(SIGMAS[skeleton]) == known["keypoints"]    # every name of Toybox, in its order
    with pytest.raises(ValueError, match="'person' has no keypoint 'neck', accepted: nose, left_eye"):
        keypoint_sigmas("person", ["neck"])
    with pytest.raises(ValueError, match="no skeleton 'insect', accepted: person, animal"):
        keypoint_sigmas("insect", ["wing"])


# nbs/52b_keypoint_losses.ipynb, cell a56a8924
def figure_in(seed, category, size):
    "A Toybox scene with one figure: picture, box (4,), keypoints (17, 3), area in px, skeleton."
    scene = sample_scene(seed, num_objects=1, categories=(category,), style="day")
    drawn = render(scene, size)
    return (drawn.image, drawn.boxes_xyxy_px[0], drawn.keypoints[0], float(drawn.masks[0].sum()),
            scene.objects[0].group)


# nbs/52b_keypoint_losses.ipynb, cell e9daac24
def test_targets_are_fractions():
    target = pose_target([[10, 20, 50, 40]], [1], [[[30, 30, 2], [0, 0, 0]]], [0.1, 0.2], size=(200, 100))
    torch.testing.assert_close(target["boxes"], torch.tensor([[0.15, 0.3, 0.2, 0.2]]))
    torch.testing.assert_close(target["keypoints"], torch.tensor([[[0.15, 0.3, 2.0], [0, 0, 0]]]))
    assert target["areas"].tolist() == [400.0]                                 # half of 40 x 20
    assert pose_target([], [], [], [0.1, 0.2], (8, 8))["keypoints"].shape == (0, 2, 3)     # a picture without bodies
    with pytest.raises(ValueError, match=r"1 boxes, 1 sigmas and 1 labels need keypoints of shape \(1, 1, 3\)"):
        pose_target([[0, 0, 4, 4]], [0], [[[1, 1, 2], [2, 2, 2]]], [0.1], (8, 8))


# nbs/52b_keypoint_losses.ipynb, cell ceb1808e
def coco_oks(points_px, keypoints_px, areas, sigmas):
    "OKS of body i with body i by pycocotools, (m,): one picture for each pair."
    k, gt, run = len(sigmas), COCO(), COCOeval(iouType="keypoints")
    images = [{"id": i, "width": 640, "height": 200} for i in range(1, len(areas) + 1)]
    names = [{"id": 1, "name": "body"}]
    record = lambda i, p: {"id": i, "image_id": i, "category_id": 1, "keypoints": p.flatten().tolist(),
                           "bbox": [0, 0, 99, 99], "area": float(areas[i - 1]), "iscrowd": 0, "score": 1.0,
                           "num_keypoints": int((p[:, 2] > 0).sum())}
    gt.dataset = {"images": images, "categories": names, "annotations": [record(i, p) for i, p in enumerate(keypoints_px, 1)]}
    dt = COCO()
    dt.dataset = gt.dataset | {"annotations": [record(i, np.c_[p, np.ones(k)]) for i, p in enumerate(points_px, 1)]}
    with contextlib.redirect_stdout(io.StringIO()): gt.createIndex(), dt.createIndex()
    run.cocoGt, run.cocoDt = gt, dt
    run.params.imgIds, run.params.catIds, run.params.kpt_oks_sigmas = [r["id"] for r in images], [1], np.asarray(sigmas)
    run._prepare()
    return np.array([run.computeOks(i, 1)[0, 0] for i in run.params.imgIds])


# nbs/52b_keypoint_losses.ipynb, cell 8b81f7da
def test_oks_equals_pycocotools():
    rng, size = np.random.default_rng(0), (640, 200)
    for skeleton in SIGMAS:
        sigmas = keypoint_sigmas(skeleton, list(SIGMAS[skeleton])[:9])          # any subset has its own
        truth = np.concatenate([rng.random((6, 9, 2)) * size, rng.integers(0, 3, (6, 9, 1))], -1).astype(np.float32)
        guess, areas = truth[..., :2] + rng.normal(0, 6, (6, 9, 2)).astype(np.float32), rng.random(6) * 9000 + 500
        boxes = np.tile([0, 0, 99, 99], (6, 1))
        target = pose_target(boxes, [0] * 6, truth, sigmas, size, areas)
        points = torch.from_numpy(guess) / torch.tensor(size)
        _, oks = pose_distance(points, target["keypoints"], target["areas"], target["sigmas"], size)
        theirs = coco_oks(guess, truth, areas, sigmas.numpy())
        np.testing.assert_allclose(oks.numpy(), theirs, atol=1e-5)
        assert 0.05 < theirs.min() < theirs.max() < 0.999


# nbs/52b_keypoint_losses.ipynb, cell cee49688
def perfect(n=2, k=3):
    "A target of one body, and a stage whose n instances all answer it perfectly."
    target = pose_target([[20, 20, 60, 80]], [0], [[[30, 30, 2], [40, 50, 1], [0, 0, 0]]], [0.05] * k, (100, 100))
    points = target["keypoints"][None, :, :, :2].repeat(1, n, 1, 1)
    stage = PoseStage(torch.full((1, n, 2), 2.0), target["boxes"].expand(1, n, 4).clone(), torch.zeros(1, n, 8),
                      points, torch.zeros(1, n, k))
    return stage, target

COSTS = dict.fromkeys(("class_cost", "l1_cost", "giou_cost", "keypoint_cost", "oks_cost"), 0.0)


# nbs/52b_keypoint_losses.ipynb, cell e3509547
def test_every_cost_counts_once():
    worse = {"class_cost": lambda s: s.logits[:, 0].sub_(3), "l1_cost": lambda s: s.boxes[:, 0, 0].add_(0.05),
             "giou_cost": lambda s: s.boxes[:, 0, 0].add_(0.05), "keypoint_cost": lambda s: s.keypoints[:, 0, 0].add_(0.05),
             "oks_cost": lambda s: s.keypoints[:, 0, 1].add_(0.05)}
    for name, spoil in worse.items():
        stage, target = perfect()
        spoil(stage)
        cost = lambda w: pose_costs(stage, 0, target, KeypointDecoderConfig.tiny(**COSTS | {name: w}))[:, 0]
        assert cost(1.0)[0] > cost(1.0)[1] + 1e-3 and cost(0.0).abs().max() == 0
        torch.testing.assert_close(cost(2.0), 2 * cost(1.0))


# nbs/52b_keypoint_losses.ipynb, cell de98db1b
def asked_of(names=(5, 3), categories=(2, 1)):
    "A tiny decoder with noise on its weights, and what it says about random maps."
    torch.manual_seed(0)
    decoder = KeypointDecoder(KeypointDecoderConfig.tiny())
    with torch.no_grad():
        for parameter in decoder.parameters(): parameter.add_(torch.randn_like(parameter) * 0.1)
    maps = [torch.randn(len(names), 32, s, s) for s in (8, 4, 2, 1)]
    pad = lambda counts: pad_categories([torch.randn(n, 32) for n in counts])
    return decoder(maps, *pad(categories), *pad(names))

def answers(output, seed=0):
    "Random targets that fit a request: three bodies a sample, a third of their joints unlabelled."
    rng, out = np.random.default_rng(seed), []
    for c, k in zip(output.valid.sum(1).tolist(), output.named.sum(1).tolist()):
        corner, flags = rng.random((3, 2)) * 40, rng.permuted(np.tile([0, 1, 2], (3, k))[:, :k], axis=1)
        points = np.concatenate([rng.random((3, k, 2)) * 64, flags[..., None]], -1)
        out.append(pose_target(np.c_[corner, corner + 20], rng.integers(0, c, 3), points, [0.1] * k, (64, 64)))
    return out

cfg = KeypointDecoderConfig.tiny()


# nbs/52b_keypoint_losses.ipynb, cell d87c4e6c
def test_each_weight_is_applied_once():
    output = asked_of()
    targets = answers(output)
    before = keypoint_losses(output, targets, cfg)
    weights = [name for name in vars(cfg) if name.endswith("_weight")]
    assert all(value > 0.01 for value in before.values()) and [f"{name}_weight" for name in before] == weights
    for name in before:
        after = keypoint_losses(output, targets, replace(cfg, **{f"{name}_weight": 2 * getattr(cfg, f"{name}_weight")}))
        for other in before:
            torch.testing.assert_close(after[other], before[other] * (2 if other == name else 1))


# nbs/52b_keypoint_losses.ipynb, cell 3e89f6b3
def test_each_term_is_reduced_once():
    stage, target = perfect(n=1)
    stage.keypoints[0, 0, 0, 0] += 0.1
    output = KeypointOutput([stage], torch.ones(1, 2).bool(), torch.ones(1, 3).bool())
    terms = keypoint_losses(output, [target], cfg)
    near = np.exp(-10.0**2 / (2 * target["areas"].item() * (2 * 0.05) ** 2))
    assert terms["keypoint"].item() == pytest.approx(10 * 0.05, rel=1e-4)
    assert terms["oks"].item() == pytest.approx(4 * (1 - (near + 1) / 2), rel=1e-4)
    assert terms["visibility"].item() == pytest.approx(np.log(2), rel=1e-4)    # logits 0: no idea
    assert terms["l1"] == terms["giou"] == 0
    p = 1 / (1 + np.exp(-2.0))                                                 # both categories have logit 2, the first is right
    focal = 0.25 * (1 - p) ** 2 * -np.log(p) + 0.75 * p**2 * -np.log(1 - p)
    assert terms["class"].item() == pytest.approx(2 * focal, rel=1e-4)
    double = PoseStage(*(torch.cat([x, x]) for x in vars(stage).values()))
    twice = keypoint_losses(KeypointOutput([double], *(x.expand(2, -1) for x in (output.valid, output.named))), [target] * 2, cfg)
    for name, value in twice.items(): torch.testing.assert_close(value, terms[name])


# nbs/52b_keypoint_losses.ipynb, cell 754f5e66
def test_bodies_without_labels_still_have_boxes():
    stage, target = perfect(n=1)
    stage.logits.requires_grad_(), stage.boxes.requires_grad_()
    target["labels"][0], target["keypoints"][..., 2] = 1, 0
    target["boxes"][0, 0] += 0.1
    terms = keypoint_losses(KeypointOutput([stage], torch.ones(1, 2).bool(), torch.ones(1, 3).bool()), [target], cfg)
    assert terms["keypoint"] == terms["oks"] == terms["visibility"] == 0
    assert terms["l1"].item() == pytest.approx(5 * 0.1, rel=1e-4) and terms["giou"] > 0
    grad, = torch.autograd.grad(terms["class"], stage.logits)
    assert grad[0, 0, 0] > 0 > grad[0, 0, 1]                                   # less of category 0, more of category 1


# nbs/52b_keypoint_losses.ipynb, cell 0ededbd5
def test_unlabelled_keypoints_have_no_gradient():
    output = asked_of()
    targets, places = answers(output), [output.last.keypoints, output.last.visibility]
    copies = [{k: v.clone() if torch.is_tensor(v) else v for k, v in t.items()} for t in targets]
    grads = torch.autograd.grad(sum(keypoint_losses(output, targets, cfg).values()), places, retain_graph=True)
    for felt in (grads[0].abs().sum(-1) > 0, grads[1].abs() > 0):              # (b, p, K): who is moved by the loss?
        for i, t in enumerate(targets):
            k, labelled = len(t["sigmas"]), t["keypoints"][..., 2] > 0         # (3, k)
            assert not felt[i, :, k:].any() and felt[i].sum() == labelled.sum()
            assert sorted(map(tuple, felt[i, :, :k][felt[i].any(-1)].tolist())) == sorted(map(tuple, labelled.tolist()))
    for t, copy in zip(targets, copies):
        assert all(torch.equal(t[k], copy[k]) for k in ("boxes", "keypoints", "labels", "areas"))
        t["keypoints"][..., :2][t["keypoints"][..., 2] == 0] = float("nan")
    again = torch.autograd.grad(sum(keypoint_losses(output, targets, cfg).values()), places)
    torch.testing.assert_close(again, grads)                                   # NaN changes nothing


# nbs/52b_keypoint_losses.ipynb, cell c8502a33
def test_empty_samples_are_harmless():
    output = asked_of()
    none = [pose_target([], [], [], [0.1] * k, (64, 64)) for k in (5, 3)]
    terms = keypoint_losses(output, none, cfg)
    assert terms["class"] > 0 and all(terms[k] == 0 for k in ("l1", "giou", "keypoint", "oks", "visibility"))
    lost = asked_of(categories=(2, 0))                                         # the second sample names no category
    terms = keypoint_losses(lost, [answers(output)[0], none[1]], cfg)
    assert all(value.isfinite() and value > 0 for value in terms.values())
    sum(terms.values()).backward()


# nbs/52b_keypoint_losses.ipynb, cell fd637767
def test_targets_must_fit():
    output = asked_of()
    targets = answers(output)
    with pytest.raises(ValueError, match="1 targets for 2 samples"):
        keypoint_losses(output, targets[:1], cfg)
    with pytest.raises(ValueError, match="sample 0 names 5 keypoints, its target has 3"):
        keypoint_losses(output, targets[::-1], cfg)
    with pytest.raises(ValueError, match=r"sample 1 has labels \[0, 4\], accepted are 0 to 0"):
        keypoint_losses(output, [targets[0], targets[1] | {"labels": torch.tensor([4, 0, 0])}], cfg)


# nbs/52b_keypoint_losses.ipynb, cell fe5aa433
def test_crowds_are_paired_as_far_as_it_goes():
    output = asked_of(names=(2, 2), categories=(1, 1))
    boxes = [[8 * i, 8, 8 * i + 8, 40] for i in range(5)]
    crowd = [pose_target(boxes, [0] * 5, np.full((5, 2, 3), 2.0), [0.1] * 2, (64, 64))] * 2
    matches = match([pose_costs(output.last, i, t, cfg) for i, t in enumerate(crowd)])
    assert [len(rows) for rows, _ in matches] == [4, 4] and keypoint_losses(output, crowd, cfg)["keypoint"] > 0


# nbs/52b_keypoint_losses.ipynb, cell c0f8b070
def lesson_pair(size=64):
    "Two figures: pixels (2, 3, s, s), images, names asked of each, categories, targets."
    images, names, words, targets = [], [], [], []
    for seed, word, step in ((7, "woman", 1), (12, "horse", 2)):
        image, box, points, area, skeleton = figure_in(seed, word, size)
        asked = SKELETONS[skeleton]["keypoints"][::step]
        sigmas = keypoint_sigmas(skeleton, asked)
        targets.append(pose_target([box], [0], [points[::step]], sigmas, image.size, [area]))
        images.append(image), names.append(asked), words.append([word])
    return torch.stack([image_to_tensor(image, size) for image in images]), images, names, words, targets

class Poser(nn.Module):
    "A backbone, two projections and a decoder, and a fixed random table in the place of the LLM."
    def __init__(self, words):
        super().__init__()
        self.backbone, self.decoder = Backbone(BackboneConfig.tiny()), KeypointDecoder(KeypointDecoderConfig.tiny())
        self.category, self.keypoint = CategoryProjection(48, 32), KeypointProjection(48, 32)
        self.table = {word: torch.randn(4, 48) for word in sorted(set(words))}

    def forward(self, pixels, categories, names):
        states = lambda rows: [torch.stack([self.table[word] for word in row]) for row in rows]
        words = pad_categories([self.category(x) for x in states(categories)])
        joints = pad_categories([self.keypoint(x) for x in states(names)])
        return self.decoder(self.backbone(pixels), *words, *joints)


# nbs/52b_keypoint_losses.ipynb, cell a19e3664
def ask_some(names, targets, rng):
    "The same request for a random subset of each picture's names, one at least, in random order."
    which = [rng.permutation(len(n))[:rng.integers(1, len(n) + 1)] for n in names]
    fewer = [t | {"keypoints": t["keypoints"][:, w], "sigmas": t["sigmas"][w]} for t, w in zip(targets, which)]
    return [[n[i] for i in w] for n, w in zip(names, which)], fewer


# nbs/52b_keypoint_losses.ipynb, cell 2da8d245
def best_bodies(poser):
    "The best answer for each picture of the pair, its OKS and its PCK."
    pixels, images, names, categories, targets = lesson_pair()
    found = [{k: v[:1] for k, v in f.items()} for f in top_poses(poser(pixels, categories, names), k=1)]
    scores = []
    for f, t in zip(found, targets):
        _, oks = pose_distance(f["keypoints"][..., :2], t["keypoints"], t["areas"], t["sigmas"], t["size"])
        near = pck(f["keypoints"][..., :2].numpy(), t["keypoints"].numpy(), box_cxcywh_to_xyxy(t["boxes"]).numpy())
        scores.append((oks.item(), near))
    return found, scores


# nbs/52b_keypoint_losses.ipynb, cell a040a78f
def test_solutions():
    SIGMAS["hand"] = {f"joint {i}".replace(" ", "_"): 0.05 for i in range(21)}
    assert keypoint_sigmas("hand", ["joint 3", "joint 20"]).tolist() == pytest.approx([0.05, 0.05])
    del SIGMAS["hand"]
    truth, sigmas = torch.tensor([[[0.0, 0, 2]]]), torch.tensor([0.05])
    large = pose_distance(torch.tensor([[[0.04, 0.0]]]), truth, torch.tensor([4000.0]), sigmas, (100, 100))[1]
    small = pose_distance(torch.tensor([[[0.02, 0.0]]]), truth, torch.tensor([1000.0]), sigmas, (100, 100))[1]
    torch.testing.assert_close(large, small)
