"""Tests of visionllm_edu/data/edits.py.

Generated from nbs/14b_edits.ipynb by make export: do not edit, edit the notebook.
"""

import numpy as np
import pytest
from tempfile import TemporaryDirectory

from visionllm_edu.data.coco import load_data, write_shapes
from visionllm_edu.data.edits import edit_of, first_edits
from visionllm_edu.toybox.edits import touched
from visionllm_edu.toybox.scene import render


# nbs/14b_edits.ipynb, cell 6eeff5f2
def test_edits_are_the_same_in_every_run():
    data = load_data("toybox:train:6")
    for row in range(6):
        one, again, other = edit_of(data, row), edit_of(load_data("toybox:train:6"), row), edit_of(data, row, 1)
        assert one[0] == again[0] and one[2].tobytes() == again[2].tobytes()
        assert other is None or other[0] != one[0]
        assert one[1].tobytes() == data.image(row).tobytes() != one[2].tobytes()


# nbs/14b_edits.ipynb, cell 5684ede8
def test_only_what_was_mentioned_changes():
    data, kept = load_data("toybox:train:12"), []
    for row in range(12):
        edit, before, after = edit_of(data, row)
        if edit.kind == "restyle": continue
        area = touched(edit, render(edit.before, data.picture_size), render(edit.after, data.picture_size))
        kept.append((np.asarray(before) == np.asarray(after)).all(-1)[~area].all() and not area.all())
    assert len(kept) > 6 and all(kept)


# nbs/14b_edits.ipynb, cell f08cf191
def test_first_edits_are_read():
    edits = first_edits(load_data("toybox:train:6"), most=4)
    assert len(edits) == 4 and all(e.instruction and e.chinese for e in edits)
    with TemporaryDirectory() as folder:
        shapes = load_data(write_shapes(folder, "train", 4, (64, 64), 0))
        assert first_edits(shapes) == []
        with pytest.raises(ValueError, match="only Toybox can draw a scene again"): edit_of(shapes, 0)
