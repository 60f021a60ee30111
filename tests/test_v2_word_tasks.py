"""Tests of visionllm_edu/v2/word_tasks.py.

Generated from nbs/42b_word_tasks.ipynb by make export: do not edit, edit the notebook.
"""

from visionllm_edu.language.vocabulary import Vocabulary
from visionllm_edu.v2.word_tasks import (
    BILINGUAL, MOST_QUESTIONS, WORDS, ask_answer, ask_answer_chinese, ask_caption,
    ask_caption_chinese, ask_choice, ask_questions, ask_relation, ask_translation, both_ways,
)


# nbs/42b_word_tasks.ipynb, cell 363b39bf
from random import Random
from tempfile import TemporaryDirectory

from visionllm_edu.data.coco import load_data, write_shapes
from visionllm_edu.data.tasks import sample_questions
from visionllm_edu.v2.chat_tasks import Asking, Page, chat_of
from visionllm_edu.v2.templates import CHAT_TEMPLATES

def toybox(n=24): return load_data(f"toybox:val:{n}")

def shapes_data(n=8, keep=[]):
    "A small data set of drawn shapes without Toybox's extras; its folder lives as long as the process."
    keep.append(TemporaryDirectory())
    return load_data(write_shapes(keep[-1].name, n=n, size=(96, 72)))

def chats_of(ask, data, n=40):
    "Up to n (page, chat), each about another page, if there are so many."
    pages = [Page(data, k % len(data)) for k in range(n)]
    made = [(page, chat_of(ask(page, Random(k), Asking()), page)) for k, page in enumerate(pages)]
    return [(page, chat) for page, chat in made if chat is not None]


# nbs/42b_word_tasks.ipynb, cell 09ecbf76
def test_words_are_the_data_sets():
    for page, chat in chats_of(ask_caption, toybox()):
        assert chat.turns[0].assistant in [*page.sample.captions, *page.sample.long_captions] and not chat.targets
    for page, chat in [*chats_of(ask_answer, shapes_data()), *chats_of(ask_answer, toybox(), 72)]:
        (turn,), questions = chat.turns, sample_questions(page.sample, page.data.categories)
        assert any(q["question"] in turn.user and q["answer"] == turn.assistant for q in questions)
        asked = {part for t in CHAT_TEMPLATES["ground"].questions for part in [t.split("{phrase}")[0]]}
        assert not any(turn.user.startswith(part) for part in asked if part)     # words, not boxes, are wanted
    for page, chat in chats_of(ask_questions, toybox()):
        questions = sample_questions(page.sample, page.data.categories)
        assert 2 <= len(chat.turns) <= MOST_QUESTIONS and len(chat.rows) == 1
        assert all(any(q["question"] in t.user and q["answer"] == t.assistant for q in questions) for t in chat.turns)
        assert len({t.user for t in chat.turns}) == len(chat.turns)
    related = chats_of(ask_relation, toybox())
    assert len(related) > 12 and not chats_of(ask_relation, shapes_data())
    for page, chat in related:
        kinds = {q["kind"] for q in page.sample.questions if q["question"] in chat.turns[0].user}
        assert "relation" in kinds
    letters = []
    for page, chat in chats_of(ask_choice, toybox()):
        (q,), (first, second) = page.told["choices"], chat.turns
        assert f"({first.assistant}) {q['options'][q['answer']]}" in first.user
        assert f"({second.assistant}) {q['rationales'][q['rationale']]}" in second.user
        letters += [first.assistant, second.assistant]
    assert set(letters) == set("abcd")


# nbs/42b_word_tasks.ipynb, cell 64114f4f
def test_chinese_is_the_data_sets():
    ways = set()
    for page, chat in chats_of(ask_translation, toybox(), 80):
        (turn,), pairs = chat.turns, both_ways(page)
        way = [(a in turn.user and b == turn.assistant, b in turn.user and a == turn.assistant) for a, b in pairs]
        assert any(a or b for a, b in way) and not chat.targets
        ways |= {there for there, back in way if there != back}
    assert ways == {True, False}
    for page, chat in chats_of(ask_caption_chinese, toybox()):
        assert chat.turns[0].assistant in [c["chinese"] for c in page.told["captions"]]
    for page, chat in chats_of(ask_answer_chinese, toybox()):
        (turn,) = chat.turns
        assert any(q["chinese"] in turn.user and q["chinese_answer"] == turn.assistant for q in page.told["questions"])


# nbs/42b_word_tasks.ipynb, cell f4e5c7a2
def test_data_of_one_language_serve_none():
    assert not any(chats_of(WORDS[task], shapes_data()) for task in BILINGUAL)


# nbs/42b_word_tasks.ipynb, cell 9c5fd954
def test_characters_are_tokens():
    text = next(b for k in range(24) for a, b in both_ways(Page(toybox(), k)))
    words = Vocabulary.train([text] * 50, 600, range=1, num_classes=1, max_points=1)
    chinese = [c for c in text if "一" <= c <= "鿿"]
    assert len(words.encode("".join(chinese))) == len(chinese) > 5
