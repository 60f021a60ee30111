"""Tests of visionllm_edu/v2/templates.py.

Generated from nbs/42_templates.ipynb by make export: do not edit, edit the notebook.
"""

from visionllm_edu.v2.templates import (
    CHAT_TEMPLATES, fill, mark_phrases, name_links, region_links, slots_of,
)


# nbs/42_templates.ipynb, cell 217a3641
from random import Random

import pytest

from visionllm_edu.language.vocabulary import Vocabulary
from visionllm_edu.v2.conversation import ROUTES, V2_BLOCKS, answer_ids, read_reply, with_links

def small_vocabulary():
    "Some words, and v2's blocks."
    words = ["Find dog, cat and man.", "region1, region2 and image3", "Sure, here it is: a tennis racket."]
    return Vocabulary.train(words * 20, 400, range=1, num_classes=1, max_points=1, extra=V2_BLOCKS)


# nbs/42_templates.ipynb, cell db634a50
def test_names_that_could_not_be_read_back_are_refused():
    for good in ("dog", "St.Bernard", "hair drier", "sandwich", "the man on the left", "狗"): name_links([good], "[DET]")
    for bad in ("dog, cat", "dog.", "a: b", " dog", "", "dog[DET]", "<det>dog"):
        with pytest.raises(ValueError, match="can't be linked"): name_links([bad], "[DET]")
    with pytest.raises(ValueError, match="no names"): name_links([], "[DET]")
    with pytest.raises(ValueError, match="'.CAT.' is no routing token"): name_links(["cat"], "[CAT]")


# nbs/42_templates.ipynb, cell d9842b29
def test_captions_are_marked_in_order_and_without_forgery():
    caption = "A dog sleeps under two trees."
    marked = mark_phrases(caption, [(0, 5), (19, 28)])
    assert marked.replace("<det>", "").replace("</det>[DET]", "") == caption and marked.count("[DET]") == 2
    assert mark_phrases(caption, []) == caption
    with pytest.raises(ValueError, match="overlaps"): mark_phrases(caption, [(0, 5), (2, 12)])
    with pytest.raises(ValueError, match="may not spell out .SEG."): mark_phrases("A sign says [SEG].", [])


# nbs/42_templates.ipynb, cell 03cba6b8
def test_templates_have_their_slots_and_none_is_there_twice():
    asks = {"detect": "classes", "segment": "classes", "semantic": "classes", "ground": "phrase", "pose": "classes keypoints",
            "interactive": "regions", "in_context": "examples last", "caption_short": "", "caption_long": "",
            "grounded_caption": "", "answer": "question", "region_name": "regions", "region_caption": "regions",
            "choice": "question options", "rationale": "options", "generate": "caption", "generate_scene": "caption", "edit": "instruction",
            "into_chinese": "text", "into_english": "text", "caption_chinese": "", "answer_chinese": "question"}
    assert set(asks) == set(CHAT_TEMPLATES)
    for task, t in CHAT_TEMPLATES.items():
        assert len(t.questions) >= 4 and all(slots_of(q) == set(asks[task].split()) for q in t.questions), task
        assert len({frozenset(slots_of(a)) for a in t.answers}) == 1 and len(set(t.answers)) == len(t.answers), task
        assert len(t.answers) >= 4 or t.answers in (("{caption}",), ("{answer}",)), task
        assert not any(token in q for q in t.questions for token in sum(V2_BLOCKS.values(), []))
    questions = [" ".join(q.lower().split()) for t in CHAT_TEMPLATES.values() for q in t.questions]
    assert len(set(questions)) == len(questions)
    with pytest.raises(ValueError, match=r"has the slots \['classes'\], got \['class'\]"):
        CHAT_TEMPLATES["detect"].ask(Random(0), **{"class": "dog"})
    with pytest.raises(ValueError, match="the slot 'caption' may not spell out"):
        CHAT_TEMPLATES["caption_short"].reply(Random(0), caption="A sign says [DET].")


# nbs/42_templates.ipynb, cell bd3132d8
def test_every_answer_template_can_be_read_back():
    v, classes, points = small_vocabulary(), ["man", "tennis racket"], ["nose", "left eye", "right ear"]
    links = {"detect": name_links(classes, "[DET]"), "segment": name_links(classes, "[SEG]"),
             "semantic": name_links(classes, "[SEG]"), "pose": name_links(classes, "[DET]"),
             "interactive": region_links(3), "in_context": name_links(["image3"], "[SEG]")}
    slots = dict(points=name_links(points, "[POSE]"), caption=mark_phrases("A man, a dog.", [(0, 5), (7, 12)]), answer="b")
    read = {"b": []} | {links[t]: [("[DET]", c) if t in ("detect", "pose") else ("[SEG]", c) for c in classes]
                          for t in ("detect", "segment", "semantic", "pose")}
    read |= {links["interactive"]: [("[SEG]", f"region{k}") for k in (1, 2, 3)], links["in_context"]: [("[SEG]", "image3")],
             slots["points"]: [("[POSE]", p) for p in points], slots["caption"]: [("[DET]", "A man"), ("[DET]", "a dog")]}
    for task, t in CHAT_TEMPLATES.items():
        for a in t.answers:
            filled = {s: (slots | {"links": links.get(task)})[s] for s in ("links", "points", "caption", "answer") if s in slots_of(a)}
            text = fill(a, **filled)
            wanted = sum((read[x] for x in filled.values()), []) or [(r, "") for r in ROUTES if r in a]
            assert read_reply([*with_links(answer_ids(text, v), v), v.eos_id], v) == (text, wanted), text
