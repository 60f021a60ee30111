"""Tests of visionllm_edu/toybox/questions.py.

Generated from nbs/01c_toybox_questions.ipynb by make export: do not edit, edit the notebook.
"""

from visionllm_edu.toybox.questions import (
    ask_colour, ask_count, ask_existence, ask_where, multiple_choice,
)


# nbs/01c_toybox_questions.ipynb, cell 52ef9d0e
def test_existence_is_balanced():
    import random
    from visionllm_edu.toybox.language import look
    from visionllm_edu.toybox.scene import HELD_OUT, sample_scene
    views = [look(sample_scene(seed)) for seed in range(300)]
    found = [q for i, v in enumerate(views) if (q := ask_existence(v, random.Random(i)))]
    share = sum(q.answer == "yes" for q in found) / len(found)
    tinted = [q for q in found if any(f" {c} " in q.question for c in ("red", "blue", "green", "white", "black"))]
    assert .42 < share < .58
    assert .35 < sum(q.answer == "yes" for q in tinted) / len(tinted) < .65      # naming a colour gives nothing away
    assert not any(f" {c} {noun} in" in q.question for q in found for noun, c in HELD_OUT)


# nbs/01c_toybox_questions.ipynb, cell 91a665d6
def test_answers_come_from_the_scene():
    import random
    from visionllm_edu.toybox.language import Thing, View, looks_of
    from visionllm_edu.toybox.scene import Object, Scene
    dogs = [Object(i, "dog", c, .3 * i, .9, .2, facing="left") for i, c in ((1, "black"), (2, "brown"))]
    things = [Thing(o, (.6 * o.id - .5, .7, .6 * o.id - .4, .9), .02, looks_of(o)) for o in dogs]
    v = View(Scene(0, tuple(dogs)), things)
    for seed in range(30):
        q = ask_count(v, random.Random(seed))
        assert q.answer == ("2" if "dogs" in q.question or "animals" in q.question else "0")
    assert ask_colour(v, random.Random(0)) is None                # no dog can be named without its colour
    assert ask_where(v, random.Random(0)).question in ("Where is the black dog?", "Where is the brown dog?")


# nbs/01c_toybox_questions.ipynb, cell c1cb6c52
def test_one_answer_and_one_reason_are_true():
    import random
    from collections import Counter
    from visionllm_edu.toybox.language import NOUNS, NUMBERS, SIDES, look, side
    from visionllm_edu.toybox.scene import render, sample_scene
    made, first = 0, set()
    for seed in range(25):
        s = sample_scene(seed)
        v = look(s, render(s))
        c = multiple_choice(v, random.Random(seed))
        if c is None: continue
        made += 1
        first.add(c.answer)
        assert len(set(c.options)) == len(set(c.rationales)) == 4
        name = {n: n for n in NOUNS} | {forms[0]: n for n, forms in NOUNS.items()}
        def number(word): return 1 if word in ("a", "an") else NUMBERS.index(word)
        def holds(reason):
            "Is a reason true, read from its words?"
            words = reason.rstrip(".").lower()
            if c.kind == "count":
                said = {place: number(n) for n, _, place in (p.split(" ", 2) for p in words.split(" and "))}
                return said == dict(Counter(SIDES[side(t)] for t in v.denoted(noun)))
            parts = [p.split(" ", 1) for p in words.split(" ", 2)[2].split(" and ")]
            return all(len(v.denoted(name[k]) or ()) == number(n) for n, k in parts)
        if c.kind == "count":
            noun = next(n for n in v.by_noun if c.question == f"How many {NOUNS[n][0]} are there?")
            assert c.options[c.answer] == str(len(v.denoted(noun)))
        else:
            counts = {t.category: len(v.denoted(t.category) or ()) for t in v.things}
            assert c.options[c.answer] == NOUNS[max(counts, key=counts.get)][0]
        assert [holds(r) for r in c.rationales] == [k == c.rationale for k in range(4)]
        assert len(c.chinese_options) == len(c.chinese_rationales) == 4
    assert made > 12 and first == {0, 1, 2, 3}                       # the right answer may stand anywhere
