"""Tests of visionllm_edu/toybox/figures.py.

Generated from nbs/04_figures.ipynb by make export: do not edit, edit the notebook.
"""

import numpy as np
import pytest
from PIL import Image
from types import SimpleNamespace

from visionllm_edu.toybox.draw import DIRECTIONS, Pen
from visionllm_edu.toybox.figures import (
    FACE, FAR_ARM, HAND, NEAR_ARM, PERSON_KEYPOINTS, _SHAPES, _front_joints, arc, draw_person,
)


# nbs/04_figures.ipynb, cell d3ff5026
def test_a_reaching_arm_ends_in_the_hand():
    for category in ("man", "woman", "child"):
        for pose in ("standing", "arms up"):
            for reach, joint, x in (("left", "right_wrist", -HAND[0]), ("right", "left_wrist", HAND[0])):
                o = SimpleNamespace(category=category, pose=pose, reach=reach)
                assert _front_joints(o)[joint] == (x, HAND[1])          # where a kite will be tied


# nbs/04_figures.ipynb, cell 314e4e28
def test_children_are_built_differently():
    tall = {c: _front_joints(SimpleNamespace(category=c, pose="standing", reach=""))["left_hip"][1]
            for c in ("man", "woman", "child")}
    assert tall["child"] < tall["man"] < tall["woman"]                  # hips, as a share of the stature
    assert _SHAPES["child"][0] > _SHAPES["man"][0]                      # and a larger head


# nbs/04_figures.ipynb, cell efd13df9
def test_seen_means_the_right_part_is_on_top():
    def seen(o):
        pen = Pen(Image.new("RGB", (600, 600)), .5, .9, .8, o.facing == "left")
        points = draw_person(pen, o)
        parts = np.asarray(pen.parts)
        return {n for n, (x, y, ok) in zip(PERSON_KEYPOINTS, points) if parts[pen.px(x, y)[::-1]] in ok}


    class Body:
        def __init__(self, **k): self.__dict__ = dict(category="man", color="red", legs="blue", hair="brown",
            pose="standing", facing="front", hat="", backpack="", reach="", skin=1, seat=0.) | k


    assert seen(Body()) == set(PERSON_KEYPOINTS)             # a man who faces us hides nothing
    assert set(PERSON_KEYPOINTS) - seen(Body(category="woman")) == {"left_ear", "right_ear"}
    left, right = (seen(Body(pose="running", facing=f)) for f in ("left", "right"))
    swap = {n: n.replace("left", "@").replace("right", "left").replace("@", "right") for n in PERSON_KEYPOINTS}
    assert {swap[n] for n in left} == right                     # a mirrored runner shows the other side
    assert "left_eye" in left and "left_eye" not in right


# nbs/04_figures.ipynb, cell fd79ae20
def test_seventeen_points_inside_the_figure():
    for category in ("man", "woman", "child"):
        for pose in ("standing", "arms up", "sitting", "running", "riding"):
            class One: color, legs, hair, hat, backpack, reach, skin, seat = "red", "blue", "red", "pink", "green", "", 0, 0.
            One.category, One.pose, One.facing = category, pose, "right"
            pen = Pen(Image.new("RGB", (600, 600)), .5, .6, .5)
            points = draw_person(pen, One)
            parts = np.asarray(pen.parts)
            assert len(points) == 17
            assert all(parts[pen.px(x, y)[::-1]] > 0 for x, y, _ in points), (category, pose)


# nbs/04_figures.ipynb, cell c4964e3e
def test_clothes_do_not_move_joints():
    def joints(**clothes):
        o = SimpleNamespace(**dict(category="woman", color="red", legs="blue", hair="brown", pose="standing",
                                   facing="front", hat="", backpack="", reach="", skin=1, seat=0.) | clothes)
        return [point[:2] for point in draw_person(Pen(Image.new("RGB", (300, 300)), .5, .9, .8), o)]
    assert joints() == joints(color="green", hat="blue", backpack="orange", hair="black", skin=4)
    assert joints() != joints(pose="arms up")
