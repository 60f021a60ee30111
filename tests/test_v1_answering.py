"""Tests of visionllm_edu/v1/answering.py.

Generated from nbs/33b_answering.ipynb by make export: do not edit, edit the notebook.
"""

import numpy as np
import pytest
import torch
from PIL import Image
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from visionllm_edu.data.coco import load_data, write_shapes
from visionllm_edu.data.tasks import make_task
from visionllm_edu.language.instructions import Instruction, encode_sets, template_texts
from visionllm_edu.language.vocabulary import Vocabulary
from visionllm_edu.reply import Detections, Reply
from visionllm_edu.v1.answering import best_first, read_sets, set_scores
from visionllm_edu.v1.model import VisionLLMv1Config, build, template_vocabulary


# nbs/33b_answering.ipynb, cell 7a565565
FOLDER = TemporaryDirectory()

def scenes(n=6):
    "A few scenes with shapes, as a data set."
    return load_data(write_shapes(FOLDER.name, n=n))


# nbs/33b_answering.ipynb, cell fa84d7e9
def test_scores_behave():
    torch.manual_seed(0)
    objectness, said = torch.randn(50), 3 * torch.randn(50, 9)
    scores = set_scores(objectness, said, [2, 5])
    assert (0 <= scores).all() and (scores <= objectness.sigmoid()).all()
    assert (set_scores(objectness + 1, said, [2, 5]) > scores).all()                        # more of an object: higher
    assert (set_scores(objectness, said, [2, 5, 7]) >= scores).all()                        # asking for more finds no less
    louder = said.clone()
    louder[:, 8] += 2                                                                       # a class that nobody asked for
    assert (set_scores(objectness, louder, [2, 5]) < scores).all()
    order = best_first(scores, 0.1)
    assert (scores[order].diff() <= 0).all() and len(order) == (scores >= 0.1).sum()
    assert torch.equal(best_first(scores, 0.1, most=3), order[:3])
    assert len(best_first(scores, 1.0)) == 0 and len(best_first(scores[:0], 0.5)) == 0


# nbs/33b_answering.ipynb, cell 805f26d0
def test_truth_goes_in_and_comes_out():
    data, v = scenes(), template_vocabulary()
    for task, points in (("detect", 2), ("segment", 24), ("pose", 4)):
        asked = Instruction(task, ("kite", "block"), (5, 3), num_points=points)
        true = make_task(data[4], asked, data.categories)
        ids = encode_sets(true.labels, true.points_px, true.centers, true.size, asked, v)
        found = read_sets(ids, torch.ones(len(ids)), torch.as_tensor(true.centers), data[4].image, asked, v)
        assert len(found) == len(true.labels) > 0 and found.labels.tolist() == true.labels.tolist()
        assert set(found.text_labels) <= {"kite", "block"}
        points_px = found["polygons" if task == "segment" else "keypoints"][..., :2] if task != "detect" else found.boxes.reshape(-1, 2, 2)
        assert (points_px - torch.as_tensor(true.points_px)).abs().max() <= 0.5 * 96 / 512 + 1e-3     # half a bin
        assert ("masks" in found.keys()) == (task == "segment") and ("keypoints" in found.keys()) == (task == "pose")


# nbs/33b_answering.ipynb, cell a6e1f914
def test_what_cannot_be_read_is_left_out():
    v, image, asked = template_vocabulary(), Image.new("RGB", (96, 72)), Instruction("segment", ("kite",), num_points=8)
    scores, centers = torch.tensor([0.9, 0.8, 0.7]), torch.full((3, 2), 0.5)
    good = [v.class_id(0), *(v.location_id(o) for k in range(8) for o in (40 * (k % 3 - 1), 40 * (k // 3 - 1)))]
    ids = torch.tensor([[v.class_id(1), *good[1:]], good, [v.bos_id] * 17])          # class 1 is not in the prompt; words; ...
    found = read_sets(ids, scores, centers, image, asked, v)
    assert len(found) == 1 and found.scores.tolist() == [pytest.approx(0.8)] and found.masks.shape == (1, 72, 96)
    none = read_sets(ids[:0], scores[:0], centers[:0], image, asked, v)
    assert len(none) == 0 and none.masks.shape == (0, 72, 96) and none.boxes.shape == (0, 4)


# nbs/33b_answering.ipynb, cell f35d6acd
NAMES = ("ball", "block", "kite")

def shaken_model():
    "A tiny model of large random weights, with three class tokens."
    torch.manual_seed(2)
    vocabulary = Vocabulary.train(["a red ball under a tree", "two kites"], num_classes=3, prompts=template_texts())
    model = build(replace(VisionLLMv1Config.tiny(), categories=NAMES), vocabulary)
    with torch.no_grad():
        for p in model.parameters(): p.add_(0.1 * torch.randn_like(p))
    return model

SIX = (Instruction("detect", NAMES), Instruction("caption"), Instruction("segment", NAMES, num_points=8), Instruction("ground", ("the red ball",)),
       Instruction("pose", ("kite", "ball"), (2, 0), num_points=4), Instruction("answer", question="How many kites are there?"))

def same(a, b):
    "Whether two answers are the same: words exactly, objects with scores to 1e-4."
    if isinstance(a, Reply): return a.text == b.text and same(a.detections, b.detections)
    if not isinstance(a, Detections): return a == b
    return a.text_labels == b.text_labels and all(torch.allclose(a[k].float(), b[k].float(), atol=1e-4) for k in a if k != "text_labels")


# nbs/33b_answering.ipynb, cell 79411b6a
def test_batch_answers_as_its_samples_one_by_one():
    data, model = scenes(), shaken_model()
    images = [data[k].image for k in range(6)]
    together = model.respond(images, SIX, threshold=0.0)
    alone = [model(image, asked, threshold=0.0) for image, asked in zip(images, SIX)]
    pairs = model.respond(images, SIX, threshold=0.0, batch_size=2)
    assert all(map(same, together, alone)) and all(map(same, together, pairs))
    assert len({reply.text for reply in together}) == 6 and len(together[0].text.splitlines()) == 10
    assert sum(len(r.detections) for r in together if r.detections is not None) > 5               # not empty on both sides
    assert [reply.image.size for reply in together] == [image.size for image in images]


# nbs/33b_answering.ipynb, cell 2189a7cd
def test_threshold_only_takes_away():
    data, model = scenes(), shaken_model()
    every = model.detect(data[0].image, NAMES, threshold=0.0)
    assert (every.scores.diff() <= 0).all() and len(every) > 1                                 # best first
    line = float(every.scores[len(every) // 2])
    assert model.detect(data[0].image, NAMES, line) == every[every.scores >= line]
    assert len(model.detect(data[0].image, NAMES, 1.0)) == 0
    phrase, ranked = Instruction("ground", ("the kite",)), model.ground(data[0].image, "the kite")
    best, objects = model([data[0].image] * 2, [phrase, Instruction("detect", tuple(NAMES))])     # None: one thing, and all sure ones
    assert len(ranked) > 1 and best.detections == ranked[:1] and len(best.text.splitlines()) == 1
    assert objects.detections == model.detect(data[0].image, NAMES)
    assert [len(d) for d in model.detect([], NAMES)] == [] == model([], "detect kites")


# nbs/33b_answering.ipynb, cell b46e9cb8
def test_every_task_takes_every_kind_of_image():
    model, picture = shaken_model(), scenes()[3].image
    pixels = np.asarray(picture)
    with TemporaryDirectory() as folder:
        file = Path(folder, "picture.png")
        picture.save(file)
        kinds = [picture, pixels, torch.tensor(pixels).permute(2, 0, 1) / 255, file, str(file)]
        calls = [lambda x: model.detect(x, ["ball", "kite"], 0.0), lambda x: model.segment(x, "kite", 8, 0.0), lambda x: model.ground(x, "the red ball"),
                 lambda x: model.pose(x, "kite", 0.0, points=4), lambda x: model.caption(x), lambda x: model.answer(x, "Is it cold?"),
                 lambda x: model(x, "find the kites", 0.0)]
        for call in calls:
            many, one = call(kinds), call(picture)
            assert isinstance(many, list) and len(many) == 5 and all(same(answer, one) for answer in many)
            assert all(same(call(kind), one) for kind in kinds[1:4])


# nbs/33b_answering.ipynb, cell 37a8386a
def test_answers_have_what_the_task_promises():
    model, picture = shaken_model(), scenes()[3].image
    w, h = picture.size
    boxes, outlines = model.detect(picture, NAMES, 0.0), model.segment(picture, NAMES, 8, 0.0)
    bodies = model.pose(picture, "kite", 0.0, points=4)
    assert boxes.keys() == ["scores", "labels", "text_labels", "boxes"] and outlines.polygons.shape[1:] == (8, 2)
    assert len(outlines) and outlines.masks.shape == (len(outlines), h, w) and bodies.keypoints.shape[1:] == (4, 3)
    for found in (boxes, outlines, bodies):
        assert (found.boxes >= 0).all() and (found.boxes <= torch.tensor([w, h, w, h])).all() and found.draw().size[0] >= w
    assert isinstance(model.caption(picture, "long"), str) and isinstance(model.answer(picture, "Why?"), str)


# nbs/33b_answering.ipynb, cell 76c56f91
def test_asking_leaves_no_trace():
    model, picture = shaken_model().train(), scenes()[0].image
    reply = model(picture, SIX[0], threshold=0.0)
    assert model.training and not reply.detections.scores.requires_grad
    steps = model.eval().trace(picture, "detect balls, blocks and kites", threshold=0.0)
    assert [len(step) for step in steps] == [3] * 9 and same(steps[-1][2], model.detect(picture, NAMES, 0.0))
    assert steps[2][1] == (32, 8, 8) and [m.shape[-1] for m in steps[2][2]] == [8, 4, 2, 1] and len(steps[4][2]) == 10
    assert not any(part._forward_hooks for part in model.modules())
    with pytest.raises(ValueError, match="no task found"): model.trace(picture, "blue")
    assert not model.training and not any(part._forward_hooks for part in model.modules())


# nbs/33b_answering.ipynb, cell a036a658
def test_bad_requests_are_refused():
    model, picture = shaken_model(), scenes()[0].image
    many = [f"thing {k}" for k in range(600)]
    refused = {"needs at least one category, got an empty list": lambda: model.detect(picture, []),
               "600 categories, but there are only 512 class tokens": lambda: model.detect(picture, many),
               "needs class index 3, this vocabulary ends at 2": lambda: model.detect(picture, [*NAMES, "tree"]),
               "category 'ball' is given twice": lambda: model.segment(picture, ["ball", "ball"]),
               "7 points for task 'segment': accepted are 8 to 24": lambda: model.segment(picture, "ball", points=7),
               "detail 'huge': accepted are 'short' and 'long'": lambda: model.caption(picture, "huge"),
               "no task found in 'blue bananas'": lambda: model(picture, "blue bananas"),
               "class indices run from 0 to 511, got 900": lambda: model(picture, "detect {'ball':<c900>}"),
               "an instruction is a text or an Instruction, got 7": lambda: model(picture, 7),
               "2 images but 1 instructions": lambda: model([picture] * 2, ["detect kites"]),
               "threshold 30: accepted are numbers from 0 to 1": lambda: model.detect(picture, "kite", threshold=30),
               "nowhere.png: no such image file": lambda: model.caption("nowhere.png"),
               "image is a NoneType": lambda: model.caption(None),
               "trace follows one request, got 2 images": lambda: model.trace([picture] * 2, "detect kites")}
    model.see = None                                                 # to look would fail with another error
    for told, ask in refused.items():
        with pytest.raises(ValueError, match=told) as error: ask()
        assert "\n" not in str(error.value) or told.startswith("no task found")


# nbs/33b_answering.ipynb, cell 1e66a26d
def detect_in_groups(model, image, categories, size=80, threshold=0.3):
    "`detect` for any number of categories, `size` at a time."
    parts = []
    for k in range(0, len(categories), size):
        found = model.detect(image, categories[k : k + size], threshold)
        parts.append(replace(found, labels=found.labels + k))
    joined = {name: sum((p[name] for p in parts), []) if name == "text_labels" else torch.cat([p[name] for p in parts]) for name in parts[0]}
    whole = Detections(**joined, image=parts[0].image)
    return whole[whole.scores.argsort(descending=True)]


# nbs/33b_answering.ipynb, cell 9508ac8c
def test_solutions():
    model, picture, v = shaken_model(), scenes()[0].image, template_vocabulary()
    ids = torch.tensor([[v.class_id(0), *(v.location_id(o) for o in (9, 9, -9, -9))]])
    assert len(read_sets(ids, torch.ones(1), torch.full((1, 2), 0.5), Image.new("RGB", (96, 72)), Instruction("detect", ("kite",)), v)) == 0
    objectness, said = torch.tensor([4.0, 4.0, 4.0, -4.0]), torch.tensor([[9.0, 0.0, 0.0], [4.0, 4.1, 0.0], [0.0, 0.0, 9.0], [0.0, 9.0, 0.0]])
    seen, named = objectness.sigmoid(), said.softmax(-1)[:, [0, 1]].amax(-1)
    assert [(seen > 0.3).tolist(), (named > 0.3).tolist()] == [[True, True, True, False], [True, True, False, True]]
    names = ["ball", "block", "kite", "tree", "lake", "hill", "road"]
    found = detect_in_groups(model, picture, names, size=3, threshold=0.0)
    parts = [model.detect(picture, names[k : k + 3], 0.0) for k in (0, 3, 6)]
    assert len(found) == sum(map(len, parts)) > 0 and (found.scores.diff() <= 0).all()
    assert found.text_labels == [names[label] for label in found.labels] and found.labels.max() > 2
