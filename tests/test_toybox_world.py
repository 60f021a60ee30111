"""Tests of visionllm_edu/toybox/world.py.

Generated from nbs/00b_world.ipynb by make export: do not edit, edit the notebook.
"""

import json
import pytest
from dataclasses import replace

from visionllm_edu.toybox.scene import render
from visionllm_edu.toybox.world import (
    CATEGORIES, COLORS, DOMAIN_CATEGORIES, HELD_OUT, KINDS, NOVEL, Object, Relation, Scene,
    colors_of, drawable,
)


# nbs/00b_world.ipynb, cell a288de3e
def test_held_out_pairs_are_made_of_known_words():
    for category, color in HELD_OUT:
        kept = [c for c in KINDS[category].colors if (category, c) not in HELD_OUT]
        others = [k for k in CATEGORIES if k != category and color in KINDS[k].colors and (k, color) not in HELD_OUT]
        assert len(kept) >= 2 and len(others) >= 2, (category, color)


# nbs/00b_world.ipynb, cell dbdf5abd
def test_colours_a_category_may_have():
    assert colors_of("elephant") == ("grey", "blue") and "pink" in colors_of("elephant", held_out=True)
    for category in CATEGORIES:                                 # no word becomes the name of one thing
        assert len(colors_of(category)) >= 2
    with pytest.raises(ValueError, match="dragon"): colors_of("dragon")


# nbs/00b_world.ipynb, cell 788e29ea
def test_an_object_knows_its_words():
    dog = Object(1, "dog", "brown", x=.3, y=.9, size=.3)
    assert dog.group == "animal" and replace(dog, category="bus").group == "vehicle"
    for wrong in (dict(category="dragon"), dict(color="mauve"), dict(pose="flying"), dict(facing="up"), dict(hat="tall"),
                  dict(size=0), dict(size=float("nan")), dict(x=9), dict(skin=77), dict(reach="up")):
        with pytest.raises(ValueError) as error: replace(dog, **wrong)
        assert "\n" not in str(error.value)


# nbs/00b_world.ipynb, cell 1e22f442
def test_an_object_is_a_value():
    from dataclasses import FrozenInstanceError
    dog = Object(1, "dog", "brown", x=.3, y=.9, size=.3)
    with pytest.raises(FrozenInstanceError): dog.color = "black"
    other = replace(dog, color="black")
    assert dog.color == "brown" and len({dog, other, replace(other, color="brown")}) == 2   # equal means same fields


# nbs/00b_world.ipynb, cell 0ca9ced4
def test_order_is_depth():
    near = Object(1, "ball", "red", x=.5, y=.8, size=.4)
    far = replace(near, id=2, color="blue", x=.6)
    a, b = (render(Scene(0, pair), 96) for pair in ((far, near), (near, far)))
    assert a.occlusion[0] > .2 and a.occlusion[1] == 0                  # the later one hides the earlier one
    assert b.occlusion[0] > .2 and b.occlusion[1] == 0


# nbs/00b_world.ipynb, cell ef25432f
def test_a_scene_survives_json():
    from visionllm_edu.toybox.scene import split_scene
    for split in ("train", "crowd", "cells"):
        for i in range(20):
            plain = split_scene(split, i).to_dict()
            again = Scene.from_dict(json.loads(json.dumps(plain)))
            assert again == Scene.from_dict(plain) and again.to_dict() == plain


# nbs/00b_world.ipynb, cell f2174460
def test_a_scene_refuses_what_it_cannot_draw():
    dog = Object(1, "dog", "brown", x=.3, y=.9, size=.3)
    fine = Scene(0, (dog, replace(dog, id=2, category="chair", color="blue")))
    assert fine.object(2).category == "chair"
    for wrong in (dict(style="oil"), dict(background="moon"), dict(domain="attic"), dict(background="slide"),
                  dict(objects=(dog, dog)), dict(objects=tuple(replace(dog, id=i) for i in range(41))),
                  dict(domain="cells", background="slide"), dict(relations=(Relation(1, "holding", 9),)),
                  dict(relations=(Relation(1, "eating", 2),))):
        with pytest.raises(ValueError) as error: replace(fine, **wrong)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="no object 7"): fine.object(7)
