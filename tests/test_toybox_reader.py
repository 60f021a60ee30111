"""Tests of visionllm_edu/toybox/reader.py.

Generated from nbs/01d_toybox_reader.ipynb by make export: do not edit, edit the notebook.
"""

from visionllm_edu.toybox.reader import Reader, answer, doubts, from_chinese


# nbs/01d_toybox_reader.ipynb, cell f38889d4
def test_reads_what_it_knows_and_refuses_the_rest():
    import pytest
    from visionllm_edu.toybox.scene import Object, Relation, Scene, render
    man = Object(1, "man", "red", .3, .9, .5, hair="black", legs="blue", reach="right")
    ball = Object(2, "ball", "blue", .44, .66, .1)
    dog = Object(3, "dog", "brown", .8, .9, .25, facing="left")
    little = Scene(0, (man, ball, dog), (Relation(1, "holding", 2),))
    r = Reader(little, render(little))
    assert r.read("the man in the red shirt") == {1} and r.read("the person holding a ball") == {1}
    assert r.read("the man in the blue shirt") == set() and r.read("the leftmost person") == {1}
    assert r.read("the dog right of the ball") == {3} and r.read("two dogs") == {3}
    with pytest.raises(ValueError, match="can't read"): r.read("the happy dog")
    with pytest.raises(ValueError, match="can't read"): r.read("the dog that barks")


# nbs/01d_toybox_reader.ipynb, cell fe328483
def test_chinese_phrases_mean_the_same():
    import pytest
    assert from_chinese("最左边的穿红色衣服的男人") == "the leftmost man in the red shirt"
    assert from_chinese("黑色的狗上面的大象") == "the elephant above the black dog"
    assert from_chinese("一只抬着爪子的棕色的狗") == "the brown dog with a raised paw"
    assert from_chinese("拿着球的女人") == "the woman holding a ball"
    with pytest.raises(ValueError): from_chinese("快乐的狗")


# nbs/01d_toybox_reader.ipynb, cell 17add864
def test_the_reader_agrees_with_the_writers():
    import random
    from visionllm_edu.toybox.captions import captions, long_caption
    from visionllm_edu.toybox.language import look, phrases
    from visionllm_edu.toybox.questions import questions
    from visionllm_edu.toybox.scene import render, split_scene
    read = 0
    for split, n in (("train", 40), ("novel", 10), ("composition", 10), ("crowd", 2), ("aerial", 3), ("cells", 2), ("circuit", 3)):
        for index in range(n):
            s = split_scene(split, index)
            d, rng = render(s), random.Random(index)
            v, r = look(s, d), Reader(s, d)
            for p in phrases(v, rng, 4, 40):
                assert r.read(p.text) == r.read(from_chinese(p.chinese)) == set(p.ids), p
                read += 1
            for q in questions(v, rng): assert answer(r, q.question) == q.answer, q
            for c in captions(v, rng) + [long_caption(v, rng)]: assert not doubts(r, c), c.text
    assert read > 300
