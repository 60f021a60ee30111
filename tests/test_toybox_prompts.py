"""Tests of visionllm_edu/toybox/prompts.py.

Generated from nbs/02b_toybox_prompts.ipynb by make export: do not edit, edit the notebook.
"""

import numpy as np

from visionllm_edu.toybox.prompts import (
    Box, Mask, PROMPT_KINDS, Point, Scribble, draw_prompt, loose_box,
)


# nbs/02b_toybox_prompts.ipynb, cell 34821a54
def test_prompts_become_pixels():
    import pytest
    assert Point(3.7, 2.2).raster((8, 6)).nonzero() == (np.array([2]), np.array([3]))
    assert Box(1, 1, 4, 3).raster((8, 6)).sum() == 6 and Box(.6, 0, 1.4, 1).raster((8, 6)).sum() == 0
    assert Scribble(((1, 1), (6, 1)), 1).raster((8, 6)).sum() == 6
    assert Mask(np.ones((6, 8), bool)).raster((8, 6)).all()
    assert Point(99, -3).raster((8, 6))[0, 7]                   # beside the image: its nearest pixel
    with pytest.raises(ValueError, match="x0 < x1"): Box(4, 1, 4, 3)
    with pytest.raises(ValueError, match="mask is 8x6, the image 9x6"): Mask(np.ones((6, 8), bool)).raster((9, 6))


# nbs/02b_toybox_prompts.ipynb, cell f58136ba
def test_loose_boxes_stay_near():
    import random
    mask = np.zeros((60, 80), bool)
    mask[20:40, 30:60] = True
    def iou(a, b): return (a & b).sum() / (a | b).sum()
    overlaps = [iou(loose_box(mask, random.Random(s)).raster((80, 60)), mask) for s in range(200)]
    assert min(overlaps) > .45 and .75 < np.mean(overlaps) < .95
    assert len({loose_box(mask, random.Random(s)) for s in range(20)}) == 20


# nbs/02b_toybox_prompts.ipynb, cell 82f3f579
def test_prompts_point_at_their_object():
    import random
    import pytest
    from visionllm_edu.toybox.scene import render, sample_scene
    for seed in range(8):
        masks = render(sample_scene(seed)).masks
        m = masks[int(masks.sum((1, 2)).argmax())]
        for kind in PROMPT_KINDS:
            area = draw_prompt(m, kind, random.Random(seed)).raster(m.shape[::-1])
            assert area.any() and (area & m).any()
            again = draw_prompt(m, kind, random.Random(seed)).raster(m.shape[::-1])
            assert (area == again).all()                        # the same seed, the same hand
    with pytest.raises(ValueError, match="unknown prompt 'lasso'"): draw_prompt(m, "lasso", random.Random(0))
    with pytest.raises(ValueError, match="shows 0 px"): draw_prompt(m & False, "point", random.Random(0))
