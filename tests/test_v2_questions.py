"""Tests of visionllm_edu/v2_questions.py.

Generated from nbs/61b_v2_questions.ipynb by make export: do not edit, edit the notebook.
"""

from visionllm_edu.v2_questions import ChatExaminer, PROBES, Probe, probe_classes


# nbs/61b_v2_questions.ipynb, cell 81797701
from dataclasses import replace
from functools import cache
from random import Random

import numpy as np
import pytest

from visionllm_edu.data.coco import load_data
from visionllm_edu.v2.answering import Chat
from visionllm_edu.v2.chat_tasks import Asking, Page, check_chat
from visionllm_edu.v2.conversation import TooLong, Turn, answer_ids
from visionllm_edu.v2.model import chat_vocabulary

@cache
def toys():
    "Eight scenes of Toybox."
    return load_data("toybox:val:8")

def as_key(chat):
    "What tells a question from others: pictures, users' words, prompts."
    prompts = [r.prompt.area.tobytes() if hasattr(r.prompt, "area") else str(r.prompt) for r in chat.regions]
    return tuple(chat.rows), tuple(t.user for t in chat.turns), tuple(prompts)

class Parrot:
    "A model that says one thing, and remembers what it was asked."

    def __init__(self, word="zz"): self.vocabulary, self.word, self.asked = chat_vocabulary(text_size=400), word, []

    def respond(self, chats, threshold=0.3, max_new=None, batch_size=16, strict=True):
        self.asked += chats
        ids = tuple(answer_ids(self.word, self.vocabulary))
        return [Chat(self.word, turns=[*c.turns[:-1], Turn(c.turns[-1].user, ids)]) for c in chats]

    def found_by(self, chats, threshold=0.3, batch_size=16):
        self.asked += chats
        return [None] * len(chats)


# nbs/61b_v2_questions.ipynb, cell 8faed7dc
def test_questions_are_fixed_and_complete():
    data = toys()
    examiner, again, other = (ChatExaminer(None, data, seed=seed) for seed in (1, 1, 2))
    for task in PROBES:
        ours, theirs = list(examiner.chats(task)), list(again.chats(task))
        assert [as_key(c) for c in ours] == [as_key(c) for c in theirs] and len(ours) >= 1, task
    assert [as_key(c) for c in examiner.chats("detect")] != [as_key(c) for c in other.chats("detect")]
    asked = list(examiner.chats("detect"))
    assert len(asked) == len(data) and all(sorted(c.names) == sorted(data.categories) for c in asked)
    assert {c.kind for c in examiner.chats("pose")} == {"people", "animals"}
    phrases = sum(len(p["annotation_ids"]) == 1 for i in range(8) for p in data.sample(i, image=False).phrases)
    assert len(list(examiner.chats("ground"))) == phrases
    assert len(list(examiner.chats("answer"))) == sum(len(data.sample(i, image=False).questions) for i in range(8))
    kinds = [c.kind for c in examiner.chats("routing")]
    assert len(set(kinds)) == 15 and max(kinds.count(k) for k in kinds) <= 8
    examiner.how = replace(examiner.how, max_classes=7)
    in_three = [c for c, _ in zip(examiner.chats("segment"), range(3))]
    assert [len(c.names) for c in in_three] == [7, 7, 6] and sorted(sum((c.names for c in in_three), [])) == sorted(data.categories)


# nbs/61b_v2_questions.ipynb, cell 5811d2df
def test_questions_are_chats_that_training_could_have():
    data = toys()
    examiner = ChatExaminer(None, data)
    for task in PROBES:
        for chat in examiner.chats(task):
            assert check_chat(chat) is chat and isinstance(chat, Probe)
            assert (len(chat.rows) > 1) == (chat.task == "in_context")
    poses = [*examiner.chats("pose")]
    assert len(poses) == 2 * len(data)                                   # also where there is nobody: AP wants to know
    assert all(c.targets[0].keypoints.shape[1] == 17 and len(c.targets[0].sigmas) == 17 for c in poses)
    captions = [*examiner.chats("caption")]
    assert {c.kind for c in captions} == {"short", "long"} and all(c.turns[0].assistant in c.truth for c in captions)
    assert all(c.truth == [c.turns[0].assistant] for c in examiner.chats("answer"))
    areas = [*examiner.chats("semantic")]
    assert all(len(set(c.targets[0].labels)) == len(c.targets[0].labels) for c in areas)   # one mask for each class


# nbs/61b_v2_questions.ipynb, cell 10a72562
def test_an_unlisted_crowd_gives_nothing_away():
    data = toys().subset([0])
    page, bare = Page(data, 0), Page(data, 0)
    bare.sample.crowd[:], bare.real = True, []                           # training would leave these classes out
    assert len(bare.offered) < len(page.offered) == 20
    asked, same = (next(iter(probe_classes(p, Random(3), Asking(), "detect", "[DET]"))) for p in (page, bare))
    assert asked.turns[0].user == same.turns[0].user                     # the examiner lists them: the list must not tell


# nbs/61b_v2_questions.ipynb, cell e0e21845
def test_later_rounds_follow_the_models_own_answers():
    data, parrot = toys(), Parrot()
    examiner = ChatExaminer(parrot, data)
    chat = next(iter(examiner.chats("choice")))
    shown = [replace(chat, images=[data.image(k) for k in chat.rows])]
    for hear, before in ((examiner.free, "zz"), (examiner.forced_history, chat.turns[0].assistant), (examiner.blind, "zz")):
        parrot.asked.clear()
        ((first, second),) = hear(shown)
        assert first.text == second.text == "zz" and len(parrot.asked) == 2
        for asked in parrot.asked: assert asked.turns[-1].assistant is None and not asked.targets
        said = parrot.asked[1].turns[0].assistant
        assert (said if isinstance(said, str) else parrot.vocabulary.decode(said)) == before
        grey = not np.ptp(np.asarray(parrot.asked[1].images[0]), (0, 1)).any()
        assert grey == (hear == examiner.blind)


# nbs/61b_v2_questions.ipynb, cell d164b40b
def test_who_talks_too_much_falls_silent():
    class Chatterbox(Parrot):
        "No room for a second round about the first three pictures, nor for a third one about any."
        def respond(self, chats, **options):
            if any(len(c.turns) > 1 + (c.rows[-1] > 2) for c in chats): raise TooLong("takes 1025 places, 1024 is the limit")
            return super().respond(chats, **options)

    data = toys()
    examiner = ChatExaminer(Chatterbox(), data)
    rounds = [c for c in examiner.chats("routing") if c.kind == "multi_round"]
    shown = [replace(c, images=[data.image(k) for k in c.rows]) for c in rounds]
    for chat, replies in zip(shown, examiner.free(shown)):
        assert [r.text for r in replies] == ["zz" if k <= (chat.rows[-1] > 2) else "" for k in range(len(chat.turns))]
        assert all(len(r.turns) == k + 1 for k, r in enumerate(replies)) and replies[-1].detections is None
    with pytest.raises(TooLong, match="1024 is the limit"): examiner.forced_history(shown)        # right answers must fit
    class Refuser(Parrot):
        "Refuses the n-th round."
        def __init__(self, n, error):
            super().__init__()
            self.n, self.error = n, error
        def respond(self, chats, **options):
            if any(len(c.turns) == self.n for c in chats): raise self.error("no such picture")
            return super().respond(chats, **options)
    for n, error in ((1, TooLong), (1, ValueError), (2, ValueError)):
        examiner = ChatExaminer(Refuser(n, error), data)
        for hear in (examiner.free, examiner.blind):
            with pytest.raises(error, match="no such picture"): hear(shown)


# nbs/61b_v2_questions.ipynb, cell 7d2ccec5
def test_regions_come_with_their_rounds():
    data, parrot = toys(), Parrot()
    examiner = ChatExaminer(parrot, data)
    rounds = [c for c in examiner.chats("routing") if c.kind == "multi_round" and c.regions]
    shown = [replace(c, images=[data.image(k) for k in c.rows]) for c in rounds]
    for hear in (examiner.free, examiner.forced_history):
        assert [len(replies) for replies in hear(shown)] == [len(c.turns) for c in rounds] and len(rounds) > 1
    assert any(c.targets for c in rounds) and not any(asked.targets for asked in parrot.asked)
    for asked in parrot.asked: assert asked.conversation.regions == len(asked.regions)   # raises where they differ
    assert {len(a.turns) for a in parrot.asked} == {1, 2, 3}


# nbs/61b_v2_questions.ipynb, cell 96a20dc9
def test_forced_answers_have_their_routes():
    data, parrot = toys(), Parrot()
    examiner = ChatExaminer(parrot, data)
    chat = next(iter(examiner.chats("interactive")))
    ((reply,),) = examiner.forced([replace(chat, images=[data.image(chat.rows[0])])])
    assert [token for token, _ in reply.routes] == ["[SEG]"] * len(chat.regions) and reply.detections is None
    assert [phrase for _, phrase in reply.routes] == [f"region{k + 1}" for k in range(len(chat.regions))]
    assert reply.text == chat.turns[0].assistant == parrot.asked[0].turns[0].assistant
    assert examiner.routes(Turn("Find it", "I see a dog.")) == []


# nbs/61b_v2_questions.ipynb, cell 463ff2de
def test_notes_come_in_order_whatever_the_batch():
    data = toys().subset(3)
    note = lambda examiner, chat, said: (as_key(chat), len(said), len(chat.images))
    columns = {"free": ChatExaminer.free, "again": ChatExaminer.forced_history}
    one, many = (ChatExaminer(Parrot(), data, size).sit("ground", note, columns) for size in (1, 40))
    assert one == many and one["free"] == one["again"] and [k for k, *_ in one["free"]] == [
        as_key(c) for c in ChatExaminer(None, data).chats("ground")]


# nbs/61b_v2_questions.ipynb, cell 5489a630
def test_solution():
    def in_one_chat(probes):
        "The questions of some chats about one picture as rounds of one conversation."
        targets = [replace(t, turn=k) for k, p in enumerate(probes) for t in p.targets]
        return replace(probes[0], turns=[p.turns[0] for p in probes], targets=targets)

    probes = [c for c in ChatExaminer(None, toys()).chats("ground") if c.rows == [0]]
    assert len(check_chat(in_one_chat(probes)).turns) == len(probes) > 2
