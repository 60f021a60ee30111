"""Tests of visionllm_edu/vision/drawing.py.

Generated from nbs/53a_drawing.ipynb by make export: do not edit, edit the notebook.
"""

from visionllm_edu.vision.drawing import (
    DiffusionConfig, LatentDiffusion, PictureSample, TextEncoder, TextEncoderConfig,
    make_text_encoder,
)


# nbs/53a_drawing.ipynb, cell 1f493e92
from dataclasses import replace
import pytest
import torch
from visionllm_edu.language.vocabulary import Vocabulary
from visionllm_edu.toybox.scene import render, split_scene
from visionllm_edu.vision.diffusion import PainterConfig
from visionllm_edu.vision.layout import PAD, LayoutConfig

CAPTIONS = ["A red ball.", "A blue car at night.", "Two dogs on a meadow."]


def scenes(n, first=0): return [render(split_scene("train", first + i), 128).image for i in range(n)]


def vocabulary(): return Vocabulary.train(CAPTIONS * 9, 300, range=1, num_classes=1, max_points=1)


def tiny():
    torch.manual_seed(0)
    return LatentDiffusion.assemble(DiffusionConfig.tiny(), vocabulary())


# nbs/53a_drawing.ipynb, cell 086f9a81
def test_text_encoder_and_painter_must_fit():
    with pytest.raises(ValueError, match="77 tokens of width 192, the UNet takes 16 of width 32"):
        DiffusionConfig(painter=PainterConfig.tiny())


# nbs/53a_drawing.ipynb, cell 03445a72
def test_texts_fill_their_places():
    encoder = TextEncoder(TextEncoderConfig.tiny(), vocabulary())
    v, ids = encoder.vocabulary, encoder.ids(["A red ball.", ""])
    assert ids.shape == (2, 16) and (ids[:, 0] == v.bos_id).all() and (ids[:, -1] == v.eos_id).all()
    assert v.decode(ids[0], skip_special=True) == "A red ball." and (ids[1, 1:] == v.eos_id).all()
    assert encoder(ids).shape == (2, 16, 32) and len(encoder.ids([])) == 0
    for n, line in ((6, r"ball\. '\.\.\. takes \d+ tokens; accepted are at most 14"), (4, r"ball\. ' takes \d+ tokens; accepted")):
        with pytest.raises(ValueError, match=line): encoder.ids(["A red ball. " * n])
    with pytest.raises(ValueError, match="a text is a str, got 7"): encoder.ids([7])
    assert encoder.ids(["A red ball. " * 6], cut=True).shape == (1, 16)


# nbs/53a_drawing.ipynb, cell 46f8d828
def test_paper_text_encoder():
    with torch.device("meta"): encoder = make_text_encoder(TextEncoderConfig.paper(), 49408)
    assert sum(p.numel() for p in encoder.parameters()) == 123_060_480  # CLIP ViT-L/14's text half
    assert DiffusionConfig.paper().painter.size == 512


# nbs/53a_drawing.ipynb, cell 9b16adeb
def test_draw_and_edit():
    model, picture = tiny(), scenes(1)[0]
    drawn = model.draw("A red ball.", num_inference_steps=2, generator=torch.Generator().manual_seed(1))
    again = model.draw(["A red ball."], num_inference_steps=2, generator=torch.Generator().manual_seed(1))
    assert drawn[0].size == (16, 16) and drawn[0].tobytes() == again[0].tobytes()
    assert model.edit("Make it night.", picture, num_inference_steps=1)[0].size == picture.size
    assert len(model.edit(["Make it night.", "Make it day."], [picture] * 2, num_inference_steps=1)) == 2
    assert model.draw([], num_inference_steps=1) == []
    for wrong in (lambda: model.edit("Make it night.", None), lambda: model.edit(["Make it night."], None),
                  lambda: model.edit(["Make it night."] * 2, [picture])):
        with pytest.raises(ValueError, match="an edit needs a picture to change"): wrong()


# nbs/53a_drawing.ipynb, cell f2b1dd42
def test_a_batch_is_its_samples():
    model, (a, b) = tiny().train(), scenes(2)
    mixed = [PictureSample("reconstruct", a), PictureSample("draw", a, "A red ball."),
             PictureSample("edit", a, "Make it night.", b), PictureSample("draw", b, "Two dogs.")]
    batch = model.collate(mixed)
    assert batch.rows("draw").tolist() == [1, 3] and batch.pixels.shape == (4, 3, 16, 16)
    terms = model.losses(batch)
    assert set(terms) == {"pixels", "kl", "draw_noise", "edit_noise"} and all(x.isfinite() for x in terms.values())
    sum(terms.values()).backward()
    assert all(any(p.grad is not None for p in part.parameters()) for part in model.children())
    planner = LatentDiffusion(replace(DiffusionConfig.tiny(), painter=PainterConfig.tiny(layout=LayoutConfig.tiny())), model.vocabulary)
    layout = torch.tensor([[3, 4, 0, 0, 8, 8], [PAD] * 6, [PAD] * 6])
    batch = planner.collate([replace(s, layout=layout) for s in mixed[1:]] + mixed[1:2])
    assert torch.equal(batch.layouts[:3], layout.expand(3, 3, 6)) and (batch.layouts[3] == PAD).all()
    assert set(planner.losses(batch)) == {"draw_noise", "draw_layout", "edit_noise", "edit_layout"}
    found = PictureSample("find", a, "A red ball.", layout=layout)
    batch = planner.collate([found, *mixed[:1]])
    tokens = planner.text_encoder(batch.ids[:1])
    torch.testing.assert_close(planner.losses(batch)["find_layout"], planner.painter.layout_loss(tokens, batch.layouts[:1], batch.pixels[:1]) / 2)
    planned = planner.losses(planner.collate([replace(found, task="plan"), *mixed[:1]]))
    torch.testing.assert_close(planned["plan_layout"], planner.painter.layout_loss(tokens, batch.layouts[:1]) / 2)
    for task in ("find", "plan"):
        with pytest.raises(ValueError, match="is for layouts, and this painter writes none"): model.collate([replace(found, task=task)])
    with pytest.raises(ValueError, match="unknown task 'paint'"): model.collate([PictureSample("paint", a)])
    with pytest.raises(ValueError, match="is an edit without a picture to change"):
        model.collate([PictureSample("edit", a, "Make it night.")])


# nbs/53a_drawing.ipynb, cell f4382fdd
def test_weights_come_back():
    from tempfile import TemporaryDirectory
    model = tiny()
    model.painter.std.fill_(3.0)
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        again = LatentDiffusion.from_pretrained(folder)
    assert all(torch.equal(x, y) for x, y in zip(model.state_dict().values(), again.state_dict().values()))
    assert again.cfg == model.cfg and again.painter.std == 3


# nbs/53a_drawing.ipynb, cell f288cb63
import os
from functools import cache


@cache
def learned(steps=25 if "IN_TEST" in os.environ else 60):
    "Losses of a tiny model that learns two scenes."
    model, curve = tiny().train(), []
    pairs = [PictureSample("draw", p, t) for p, t in zip(scenes(2), CAPTIONS)]
    batch, optimizer = model.collate(pairs * 2), torch.optim.Adam(model.parameters(), 4e-3)
    for _ in range(steps):
        torch.manual_seed(1)
        loss = sum(model.losses(batch).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curve.append(loss.item())
    return curve


# nbs/53a_drawing.ipynb, cell 073759c3
def test_loss_falls():
    curve = learned()
    assert curve[-1] < 0.9 * curve[0]


# nbs/53a_drawing.ipynb, cell e000f4bb
def test_solution_zero_positions_still_tell_order():
    torch.manual_seed(0)
    encoder = TextEncoder(TextEncoderConfig.tiny(), vocabulary()).eval()
    (places,) = [p for name, p in encoder.clip.named_parameters() if name.endswith("position_embedding.weight")]
    torch.nn.init.zeros_(places)
    one, two = encoder.ids(["A ball. A car.", "A car. A ball."])
    assert one.tolist() != two.tolist() and torch.equal(one.sort().values, two.sort().values)
    with torch.no_grad(): said = encoder(torch.stack([one, two]))
    assert torch.cdist(*said).min(1).values.max() > 1e-3   # some token of one sentence is like none of the other
