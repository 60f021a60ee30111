"""Tests of visionllm_edu/toybox/scene.py.

Generated from nbs/00_scene.ipynb by make export: do not edit, edit the notebook.
"""

import hashlib
import json
import numpy as np
import pytest
import random
from dataclasses import replace

from visionllm_edu.toybox.figures import PERSON_KEYPOINTS
from visionllm_edu.toybox.scene import SPLITS, render, sample_scene, split_scene
from visionllm_edu.toybox.world import CATEGORIES, HELD_OUT, NOVEL, Object, STYLES, Scene, colors_of


# nbs/00_scene.ipynb, cell b45031f9
def test_same_seed_same_bytes():
    def fingerprint(seeds, size=128):
        "Sixteen hex digits for pictures and annotations together."
        digest = hashlib.sha256()
        for seed in seeds:
            r = render(sample_scene(seed), size)
            for part in (r.image.tobytes(), r.masks.tobytes(), r.keypoints.tobytes()): digest.update(part)
        return digest.hexdigest()[:16]


    assert fingerprint(range(5)) == fingerprint(range(5))
    assert fingerprint(range(5)) != fingerprint(range(1, 6))
    assert fingerprint(range(40)) == "f46f46d320b452f8"              # on every machine, with Pillow 11.2 or newer


# nbs/00_scene.ipynb, cell 27c5e8b4
def test_bad_requests_are_one_clear_line():
    for seed, options in ((0, dict(num_objects=0)), (0, dict(num_objects=41)), (0, dict(style="oil")),
                          (0, dict(background="moon")), (0, dict(categories=("dragon",))), (-1, {}),
                          (0, dict(domain="aerial", num_objects=40)), (0, dict(domain="attic")),
                          (0, dict(domain="cells", include="dog"))):
        with pytest.raises(ValueError) as error: sample_scene(seed, **options)
        assert "\n" not in str(error.value) and len(str(error.value)) > 15


# nbs/00_scene.ipynb, cell 62897792
def test_options_are_kept():
    assert len(sample_scene(0, num_objects=32).objects) == 32
    assert all("sheep" in {o.category for o in sample_scene(i, include="sheep").objects} for i in range(20))
    few = {o.category for i in range(20) for o in sample_scene(i, categories=("ball", "kite")).objects}
    assert few == {"ball", "kite"}
    assert sample_scene(1, style="pencil", background="snow").style == "pencil"
    assert sample_scene(5) == sample_scene(5) and sample_scene(5) != sample_scene(6)


# nbs/00_scene.ipynb, cell 343bf4b5
def test_every_pixel_has_at_most_one_owner():
    for i in range(40):
        r = render(split_scene("train", i))
        assert r.masks.sum(0).max() <= 1
        assert not (r.masks & ~r.full_masks).any()              # one sees no more than was drawn
        assert (r.occlusion >= 0).all() and (r.occlusion < .95).all()


# nbs/00_scene.ipynb, cell 1a4944bc
def test_boxes_are_tight():
    r = render(split_scene("train", 11), 200)
    for (x0, y0, x1, y1), mask in zip(r.boxes_xyxy_px.astype(int), r.masks):
        inside = mask[y0:y1, x0:x1]
        assert inside.sum() == mask.sum()                       # nothing outside
        assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()


# nbs/00_scene.ipynb, cell ba3ca388
def test_keypoints_are_flagged_by_what_one_sees():
    man = Object(1, "man", "red", x=.5, y=.95, size=.8, hair="brown", legs="blue")
    wall = Object(2, "house", "white", x=.75, y=.95, size=.6)
    names = ("left_wrist", "right_wrist", "left_ear", "right_ear")
    def flags(*objects):
        body = render(Scene(0, objects)).keypoints[0]
        return {n: int(body[PERSON_KEYPOINTS.index(n), 2]) for n in names}
    assert flags(man) == dict.fromkeys(names, 2)
    assert flags(man, wall)["left_wrist"] == 1                  # the house is in front of it
    assert flags(replace(man, x=.05))["right_wrist"] == 0       # outside the picture
    assert flags(replace(man, pose="running", facing="right"))["left_ear"] == 1     # the far ear


# nbs/00_scene.ipynb, cell a63f6ce2
def test_a_person_who_looks_at_us_has_the_left_hand_on_our_right():
    body = render(Scene(0, (Object(1, "woman", "blue", x=.5, y=.95, size=.8),))).keypoints[0]
    for joint in ("eye", "shoulder", "wrist", "knee"):
        left, right = (body[PERSON_KEYPOINTS.index(f"{s}_{joint}")] for s in ("left", "right"))
        assert left[0] > right[0] and left[1] == right[1]


# nbs/00_scene.ipynb, cell 71e0237d
def test_changing_one_object_leaves_the_rest_alone():
    for i in range(30):
        scene = split_scene("train", i)
        o = scene.objects[i % len(scene.objects)]
        color = next(c for c in colors_of(o.category) if c != o.color)
        changed = replace(scene, objects=tuple(replace(p, color=color) if p is o else p for p in scene.objects))
        before, after = render(scene), render(changed)
        touched = (np.asarray(before.image) != np.asarray(after.image)).any(-1)
        k = scene.objects.index(o)
        rim = np.lib.stride_tricks.sliding_window_view(np.pad(before.full_masks[k], 1), (3, 3))
        near = rim.any((2, 3))                                  # (128, 128) the object and one pixel more
        assert touched.any() or before.masks[k].sum() < 30
        assert not (touched & ~near).any()                      # at most a blended pixel at the rim
        assert (before.masks == after.masks).all()


# nbs/00_scene.ipynb, cell b467f03d
def test_a_style_changes_no_mask():
    scene = split_scene("val", 3)
    day, night, pencil = (render(replace(scene, style=style)) for style in STYLES)
    assert (day.masks == night.masks).all() and (day.masks == pencil.masks).all()
    assert np.asarray(night.image).mean() < np.asarray(day.image).mean() < np.asarray(pencil.image).mean()


# nbs/00_scene.ipynb, cell f3259c78
def test_any_size_from_32_to_1024():
    scene = split_scene("val", 3)
    small, large = render(scene, 64), render(scene, 512)
    assert np.abs(small.boxes_xyxy_px * 8 - large.boxes_xyxy_px).max() < 20     # 2 pixels of the small one
    for size in (31, 1025):
        with pytest.raises(ValueError, match="32 to 1024"): render(scene, size)


# nbs/00_scene.ipynb, cell cd3d13ed
def test_no_scene_in_two_splits():
    ranges = sorted((first, first + count) for first, count, _ in SPLITS.values())
    assert all(stop <= start for (_, stop), (start, _) in zip(ranges, ranges[1:]))
    scenes = [split_scene(split, i) for split in SPLITS for i in range(60)]
    contents = {json.dumps([vars(o) for o in s.objects]) for s in scenes}   # without the seed
    assert len(contents) == len(scenes)


# nbs/00_scene.ipynb, cell c2ec852c
def test_held_out_means_held_out():
    def pairs(split, n): return {(o.category, o.color) for i in range(n) for o in split_scene(split, i).objects}
    plain = pairs("train", 400) | pairs("val", 100) | pairs("test", 100) | pairs("novel", 100)
    assert not plain & set(HELD_OUT)
    assert all(set(HELD_OUT) & {(o.category, o.color) for o in split_scene("composition", i).objects} for i in range(60))
    assert not {c for c, _ in pairs("train", 400)} & set(NOVEL)
    assert {c for c, _ in pairs("novel", 100)} >= set(NOVEL)
    assert {c for c, _ in pairs("train", 400)} == set(CATEGORIES)
    for bad in (("exam", 0), ("val", 1000), ("val", -1)):
        with pytest.raises(ValueError): split_scene(*bad)


# nbs/00_scene.ipynb, cell 105bc739
def test_everything_named_can_be_seen():
    seen = [render(split_scene("train", i)).masks.sum((1, 2)).min() for i in range(150)]
    assert min(seen) >= 12                                      # pixels, of 128 x 128
    crowd = render(split_scene("crowd", 0))
    assert len(crowd.masks) == 24 and (crowd.masks.sum((1, 2)) > 0).all()
