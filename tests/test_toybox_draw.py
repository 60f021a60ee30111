"""Tests of visionllm_edu/toybox/draw.py.

Generated from nbs/03_draw.ipynb by make export: do not edit, edit the notebook.
"""

from visionllm_edu.toybox.draw import PALETTE, Pen, backdrop, styled


# nbs/03_draw.ipynb, cell e852af0a
import numpy as np
import pytest
from PIL import Image, ImageDraw


# nbs/03_draw.ipynb, cell e2584cb0
def test_colours_stay_apart_in_every_style():
    for style in ("day", "night", "pencil"):
        inks = np.array([styled(rgb, style) for rgb in PALETTE.values()], float)
        apart = np.sqrt(((inks[:, None] - inks) ** 2).sum(-1)) + 999 * np.eye(len(inks))
        assert apart.min() > 25, (style, apart.min())


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
