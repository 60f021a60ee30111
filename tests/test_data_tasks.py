"""Tests of visionllm_edu/data/tasks.py.

Generated from nbs/14_tasks.ipynb by make export: do not edit, edit the notebook.
"""

from visionllm_edu.data.tasks import (
    InstructionSampler, Memory, TaskMixture, derive_phrases, derive_questions, descriptions,
    make_task, object_boundary, plural, sample_questions, served_tasks,
)


# nbs/14_tasks.ipynb, cell 2f23be08
from dataclasses import replace
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from visionllm_edu.data.coco import load_data, shared_data, write_shapes
from visionllm_edu.language.instructions import RANGE, TASKS, Instruction

def shapes_data(n=6, size=(96, 72), keep=[]):
    "A small data set of drawn shapes; its folder lives as long as the process."
    keep.append(TemporaryDirectory())
    return load_data(write_shapes(keep[-1].name, n=n, size=size))


# nbs/14_tasks.ipynb, cell 1f3e469a
def test_plurals():
    assert [plural(n) for n in ("cat", "box", "sandwich", "toy", "body")] == ["cats", "boxes", "sandwiches", "toys", "bodies"]
    assert plural("red blood cell") == "red blood cells" and plural("skis") == "skis"


# nbs/14_tasks.ipynb, cell 0f5a314d
def test_derived_phrases_mean_one_object():
    data = shapes_data(8)
    for sample in data:
        for phrase in derive_phrases(sample, data.categories):
            row = sample.annotation_ids.tolist().index(*phrase["annotation_ids"])
            same = sample.labels == sample.labels[row]
            x = sample.boxes_xyxy_px[:, ::2].mean(1)
            if phrase["kind"] == "only": assert same.sum() == 1
            others = same & (np.arange(len(same)) != row)
            area = np.prod(sample.boxes_xyxy_px[:, 2:] - sample.boxes_xyxy_px[:, :2], axis=1)
            if phrase["kind"] == "leftmost": assert x[row] < x[others].min() - 0.049 * sample.size[0]
            if phrase["kind"] == "rightmost": assert x[row] > x[others].max() + 0.049 * sample.size[0]
            if phrase["kind"] == "largest": assert area[row] > 1.64 * area[others].max()
    crowded = replace(sample, crowd=np.ones_like(sample.crowd))
    assert derive_phrases(crowded, data.categories) == []


# nbs/14_tasks.ipynb, cell 79ede752
def test_derived_questions():
    data = shapes_data(8)
    for sample in data:
        questions = derive_questions(sample, data.categories)
        assert questions == derive_questions(sample, data.categories)  # the same every time: they serve as a test set
        here = {data.categories[c] for c in sample.labels}
        for q in questions:
            name = next(n for n in data.categories if plural(n) in q["question"])
            count = sum(data.categories[c] == name for c in sample.labels)
            assert q["answer"] == (str(count) if q["kind"] == "count" else "yes" if count else "no")
    crowd = replace(sample, crowd=np.ones_like(sample.crowd))
    assert all(q["kind"] == "exist" for q in derive_questions(crowd, data.categories))


# nbs/14_tasks.ipynb, cell 7d08969e
def test_missing_parts_cost_tasks():
    data = shapes_data()
    sample = next(s for s in data if {0, 2} <= set(s.labels))
    every = served_tasks(sample, data.categories)
    assert every == set(TASKS)
    def lost(**parts): return every - served_tasks(replace(sample, **parts), data.categories)
    assert lost(captions=[], long_captions=[]) == {"caption"} and lost(captions=[]) == set()
    assert lost(segmentations=[None] + sample.segmentations[1:]) == {"segment"}
    assert lost(keypoints=None) == {"pose"} and lost(keypoints=0 * sample.keypoints) == {"pose"}
    assert lost(phrases=[], questions=[]) == set()  # derived ones step in
    assert lost(crowd=~np.zeros_like(sample.crowd)) >= {"segment", "pose"}


# nbs/14_tasks.ipynb, cell 6aae98f3
def test_descriptions_begin_with_the_class():
    for data in (load_data("toybox:train:8"), shapes_data(2)):
        for i in range(2):
            sample = data.sample(i, image=False)
            said = descriptions(data, sample)
            assert [line.split(":")[0] for line in said] == [data.categories[c] for c in sample.labels]
    assert not any(":" in line for line in said)                        # shapes have no regions: bare names


# nbs/14_tasks.ipynb, cell 381c5b67
def test_category_order_moves_labels_only():
    data = shapes_data()
    for sample in data:
        one = make_task(sample, Instruction("detect", ("ball", "block", "kite")), data.categories)
        two = make_task(sample, Instruction("detect", ("kite", "ball", "block")), data.categories)
        assert np.array_equal(one.points_px, two.points_px) and np.array_equal(one.centers, two.centers)
        names = [[t.instruction.categories[i] for i in t.labels] for t in (one, two)]
        assert names[0] == names[1] == [data.categories[c] for c in sample.labels]


# nbs/14_tasks.ipynb, cell 0fdaab92
def test_only_listed_objects():
    data = shapes_data()
    for sample in data:
        parts = [make_task(sample, Instruction("detect", (name,)), data.categories) for name in data.categories]
        assert sum(len(t.labels) for t in parts) == len(sample.labels)
        assert all((t.labels == 0).all() for t in parts)
        crowd = replace(sample, crowd=np.arange(len(sample.labels)) == 0)
        t = make_task(crowd, Instruction("detect", tuple(data.categories)), data.categories)
        assert np.array_equal(t.boxes_xyxy_px, sample.boxes_xyxy_px[1:])
    none = make_task(sample, Instruction("segment", ("unicorn",)), data.categories)
    assert none.points_px.shape == (0, 16, 2) and len(none.labels) == 0


# nbs/14_tasks.ipynb, cell 35ea7ab2
def test_round_trip_through_tokens():
    from visionllm_edu.language.instructions import decode_sets, encode_sets
    from visionllm_edu.language.vocabulary import Vocabulary
    vocabulary, data = Vocabulary.train(["a meadow"], text_size=270), shapes_data()
    for task, points in (("detect", 2), ("segment", 9), ("pose", 4)):
        instruction = Instruction(task, ("kite",), (300,), num_points=points)
        for sample in data:
            t = make_task(sample, instruction, data.categories)
            ids = encode_sets(t.labels, t.points_px, t.centers, t.size, instruction, vocabulary)
            back = decode_sets(ids, t.centers, t.size, instruction, vocabulary)
            assert back.dropped == [] and np.array_equal(back.labels, t.labels)
            error = np.abs(back.points_px.numpy() - t.points_px) / t.size
            assert error.size == 0 or error.max() <= 0.5 / 512 + 1e-6


# nbs/14_tasks.ipynb, cell f0da9184
def test_poses_and_refusals():
    data = shapes_data()
    sample = next(s for s in data if 2 in s.labels)
    sample.keypoints[sample.labels == 2, 1] = 0  # the right corner of each kite: not labelled
    t = make_task(sample, Instruction("pose", ("kite",), num_points=4), data.categories)
    assert np.isnan(t.points_px[:, 1]).all() and np.isfinite(t.points_px[:, [0, 2, 3]]).all()
    for wrong in (Instruction("ground", ("the green dog",)), Instruction("answer", question="Why?")):
        with pytest.raises(ValueError, match=sample.file_name): make_task(sample, wrong, data.categories)
    boxes_only = replace(sample, segmentations=[None] * len(sample.labels))
    with pytest.raises(ValueError, match="no outline"):
        make_task(boxes_only, Instruction("segment", ("kite",)), data.categories)


# nbs/14_tasks.ipynb, cell 66c6715a
def test_shapes_are_handed_on_for_every_task():
    data = shapes_data()
    sample = next(s for s in data if {0, 2} <= set(s.labels))
    for task, asked in (("detect", Instruction("detect", ("kite", "ball"))), ("answer", Instruction("answer", question=sample_questions(sample, data.categories)[0]["question"]))):
        made = make_task(sample, asked, data.categories, shapes=True)
        boxes = made.scene_px if asked.is_text else made.boxes_xyxy_px
        assert made.outlines_px.shape == (len(boxes), 24, 2) and made.poses_px.shape == (len(boxes), 4, 2) and len(boxes)
        np.testing.assert_allclose(made.outlines_px.min(1), boxes[:, :2], atol=1.5)   # each outline fills its own box
        np.testing.assert_allclose(made.outlines_px.max(1), boxes[:, 2:], atol=1.5)
        posed = ~np.isnan(made.poses_px).all((1, 2))
        assert posed.sum() == (sample.labels == 2).sum()                              # kites alone have corners to tell
    assert make_task(sample, asked, data.categories).outlines_px is None              # only where they are wanted
    bare = replace(sample, segmentations=[None] * len(sample.labels), keypoints=None)
    made = make_task(bare, asked, data.categories, shapes=True)
    assert np.isnan(made.outlines_px).all() and made.poses_px.shape[1] == 0           # boxes alone: nothing to learn


# nbs/14_tasks.ipynb, cell 62613f72
def test_drawn_instructions():
    data = shapes_data()
    sample = next(s for s in data if 2 in s.labels)
    def drawn(n=60, **how):
        ask = InstructionSampler(data, **how)
        return [ask("detect", sample, np.random.default_rng(i)) for i in range(n)]
    assert all(d.categories == ("ball", "block", "kite") and d.class_indices == (0, 1, 2) for d in drawn(full_list=1))
    free = drawn(full_list=0)
    assert len({d.categories for d in free}) > 5 and len({i for d in free for i in d.class_indices}) > 50
    fixed = drawn(full_list=0, random_classes=False)
    assert all(data.categories[i] == name for d in fixed for name, i in zip(d.categories, d.class_indices))
    assert all(len(d.categories) == 1 for d in drawn(full_list=0, max_categories=1))
    ask = InstructionSampler(data)
    assert ask("pose", sample, np.random.default_rng(0)).num_points == 4  # a kite's corners


# nbs/14_tasks.ipynb, cell 6f2f2cae
def test_memory_keeps_and_forgets_nothing():
    data = shapes_data()
    memory, none = Memory(data, image_size=32), Memory(data, megabytes=0)
    assert memory.image(0) is memory.image(0) and memory.image(0).size == (32, 32)
    assert none.image(0) is not none.image(0) and none.image(0).size == data[0].size
    assert np.array_equal(np.asarray(none.image(1)), np.asarray(data[1].image))
    assert np.array_equal(memory.boundary(data[0], 0, 9), object_boundary(data[0], 0, 9))
    assert memory.boundary(data[0], 0, 9) is memory.boundary(data[0], 0, 9)


# nbs/14_tasks.ipynb, cell 8b4284ad
def test_batches_may_be_alike_and_ranges_drawn():
    data = shapes_data(8)
    mixed, alike = (TaskMixture(data, seed=3, batch=4, alike=alike) for alike in (False, True))
    groups = lambda mixture: [{mixture[4 * g + k].instruction.task for k in range(4)} for g in range(12)]
    assert all(len(tasks) == 1 for tasks in groups(alike)) and any(len(tasks) > 1 for tasks in groups(mixed))
    assert len(set.union(*groups(alike))) > 3                            # of one task each, but not of the same
    asked = [TaskMixture(data, {"detect": 1.0}, seed=3, other_ranges=share)[i].instruction.range
             for share in (0.0, 0.5) for i in range(40)]
    assert set(asked[:40]) == {RANGE} and 64 <= min(asked[40:]) < RANGE and 10 < asked[40:].count(RANGE) < 30


# nbs/14_tasks.ipynb, cell ddbaff04
def test_one_kind_can_be_drilled():
    data = load_data("toybox:val:24")
    drill = TaskMixture(data, {"answer": 1.0, "ground": 1.0}, seed=2, kinds=("relation",))
    kinds_of = lambda records, words: {r["kind"] for r in records if words == (r.get("question") or r["text"])}
    seen = 0
    for i in range(40):
        row, sample, instruction, _ = drill.draw(i)
        asked = instruction.question if instruction.task == "answer" else instruction.categories[0]
        records = sample.questions if instruction.task == "answer" else sample.phrases
        offered = any(r["kind"] == "relation" for r in records)
        seen += offered
        assert not offered or "relation" in kinds_of(records, asked)
    assert seen > 5


# nbs/14_tasks.ipynb, cell c264ccac
def test_strangers_make_lists_longer_and_change_no_object():
    data = shapes_data(n=3)
    plain, more = (TaskMixture(data, {"detect": 1.0}, full_list=1.0, strangers=share) for share in (0.0, 1.0))
    for i in range(30):
        a, b = plain[i], more[i]
        added = [name for name in b.instruction.categories if name not in data.categories]
        assert 1 <= len(added) <= 8 and [n for n in b.instruction.categories if n in data.categories] == data.categories
        named = lambda s: sorted((s.instruction.categories[c], *map(float, box)) for c, box in zip(s.labels, s.boxes_xyxy_px))
        assert a.image_id != b.image_id or named(a) == named(b)
    assert all(plain[i].instruction.categories == tuple(data.categories) for i in range(30))


# nbs/14_tasks.ipynb, cell d4b2b518
def test_sample_i_is_always_the_same():
    from torch.utils.data import DataLoader
    def same(a, b):
        assert a.instruction.text == b.instruction.text and a.answer == b.answer and a.image_id == b.image_id
        assert np.array_equal(a.points_px, b.points_px, equal_nan=True) and np.array_equal(a.labels, b.labels)

    data = shapes_data()
    mixture, fresh = TaskMixture(data, seed=3), TaskMixture(data, seed=3)
    straight = [mixture[i] for i in range(24)]
    for i in reversed(range(24)): same(straight[i], fresh[i])
    loader = DataLoader(TaskMixture(data, seed=3), batch_size=4, sampler=range(8, 24), num_workers=2, collate_fn=list)
    for i, t in enumerate(t for batch in loader for t in batch): same(straight[8 + i], t)  # as after a crash at 8
    assert any(straight[i].instruction.text != TaskMixture(data, seed=4)[i].instruction.text for i in range(24))


# nbs/14_tasks.ipynb, cell 19aae8f4
def test_weights_are_shares():
    from collections import Counter
    data = shapes_data()
    mixture = TaskMixture(data, {"detect": 3, "caption": 1, "pose": 0}, image_size=16)
    count = Counter(mixture[i].instruction.task for i in range(800))
    assert set(count) == {"detect", "caption"} and 540 < count["detect"] < 660  # 600 are expected
    assert mixture[0].image.size == (16, 16) and mixture[0].size == (96, 72)
    for records in data.tables.annotations.values():
        for a in records: a.pop("segmentation")
    assert set(TaskMixture(data).tasks) == set(TASKS) - {"segment"}


# nbs/14_tasks.ipynb, cell 23ce8d1f
def test_first_caption_and_bad_weights():
    data = shapes_data()
    by_heart = TaskMixture(data, {"caption": 1}, first_caption=True)
    first = {s.image_id: {s.captions[0], s.long_captions[0]} for s in data}
    assert all(t.answer in first[t.image_id] for t in map(by_heart.__getitem__, range(50)))
    any_caption = TaskMixture(data, {"caption": 1})
    assert any(t.answer not in first[t.image_id] for t in map(any_caption.__getitem__, range(50)))
    for wrong, words in (({"detekt": 1}, "detekt"), ({"detect": float("nan")}, "weight"), ({}, "nothing to learn")):
        with pytest.raises(ValueError, match=words): TaskMixture(data, wrong)
    for records in data.tables.annotations.values():
        for a in records: a.pop("keypoints", None)
    with pytest.raises(ValueError, match="serves"): TaskMixture(data, {"pose": 1})


# nbs/14_tasks.ipynb, cell a5bd04df
def test_tasks_of_real_folders():
    mini, bccd = shared_data("coco_mini"), shared_data("bccd")
    if mini is None: print("coco_mini is not here: skipped")
    else:
        mixture = TaskMixture(load_data(f"coco:{mini}:train2017"), image_size=32)
        assert {task: len(rows) for task, rows in mixture.rows.items()} == dict(
            detect=80, segment=80, ground=78, pose=28, caption=80, answer=80)
        assert all(np.isfinite(mixture[i].centers).all() for i in range(60))
    if bccd is None: print("bccd is not here: skipped")
    else:
        mixture = TaskMixture(load_data(f"coco:{bccd / 'images'}:{bccd / 'val.json'}"), image_size=32)
        assert set(mixture.tasks) == {"detect", "ground", "answer"}  # boxes only
