"""Tests of visionllm_edu/toybox/draw.py.

Generated from nbs/03_draw.ipynb by make export: do not edit, edit the notebook.
"""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from visionllm_edu.toybox.draw import PALETTE, Pen, backdrop, finish, styled


# nbs/03_draw.ipynb, cell e2584cb0
def test_colours_stay_apart_in_every_style():
    for style in ("day", "night", "pencil"):
        inks = np.array([styled(rgb, style) for rgb in PALETTE.values()], float)
        apart = np.sqrt(((inks[:, None] - inks) ** 2).sum(-1)) + 999 * np.eye(len(inks))
        assert apart.min() > 25, (style, apart.min())


# nbs/03_draw.ipynb, cell 740ed8f6
def test_the_frame_has_its_origin_on_the_ground():
    sheet = Image.new("RGB", (300, 300))
    pen, left = Pen(sheet, .5, .9, .6), Pen(sheet, .5, .9, .6, flip=True)
    assert pen.px(0, 0) == (150, 270) and pen.px(0, 1) == (150, 90)     # y grows upwards, 1 is the size
    assert pen.px(.5, 0) == (240, 270) and left.px(.5, 0) == (60, 270)
    assert Pen(sheet, 0, 1, 1).px(-.1, 1.1) == (-30, -30)               # outside is fine: it is cut off


# nbs/03_draw.ipynb, cell 6bc09a01
def test_glow_ignores_night_and_tone():
    pens = {style: Pen(Image.new("RGB", (9, 9)), .5, .5, .5, style=style, texture=1) for style in ("day", "night")}
    for pen in pens.values(): assert pen.ink("yellow", glow=True) == PALETTE["yellow"]
    assert sum(pens["night"].ink("yellow")) < sum(pens["day"].ink("yellow"))


# nbs/03_draw.ipynb, cell 76c26f60
def test_parts_divide_the_object():
    pen = Pen(Image.new("RGB", (300, 300)), .5, .9, .8)
    pen.dot(0, .5, .4, "yellow")
    head = np.asarray(pen.parts) == 1
    pen.part = 2
    pen.rect(-.5, .7, .5, 1, "blue")
    sheet = np.asarray(pen.parts)
    masks = [sheet == k for k in (1, 2)]
    assert (sum(m.astype(int) for m in masks) == (sheet > 0)).all()     # every pixel has one owner
    assert (masks[0] <= head).all() and masks[0].sum() < head.sum()     # the hat took some of the head's


# nbs/03_draw.ipynb, cell bf2961f9
def test_both_sheets_agree():
    page = Image.new("RGB", (300, 300), (1, 2, 3))
    pen = Pen(page, .5, .9, .8)
    pen.polygon([(-.3, 0), (.3, 0), (0, .9)], "green")
    pen.limb([(-.3, .2), (.3, .8)], .1, "pink")
    pen.oval(.1, .5, .2, .1, "red")
    pen.line([(-.4, .9), (.4, .9)], .02, "black")
    changed = (np.asarray(page) != (1, 2, 3)).any(-1)
    assert (changed == (np.asarray(pen.parts) > 0)).all()       # to the pixel


# nbs/03_draw.ipynb, cell 88e77427
def test_mirrored_and_turned():
    def parts(**options):
        pen = Pen(Image.new("RGB", (301, 301)), .5, .5, .4, **options)
        pen.rect(0, -.1, .9, .3, "red")
        return np.asarray(pen.parts) > 0
    assert abs(parts(flip=True)[:, ::-1].astype(int) - parts()).mean() < .01
    assert abs(np.rot90(parts()).astype(int) - parts(angle=90)).mean() < .01    # anticlockwise


# nbs/03_draw.ipynb, cell 00a38509
def test_a_backdrop_depends_on_its_seed_alone():
    a, b, c = (np.asarray(backdrop("meadow", "day", seed, 192)) for seed in (1, 1, 2))
    assert (a == b).all() and (a != c).any()


# nbs/03_draw.ipynb, cell 2ff1206e
def test_pencil_strokes_stay_on_the_objects():
    page = Image.new("RGB", (96, 96), (200, 200, 200))
    owner = np.zeros((96, 96), np.uint8)
    owner[:, 48:] = 7
    day, pencil = (np.asarray(finish(page, style, owner)) for style in ("day", "pencil"))
    assert day.shape == (32, 32, 3) and (day == 200).all()
    assert (pencil[:, :16] == 200).all() and (pencil[:, 16:] < 200).any()
