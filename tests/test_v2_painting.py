"""Tests of visionllm_edu/v2/painting.py.

Generated from nbs/54a_painting.ipynb by make export: do not edit, edit the notebook.
"""

from dataclasses import replace

from visionllm_edu.v2.chat_tasks import ChatSample
from visionllm_edu.v2.painting import Painting, WithFeatures, drawings_of, source_of
from visionllm_edu.vision.diffusion import PainterConfig
from visionllm_edu.vision.layout import LayoutConfig, layout_of


# nbs/54a_painting.ipynb, cell 7c9dc092
from random import Random

import pytest
import torch
from visionllm_edu.data.coco import load_data
from visionllm_edu.language.vocabulary import Vocabulary
from visionllm_edu.toybox.scene import render, split_scene
from visionllm_edu.v2.chat_tasks import Asking, Page, chat_of
from visionllm_edu.v2.conversation import LinkPlace, Turn
from visionllm_edu.v2.image_decoder import ImageDecoder, ImageDecoderConfig
from visionllm_edu.v2.picture_tasks import ask_edit, ask_generate
from visionllm_edu.v2.super_link import Generated, Link
from visionllm_edu.vision.diffusion import to_pixels
from visionllm_edu.vision.drawing import DiffusionConfig, LatentDiffusion

WIDTH, QUERIES = 24, 8  # of the link states


class Small(Painting):
    "What a model has to have to draw."

    def __init__(self, draws=True):
        torch.manual_seed(0)
        self.pictures = ImageDecoder(ImageDecoderConfig.tiny(), WIDTH) if draws else None


def some_chats():
    "A drawing, an edit, a chat in words and another drawing, with their pictures."
    data = load_data("toybox:val:4")
    chats = []
    for row, ask in ((0, ask_generate), (1, ask_edit), (2, None), (3, ask_generate)):
        page = Page(data, row)
        chat = chat_of(ask(page, Random(row), Asking()), page) if ask else ChatSample([], [Turn("Hi.", "Hi.")], rows=[row])
        chats.append(replace(chat, images=[data.image(r) for r in chat.rows]))
    return chats


def places(chats):
    "Where their links would be: the k-th conversation's at 10 + k."
    tokens = ("[GEN]", "[EDIT]", "", "[GEN]")
    return [[LinkPlace(token, 10 + k, 0, "", QUERIES)] if chat.targets else []
            for k, (chat, token) in enumerate(zip(chats, tokens))]


def answered(n, *tokens):
    "Answers with a link for each token, '' for none, with states that differ."
    torch.manual_seed(1)
    return [Generated([], links=[Link(t, 5, torch.randn(QUERIES, WIDTH))] if t else []) for t in tokens]


# nbs/54a_painting.ipynb, cell 714be6b5
def test_links_keep_their_addresses():
    chats, model = some_chats(), Small()
    found = model.drawings(chats, places(chats))
    assert found.places == [(0, 10), (1, 11), (3, 13)] and found.routes == ["generate", "edit", "generate"]
    assert found.of("generate") == [0, 2] and len(found) == 3 and found.features is None
    assert found.layouts.shape == (3, 0, 6)                             # the tiny painter draws without
    size = model.pictures.cfg.painter.size
    assert torch.equal(found.pixels, to_pixels([c.targets[0].picture for c in chats if c.targets], size))
    assert torch.equal(found.sources[1:2], to_pixels(chats[1].images, size)) and not torch.equal(found.sources[1], found.pixels[1])
    assert drawings_of(chats[2:3], [[]], model.pictures.cfg.painter) is None and Small(draws=False).drawings(chats, places(chats)) is None
    layout, seen = LayoutConfig(), load_data("toybox:val:1").sample(0)
    planner = PainterConfig.tiny(layout=layout)
    layouts = drawings_of(chats, places(chats), planner).layouts
    assert layouts.shape == (3, 12, 6) and (layouts[2, 0] >= 0).all()
    changed = chats[1].targets[0]                                       # of an edit: what it changes
    assert torch.equal(layouts[1], layout_of(layout, changed.picture, changed.shown))
    assert torch.equal(layouts[0], layout_of(layout, seen.image, seen))
    chats[0].targets[0].shown = None
    with pytest.raises(ValueError, match="pictures are learned with their layouts"): drawings_of(chats, places(chats), planner)


# nbs/54a_painting.ipynb, cell 16099c21
def test_each_route_hears_its_own_loss():
    chats, model = some_chats(), Small()
    links = [{10 + k: Link("[GEN]", 10 + k, torch.randn(QUERIES, WIDTH, requires_grad=True))} for k in range(4)]
    losses = model.drawing_losses(model.drawings(chats, places(chats)), links)
    assert list(losses) == ["generate_noise", "edit_noise"]
    losses["edit_noise"].backward()
    heard = [own[10 + k].states.grad is not None for k, own in enumerate(links)]
    assert heard == [False, True, False, False]
    losses["generate_noise"].backward()
    assert [own[10 + k].states.grad is not None for k, own in enumerate(links)] == [True, True, False, True]


# nbs/54a_painting.ipynb, cell 0de34e9e
def test_a_text_encoder_teaches():
    words = Vocabulary.train(["A red ball."] * 9, 280, range=1, num_classes=1, max_points=1)
    torch.manual_seed(0)
    teacher = LatentDiffusion(DiffusionConfig.tiny(), words)
    class Chats(list): seed, batch = 3, 1
    taught = WithFeatures(Chats(some_chats()), teacher)
    model, chats = Small(), [taught[k] for k in range(4)]
    assert taught.seed == 3 and chats[2].targets == []
    found = model.drawings(chats, places(chats))
    want = teacher.encode_text([c.targets[0].words for c in chats if c.targets], cut=True)
    torch.testing.assert_close(found.features, want)
    links = [{10 + k: Link("[GEN]", 10 + k, torch.randn(QUERIES, WIDTH))} for k in range(4)]
    assert set(model.drawing_losses(found, links)) == {f"{r}_{t}" for r in ("generate", "edit") for t in ("noise", "caption")}


# nbs/54a_painting.ipynb, cell 3b970948
def test_pictures_come_back_to_their_conversations():
    model, chats = Small(), some_chats()
    answers = answered(4, "[GEN]", "[EDIT]", "", "[GEN]")
    dice = lambda *seeds: [torch.Generator().manual_seed(k) for k in seeds]
    made = model.paint(chats, answers, dice(0, 1, 2, 3), num_inference_steps=2)
    assert [len(m) for m in made] == [1, 1, 0, 1] and made[1][0].size == chats[1].images[0].size
    alone = model.paint(chats[3:], answers[3:], dice(3), num_inference_steps=2)
    assert max(abs(a - b) for a, b in zip(made[3][0].tobytes(), alone[0][0].tobytes())) <= 1
    assert made[0][0].tobytes() != made[3][0].tobytes()
    mixed = model.paint(chats, answers, [None, None, None, *dice(3)], num_inference_steps=2)
    assert max(abs(a - b) for a, b in zip(mixed[3][0].tobytes(), made[3][0].tobytes())) <= 1
    assert mixed[0][0].tobytes() != made[0][0].tobytes()
    assert Small(draws=False).paint(chats, answers, strict=False) == [[], [], [], []]


# nbs/54a_painting.ipynb, cell f894451c
def test_what_was_drawn_last_is_edited():
    chat = some_chats()[1]
    drawn = render(split_scene("train", 3), 128).image
    assert source_of(chat) is chat.images[-1] and source_of(replace(chat, made=[drawn])) is drawn
    model, (answer,) = Small(), answered(1, "[EDIT]")
    how = dict(num_inference_steps=1, image_guidance_scale=1.0, guidance_scale=1.0)
    one, two = (model.paint([c], [answer], [torch.Generator().manual_seed(0)], **how)[0][0]
                for c in (chat, replace(chat, made=[drawn])))
    assert one.tobytes() != two.tobytes()


# nbs/54a_painting.ipynb, cell eef2111a
def test_what_can_not_be_painted():
    model, chats = Small(), some_chats()
    for how, line in ((dict(num_inference_steps=0), "num_inference_steps is 0"), (dict(guidance_scale=-1), "guidance_scale is -1"),
                      (dict(height=60), "height is 60; accepted are multiples of 8"), (dict(steps=3), "unknown 'steps'; accepted are num_inf"),
                      (dict(generator=[None]), "1 generators for 4 conversations")):
        for one in (model, Small(draws=False)):
            with pytest.raises(ValueError, match=line): one.check_painting(n=4, **how)
    with pytest.raises(ValueError, match="unknown 'treshold'"): Small(draws=False).check_painting(treshold=0.5)
    with pytest.raises(ValueError, match="the answer calls for a picture, and this model has no image decoder: see `with_pictures`"):
        Small(draws=False).paint(chats[:2], answered(2, "", "[GEN]"))
    assert Small(draws=False).paint(chats[:1], answered(1, "[DET]")) == [[]]
    model.check_painting(n=4, num_inference_steps=3, guidance_scale=1.5, height=64, generator=torch.Generator())
    with pytest.raises(ValueError, match="an edit needs a picture to change: this conversation has none"):
        model.paint(chats[:1], answered(1, "[EDIT]"), num_inference_steps=1)
    marked = replace(chats[0], turns=[Turn("Draw <region> again.")])
    with pytest.raises(ValueError, match="a drawing takes no visual prompts, this request has 1"):
        model.paint([marked], answered(1, "[GEN]"), num_inference_steps=1)
    both = [marked, chats[0]]                              # an examination goes on: what can't be served is left undone
    assert [len(some) for some in model.paint(both, answered(2, "[GEN]", "[GEN]"), strict=False, num_inference_steps=1)] == [0, 1]
    assert model.paint(chats[:1], answered(1, "[EDIT]"), strict=False, num_inference_steps=1) == [[]]
