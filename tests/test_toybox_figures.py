"""Tests of visionllm_edu/toybox/figures.py.

Generated from nbs/04_figures.ipynb by make export: do not edit, edit the notebook.
"""

# nbs/04_figures.ipynb, cell a6dce185
import numpy as np
import pytest
from PIL import Image

from visionllm_edu.toybox.draw import DIRECTIONS, Pen
from visionllm_edu.toybox.figures import FACE, FAR_ARM, HAND, NEAR_ARM, PERSON_KEYPOINTS, arc, draw_person


# nbs/04_figures.ipynb, cell efd13df9
def test_seen_means_the_right_part_is_on_top():
    def seen(o):
        pen = Pen(Image.new("RGB", (600, 600)), .5, .9, .8, o.facing == "left")
        points = draw_person(pen, o)
        parts = np.asarray(pen.parts)
        return {n for n, (x, y, ok) in zip(PERSON_KEYPOINTS, points) if parts[pen.px(x, y)[::-1]] in ok}


    class Someone:
        def __init__(self, **k): self.__dict__ = dict(category="man", color="red", legs="blue", hair="brown",
            pose="standing", facing="front", hat="", backpack="", reach="", skin=1, seat=0.) | k


    assert seen(Someone()) == set(PERSON_KEYPOINTS)             # a man who faces us hides nothing
    assert set(PERSON_KEYPOINTS) - seen(Someone(category="woman")) == {"left_ear", "right_ear"}
    left, right = (seen(Someone(pose="running", facing=f)) for f in ("left", "right"))
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
