"""Tests of visionllm_edu/toybox/language.py.

Generated from nbs/01_toybox_language.ipynb by make export: do not edit, edit the notebook.
"""

from visionllm_edu.toybox.language import (
    COLOR_ZH, KINDS_OF_PHRASES, NOUNS, Thing, View, above, left_of, look, looks_of, next_to,
    noun_phrase, phrases, setting, side,
)


# nbs/01_toybox_language.ipynb, cell b70c1099
def test_every_category_has_words():
    from visionllm_edu.toybox.scene import COLORS, HAIR, KINDS
    assert set(KINDS) <= set(NOUNS)
    assert set(COLORS) | set(HAIR) <= set(COLOR_ZH)
    assert len({zh for _, zh, _ in NOUNS.values()}) == len(NOUNS)           # no two nouns share a Chinese name


# nbs/01_toybox_language.ipynb, cell 4c1df45d
def test_looks_name_what_shows():
    from dataclasses import replace
    from visionllm_edu.toybox.scene import Object
    man = Object(1, "man", "red", .5, .9, .5, hair="black")
    assert looks_of(man) == {"shirt": "red", "hair": "black", "pose": "standing"}
    assert "hair" not in looks_of(replace(man, hat="blue"))
    assert "color" not in looks_of(replace(man, category="panda", hair=""))


# nbs/01_toybox_language.ipynb, cell fd5cab66
def test_relations_have_margins():
    from visionllm_edu.toybox.scene import Object
    def at(i, x0, y0, x1, y1): return Thing(Object(i, "ball", "red", .5, .5, .1), (x0, y0, x1, y1), .01, {})
    a, b, close = at(1, .1, .4, .2, .5), at(2, .6, .4, .7, .5), at(3, .16, .4, .26, .5)
    assert left_of(a, b) is True and left_of(b, a) is False and left_of(a, close) is None
    low = at(4, .1, .7, .2, .8)
    assert above(a, low) is True and above(low, a) is False and above(a, b) is False
    assert next_to(a, at(5, .22, .4, .32, .5)) is True and next_to(a, b) is False
    for f in (left_of, above): assert not (f(a, b) and f(b, a))      # never both ways round


# nbs/01_toybox_language.ipynb, cell f31204e0
def test_unclear_things_make_phrases_unfair():
    from visionllm_edu.toybox.scene import Object, Scene
    dogs = [Object(i, "dog", c, .2 * i, .9, .2, facing="left") for i, c in ((1, "black"), (2, "brown"))]
    things = [Thing(o, (.2 * o.id, .7, .2 * o.id + .1, .9), .02, looks_of(o)) for o in dogs]
    view = View(Scene(0, tuple(dogs)), things)
    assert view.denoted("dog", (("color", "black"),)) == [things[0]] and len(view.denoted("animal")) == 2
    hidden = Thing(dogs[1], things[1].box, .0005, looks_of(dogs[1]), clear=False)
    view = View(Scene(0, tuple(dogs)), [things[0], hidden])
    assert view.denoted("dog") is None                               # one dog, or two? nobody can say
    assert view.denoted("dog", (("color", "black"),)) == [things[0]]      # but only one can be black


# nbs/01_toybox_language.ipynb, cell c7d8616c
def test_noun_phrases_in_both_languages():
    assert noun_phrase("elephant", (("color", "orange"),)) == ("an orange elephant", "一头橙色大象")
    assert noun_phrase("dog", (("color", "black"),), 3) == ("three black dogs", "三只黑色的狗")
    assert noun_phrase("child", (("hat", "blue"),), definite=True) == ("the child with the blue hat", "戴蓝色帽子的孩子")
    assert noun_phrase("horse", (("paw", "raised"),), definite=True)[0] == "the horse with a raised leg"
    assert noun_phrase("cat", (("paw", "raised"),), definite=True)[0] == "the cat with a raised paw"


# nbs/01_toybox_language.ipynb, cell bbdcc60c
def test_phrases_are_unique_in_their_scene():
    import random
    from visionllm_edu.toybox.scene import render, sample_scene
    for seed in range(12):
        s = sample_scene(seed)
        v = look(s, render(s))
        for p in phrases(v, random.Random(seed), 3):
            assert len(p.ids) == 1 and v.by_id[p.ids[0]].clear
            assert p.text.startswith("the ") and p.kind in KINDS_OF_PHRASES
        assert len({p.text for p in phrases(v, random.Random(0), 9, 99)}) == len(phrases(v, random.Random(0), 9, 99))


# nbs/01_toybox_language.ipynb, cell d5a6b573
def test_sides_and_settings():
    from visionllm_edu.toybox.scene import Scene
    assert setting(Scene(0, (), background="beach", style="night")) == ("on a beach at night", "夜里的海滩上")
    assert setting(Scene(0, (), background="slide", domain="cells")) == ("under a microscope", "显微镜下")
    from visionllm_edu.toybox.scene import Object
    def thing(x): return Thing(Object(1, "ball", "red", .5, .5, .1), (x - .05, .4, x + .05, .5), .01, {})
    assert [side(thing(x)) for x in (.1, .33, .5, .66, .9)] == [0, None, 1, None, 2]
