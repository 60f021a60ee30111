"""Tests of visionllm_edu/toybox/animals.py.

Generated from nbs/04b_animals.ipynb by make export: do not edit, edit the notebook.
"""

from visionllm_edu.toybox.animals import _BEASTS, _stand


# nbs/04b_animals.ipynb, cell de301503
import numpy as np
import pytest
from PIL import Image

from visionllm_edu.toybox.animals import draw_animal
from visionllm_edu.toybox.draw import Pen
from visionllm_edu.toybox.figures import ANIMAL_KEYPOINTS


class Beast:
    "What drawing reads of an object; the real one is `toybox.world.Object`."
    def __init__(self, category, color="brown", pose="standing", facing="right"):
        self.category, self.color, self.pose, self.facing = category, color, pose, facing


# nbs/04b_animals.ipynb, cell 91fb6023
def test_far_legs_stand_beside_near_ones():
    for category, (hind, fore, body, thick, *_) in _BEASTS.items():
        joints = _stand(Beast(category))
        assert hind < fore and body + thick / 2 < 1                     # the trunk is below the top of the head
        for name in ("fore", "hind"):
            (near, y0), (far, y1) = joints[f"near_{name}_paw"], joints[f"far_{name}_paw"]
            assert far > near and y0 == y1 < .1                         # both on the ground, both to be seen


# nbs/04b_animals.ipynb, cell cede053f
def test_seventeen_joints_on_the_animal():
    for category in ("dog", "cat", "sheep", "cow", "panda", "horse", "elephant", "giraffe"):
        for pose in ("standing", "paw raised"):
            pen = Pen(Image.new("RGB", (600, 600)), .5, .9, .5)
            points = draw_animal(pen, Beast(category, "brown" if category != "elephant" else "grey", pose))
            parts = np.asarray(pen.parts)
            assert len(points) == 17
            off = [n for n, (x, y, _) in zip(ANIMAL_KEYPOINTS, points) if not parts[pen.px(x, y)[::-1]]]
            assert not off, (category, pose, off)


# nbs/04b_animals.ipynb, cell e6cfa425
def test_paint_does_not_move_joints():
    def joints(color, texture):
        pen = Pen(Image.new("RGB", (300, 300)), .5, .9, .5, texture=texture)
        return [point[:2] for point in draw_animal(pen, Beast("cow", color))]
    assert joints("brown", 1) == joints("black", 2)                     # spots have dice, bones have none


# nbs/04b_animals.ipynb, cell bbb16943
def test_an_animal_is_as_tall_as_it_says():
    for category in _BEASTS:
        pen = Pen(Image.new("RGB", (600, 600)), .5, .9, .5)
        draw_animal(pen, Beast(category, "grey" if category == "elephant" else "brown"))
        rows = np.flatnonzero((np.asarray(pen.parts) > 0).any(1))
        assert abs(rows[-1] - 540) < 20 and abs(rows[0] - 240) < 30, (category, rows[0], rows[-1])


# nbs/04b_animals.ipynb, cell dd019adf
def test_a_mirrored_animal_shows_its_other_side():
    def seen(o):
        pen = Pen(Image.new("RGB", (600, 600)), .5, .9, .5, o.facing == "left")
        points = draw_animal(pen, o)
        parts = np.asarray(pen.parts)
        return {n for n, (x, y, ok) in zip(ANIMAL_KEYPOINTS, points) if parts[pen.px(x, y)[::-1]] in ok}


    swap = {n: n.replace("left", "@").replace("right", "left").replace("@", "right") for n in ANIMAL_KEYPOINTS}
    for category in ("horse", "dog"):
        left, right = (seen(Beast(category, facing=f)) for f in ("left", "right"))
        assert {swap[n] for n in left} == right
    assert {"left_eye", "right_eye"} <= seen(Beast("dog")) and "left_eye" not in seen(Beast("horse"))


# nbs/04b_animals.ipynb, cell cd62f020
def test_a_face_that_looks_at_us_has_its_left_eye_on_our_right():
    for facing in ("left", "right"):
        pen = Pen(Image.new("RGB", (600, 600)), .5, .9, .5, facing == "left")
        points = dict(zip(ANIMAL_KEYPOINTS, draw_animal(pen, Beast("cat", "grey", facing=facing))))
        assert pen.px(*points["left_eye"][:2])[0] > pen.px(*points["right_eye"][:2])[0]
