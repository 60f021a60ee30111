"""Tests of visionllm_edu/v2/searching.py.

Generated from nbs/44b_searching.ipynb by make export: do not edit, edit the notebook.
"""

import pytest

from visionllm_edu.data.coco import load_data
from visionllm_edu.v2.chat_tasks import Page, phrases_of
from visionllm_edu.v2.searching import SEARCHES, Searches


# nbs/44b_searching.ipynb, cell 69bc2d47
def test_samples_of_a_batch_share_their_question():
    import pytest
    from visionllm_edu.data.coco import load_data
    toys = load_data("toybox:train:40")
    mixture = Searches(toys, {"detect": 2.0, "segment": 1.0, "pose": 1.0}, (8, 8), seed=3, batch=4)
    samples = [mixture[i] for i in range(48)]
    tasks = set()
    for k in range(0, 48, 4):
        some = samples[k : k + 4]
        assert len({(s.turns[0].user, s.turns[0].assistant, s.task) for s in some}) == 1
        assert len({s.rows[0] for s in some}) > 1 and all(len(s.targets[0].labels) for s in some)
        tasks.add(some[0].task)
    assert tasks == {*SEARCHES} - {"ground"} and len({s.turns[0].user for s in samples}) > 8
    assert mixture[7].turns == samples[7].turns and mixture[7].rows == samples[7].rows  # a function of its number
    for i, s in enumerate(samples):                                       # each target is all that the picture holds of it
        page, names = Page(toys, s.rows[0]), mixture.question(i).names
        assert s.turns[0].assistant.count(SEARCHES[s.task]) == len(names)
        assert len(s.targets[0].labels) == sum(page.names[row] in names for row in page.real)
        assert (s.targets[0].keypoints is None) == (s.task != "pose")
    with pytest.raises(ValueError, match="tasks {'answer': 1.0}; accepted are weights above 0 for some of detect, segment, pose, ground"):
        Searches(toys, {"answer": 1.0}, (8, 8))


# nbs/44b_searching.ipynb, cell 78947fe9
def test_phrases_are_searched_one_by_one():
    toys = load_data("toybox:train:40")
    mixture = Searches(toys, {"ground": 1.0}, (8, 8), batch=4)
    samples = [mixture[i] for i in range(12)]
    assert len({s.turns[0].user for s in samples}) > 8
    for s in samples:
        phrases = dict(phrases_of(Page(toys, s.rows[0])))
        (phrase,) = [p for p in phrases if p in s.turns[0].user and phrases[p] == s.targets[0].rows.tolist()][:1]
        assert s.turns[0].assistant.count("[GRD]") == 1 and len(s.targets[0].boxes_xyxy_px) == len(phrases[phrase])


# nbs/44b_searching.ipynb, cell fd3dce39
def test_what_cannot_be_searched_is_left_out():
    import json
    from pathlib import Path
    from tempfile import TemporaryDirectory
    from visionllm_edu.data.coco import write_shapes
    with TemporaryDirectory() as folder:
        spec = write_shapes(folder, n=4)
        assert {*Searches(load_data(spec), dict.fromkeys(SEARCHES, 1.0), (8, 8)).tasks} == {*SEARCHES}
        table = Path(folder, "annotations", "instances_train.json")
        records = json.loads(table.read_text())
        for one in records["annotations"]: del one["segmentation"]
        table.write_text(json.dumps(records))
        for path in Path(folder, "annotations").glob("*keypoints*"): path.unlink()
        boxes = load_data(spec)                                           # boxes and phrases are all there is
        mixture = Searches(boxes, dict.fromkeys(SEARCHES, 1.0), (8, 8))
        assert {*mixture.tasks} == {"detect", "ground"} and all(len(mixture[i].targets[0].labels) for i in range(8))
        with pytest.raises(ValueError, match="no picture serves segment, pose"): Searches(boxes, {"segment": 1.0, "pose": 1.0}, (8, 8))
