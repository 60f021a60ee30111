"""Tests of visionllm_edu/v2/image_decoder.py.

Generated from nbs/54_image_decoder.ipynb by make export: do not edit, edit the notebook.
"""

from visionllm_edu.v2.image_decoder import (
    Bridge, ImageDecoder, ImageDecoderConfig, ROUTES_TO_PICTURES,
)
from visionllm_edu.vision.diffusion import PainterConfig


# nbs/54_image_decoder.ipynb, cell 3064808b
from dataclasses import replace

import pytest
import torch
from visionllm_edu.language.vocabulary import Vocabulary
from visionllm_edu.toybox.scene import render, split_scene
from visionllm_edu.vision.diffusion import to_pixels
from visionllm_edu.vision.drawing import DiffusionConfig, LatentDiffusion

WORDS = ["Draw a red ball.", "Make it night.", "Two dogs on a meadow."]


def scenes(n, first=0): return [render(split_scene("train", first + i), 128).image for i in range(n)]


def diffusion():
    torch.manual_seed(0)
    v = Vocabulary.train(WORDS * 9, 300, range=1, num_classes=1, max_points=1)
    model = LatentDiffusion.assemble(DiffusionConfig.tiny(), v)
    torch.nn.init.normal_(model.painter.nothing)
    return model


def tiny(d_llm=24):
    torch.manual_seed(0)
    return ImageDecoder(ImageDecoderConfig.tiny(), d_llm)


# nbs/54_image_decoder.ipynb, cell 40ce24db
def test_links_do_not_mix():
    torch.manual_seed(0)
    bridge, states = Bridge(ImageDecoderConfig.tiny(), 24), torch.randn(3, 8, 24)
    tokens = bridge(states)
    assert tokens.shape == (3, 16, 32)
    torch.testing.assert_close(bridge(states[1:2]), tokens[1:2])
    with pytest.raises(ValueError, match=r"shape \(3, 8, 20\); accepted is \(links, queries, 24\)"): bridge(states[..., :20])


# nbs/54_image_decoder.ipynb, cell e58ae8e0
def test_states_are_a_set():
    torch.manual_seed(0)
    bridge, states = Bridge(ImageDecoderConfig.tiny(), 24), torch.randn(2, 8, 24)
    torch.testing.assert_close(bridge(states[:, torch.randperm(8)]), bridge(states))
    assert not torch.allclose(bridge(states)[:, 0], bridge(states)[:, 1])


# nbs/54_image_decoder.ipynb, cell 0b894d98
def test_who_learns():
    decoder = tiny()
    learns = {n.split(".")[1] if n.startswith("painter") else n.split(".")[0]
              for n, p in decoder.named_parameters() if p.requires_grad}
    assert learns == {"editor", "bridges"}
    frozen = {n.split(".")[1] for n, p in decoder.named_parameters() if not p.requires_grad}
    assert frozen == {"vae", "unet", "nothing"}


# nbs/54_image_decoder.ipynb, cell 66d45621
def test_gradients_reach_the_link():
    decoder, pixels = tiny().train(), to_pixels(scenes(2), 16)
    decoder.painter.cfg.drop = decoder.painter.cfg.edit_drop = 0.0  # a dropped condition would hide its link
    for route in ROUTES_TO_PICTURES:
        decoder.zero_grad()
        states = torch.randn(2, 8, 24, requires_grad=True)
        terms = decoder.losses(route, states, pixels, source=pixels if route == "edit" else None)
        assert list(terms) == [f"{route}_noise"]
        terms[f"{route}_noise"].backward()
        assert states.grad.abs().sum((1, 2)).min() > 0  # of each link
        reached = {n.split(".")[1] for n, p in decoder.named_parameters() if p.grad is not None}
        assert reached == ({"generate"} if route == "generate" else {"edit", "editor"})


# nbs/54_image_decoder.ipynb, cell 691fa1e5
def test_caption_loss_is_a_tenth():
    decoder, model, pixels = tiny().train(), diffusion(), to_pixels(scenes(2), 16)
    states, features = torch.randn(2, 8, 24, requires_grad=True), model.encode_text(WORDS[:2])
    terms = decoder.losses("generate", states, pixels, features)
    tokens = decoder.bridges["generate"](states)
    torch.testing.assert_close(terms["generate_caption"], 0.1 * ((tokens - features) ** 2).mean())
    torch.testing.assert_close(decoder.caption_loss("generate", tokens, features), {"generate_caption": terms["generate_caption"]})
    assert not features.requires_grad
    terms["generate_caption"].backward()
    assert states.grad.abs().sum() > 0 and decoder.bridges["edit"].queries.grad is None


# nbs/54_image_decoder.ipynb, cell 6e930bb9
def test_only_what_fits():
    decoder, states, pixels = tiny(), torch.randn(2, 8, 24), to_pixels(scenes(2), 16)
    for args, line in ((("paint", states, pixels), "unknown route 'paint'"),
                       (("edit", states, pixels), "an edit needs a source"),
                       (("generate", states, pixels, None, pixels), "what is drawn afresh has no source"),
                       (("generate", states, pixels[:1]), "2 links but 1 pixels")):
        with pytest.raises(ValueError, match=line): decoder.losses(*args)
    with pytest.raises(ValueError, match="an edit needs a picture to change: 2 edits, 1 pictures"): decoder.edit(states, [None, *scenes(1)])
    with pytest.raises(ValueError, match="num_inference_steps is 0"): decoder.draw(states, num_inference_steps=0)


# nbs/54_image_decoder.ipynb, cell 1e00b1ca
def test_painter_is_taken():
    decoder, model = tiny(), diffusion()
    decoder.take(model)
    assert all(torch.equal(a, b) for a, b in zip(decoder.painter.state_dict().values(), model.painter.state_dict().values()))
    with pytest.raises(ValueError, match="the painter has"): ImageDecoder(ImageDecoderConfig(painter=PainterConfig.tiny(drop=0.2)), 24).take(model)


# nbs/54_image_decoder.ipynb, cell 8359764f
def test_same_tokens_same_picture():
    decoder, model = tiny(), diffusion()
    decoder.take(model)
    class Parrot(torch.nn.Module):
        def forward(self, states): return model.encode_text(WORDS[:len(states)])
    decoder.bridges["generate"] = decoder.bridges["edit"] = Parrot()
    how = dict(num_inference_steps=2, guidance_scale=3.0)
    dice = lambda: [torch.Generator().manual_seed(k) for k in (1, 2)]
    states, pictures = torch.zeros(2, 8, 24), scenes(2)
    same = lambda a, b: [x.tobytes() for x in a] == [y.tobytes() for y in b]
    assert same(decoder.draw(states, generator=dice(), **how), model.draw(WORDS[:2], generator=dice(), **how))
    assert same(decoder.edit(states, pictures, generator=dice(), **how), model.edit(WORDS[:2], pictures, generator=dice(), **how))


# nbs/54_image_decoder.ipynb, cell e80e70b5
def test_batched_is_single():
    decoder, states = tiny(), torch.randn(2, 8, 24)
    dice = lambda *seeds: [torch.Generator().manual_seed(k) for k in seeds]
    both = decoder.draw(states, generator=dice(1, 2), num_inference_steps=2)
    one = decoder.draw(states[1:], generator=dice(2), num_inference_steps=2)
    assert max(abs(a - b) for a, b in zip(both[1].tobytes(), one[0].tobytes())) <= 1
    assert decoder.draw(states[:0], num_inference_steps=1) == [] == decoder.edit(states[:0], [], num_inference_steps=1)


# nbs/54_image_decoder.ipynb, cell 6c75b5e9
import os
from functools import cache


@cache
def translated(steps=40 if "IN_TEST" in os.environ else 150):
    "The losses of a bridge that learns what the text encoder says of `WORDS`."
    decoder, features = tiny(), diffusion().encode_text(WORDS)
    bridge, states, curve = decoder.bridges["generate"], torch.randn(3, 8, 24), []
    optimizer = torch.optim.Adam(bridge.parameters(), 3e-3)
    for _ in range(steps):
        loss = torch.nn.functional.mse_loss(bridge(states), features)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curve.append(loss.item())
    return curve


# nbs/54_image_decoder.ipynb, cell 5a4dfe65
def test_bridge_learns_to_speak():
    curve = translated()
    assert curve[-1] < 0.3 * curve[0]


# nbs/54_image_decoder.ipynb, cell 50d218bd
def test_paper_scale():
    with torch.device("meta"):
        decoder = ImageDecoder(ImageDecoderConfig.paper(), 4096)
        states, pixels = torch.empty(2, 64, 4096), torch.empty(2, 3, 512, 512)
        tokens = decoder.bridges["generate"](states)
        assert tokens.shape == (2, 77, 768)
        z, t = torch.empty(2, 4, 64, 64), torch.empty(2, dtype=torch.long)
        assert decoder.painter.predict(z, t, tokens).shape == z.shape
        assert decoder.painter.predict(z, t, tokens, z).shape == z.shape
    count = lambda m: sum(p.numel() for p in m.parameters())
    d, mlp = 768, 3072
    attention, norm = 4 * d * d + 4 * d, 2 * d
    layer = attention + 2 * norm + (2 * d * mlp + mlp + d)
    assert count(decoder.bridges["generate"]) == (4096 * d + d) + (d * d + d) + 77 * d + 2 * layer + attention + norm + 2 * norm
    assert count(decoder.painter.unet) == 859_520_964 and count(decoder.painter.editor) == 859_532_484
    assert sum(p.numel() for p in decoder.parameters() if p.requires_grad) == 859_532_484 + count(decoder.bridges)
    with torch.device("meta"): deeper = Bridge(replace(ImageDecoderConfig.paper(), layers=2), 4096)
    assert count(decoder.bridges["generate"]) == 20_338_944 and count(deeper) == 36_878_592   # exercise 2


# nbs/54_image_decoder.ipynb, cell 6d5bac8e
def test_solutions():
    dice = [torch.Generator().manual_seed(k) for k in range(4)]
    decoder, states = ImageDecoder(ImageDecoderConfig.tiny(), 24), torch.randn(1, 8, 24)
    four = decoder.draw(states.repeat(4, 1, 1), generator=dice, num_inference_steps=2)
    assert len({picture.tobytes() for picture in four}) == 4
