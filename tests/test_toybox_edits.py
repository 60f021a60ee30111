"""Tests of visionllm_edu/toybox/edits.py.

Generated from nbs/02_edits.ipynb by make export: do not edit, edit the notebook.
"""

import random
from dataclasses import replace

from visionllm_edu.toybox.edits import (
    EDIT_KINDS, MAKERS, _slots, add, free_things, leaves_the_rest_alone, make_edit, recolour,
    touched,
)
from visionllm_edu.toybox.language import look
from visionllm_edu.toybox.scene import Object, Scene, render


# nbs/02_edits.ipynb, cell 7b45b6bd
def test_riders_keep_their_horses():
    from visionllm_edu.toybox.scene import Relation
    horse = Object(1, "horse", "brown", .5, .9, .4, facing="left")
    man = Object(2, "man", "red", .5, .64, .5, pose="riding", facing="left", hair="black", legs="blue")
    tree = Object(3, "tree", "green", .85, .8, .4)
    ride = Scene(0, (tree, horse, man), (Relation(2, "riding", 1),))
    assert [t.id for t in free_things(look(ride, render(ride)))] == [3]


# nbs/02_edits.ipynb, cell dbda0c76
def test_recolour_changes_one_colour():
    import random
    from visionllm_edu.toybox.scene import HELD_OUT, sample_scene
    made = 0
    for seed in range(40):
        s = sample_scene(seed)
        edit = recolour(look(s, render(s)), random.Random(seed))
        if edit is None: continue
        made += 1
        changed = [(a, b) for a, b in zip(edit.before.objects, edit.after.objects) if a != b]
        assert len(changed) == 1 and replace(changed[0][1], color=changed[0][0].color) == changed[0][0]
        assert (changed[0][1].category, changed[0][1].color) not in HELD_OUT
        assert changed[0][1].color in edit.instruction
    assert made > 20


# nbs/02_edits.ipynb, cell b98bc695
def test_new_things_respect_depth_and_groups():
    from visionllm_edu.toybox.scene import Relation
    horse = Object(1, "horse", "brown", .5, .9, .4, facing="left")
    man = Object(2, "man", "red", .5, .64, .5, pose="riding", facing="left", hair="black", legs="blue")
    ride = Scene(0, (horse, man), (Relation(2, "riding", 1),))
    assert _slots(ride) == [0, 2]
    for seed in range(20):
        edit = add(look(ride, render(ride)), random.Random(seed))
        ids = [o.id for o in edit.after.objects]
        assert edit.ids == (3,) and ids in ([3, 1, 2], [1, 2, 3])
        assert edit.instruction.split()[0] in ("Add", "Put", "Draw")


# nbs/02_edits.ipynb, cell ad1a1ba0
def test_pixels_outside_stay_the_same():
    import random
    import numpy as np
    from visionllm_edu.toybox.language import look
    from visionllm_edu.toybox.scene import render, sample_scene
    done = set()
    for seed in range(48):
        made = make_edit(sample_scene(seed), random.Random(seed), EDIT_KINDS[seed % 6])
        if made is None: continue
        edit, before, after = made
        a, b = np.asarray(before.image), np.asarray(after.image)
        region = touched(edit, before, after)
        assert (a[~region] == b[~region]).all(), edit.instruction
        assert (a[region] != b[region]).any()
        done.add(edit.kind)
    assert done == set(EDIT_KINDS)
    kept = broken = 0                                               # without the filter of `make_edit`
    for seed in range(48):
        s = sample_scene(seed)
        before = render(s)
        edit = MAKERS[EDIT_KINDS[seed % 6]](look(s, before), random.Random(seed))
        if edit is None: continue
        if leaves_the_rest_alone(edit, before, render(edit.after)): kept += 1
        else: broken += 1
    assert kept > 30 and broken <= 1


# nbs/02_edits.ipynb, cell 80a5665c
def test_unknown_edits_are_refused():
    import pytest
    from visionllm_edu.toybox.scene import sample_scene
    with pytest.raises(ValueError, match="unknown edit 'melt'; known: recolour"):
        make_edit(sample_scene(0), random.Random(0), "melt")
