"""Tests of visionllm_edu/v2_edits.py.

Generated from nbs/65b_v2_edits.ipynb by make export: do not edit, edit the notebook.
"""

import numpy as np
from PIL import Image

from visionllm_edu.toybox.scene import render
from visionllm_edu.v2_edits import (
    BLANK, Copier, Redrawn, achieved, distances, edit_cases, examine_edits,
)
from visionllm_edu.v2_pictures import Sight


# nbs/65b_v2_edits.ipynb, cell 8e999c6b
from functools import cache
from types import SimpleNamespace

from visionllm_edu.data.coco import load_data


@cache
def some_cases(): return edit_cases(load_data("toybox:val:40"), 25)


# nbs/65b_v2_edits.ipynb, cell ed8c52da
def test_copies_and_perfect_edits():
    cases = some_cases()
    assert len(cases) == 25 and all(0 <= c.box.min() and c.box.max() <= 1 for c in cases if c.edit.ids)
    for case in cases:
        perfect, copied = distances(case, case.after), distances(case, case.before)
        assert perfect == {"inside": 0, "outside": 0} and copied["outside"] == 0 < copied["inside"]
    dressed = next(c for c in cases if c.edit.kind == "dress")
    assert achieved(dressed, dressed.after, None) and not achieved(dressed, dressed.before, None)
    assert distances(dressed, None)["outside"] > 5 and not achieved(dressed, None, None)


# nbs/65b_v2_edits.ipynb, cell 76f78fc4
def sight(names, boxes, colours=(), style="day"):
    "What a judge might see."
    return Sight(names, np.array(boxes).reshape(-1, 4), list(colours) or ["grey"] * len(names), style)

def true_sight(scene, size=128):
    "What a judge sees that knows everything."
    boxes = render(scene, size).boxes_xyxy_px / size
    return sight([o.category for o in scene.objects], boxes, [o.color for o in scene.objects], scene.style)


# nbs/65b_v2_edits.ipynb, cell a74317fe
def test_true_results_are_achieved_and_copies_are_not():
    cases, hardly = some_cases(), 0
    for case in cases:
        assert achieved(case, case.after, true_sight(case.edit.after)), case.edit.instruction
        hardly += achieved(case, case.before, true_sight(case.edit.before))
        grey = Image.new("RGB", (128, 128), BLANK)
        assert not achieved(case, grey, sight([], [], style="")), case.edit.instruction
    assert len({case.edit.kind for case in cases}) >= 5 and hardly <= 1     # another of the kind may stand there


# nbs/65b_v2_edits.ipynb, cell ce5b6194
def test_a_copy_keeps_everything_and_changes_nothing():
    data = load_data("toybox:val:12")
    class Blank:
        "A judge that sees nothing, in a day scene."
        def look(self, images): return [sight([], []) for _ in images]
    scores, drawn = examine_edits(Copier(), data, Blank(), 8, batch_size=3)
    assert scores["outside"] == 0 < scores["inside"] and scores["n"] == len(drawn) == 8
    perfect, _ = examine_edits(Redrawn(edit_cases(data, 8)), data, Blank(), 8, strength=2)
    small, _ = examine_edits(Redrawn(edit_cases(data, 8), 64), data, Blank(), 8)
    assert perfect["inside"] == perfect["outside"] == 0 < small["outside"] < small["inside"]
