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
        assert one.edit == again.edit and one.after.tobytes() == again.after.tobytes()
        assert other is None or other.edit != one.edit
        assert one.before.tobytes() == data.image(row).tobytes() != one.after.tobytes()


# nbs/14b_edits.ipynb, cell 5684ede8
def test_only_what_was_mentioned_changes():
    data, kept = load_data("toybox:train:12"), []
    for row in range(12):
        edit, before, after, _ = edit_of(data, row)
        if edit.kind == "restyle": continue
        area = touched(edit, render(edit.before, data.picture_size), render(edit.after, data.picture_size))
        kept.append((np.asarray(before) == np.asarray(after)).all(-1)[~area].all() and not area.all())
    assert len(kept) > 6 and all(kept)


# nbs/14b_edits.ipynb, cell 7a0a0ce6
def test_what_changes_is_known_as_objects():
    data, kinds = load_data("toybox:train:24"), set()
    for triple in filter(None, (edit_of(data, k // 4, k % 4) for k in range(96))):
        (edit, before, after, changed), names = triple, [*data.categories]
        kinds.add(edit.kind)
        differs = (np.asarray(before) != np.asarray(after)).any(-1)
        there = np.any([*changed.segmentations, np.zeros_like(differs)], 0)
        if edit.kind == "restyle":
            assert len(changed.labels) == 0 and differs.mean() > 0.5
            continue
        assert len(changed.labels) and not (there & ~differs).any() and (there.sum() > 0.7 * differs.sum())
        new = next((o for o in edit.after.objects if o.id == edit.ids[0]), None)
        said = {names[k] if k >= 0 else "gone" for k in changed.labels}
        if edit.kind == "remove": assert new is None and said == {"gone"}
        else: assert new.category in said and said <= {new.category, "gone"}
        if edit.kind in ("recolour", "add"): assert "gone" not in said
        assert changed.areas.tolist() == [m.sum() for m in changed.segmentations] and changed.size == after.size
    assert kinds == {"recolour", "replace", "add", "remove", "dress", "restyle"}


# nbs/14b_edits.ipynb, cell f08cf191
def test_first_edits_are_read():
    edits = first_edits(load_data("toybox:train:6"), most=4)
    assert len(edits) == 4 and all(e.instruction and e.chinese for e in edits)
    with TemporaryDirectory() as folder:
        shapes = load_data(write_shapes(folder, "train", 4, (64, 64), 0))
        assert first_edits(shapes) == []
        with pytest.raises(ValueError, match="only Toybox can draw a scene again"): edit_of(shapes, 0)
