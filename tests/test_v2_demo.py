"""Tests of visionllm_edu/v2_demo.py.

Generated from nbs/66_v2_demo.ipynb by make export: do not edit, edit the notebook.
"""

from dataclasses import replace
from pathlib import Path

from visionllm_edu.v2.answering import Chat
from visionllm_edu.v2.conversation import Turn
from visionllm_edu.v2_demo import chats_about, pictures_section, show_v2, v2_page
from visionllm_edu.v2_questions import converse


# nbs/66_v2_demo.ipynb, cell 5d7ff829
from contextlib import redirect_stdout
from io import StringIO
from tempfile import TemporaryDirectory

import torch
from visionllm_edu.data.coco import load_data
from visionllm_edu.v2.conversation import id_of
from visionllm_edu.v2.model import VisionLLMv2, VisionLLMv2Config
from visionllm_edu.v2_stages import v2_vocabulary

def tiny_model(data, **changes):
    "Random weights."
    torch.manual_seed(0)
    return VisionLLMv2.assemble(replace(VisionLLMv2Config.tiny(), **changes), v2_vocabulary(data, 600)).eval()


# nbs/66_v2_demo.ipynb, cell ef88d19f
def test_conversations_are_always_the_same():
    data = load_data("toybox:val:3")
    chats = [chats_about(data, k) for k in range(3)]
    again = [chats_about(load_data("toybox:val:3"), k) for k in range(3)]
    assert [[c.turns for c in some] for some in chats] == [[c.turns for c in some] for some in again]
    assert all({"detect", "caption", "questions"} <= {c.task for c in some} and len(some) >= 7 for some in chats)


# nbs/66_v2_demo.ipynb, cell 1de57eeb
def test_rounds_follow_the_models_own_answers():
    class Echo:
        "Answers with the number of rounds that it was shown, and remembers what it was given."
        def __init__(self): self.heard = []
        def respond(self, chats, **_):
            self.heard += chats
            return [Chat(None, (), "", turns=[*c.turns[:-1], Turn(c.turns[-1].user, f"round {len(c.turns)}")]) for c in chats]
    data, model = load_data("toybox:val:3"), Echo()
    chats = chats_about(data, 0)
    replies = [said[-1] for said in converse(model, chats)]
    for chat, reply in zip(chats, replies):
        assert [t.assistant for t in reply.turns] == [f"round {k + 1}" for k in range(len(chat.turns))]
        assert [t.user for t in reply.turns] == [t.user for t in chat.turns]
    assert all(c.targets == [] for c in model.heard)                     # nobody whispers the answer
    assert all(len(c.regions) == sum(t.user.count("<region>") for t in c.turns) for c in model.heard)


# nbs/66_v2_demo.ipynb, cell cda6a02b
def test_a_page_stands_by_itself():
    data = load_data("toybox:val:3")
    model = tiny_model(data)
    text = v2_page(model, data, "A <note>.", {"detect": {"AP": 0.5, "n": 7}}, images=1)
    assert text.startswith("<!doctype html>") and "A &lt;note&gt;." in text and "n = 7" in text
    assert text.count("<article") == len(chats_about(data, 0)) and "src=\"data:" in text and "What it draws" not in text
    assert not any(word in text for word in ("src=\"http", "href=\"http"))
    with TemporaryDirectory() as folder:
        model.save_pretrained(Path(folder, "weights"))
        with redirect_stdout(StringIO()) as said:
            page = show_v2(folder, str(Path(folder, "weights")), "toybox:val:2", 1, {"Elsewhere": "index.html"})
        assert '<a href="index.html">Elsewhere</a>' in page.read_text() and str(page) in said.getvalue()
        assert page.read_text().count("<article") == len(chats_about(load_data("toybox:val:2"), 0))
    model.link.writable = torch.tensor([id_of("[GEN]", model.vocabulary)])   # calls for pictures that it can't draw: left undone
    assert v2_page(model, data, "", images=1).count("<article") == len(chats_about(data, 0))


# nbs/66_v2_demo.ipynb, cell e9e306b3
def test_what_was_drawn_is_shown():
    data = load_data("toybox:val:3")
    model = tiny_model(data, draws=True)
    text = pictures_section(model, data, 2, num_inference_steps=1)
    assert text.count('class="card chat draw"') == 2 == text.count('class="card chat edit"') and text.count("<figcaption>data</figcaption>") == 4
