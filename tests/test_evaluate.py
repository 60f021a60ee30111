"""Tests of visionllm_edu/evaluate.py.

Generated from nbs/35_evaluate.ipynb by make export: do not edit, edit the notebook.
"""

import numpy as np
import pytest
import torch
from PIL import Image
from dataclasses import replace
from tempfile import TemporaryDirectory

from visionllm_edu.data.coco import load_data, write_shapes
from visionllm_edu.data.tasks import sample_phrases, sample_questions
from visionllm_edu.evaluate import Examiner, box_record, evaluate, find_objects
from visionllm_edu.geometry import segmentation_to_mask
from visionllm_edu.language.instructions import Instruction, TASKS
from visionllm_edu.metrics import coco_ap
from visionllm_edu.reply import Detections, Reply


# nbs/35_evaluate.ipynb, cell 91f8bdd3
class Echo:
    "A model that answers with the truth, spoiled by `damage(detections, sample)`; silent about pictures it does not know."

    def __init__(self, data, damage=lambda found, sample: found):
        self.known = {data.image(i).tobytes(): data.sample(i, image=False) for i in range(len(data))}
        self.data, self.damage, self.asked = data, damage, []

    def respond(self, images, instructions, threshold=0.3, batch_size=16, most=None):
        self.asked += instructions
        return [self.reply(self.known.get(i.tobytes()), q) for i, q in zip(images, instructions)]

    def reply(self, sample, q):
        if sample is None: return Reply(text="") if q.is_text else Reply(detections=table([], [], []))
        if q.task == "caption": return Reply(text=sample.captions[0])
        if q.task == "answer":
            return Reply(text={a["question"]: a["answer"] for a in sample_questions(sample, self.data.categories)}[q.question])
        return Reply(detections=self.damage(self.truth(sample, q), sample))

    def truth(self, sample, q):
        if q.task == "ground":
            of = {p["text"]: p["annotation_ids"] for p in sample_phrases(sample, self.data.categories)}[q.categories[0]]
            rows, labels = [sample.annotation_ids.tolist().index(of[0])], [0]
        else:
            names = [self.data.categories[c] for c in sample.labels]
            rows = [r for r, n in enumerate(names) if n in q.categories and not sample.crowd[r]]
            labels = [q.categories.index(names[r]) for r in rows]
        more = {"masks": masks(sample, rows)} if q.task == "segment" else {}
        if q.task == "pose": more["keypoints"] = sample.keypoints[rows][:, : q.num_points]
        return table(labels, sample.boxes_xyxy_px[rows], q.categories, **more)


# nbs/35_evaluate.ipynb, cell eedfae7b
def table(labels, boxes, names, **columns):
    "Detections with falling scores, so that their order is known."
    n = len(labels)
    return Detections(scores=np.linspace(0.9, 0.5, n), labels=np.array(labels, dtype=int), boxes=np.reshape(boxes, (n, 4)),
                      text_labels=[names[c] for c in labels], **columns)

def masks(sample, rows):
    shapes = [segmentation_to_mask(sample.segmentations[r], sample.size) for r in rows]
    return np.array(shapes, dtype=bool).reshape(-1, sample.size[1], sample.size[0])

def shapes(n=6, folders=[]):
    "A small data set of drawn shapes; its folder lives as long as the process."
    folders.append(TemporaryDirectory())
    return load_data(write_shapes(folders[-1].name, n=n, size=(192, 144)))


# nbs/35_evaluate.ipynb, cell 080bd5b0
def test_long_lists_are_asked_in_groups():
    data = shapes(2)
    echo = Echo(data)
    whole = find_objects(Examiner(echo, data), "detect", data.categories, box_record)
    by_two = find_objects(Examiner(echo, data), "detect", data.categories, box_record, group=2)
    key = lambda r: (r["image_id"], r["category_id"], *r["bbox"])
    assert sorted(map(key, whole)) == sorted(map(key, by_two))
    assert [len(q.categories) for q in echo.asked] == [3, 3, 2, 2, 1, 1]


# nbs/35_evaluate.ipynb, cell 5d2c2d3e
def test_echo_scores_full_marks_under_the_agreed_names():
    data = shapes(4)
    scores = evaluate(Echo(data), data)
    keys = {"detect": "AP AP50 AP75 APs APm APl n", "segment": "AP AP50 AP75 APs APm APl by_points n",
            "ground": "P@0.5 by_kind n", "pose": "AP AP50 PCK@0.2 n", "caption": "CIDEr BLEU-4 n",
            "answer": "accuracy by_type blind n"}
    for task, names in keys.items(): assert set(names.split()) <= scores[task].keys(), task
    full = [scores["detect"]["AP"], scores["segment"]["AP"], scores["segment"]["by_points"]["8"], scores["ground"]["P@0.5"],
            scores["pose"]["AP"], scores["pose"]["PCK@0.2"], scores["caption"]["BLEU-4"], scores["answer"]["accuracy"]]
    assert full == pytest.approx([1.0] * 8)


# nbs/35_evaluate.ipynb, cell 32f1816e
def test_silence_scores_nothing():
    class Silent:
        def respond(self, images, instructions, threshold=0.3, batch_size=16, most=None):
            return [Reply(text="") if q.is_text else Reply(detections=table([], [], [], **extra(q, i)))
                    for i, q in zip(images, instructions)]

    extra = lambda q, i: {"segment": {"masks": np.zeros((0, i.height, i.width))}, "pose": {"keypoints": np.zeros((0, 4, 3))}}.get(q.task, {})
    scores = evaluate(Silent(), data := shapes(3), batch_size=2)
    assert [scores[t][m] for t, m in (("detect", "AP"), ("segment", "AP50"), ("ground", "P@0.5"), ("pose", "PCK@0.2"),
                                      ("caption", "CIDEr"), ("answer", "accuracy"), ("answer", "blind"))] == [0] * 7


# nbs/35_evaluate.ipynb, cell 9cf556be
def test_tasks_without_answers_are_left_out():
    data = shapes(3)
    for records in data.tables.annotations.values():
        for record in records: record.pop("segmentation", None)
    data.tables.captions.clear()
    data = data.subset(3)
    scores = evaluate(Echo(data), data)
    assert "segment" not in scores and "caption" not in scores and {"detect", "pose", "ground", "answer"} <= scores.keys()
    assert list(evaluate(Echo(data), data, ("ground", "detect"))) == ["ground", "detect"]
    with pytest.raises(ValueError, match="nothing to score"): evaluate(Echo(data), data, ("caption",))
    with pytest.raises(ValueError, match="unknown tasks juggle"): evaluate(Echo(data), data, ("detect", "juggle"))


# nbs/35_evaluate.ipynb, cell 5d899bec
def test_crowds_and_empty_images_do_no_harm():
    data = shapes(4)
    crowd = data.records(0)[0]
    crowd["iscrowd"] = 1
    data.tables.annotations[data.image_ids[1]] = []
    data = data.subset([0, 1, 2, 3])
    assert evaluate(Echo(data), data, ("detect", "segment"))["detect"]["AP"] == pytest.approx(1)
    there = int(data.sample(2, image=False).labels[0])
    def ghosts(found, sample):
        "On a picture without objects a box, surer than all others."
        return found if len(found) else replace(table([there], [[5, 5, 30, 30]], data.categories), scores=torch.ones(1))
    assert 0 < evaluate(Echo(data, ghosts), data, ("detect",))["detect"]["AP"] < 1


# nbs/35_evaluate.ipynb, cell ed6f00b6
def test_batches_and_questions_are_fixed():
    data = shapes(3)
    one, many = Echo(data), Echo(data, lambda found, sample: found[:0])
    assert evaluate(one, data, batch_size=1) == evaluate(Echo(data), data, batch_size=16)
    evaluate(many, data)
    assert [q.text for q in one.asked] == [q.text for q in many.asked]
