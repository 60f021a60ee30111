"""Tests of visionllm_edu/v2_speed.py.

Generated from nbs/62b_v2_speed.ipynb by make export: do not edit, edit the notebook.
"""

from visionllm_edu.v2_speed import bench_requests, official_flow, write_words


# nbs/62b_v2_speed.ipynb, cell b43abb16
from dataclasses import replace
from functools import cache

import pytest
import torch

from visionllm_edu.data.coco import load_data
from visionllm_edu.v2.answering import calls_of, unanswered
from visionllm_edu.v2.conversation import id_of
from visionllm_edu.v2.model import VisionLLMv2
from visionllm_edu.v2_questions import ChatExaminer

@cache
def toys():
    "Eight scenes of Toybox."
    return load_data("toybox:val:8")

def newborn():
    "A tiny model of random weights."
    torch.manual_seed(0)
    return VisionLLMv2.build("tiny", toys().categories).eval()

def prattler():
    "A newborn that can write nothing but [DET]: all its answers are links."
    model = newborn()
    model.link.writable = torch.tensor([id_of("[DET]", model.vocabulary)])
    return model

def eight_chats():
    "A detection chat about each scene."
    data = toys()
    return [replace(c, images=[data.image(k) for k in c.rows]) for c in ChatExaminer(None, data).chats("detect")]


# nbs/62b_v2_speed.ipynb, cell 2de52463
def test_words_are_written_as_generate_writes_them():
    model, chat = newborn(), unanswered(replace(eight_chats()[0], targets=[]))
    for name, weights in model.language_model.named_parameters():
        if "self_attn" in name: weights.data *= 20                           # random weights hardly look back; these do
    text = [i for i in model.link.writable.tolist() if model.vocabulary.kind(i) == "text"]
    model.link.writable = torch.tensor(text)                                 # words alone, no end
    (reply,) = model.respond([chat], max_new=12)
    ids = list(reply.turns[-1].assistant)
    with torch.no_grad(): assert write_words(model, chat, ids)[:12] == ids and len(set(ids)) > 3


# nbs/62b_v2_speed.ipynb, cell ceec9d39
def test_the_second_pass_finds_what_the_first_had_found():
    model, chats = prattler(), eight_chats()[:2]
    asked = [unanswered(replace(c, targets=[])) for c in chats]
    replies = model.respond(asked, max_new=3)
    assert [len(r.routes) for r in replies] == [3, 3]
    def same(a, b): return a.keys() == b.keys() and all(torch.allclose(a[k], b[k], atol=2e-3) for k in ("scores", "boxes"))
    for chat, reply in zip(asked, replies): assert same(official_flow(model, chat, reply), reply.detections)


# nbs/62b_v2_speed.ipynb, cell deb3a800
def test_pictures_are_encoded_twice_and_words_read_again():
    model, chat = prattler(), unanswered(replace(eight_chats()[0], targets=[]))
    (reply,) = model.respond([chat], max_new=3)
    def count(job):
        "How often the image encoder is called."
        calls, hook = [], model.image_encoder.register_forward_hook(lambda *_: calls.append(1))
        job(), hook.remove()
        return len(calls)
    assert count(lambda: model.respond([chat], max_new=3)) == 1
    assert count(lambda: official_flow(model, chat, reply)) == 2


# nbs/62b_v2_speed.ipynb, cell b618516a
def test_passes_are_as_many_as_the_formula_says():
    model, chats = prattler(), eight_chats()[:2]
    asked, m = [unanswered(replace(c, targets=[])) for c in chats], 3
    def passes_of(job):
        "How often the first layer of the LLM is called."
        calls, hook = [], model.language_model.lm.model.layers[0].register_forward_hook(lambda *_: calls.append(1))
        out = job()
        hook.remove()
        return len(calls), out
    alone, (reply,) = passes_of(lambda: model.respond(asked[:1], max_new=m))
    assert alone == passes_of(lambda: model.respond(asked, max_new=m))[0] == 1 + m
    assert passes_of(lambda: official_flow(model, asked[0], reply))[0] == 1 + m + 1


# nbs/62b_v2_speed.ipynb, cell d24476fb
def test_seconds_come_with_their_ratio():
    model = prattler().train()
    figures = bench_requests(model, eight_chats()[:3], rounds=1, max_new=3)
    assert list(figures) == ["one by one", "batch of 3"] and model.training
    for f in figures.values():
        assert set(f) == {"ours_s", "other_s", "ratio"} and f["ratio"] == pytest.approx(f["other_s"] / f["ours_s"])
