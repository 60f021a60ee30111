"""Tests of visionllm_edu/toybox/domains.py.

Generated from nbs/06_domains.ipynb by make export: do not edit, edit the notebook.
"""

import numpy as np
import pytest
import random

from visionllm_edu.toybox.domains import (
    DOMAIN_THINGS, GROUNDS, STALLS, TRACKS, domain_backdrop, layout,
)


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


# nbs/06_domains.ipynb, cell d4dea3a1
def test_cells_hardly_overlap():
    from visionllm_edu.toybox.scene import render, split_scene
    for i in range(10): assert render(split_scene("cells", i)).occlusion.max() < .3
