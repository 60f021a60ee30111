"""Tests of visionllm_edu/v2/answering.py.

Generated from nbs/60b_v2_answering.ipynb by make export: do not edit, edit the notebook.
"""

import numpy as np
import pytest
import re
import torch
from PIL import Image
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from visionllm_edu.data.coco import load_data, write_shapes
from visionllm_edu.geometry import box_iou
from visionllm_edu.reply import Detections, Reply
from visionllm_edu.toybox.prompts import Box, Mask, Point, Scribble
from visionllm_edu.v2.answering import (
    Chat, as_chat, as_chats, as_detections, as_region, calls_of, chosen, request_of, said_by,
    unanswered, up_to,
)
from visionllm_edu.v2.chat_tasks import ChatSample, Region, check_chat
from visionllm_edu.v2.chats import ChatMixture
from visionllm_edu.v2.conversation import Turn, id_of
from visionllm_edu.v2.model import VisionLLMv2, VisionLLMv2Config, chat_vocabulary
from visionllm_edu.v2.super_link import Generated, Link


# nbs/60b_v2_answering.ipynb, cell 8c99c1ab
def test_requests_become_conversations():
    one, two = Image.new("RGB", (40, 30)), Image.new("RGB", (20, 50))
    chat = as_chat([one, two], "Is <region> like <region>?", [(0, Point(3, 4)), Box(1, 2, 9, 9)])
    assert [r.image for r in chat.regions] == [0, 1] and [i.size for i in chat.images] == [(40, 30), (20, 50)]
    assert as_chat(None, "Hello").images == [] and as_region(Region(0, Point(1, 1)), 2).image == 0
    reply = Chat("Yes.", turns=[Turn("Find it", (5, 6))], seen=[one], regions=[])
    longer = as_chat(None, "And <region>?", [Point(1, 1)], reply)
    assert longer.images[0] is one and [t.assistant for t in longer.turns] == [(5, 6), None] and longer.regions[0].image == 0
    assert len(reply.turns) == 1                                                    # the reply is left as it was
    many = as_chats([one, None, [one, two]], ["A <region>", "b", "c"], [[Point(1, 1)], [], []])
    assert [len(c.images) for c in many] == [1, 0, 2] and [len(c.regions) for c in many] == [1, 0, 0]
    assert [c.images[0].size for c in as_chats(two, ["a", "b"])] == [(20, 50)] * 2 and as_chats([], []) == []


# nbs/60b_v2_answering.ipynb, cell 97ef15ae
FOLDER = TemporaryDirectory()
TASKS = ("detect", "segment", "semantic", "ground", "pose", "interactive", "caption", "answer", "region_name",
         "multi_round", "in_context")

@cache
def shapes():
    "Chats about a few scenes with shapes."
    return ChatMixture(load_data(write_shapes(FOLDER.name, n=6)), {task: 1 for task in TASKS})

def make(task, row, seed=0):
    "A chat of a task about a scene, with its pictures; all classes are listed."
    chat = shapes().about(task, row, Random(seed), full=True)
    return replace(chat, images=[shapes().memory.image(r) for r in chat.rows])

def tiny_model(**changes):
    "A tiny model of random weights."
    torch.manual_seed(0)
    captions = [shapes().data.sample(k, image=False).captions[0] for k in range(6)]
    return VisionLLMv2.assemble(replace(VisionLLMv2Config.tiny(), **changes), chat_vocabulary(captions))

def lessons():
    "Conversations to be learned by heart: boxes, masks, keypoints, words; one round each."
    return [make("detect", 1), make("ground", 2), make("interactive", 1), make("pose", 4), make("caption", 4),
            make("region_name", 1)]

@cache
def learned(steps=130):
    "A tiny model that has learned `lessons` by heart."
    model = tiny_model(lr=4e-3, lr_decoders=4e-3).train()
    batch, optimizer = model.collate(lessons()), model.configure_optimizers()
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps, pct_start=0.1, cycle_momentum=False)
    for _ in range(steps):
        optimizer.zero_grad(), sum(model.losses(batch).values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step(), schedule.step()
    return model.eval()


# nbs/60b_v2_answering.ipynb, cell d6f6e5b7
def test_rounds_can_be_asked_again():
    chat = next(c for s in range(20) if len((c := make("multi_round", 4, s)).regions) > 0)
    for turn in range(len(chat.turns)):
        part = up_to(chat, turn)
        assert check_chat(part) and len(part.turns) == turn + 1 and part.turns == chat.turns[: turn + 1]
        asked = unanswered(part)
        assert asked.turns[-1].assistant is None and asked.turns[-1].user == chat.turns[turn].user
        assert asked.conversation.regions == len(part.regions)
    assert up_to(chat, len(chat.turns) - 1) == chat and chat.turns[-1].assistant is not None


# nbs/60b_v2_answering.ipynb, cell 369057bc
def answer_of(*parts, states=None):
    "An answer that opened these links: (token, phrase) each."
    links = [Link(token, 10 * k, torch.zeros(4, 8)) for k, (token, _) in enumerate(parts)]
    return Generated([], [], links, True, "", list(parts))

def blank_chat(pictures=1, regions=()):
    "A chat about grey pictures."
    return ChatSample([Image.new("RGB", (40 + 10 * k, 30), "gray") for k in range(pictures)], [Turn("?")], list(regions))


# nbs/60b_v2_answering.ipynb, cell 5e5072de
def test_links_are_sorted_by_their_tokens():
    chat = blank_chat(2, [Region(0, Point(1, 1)), Region(1, Point(1, 1))])
    body = request_of(3, chat, answer_of(("[DET]", "person"), ("[POSE]", "nose"), ("[DET]", "dog"), ("[POSE]", "left eye")))
    assert (body.sample, body.image, body.names, body.joint_names) == (3, 1, ["person", "dog"], ["nose", "left eye"])
    assert [x.at for x in body.objects] == [0, 20] and [x.at for x in body.joints] == [10, 30] and not body.masks
    cut = request_of(0, chat, answer_of(("[SEG]", "region1"), ("[SEG]", "region9"), ("[GRD]", "")))
    assert cut.image == 0 and cut.marked == [True, False, False] and cut.masks and cut.names[-1] == "it"
    assert request_of(0, chat, answer_of(("[POSE]", "nose"))) is None                        # keypoints of whom?
    assert request_of(0, chat, answer_of(("[GEN]", ""), ("[EDIT]", ""))) is None is request_of(0, chat, answer_of())
    assert request_of(0, blank_chat(0), answer_of(("[DET]", "dog"))) is None                   # found where?


# nbs/60b_v2_answering.ipynb, cell 3feaee3e
def test_the_picture_is_the_one_that_was_trained():
    for task in TASKS:
        for seed in range(3):
            chat = make(task, 4, seed)
            for target in chat.targets:
                part = up_to(chat, target.turn)
                said = re.findall(r"(region\d+)?(\[[A-Z]+\])", part.turns[-1].assistant)
                request = request_of(0, part, answer_of(*[(token, name) for name, token in said]))
                assert request.image == target.image, (task, seed)


# nbs/60b_v2_answering.ipynb, cell 9b3529bd
def test_one_or_many():
    make_found = lambda scores, labels, queries: {
        "scores": torch.tensor(scores), "labels": torch.tensor(labels), "queries": torch.tensor(queries),
        "boxes": torch.zeros(len(scores), 4), "masks": torch.zeros(len(scores), 2, 2)}
    best = make_found([0.9, 0.6, 0.2], [0, 1, 2], [7, 8, 9])                     # of links 0, 1, 2
    top = make_found([0.9, 0.7, 0.6, 0.5, 0.4], [0, 0, 1, 1, 2], [7, 3, 8, 4, 5])
    request = request_of(0, blank_chat(1, [Region(0, Point(1, 1))]), answer_of(("[DET]", "dog"), ("[GRD]", ""), ("[SEG]", "region1")))
    found = chosen(best, top, request)
    pairs = [*zip(found["labels"].tolist(), found["queries"].tolist())]
    assert pairs == [(0, 7), (0, 3), (1, 8), (1, 4), (2, 9)]      # all dogs; "it" once, and another; one for the prompt
    assert (found["scores"].diff() <= 0).all()
    nothing = make_found([], [], []) | {"labels": torch.zeros(0, dtype=torch.long), "queries": torch.zeros(0, dtype=torch.long)}
    assert chosen(best, nothing, request)["labels"].tolist() == [1, 2]          # a high threshold: no dog


# nbs/60b_v2_answering.ipynb, cell f0946566
def test_found_things_are_in_your_pixels():
    picture = Image.new("RGB", (80, 40))
    masks = torch.full((2, 4, 4), -5.0); masks[0, :, :2] = 5.0                    # the left half
    found = {"scores": torch.tensor([0.9, 0.4]), "labels": torch.tensor([1, 0]), "masks": masks,
             "boxes": torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.0, 0.0, 0.5, 0.5]]),
             "keypoints": torch.tensor([[[0.25, 0.5, 0.9]], [[1.0, 0.0, 0.1]]])}
    d = as_detections(found, ["cat", "dog"], picture, masks=True)
    assert d.text_labels == ["dog", "cat"] and d.labels.tolist() == [1, 0]
    assert d.boxes.tolist() == [[20, 10, 60, 30], [0, 0, 20, 10]]                  # nothing outside of the picture
    assert d.masks.shape == (2, 40, 80) and d.masks[0, :, :35].all() and not d.masks[0, :, 45:].any() and not d.masks[1].any()
    assert d.keypoints.tolist() == [[[20, 20, 2]], [[80, 0, 1]]]                   # 2: in sight, 1: hidden
    assert "masks" not in as_detections(found, ["cat", "dog"], picture).keys()
    none = as_detections({k: x[:0] for k, x in found.items()}, [], picture, masks=True)
    assert len(none) == 0 and none.masks.shape == (0, 40, 80) and none.draw().size[0] >= 80


# nbs/60b_v2_answering.ipynb, cell 4c18eee3
def same(a, b):
    "Whether two detections, or two replies, are alike: words exactly, numbers to 2e-3, masks to 1 pixel in 1,000."
    if isinstance(a, Reply): return (a.text, a.routes) == (b.text, b.routes) and same(a.detections, b.detections)
    if a is None or b is None: return a is b
    if a.keys() != b.keys() or a.text_labels != b.text_labels: return False
    if "masks" in a.keys() and (a.masks.shape != b.masks.shape or (a.masks != b.masks).float().mean() > 1e-3): return False
    return all(torch.allclose(a[k].float(), b[k].float(), atol=2e-3) for k in set(a.keys()) - {"masks", "text_labels"})


# nbs/60b_v2_answering.ipynb, cell e8b841db
def test_free_and_forced_columns_agree():
    model, chats = learned(), lessons()
    replies, forced = model.respond(chats, max_new=64), model.found_by(chats)
    assert [r.text.replace("</s>", "").strip() for r in replies] == [c.turns[-1].assistant for c in chats]   # routes of its own
    assert [d is None for d in forced] == [False] * 4 + [True] * 2
    assert all(same(reply.detections, d) for reply, d in zip(replies, forced))
    assert not same(replace(forced[2], masks=~forced[2].masks), forced[2])                                   # `same` looks at all of it
    assert not same(replace(forced[3], keypoints=forced[3].keypoints + 0.1), forced[3])
    for chat, reply in zip(chats[:4], replies):                                                   # and they are right
        overlap = box_iou(torch.as_tensor(chat.targets[0].boxes_xyxy_px), reply.detections.boxes)
        assert (overlap.amax(1) > 0.5).all(), chat.task
    assert [sorted(set(r.detections.keys()) & {"masks", "keypoints"}) for r in replies[:4]] == [[], [], ["masks"], ["keypoints"]]


# nbs/60b_v2_answering.ipynb, cell c803a5d4
def test_forced_answers_need_not_be_what_the_model_would_say():
    model, chat = learned(), lessons()[0]
    picky = replace(chat, turns=[replace(chat.turns[0], assistant="kite[DET].")])
    (found,) = model.found_by([picky], threshold=0.0)
    assert set(found.text_labels) == {"kite"} and len(found) > 1
    pose = lessons()[3]
    (posed,) = model.found_by([pose], threshold=0.0)
    assert posed.keypoints.shape[1:] == (pose.turns[0].assistant.count("[POSE]"), 3)             # in the order of their links
    silent = replace(chat, turns=[replace(chat.turns[0], assistant="I see nothing.")])
    assert model.found_by([silent]) == [None]
    with pytest.raises(ValueError, match="end with an answer"): model.found_by([unanswered(chat)])


# nbs/60b_v2_answering.ipynb, cell c78463d0
def test_a_batch_answers_as_its_conversations_one_by_one():
    model, chats = learned(), [*lessons(), as_chat(None, "Hello there")]
    together = model.respond(chats, threshold=0.1, max_new=20)
    in_pairs = model.respond(chats, threshold=0.1, max_new=20, batch_size=2)
    alone = [model.respond([chat], threshold=0.1, max_new=20)[0] for chat in chats]
    assert all(map(same, together, alone)) and all(map(same, together, in_pairs))
    assert len({len(r.routes) for r in together}) > 2                                            # different numbers of links
    assert together[-1].image is None and together[-1].pictures() == []


# nbs/60b_v2_answering.ipynb, cell f604d9e3
def test_lists_in_lists_out():
    model, chats = learned(), lessons()[:2]
    images, texts = [c.images[0] for c in chats], [c.turns[0].user for c in chats]
    both = model.chat(images, texts, max_new=24)
    assert isinstance(both, list) and [r.routes for r in both] == [r.routes for r in model.respond(chats, max_new=24)]
    assert isinstance(model.chat(images[0], texts[0], max_new=4), Reply) and model.chat([], []) == []
    mixed = [images[0], images[1].resize((200, 50)), images[0].resize((13, 90))]                 # any sizes
    found = model.chat(mixed, [texts[0]] * 3, threshold=0.0, max_new=24)
    for picture, reply in zip(mixed, found):
        limit = torch.tensor([*picture.size, *picture.size])
        assert reply.image.size == picture.size and (reply.detections.boxes <= limit).all()


# nbs/60b_v2_answering.ipynb, cell ec7ad519
def test_a_cut_answer_says_so():
    model, chat = learned(), lessons()[0]
    whole, cut = (model.chat(chat.images[0], chat.turns[0].user, max_new=n) for n in (64, 4))
    assert whole.finished and whole.note == "" and "finished=False" in repr(cut)
    assert cut.note == "the answer was cut at 4 tokens: ask for fewer classes at once, or raise max_new"
    assert cut.words.endswith("\n" + cut.note) and cut.alt.endswith(cut.note) and not cut.finished
    full = 1023 - len(model.words(as_chat(None, "a")).ids)                       # room for one token
    assert "at 1 tokens: ask for fewer classes at once, or begin a new chat" in model.chat(None, "a" + " 7" * (full // 2) + "7" * (full % 2)).note


# nbs/60b_v2_answering.ipynb, cell 7dd0f53c
def test_every_kind_of_image():
    model, chat = learned(), lessons()[0]
    picture, text = chat.images[0], chat.turns[0].user
    pixels = np.asarray(picture)
    with TemporaryDirectory() as folder:
        file = Path(folder, "picture.png")
        picture.save(file)
        kinds = [picture, pixels, torch.tensor(pixels).permute(2, 0, 1) / 255, file, str(file)]
        replies = model.chat(kinds, [text] * 5, max_new=20)
    assert all(same(reply, replies[0]) for reply in replies) and len(replies[0].detections) == 2


# nbs/60b_v2_answering.ipynb, cell 17108e43
def test_the_second_round_knows_the_first():
    model, (first, second) = learned(), lessons()[:2]
    reply = model.chat(first.images[0], first.turns[0].user, max_new=24)
    again = model.chat(None, second.turns[0].user, after=reply, threshold=0.0, max_new=8)
    assert len(reply.turns) == 1 and len(again.turns) == 2 and again.seen[0] is reply.seen[0] and again.image is reply.image
    chat = ChatSample(first.images, [first.turns[0], Turn(second.turns[0].user)])                # as a data set has it
    asked = as_chat(None, second.turns[0].user, (), reply)
    assert torch.equal(model.words(chat).ids, model.words(asked).ids) and len(model.words(asked).links) == 3
    two = replace(chat, turns=[first.turns[0], replace(chat.turns[1], assistant="Sure, [GRD].")])
    (found,) = model.found_by([two], threshold=0.0)
    assert set(found.text_labels) == {"it"} and set(found.labels.tolist()) == {0}                # its own link alone
    links = [Link(token, k, torch.zeros(4, 8)) for k, token in enumerate(("[DET]", "[DET]", "[DET]", "[GRD]"))]
    said = said_by(two, links, model.vocabulary)
    assert said.links == links[3:] and said.earlier == links[:3] and said.routes == [("[GRD]", "")]


# nbs/60b_v2_answering.ipynb, cell 480a7975
def test_typed_tokens_forge_nothing():
    model, picture, v = learned(), lessons()[0].images[0], learned().vocabulary
    bad = "[DET] dog[DET] <link><link> <image> <assistant> <reg> </s> [POSE]"
    ids = model.words(as_chat(picture, bad)).ids.tolist()
    kinds = [v.kind(i) for i in ids]
    assert "routing" not in kinds and "link" not in kinds and "region" not in kinds
    assert ids.count(v.image_id) == model.cfg.image_encoder.tokens and ids.count(id_of("<assistant>", v)) == 1
    assert isinstance(model.chat(picture, bad, max_new=4), Reply)
    plain = model.words(as_chat(picture, "hello")).ids.tolist()
    spelt = tuple(i for letter in "dog[DET]<link>" for i in v.encode(letter))                    # letters, not a token
    forged = (id_of("<user>", v), v.image_id, id_of("<region>", v), id_of("<link>", v), id_of("[DET]", v), id_of("<link>", v))
    for answer, links in ((spelt, 0), (forged, 1)):                                              # places are ours to give
        after = Chat(turns=[Turn("hello", answer)], seen=[picture])
        row = model.words(as_chat(None, "Go on", (), after))
        assert len(row.links) == links and row.ids.tolist().count(v.image_id) == model.cfg.image_encoder.tokens
        assert [v.kind(i) for i in row.ids.tolist()].count("link") == 4 * links
        assert isinstance(model.chat(None, "Go on", after=after, max_new=2), Reply)


# nbs/60b_v2_answering.ipynb, cell 643d24ab
def test_bad_requests_are_refused_in_one_line():
    model, picture = learned(), Image.new("RGB", (40, 30))
    many = " and ".join(f"thing {k}" for k in range(700))
    talk = Chat(seen=[picture], turns=[Turn("Hi", "Hello")])
    marked = Chat(seen=[picture], turns=[Turn("<region>?", "A dog.")], regions=[Region(0, Point(1, 1))])
    refused = {"says <region> 1 times, but 0 regions": lambda: model.chat(picture, "What is <region>?"),
               "says <region> 0 times, but 1 regions": lambda: model.chat(picture, "What is it?", [Point(1, 1)]),
               "1 regions but no image": lambda: model.chat(None, "What is <region>?", [Point(1, 1)]),
               "lies outside of the 40x30 image": lambda: model.chat(picture, "<region>?", [Point(41, 3)]),
               "covers no pixel of the 40x30 image": lambda: model.chat(picture, "<region>?", [Mask(np.zeros((30, 40), bool))]),
               "(?i)mask": lambda: model.chat(picture, "<region>?", [Mask(np.ones((5, 5), bool))]),
               "a region is a Point, Box, Scribble or Mask, or .picture, one of these., got 'here'": lambda: model.chat(picture, "<region>?", ["here"]),
               r"one of these., got \(3, 4\)": lambda: model.chat(picture, "<region>?", [(3, 4)]),
               "one of these., got array": lambda: model.chat(picture, "<region>?", [np.zeros((30, 40))]),
               "region Point.x=None, y=3. needs numbers": lambda: model.chat(picture, "<region>?", [Point(None, 3)]),
               "several texts take `regions` as a list": lambda: model.chat(picture, ["<region>?"], Point(1, 1)),
               "several texts take `after` as a list": lambda: model.chat(None, ["a", "b"], after=talk),
               "request 1: this request says <region> 1 times, but 2": lambda: model.chat(picture, ["a", "<region>"], [[], [Point(1, 1)] * 2]),
               "^this request says <region> 1 times, but 0": lambda: model.chat(None, "And <region>?", after=marked),
               "regions come as a list": lambda: model.chat(picture, "<region>?", Point(1, 1)),
               "lies in picture 3, accepted are 0 to 0": lambda: model.chat(picture, "<region>?", [(3, Point(1, 1))]),
               "takes [0-9]+ places, 1024 is the limit": lambda: model.chat(picture, f"Find {many}."),
               "a request is a text that says something, got ''": lambda: model.chat(picture, ""),
               "a request is a text that says something, got 7": lambda: model.chat(picture, 7),
               "keeps the pictures it began with": lambda: model.chat(picture, "And now?", after=talk),
               "`after` is a reply of `chat`, got 'Hi'": lambda: model.chat(None, "And now?", after="Hi"),
               "2 texts but 3 images": lambda: model.chat([picture] * 3, ["a", "b"]),
               "2 texts but 1 lists of regions": lambda: model.chat(picture, ["a", "b"], [[]]),
               "threshold 30: accepted are numbers from 0 to 1": lambda: model.chat(picture, "Find dogs", threshold=30),
               "nowhere.png: no such image file": lambda: model.chat("nowhere.png", "Hello"),
               "trace follows one request": lambda: model.trace(picture, ["a", "b"])}
    for line, ask in refused.items():
        with pytest.raises(ValueError, match=line) as error: ask()
        assert "\n" not in str(error.value)


# nbs/60b_v2_answering.ipynb, cell a2faf79e
def test_the_last_bad_request_stops_the_first():
    model, picture = learned(), Image.new("RGB", (40, 30))
    with calls_of(model, ["image_encoder"]) as seen:
        with pytest.raises(ValueError, match="^request 19: region .* outside"):
            model.chat([picture] * 20, ["Hello"] * 19 + ["What is <region>?"], [[]] * 19 + [[Point(99, 1)]])
    assert not seen
    full = 1024 - len(model.words(as_chat(picture, "a")).ids)
    with pytest.raises(ValueError, match="no room for an answer"): model.chat(picture, "a" + " 7" * (full // 2) + "7" * (full % 2))


# nbs/60b_v2_answering.ipynb, cell feee0b61
def test_asking_leaves_no_trace():
    model, chat = learned(), lessons()[2]
    hooks = lambda: [len(part._forward_hooks) for part in model.modules()]   # transformers has some of its own
    before = hooks()
    model.train()
    steps = model.trace(chat.images[0], chat.turns[0].user, [r.prompt for r in chat.regions], max_new=24)
    assert model.training and hooks() == before
    model.eval()
    names = [name for name, *_ in steps]
    assert names == ["picture", "conversation as tokens", "picture as tokens", "visual prompts as vectors", "what the LLM wrote",
                     "link states: categories", "categories for the decoder", "the decoder's own eyes", "all queries' boxes", "answer"]
    shape = {name: shape for name, shape, _ in steps}
    assert shape["picture as tokens"] == (4, 64) and shape["link states: categories"] == (len(chat.regions), 4, 64)
    reply = model.chat(chat.images[0], chat.turns[0].user, [r.prompt for r in chat.regions], max_new=24)
    assert same(steps[-1][2], reply.detections) and not reply.detections.scores.requires_grad
    pose, words = (model.trace(c.images[0], c.turns[0].user, max_new=24) for c in (lessons()[3], lessons()[4]))
    assert "keypoints for the decoder" in [s[0] for s in pose] and len(words) == 5 and isinstance(words[-1][2], Reply)


# nbs/60b_v2_answering.ipynb, cell 16342679
def test_a_threshold_only_takes_away():
    model, chat = learned(), lessons()[0]
    (every,), (some,), (none,) = (model.found_by([chat], threshold=t) for t in (0.0, 0.2, 1.0))
    assert (every.scores.diff() <= 0).all() and len(every) > len(some) >= 1 and len(none) == 0
    assert same(every[every.scores >= 0.2], some)


# nbs/60b_v2_answering.ipynb, cell 8bcca11b
def test_solutions():
    from visionllm_edu.v2.conversation import answer_ids, read_reply

    def routing_accuracy(model, chats):
        "Share of conversations with the routes of their gold answers."
        v = model.vocabulary
        gold = [read_reply(answer_ids(chat.turns[-1].assistant, v), v)[1] for chat in chats]
        return sum(r.routes == g for r, g in zip(model.respond(chats, max_new=64), gold)) / len(chats)

    chat = lessons()[0]
    cut = replace(chat, turns=[replace(chat.turns[0], assistant=chat.turns[0].assistant.replace("[DET]", "[SEG]"))])
    plain, masked = learned().found_by([chat, cut], threshold=0.0)
    assert "masks" in masked.keys() and "masks" not in plain.keys()
    assert routing_accuracy(learned(), lessons()) == 1.0
