"""Tests of visionllm_edu/toybox/domains.py.

Generated from nbs/06_domains.ipynb by make export: do not edit, edit the notebook.
"""

import numpy as np
import pytest
import random

from visionllm_edu.toybox.domains import (
    DOMAIN_THINGS, GROUNDS, STALLS, TRACKS, domain_backdrop, layout,
)
from visionllm_edu.toybox.draw import Pen


# nbs/06_domains.ipynb, cell 8aacce99
def test_every_ground_is_its_own():
    means = [np.asarray(domain_backdrop(name, "day", 3, 192), float).mean((0, 1)) for name in GROUNDS]
    apart = [np.linalg.norm(means[i] - means[j]) for i in range(3) for j in range(i)]
    assert min(apart) > 60                                              # asphalt, paper, green lacquer
    a, b = (np.asarray(domain_backdrop("slide", "day", seed, 192)) for seed in (1, 2))
    assert (a != b).any() and (a == np.asarray(domain_backdrop("slide", "day", 1, 192))).all()


# nbs/06_domains.ipynb, cell 41cf4683
def test_the_world_names_what_is_drawn_here():
    from visionllm_edu.toybox.world import DOMAIN_CATEGORIES
    for domain, things in DOMAIN_THINGS.items(): assert set(things) == set(DOMAIN_CATEGORIES[domain])


# nbs/06_domains.ipynb, cell 2dbc781e
def test_an_open_circuit_is_a_gap():
    page = domain_backdrop("board", "day", 3, 384)
    row = 383 - int(TRACKS[3] * 384)
    before = np.asarray(page)[row].copy()
    pen = Pen(page, .5, 1 - TRACKS[3], .075)
    pen.tone = 0
    DOMAIN_THINGS["circuit"]["open circuit"](pen, None)
    after = np.asarray(page)[row]
    changed = np.flatnonzero((before != after).any(1))
    assert 10 < len(changed) < 40 and abs(changed.mean() - 192) < 6     # in the middle, and nowhere else
    assert (after[changed] == GROUNDS["board"]).all()


# nbs/06_domains.ipynb, cell b1d1a387
def test_layouts_keep_their_rules():
    for domain, n in (("aerial", 12), ("cells", 16), ("circuit", 10)):
        spots = layout(domain, random.Random(1), n)
        assert len(spots) == n and spots == layout(domain, random.Random(1), n)
        assert {s["category"] for s in spots} <= set(DOMAIN_THINGS[domain])
    faults = [s for i in range(20) for s in layout("circuit", random.Random(i), 10)]
    tracks = {round(1 - y, 4) for y in TRACKS}
    assert all(s["y"] in tracks for s in faults if s["category"] in ("open circuit", "pinhole"))
    assert not any(s["y"] in tracks for s in faults if s["category"] == "short circuit")    # between two


# nbs/06_domains.ipynb, cell 380583e8
def test_a_car_park_has_an_end():
    assert len(layout("aerial", random.Random(0), 99)) == 30            # 12 stalls, 6 on the lanes, 12 trees
    wide = layout("aerial", random.Random(0), 30)
    assert all(0 <= s["angle"] < 360 for s in wide)
    assert {s["angle"] // 45 for s in wide if (s["category"], s["size"]) == ("car", .105)} <= {1, 2, 5, 6}   # parked upright


# nbs/06_domains.ipynb, cell d4dea3a1
def test_cells_hardly_overlap():
    from visionllm_edu.toybox.scene import render, split_scene
    for i in range(10): assert render(split_scene("cells", i)).occlusion.max() < .3
