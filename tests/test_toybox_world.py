"""Tests of visionllm_edu/toybox/world.py.

Generated from nbs/00b_world.ipynb by make export: do not edit, edit the notebook.
"""

import json
import pytest
from dataclasses import replace

from visionllm_edu.toybox.world import (
    CATEGORIES, COLORS, DOMAIN_CATEGORIES, HELD_OUT, KINDS, NOVEL, Object, Relation, Scene,
    colors_of, drawable,
)


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
