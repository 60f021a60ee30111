"""Tests of visionllm_edu/toybox/captions.py.

Generated from nbs/01b_toybox_captions.ipynb by make export: do not edit, edit the notebook.
"""

import random
from dataclasses import replace

from visionllm_edu.toybox.captions import (
    Chunk, captions, groups, long_caption, region_description, weave,
)
from visionllm_edu.toybox.language import Thing


# nbs/01b_toybox_captions.ipynb, cell 6cdc162a
def test_spans_cover_their_words():
    dog, tree = Chunk("a dog", "一只狗", (1,)), Chunk("a tree", "一棵树", (2,))
    caption = weave([dog, " is left of ", tree, "."], [dog, "在", tree, "的左边。"])
    assert caption.text == "A dog is left of a tree." and caption.chinese == "一只狗在一棵树的左边。"
    assert [caption.text[a:b] for a, b, _ in caption.spans] == ["A dog", "a tree"]
    assert [caption.chinese[a:b] for a, b, _ in caption.chinese_spans] == ["一只狗", "一棵树"]
    assert [ids for *_, ids in caption.spans] == [(1,), (2,)]


# nbs/01b_toybox_captions.ipynb, cell 70c806db
def test_groups_count_only_what_is_clear():
    from dataclasses import replace
    from visionllm_edu.toybox.language import View, looks_of
    from visionllm_edu.toybox.scene import Object, Scene
    cats = [Object(i, "cat", "black", .2 * i, .9, .2, facing="left") for i in (1, 2)]
    things = [Thing(o, (.2 * o.id, .7, .2 * o.id + .1, .9), .02, looks_of(o)) for o in cats]
    assert groups(View(Scene(0, tuple(cats)), things), random.Random(0), 3)[0].english == "two cats"
    half_seen = [things[0], replace(things[1], clear=False)]
    assert groups(View(Scene(0, tuple(cats)), half_seen), random.Random(0), 3)[0].english == "a black cat"


# nbs/01b_toybox_captions.ipynb, cell b5c27a8e
def test_five_different_captions():
    from visionllm_edu.toybox.language import look
    from visionllm_edu.toybox.scene import render, sample_scene
    for seed in range(10):
        s = sample_scene(seed)
        v = look(s, render(s))
        found = captions(v, random.Random(seed))
        assert len({c.text for c in found}) == 5
        assert all(c.text[0].isupper() and c.text.endswith(".") and c.chinese.endswith("。") for c in found)
        for c in found:
            assert all(set(ids) <= {t.id for t in v.things} for *_, ids in c.spans)
        assert found == captions(v, random.Random(seed))          # the same seed, the same words


# nbs/01b_toybox_captions.ipynb, cell a6ca2f61
def test_descriptions_say_everything():
    from visionllm_edu.toybox.language import View, looks_of
    from visionllm_edu.toybox.scene import Object, Scene
    o = Object(1, "dog", "brown", .2, .9, .2, pose="paw raised", facing="left")
    t = Thing(o, (.1, .7, .3, .9), .03, looks_of(o))
    english, chinese = region_description(View(Scene(0, (o,)), [t]), t)
    assert english == "a brown dog with a raised paw facing left, on the left"
    assert chinese == "一只抬着爪子的朝左的棕色的狗，在左边"
    tiny = View(Scene(0, (o,)), [replace(t, clear=False)])
    assert not tiny.clear and len(captions(tiny, random.Random(0))) == 5
    assert "dog" in long_caption(tiny, random.Random(0)).text
