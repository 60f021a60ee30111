"""Tests of visionllm_edu/toybox/things.py.

Generated from nbs/05_things.ipynb by make export: do not edit, edit the notebook.
"""

# nbs/05_things.ipynb, cell 3ae3a021
import numpy as np
import pytest
from PIL import Image

from visionllm_edu.toybox.draw import PALETTE, Pen
from visionllm_edu.toybox.things import THINGS


class Thing:
    "What drawing reads of an object; the real one is `toybox.world.Object`."
    def __init__(self, color): self.color = color


# nbs/05_things.ipynb, cell 9de245d2
def test_the_named_colour_is_never_rare():
    rare = {}
    for name, draw in THINGS.items():
        for color in ("red", "blue"):
            page = Image.new("RGB", (600, 600))
            pen = Pen(page, .5, .9, .4)
            pen.tone = 0
            draw(pen, Thing(color))
            own = np.asarray(page)[np.asarray(pen.parts) > 0].astype(int)
            toward = np.abs(own - PALETTE[color]).sum(1) < 90
            rare[name] = min(rare.get(name, 1), toward.mean())
    assert min(v for k, v in rare.items() if k != "snowman") > .25, rare
    assert rare["snowman"] > .1                                 # scarf and hat


# nbs/05_things.ipynb, cell 230b821b
def test_a_thing_stands_on_its_foot_point():
    for name, draw in THINGS.items():
        pen = Pen(Image.new("RGB", (600, 600)), .5, .8, .5)
        draw(pen, Thing("blue"))
        rows, columns = (np.flatnonzero((np.asarray(pen.parts) > 0).any(i)) for i in (1, 0))
        assert abs(rows[-1] - 480) < 12 and abs(rows[0] - 180) < 20, name   # from .8 up to .3
        assert columns[0] >= 0 and abs(columns.mean() - 300) < 30


# nbs/05_things.ipynb, cell 4df5f6bb
def test_the_world_and_the_drawings_agree():
    from visionllm_edu.toybox.world import KINDS
    assert set(THINGS) == {name for name, kind in KINDS.items() if kind.group in ("vehicle", "thing")}
    for name in THINGS:
        for color in KINDS[name].colors:                        # each in every colour it may have
            pen = Pen(Image.new("RGB", (60, 60)), .5, .9, .4)
            THINGS[name](pen, Thing(color))
            assert np.asarray(pen.parts).any(), (name, color)


# nbs/05_things.ipynb, cell b78cdadc
def test_only_trees_have_dice():
    def sheet(name, texture):
        pen = Pen(Image.new("RGB", (300, 300)), .5, .9, .4, texture=texture)
        THINGS[name](pen, Thing("blue"))
        return np.asarray(pen.parts)
    assert {name for name in THINGS if (sheet(name, 1) != sheet(name, 2)).any()} == {"tree"}
