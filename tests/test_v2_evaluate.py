"""Tests of visionllm_edu/v2_evaluate.py.

Generated from nbs/62_v2_evaluate.ipynb by make export: do not edit, edit the notebook.
"""

from visionllm_edu.v2_evaluate import (
    FAR, FREE, SCORES, SURE, Score, evaluate_v2, flat, in_skeleton, note_choice, note_routes,
    paint, records_of, total_choices, total_routes, v2_table,
)


# nbs/62_v2_evaluate.ipynb, cell 357c3651
import json
from dataclasses import replace
from functools import cache
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch

from visionllm_edu.data.coco import load_data, write_shapes
from visionllm_edu.reply import Detections
from visionllm_edu.v2.answering import Chat, up_to
from visionllm_edu.v2.chat_tasks import ChatSample
from visionllm_edu.v2.conversation import ROUTES, Turn, answer_ids, read_reply
from visionllm_edu.v2.model import VisionLLMv2, chat_vocabulary
from visionllm_edu.v2_questions import PROBES, ChatExaminer, Probe

@cache
def toys():
    "Eight scenes of Toybox."
    return load_data("toybox:val:8")

@cache
def words():
    "A small vocabulary with v2's tokens."
    return chat_vocabulary(text_size=400)

def as_key(chat):
    "What tells a question from others: pictures, users' words, prompts."
    prompts = [r.prompt.area.tobytes() if hasattr(r.prompt, "area") else str(r.prompt) for r in chat.regions]
    return tuple(chat.rows), tuple(t.user for t in chat.turns), tuple(prompts)


# nbs/62_v2_evaluate.ipynb, cell 323f93a1
def truth_of(chat, turn, v):
    "The right reply to a round, objects with falling scores."
    said = chat.turns[turn].assistant
    text, routes = read_reply(answer_ids(said, v), v)
    found = [t for t in chat.targets if t.turn == turn]
    return Chat(said, routes, as_found(found[0], routes) if found else None)

def as_found(target, routes):
    "A target as detections; masks where [SEG] asks for them."
    names = [phrase or "it" for token, phrase in routes if ROUTES[token] == "object"]
    masks = target.masks if any(token == "[SEG]" for token, _ in routes) else None
    return Detections(scores=np.linspace(0.9, 0.5, len(target.labels)), labels=target.labels,
                      text_labels=[names[k] for k in target.labels], boxes=target.boxes_xyxy_px, masks=masks,
                      keypoints=target.keypoints)


# nbs/62_v2_evaluate.ipynb, cell d3d7ebaa
class Oracle:
    "A model that knows all questions of an examination; `damage(reply, chat)` spoils its free replies."

    def __init__(self, data, damage=lambda reply, chat: reply, tasks=tuple(PROBES), seed=1):
        self.vocabulary, self.damage, self.known, self.asked = words(), damage, {}, []
        examiner = ChatExaminer(self, data, seed=seed)
        for task in sorted(tasks, key="routing".__eq__):                     # routing last: it asks about the others
            for chat in examiner.chats(task):
                for turn in range(len(chat.turns)): self.known.setdefault(as_key(up_to(chat, turn)), (chat, turn))

    def respond(self, chats, threshold=0.3, max_new=None, batch_size=16, strict=True):
        self.asked += chats
        return [self.reply(chat) for chat in chats]

    def reply(self, chat):
        if chat.turns[-1].assistant is not None or chat.targets: raise ValueError("the examiner gave the answer away")
        knows = np.ptp(np.asarray(chat.images[-1]), (0, 1)).any()            # a grey picture tells nothing
        said = truth_of(*self.known[as_key(chat)], self.vocabulary) if knows else Chat()
        said = self.damage(said, chat)
        return replace(said, turns=[*chat.turns[:-1], Turn(chat.turns[-1].user, tuple(answer_ids(said.text, words())))])

    def found_by(self, chats, threshold=0.3, batch_size=16):
        return [truth_of(*self.known[as_key(chat)], self.vocabulary).detections for chat in chats]

def score(damage, *tasks, data=None):
    "What an oracle with this damage gets."
    data = data or toys()
    return evaluate_v2(Oracle(data, damage, tasks), data, tasks)


# nbs/62_v2_evaluate.ipynb, cell 2af0f06c
def test_the_oracle_gets_full_marks():
    data = toys()
    scores = evaluate_v2(Oracle(data), data, batch_size=7)
    assert list(scores) == list(SCORES)
    full = {"routing": "accuracy decoder phrases silent", "detect": "AP AP50 AP75", "segment": "AP AP50 AP75", "semantic": "mIoU",
            "ground": "P@0.5", "interactive": "mIoU cIoU", "in_context": "mIoU cIoU", "pose": "AP AP50 AP75 PCK@0.2",
            "grounded_caption": "recall", "region_name": "accuracy", "answer": "accuracy", "choice": "accuracy rationale both",
            "caption": "BLEU-4", "region_caption": "BLEU-4"}
    for task, names in full.items():
        for name in names.split(): assert scores[task][name] == pytest.approx(1), (task, name)
    linked = ("detect", "segment", "semantic", "ground", "interactive", "in_context", "pose", "grounded_caption", "choice")
    for task in linked: assert flat(scores[task]["forced"]) == flat(scores[task]), task
    assert {task for task, score in scores.items() if "forced" in score} == set(linked)
    assert scores["answer"]["blind"]["accuracy"] == 0 and scores["caption"]["long"]["BLEU-4"] == pytest.approx(1)
    for task, part in {"ground": "by_kind", "answer": "by_type", "region_name": "by_prompt", "pose": "by_family"}.items():
        assert list(scores[task][part].values()) == pytest.approx([1.0] * len(scores[task][part])), task
    assert len(scores["interactive"]["by_prompt"]) > 2 and set(scores["interactive"]["by_prompt"]) <= {"point", "box", "scribble", "mask"}
    assert set(scores["routing"]["by_task"].values()) == {1.0} and len(scores["routing"]["by_task"]) == 15
    assert json.loads(json.dumps(scores)) == scores                              # plain numbers: they can be written down


# nbs/62_v2_evaluate.ipynb, cell c2cc1afd
def test_a_mute_model_is_right_only_in_silence():
    data = toys()
    mute = Oracle(data, lambda reply, chat: Chat())
    scores = evaluate_v2(mute, data)
    zero = {"detect": "AP", "segment": "AP", "semantic": "mIoU", "ground": "P@0.5", "interactive": "mIoU", "in_context": "cIoU",
            "pose": "AP", "grounded_caption": "recall"}
    for task, name in zero.items(): assert scores[task][name] == 0 and scores[task]["forced"][name] == pytest.approx(1), task
    assert scores["pose"]["PCK@0.2"] == 0 == scores["answer"]["accuracy"] == scores["caption"]["CIDEr"] == scores["choice"]["accuracy"]
    routing = scores["routing"]
    assert routing["decoder"] == routing["phrases"] == 0 and routing["silent"] == 1
    silent = {"caption", "answer", "questions", "region_name", "region_caption", "choice"}
    assert {k for k, v in routing["by_task"].items() if v == 1} >= silent
    assert all(v == 0 for k, v in routing["by_task"].items() if k not in silent | {"multi_round"})


# nbs/62_v2_evaluate.ipynb, cell 7b4347ec
def moved(share):
    "Boxes moved to the right by a share of their width."
    def damage(reply, chat):
        d = reply.detections
        if d is None: return reply
        wide = (d.boxes[:, 2] - d.boxes[:, 0])[:, None]
        return replace(reply, detections=replace(d, boxes=d.boxes + share * wide * torch.tensor([1.0, 0, 1, 0])))
    return damage

def halved(reply, chat):
    "Of each mask the first half of its pixels, row by row."
    d = reply.detections
    if d is None or d.masks is None: return reply
    pixels = d.masks.flatten(1)
    first = pixels.cumsum(1) <= pixels.sum(1, keepdim=True) // 2
    return replace(reply, detections=replace(d, masks=(pixels & first).view_as(d.masks)))

def stretched(share):
    "Joints moved to the right by a share of the longer side of their box."
    def damage(reply, chat):
        d = reply.detections
        if d is None or d.keypoints is None: return reply
        far = (d.boxes[:, 2:] - d.boxes[:, :2]).amax(1)[:, None, None] * share
        return replace(reply, detections=replace(d, keypoints=d.keypoints + far * torch.tensor([1.0, 0, 0])))
    return damage


# nbs/62_v2_evaluate.ipynb, cell 588101e5
def test_damage_has_its_known_price():
    boxes, far = score(moved(0.2), "detect", "ground", "grounded_caption"), score(moved(0.4), "ground", "grounded_caption")
    assert boxes["detect"]["AP"] == pytest.approx(0.4, abs=0.01) and boxes["detect"]["forced"]["AP"] == pytest.approx(1)
    assert boxes["detect"]["AP50"] == pytest.approx(1) and boxes["detect"]["AP75"] == 0 and boxes["ground"]["P@0.5"] == 1
    assert far["ground"]["P@0.5"] == 0 and far["grounded_caption"]["recall"] < boxes["grounded_caption"]["recall"] == 1
    masks = score(halved, "segment", "semantic", "interactive", "in_context")
    for task, name in (("semantic", "mIoU"), ("interactive", "mIoU"), ("interactive", "cIoU"), ("in_context", "mIoU")):
        assert masks[task][name] == pytest.approx(0.5, abs=0.02), task
    assert masks["segment"]["AP75"] == 0
    near, far, off = (score(stretched(share), "pose")["pose"] for share in (0.02, 0.1, 0.3))
    assert near["PCK@0.2"] == far["PCK@0.2"] == off["forced"]["PCK@0.2"] == 1 and off["PCK@0.2"] == 0
    assert 1 > near["AP"] > far["AP"] == off["AP"] == 0                                 # AP is the stricter one


# nbs/62_v2_evaluate.ipynb, cell b90ce1d1
def test_mistakes_of_routing_are_told_apart():
    few = toys().subset(3)
    def rerouted(change):
        def damage(reply, chat): return replace(reply, routes=change(reply.routes))
        return score(damage, "routing", data=few)["routing"]
    assert rerouted(lambda routes: routes[::-1])["accuracy"] == 1                       # order is no matter
    chatty = rerouted(lambda routes: routes or [("[DET]", "thing")])                    # a box for every chat
    assert chatty["silent"] == 0 and chatty["by_task"]["detect"] == 1 > chatty["accuracy"]
    nameless = rerouted(lambda routes: [(token, "") for token, _ in routes])            # [GRD] has no phrase to lose
    assert nameless["decoder"] == 1 > nameless["phrases"] and nameless["by_task"]["ground"] == 1 and nameless["silent"] == 1
    assert nameless["by_task"]["detect"] == nameless["by_task"]["grounded_caption"] == 0
    masks = rerouted(lambda routes: [("[SEG]" if token == "[DET]" else token, phrase) for token, phrase in routes])
    assert masks["by_task"]["detect"] == 0 and masks["by_task"]["segment"] == 1 and masks["decoder"] < 1
    short = rerouted(lambda routes: routes[:-1])
    assert short["by_task"]["detect"] < 1 and short["silent"] == 1


# nbs/62_v2_evaluate.ipynb, cell 60b643d3
def test_names_nobody_asked_for_count_for_nothing():
    def renamed(reply, chat):
        d = reply.detections
        return reply if d is None else replace(reply, detections=replace(d, text_labels=["unicorn"] * len(d)))
    scores = score(renamed, "detect", "semantic", "interactive", "ground", data=toys().subset(3))
    assert scores["detect"]["AP"] == scores["semantic"]["mIoU"] == scores["interactive"]["mIoU"] == 0
    assert scores["ground"]["P@0.5"] == 1                                               # a phrase's box has no name to get wrong
    chat = Probe([], [Turn("Find dog and bottle.")], names=["dog", "bottle"], rows=[2])
    found = Detections(scores=[0.9, 0.8, 0.7], labels=[0, 1, 2], text_labels=["cat", "bottle", "unicorn"], boxes=np.ones((3, 4)))
    (record,) = records_of(ChatExaminer(None, toys()), chat, found, lambda found, k: {"row": k})
    assert record == {"image_id": toys().image_ids[2], "category_id": toys().category_ids[16], "score": pytest.approx(0.8), "row": 1}


# nbs/62_v2_evaluate.ipynb, cell d50b2c5a
def test_joints_are_found_by_name():
    joints = torch.arange(12.0).view(2, 2, 3)
    found = Detections(scores=[0.9, 0.8], labels=[0, 0], text_labels=["cat", "cat"], boxes=np.zeros((2, 4)), keypoints=joints)
    reply = Chat("", [("[DET]", "cat"), ("[POSE]", "nose"), ("[POSE]", "left ear")], found)
    ours = in_skeleton(reply, ["left ear", "tail", "nose"]).keypoints
    assert torch.equal(ours[:, [0, 2]], joints[:, [1, 0]]) and (ours[:, 1] == FAR).all()
    assert in_skeleton(Chat("", [], replace(found, keypoints=None)), ["nose"]) is None is in_skeleton(Chat(), ["nose"])


# nbs/62_v2_evaluate.ipynb, cell cb5f14ce
def test_articles_are_letters_here():
    examiner, chat = None, Probe([], [Turn("Which?", "a"), Turn("Why?", "c")])
    said = lambda *texts: note_choice(examiner, chat, [Chat(text) for text in texts])
    assert said("a", "c") == [True, True] and said("", "the") == [False, False] and said("A ", "b") == [True, False]
    assert total_choices(None, [[True, True], [True, False], [False, True], [False, False]]) == {
        "accuracy": 0.5, "rationale": 0.5, "both": 0.25, "n": 4}


# nbs/62_v2_evaluate.ipynb, cell 2d327219
def test_the_surest_mask_lies_on_top():
    masks = np.zeros((3, 4, 6), bool)
    masks[0, :, :3], masks[1, :, 2:5], masks[2] = True, True, True
    found = Detections(scores=[0.9, 0.6, 0.2], labels=[0, 1, 1], text_labels=["a", "b", "b"], boxes=np.zeros((3, 4)), masks=masks)
    assert paint(found, ["b", "a"], (6, 4)).tolist() == [[1, 1, 1, 0, 0, -1]] * 4       # and what is unsure, nowhere
    assert (paint(found, ["c"], (6, 4)) == -1).all() and (paint(None, ["a"], (6, 4)) == -1).all()


# nbs/62_v2_evaluate.ipynb, cell 90455b58
def test_what_the_data_cannot_serve_is_left_out():
    folder = TemporaryDirectory()
    data = load_data(write_shapes(folder.name, n=4))
    scores = evaluate_v2(Oracle(data), data)
    assert {"detect", "segment", "pose", "ground", "answer", "interactive"} <= set(scores)
    assert not {"choice", "region_caption", "grounded_caption"} & set(scores) and list(scores["pose"]["by_family"]) == ["kite"]
    for records in data.tables.annotations.values():
        for record in records: record.pop("segmentation", None)
    data.tables.captions.clear()
    bare = data.subset(4)
    less = evaluate_v2(Oracle(bare), bare)
    assert set(scores) - set(less) == {"segment", "semantic", "interactive", "in_context", "caption"}
    assert less["detect"]["AP"] == pytest.approx(1)
    examiner = ChatExaminer(Oracle(bare), bare)
    assert SCORES["segment"](examiner, "segment") is None
    with pytest.raises(ValueError, match="nothing to score for segment, choice"): evaluate_v2(Oracle(bare), bare, ("segment", "choice"))
    with pytest.raises(ValueError, match="unknown tasks juggle; accepted are routing, detect") as error:
        evaluate_v2(None, bare, ("detect", "juggle"))
    assert "\n" not in str(error.value)


# nbs/62_v2_evaluate.ipynb, cell 37c5239a
def test_batches_do_not_matter():
    data, tasks = toys().subset(3), ("routing", "detect", "interactive", "choice", "answer")
    one, many = (evaluate_v2(Oracle(data, moved(0.1), tasks), data, tasks, batch_size=size) for size in (1, 50))
    assert one == many


# nbs/62_v2_evaluate.ipynb, cell 80a4c447
def newborn():
    "A tiny model of random weights."
    torch.manual_seed(0)
    return VisionLLMv2.build("tiny", toys().categories).eval()


# nbs/62_v2_evaluate.ipynb, cell 926587e7
def test_a_real_model_goes_through_all_of_it():
    data = toys().subset(2)
    model = newborn()
    scores = evaluate_v2(model, data)
    assert list(scores) == [t for t in SCORES if t in scores] and len(scores) >= 12
    for task, score in scores.items():
        for column in (score, score.get("forced", {}), score.get("blind", {})):
            for name, value in flat(column).items():
                assert -1 <= value <= (10 if "CIDEr" in name else 1), (task, name)
    assert scores["routing"]["accuracy"] < 1 and not model.training
    assert all(scores[task][name] == 0 for task, name in (("detect", "AP"), ("ground", "P@0.5"), ("interactive", "mIoU"), ("pose", "AP")))
    again = evaluate_v2(model, data, ("routing", "ground"), batch_size=16)
    assert again == {task: scores[task] for task in again}


# nbs/62_v2_evaluate.ipynb, cell 48b75210
def test_the_table_shows_columns_side_by_side():
    scores = {"ground": {"P@0.5": 0.25, "by_kind": {"only": 0.5}, "n": 8, "forced": {"P@0.5": 0.75, "by_kind": {"only": 1.0}}},
              "detect": {"AP": 0.5, "APs": -1.0, "n": 4, "forced": {"AP": 0.625, "APs": -1.0}},
              "answer": {"accuracy": 0.5, "n": 9, "blind": {"accuracy": 0.25}}}
    rows = [line.split() for line in v2_table(scores).splitlines()]
    assert rows[1:] == [["ground", "P@0.5", "0.250", "0.750", "8"], ["by_kind", "only", "0.500", "1.000"],
                        ["detect", "AP", "0.500", "0.625", "4"], ["APs", "-", "-"], ["answer", "accuracy", "0.500", "0.250", "9"]]
    assert len(v2_table(scores, parts=False).splitlines()) == 5
    head, body = v2_table(scores).splitlines()[0], v2_table(scores).splitlines()[-1]
    assert head.index("blind") + 5 == body.index("0.250") + 5                           # under its own heading


# nbs/62_v2_evaluate.ipynb, cell 714a28aa
def test_solutions():
    from itertools import chain

    from visionllm_edu.geometry import box_iou

    def note_length(examiner, chat, said):
        links = sum(len(examiner.routes(turn)) for turn in chat.turns)
        return f"{links:02} links", *note_routes(examiner, chat, said)[1:]

    by_length = Score(note_length, total_routes, FREE)(ChatExaminer(Oracle(toys()), toys()), "routing")
    assert set(by_length["by_task"].values()) == {1.0} and {"00 links", "01 links", "20 links"} <= set(by_length["by_task"])

    def note_precision(examiner, chat, said):
        d = said[-1].detections
        if d is None: return []
        boxes = np.asarray(d.boxes[d.scores >= SURE])
        return (box_iou(boxes, chat.targets[0].boxes_xyxy_px) >= 0.5).any(1).tolist()

    precise = Score(note_precision, lambda examiner, notes: {"precision": float(np.mean([*chain(*notes)])), "n": len(notes)})
    assert precise(ChatExaminer(Oracle(toys()), toys()), "grounded_caption")["precision"] == 1
