"""Tests of visionllm_edu/vision/layout.py.

Generated from nbs/52c_layouts.ipynb by make export: do not edit, edit the notebook.
"""

import numpy as np
import pytest
import torch
from PIL import Image
from dataclasses import replace

from visionllm_edu.data.coco import load_data
from visionllm_edu.data.edits import GONE, edit_of
from visionllm_edu.vision.layout import (
    LayoutConfig, LayoutDecoder, PAD, PLANNED, layout_of, plan_of, planned_cells,
)


# nbs/52c_layouts.ipynb, cell f0b1bd3f
def test_layouts_say_what_lies_where():
    cfg, data = LayoutConfig(), load_data("toybox:val:12")
    for k in range(12):
        sample = data.sample(k)
        layout = layout_of(cfg, sample.image, sample)
        n = min(len(sample.labels), cfg.objects)
        sides = sample.boxes_xyxy_px[:, 2:] - sample.boxes_xyxy_px[:, :2]
        order = np.argsort(-sides.prod(1), kind="stable")[:n]
        assert layout.shape == (12, 6) and (layout[n:] == PAD).all() and layout[:n, 0].tolist() == sample.labels[order].tolist()
        off = layout[:n, 2:].numpy() / 48 * 128 - sample.boxes_xyxy_px[order]
        assert (off[:, :2] <= 1e-3).all() and (off[:, 2:] >= -1e-3).all() and (abs(off) < 2.7).all()
        small = layout_of(cfg, sample.image.resize((96, 96), 2), sample)      # a smaller picture of the same scene
        assert torch.equal(small[:, [0, 2, 3, 4, 5]], layout[:, [0, 2, 3, 4, 5]])
    red = replace(sample, labels=np.array([3]), areas=np.ones(1), crowd=np.zeros(1, bool), boxes_xyxy_px=np.array([[0, 0, 128, 64.]]),
                  segmentations=[np.arange(128)[:, None].repeat(128, 1) < 64])
    picture = Image.new("RGB", (128, 128), (0, 0, 255))
    picture.paste((255, 60, 0), (0, 0, 128, 64))
    picture.paste((0, 0, 0), (0, 0, 60, 64))                                # nearly half of it is black
    assert layout_of(cfg, picture, red)[0].tolist() == [3, (4 * 5 + 1) * 5, 0, 0, 48, 24]
    bare = replace(red, segmentations=[None], boxes_xyxy_px=np.array([[64, 64, 128, 128.]]))  # a box alone: its tone, not the picture's
    assert layout_of(cfg, picture, bare)[0].tolist() == [3, 4, 24, 24, 48, 48]
    assert (layout_of(cfg, picture, replace(red, crowd=np.ones(1, bool))) == PAD).all()
    with pytest.raises(ValueError, match="an object of class 3: a layout knows 2 classes"): layout_of(replace(cfg, classes=2), picture, red)
    gone = next(t for t in (edit_of(data, k, n) for k in range(12) for n in range(4)) if t and t.edit.kind == "remove")
    assert layout_of(cfg, gone.after, gone.changed)[0, 0] == GONE


# nbs/52c_layouts.ipynb, cell f4432805
def test_a_plan_is_painted_large_to_small():
    cfg = LayoutConfig.tiny()                                              # 8 bins, two levels of each colour
    large, small = [3, 4, 0, 0, 8, 8], [5, 1, 4, 4, 6, 8]                  # red everywhere; blue, two wide and four high
    plan = plan_of(cfg, torch.tensor([[large, small, [PAD] * 6], [[PAD] * 6] * 3]), (8, 8))
    assert plan.shape == (2, PLANNED, 8, 8) and not plan[1].any() and planned_cells(plan).sum() == 64
    torch.testing.assert_close(plan[0, 7:10, 0, 0], torch.tensor([1.0, -1.0, -1.0]))
    torch.testing.assert_close(plan[0, 7:10, 5, 4], torch.tensor([-1.0, -1.0, 1.0]))
    codes = {tuple(plan[0, :7, y, x].tolist()) for y in range(8) for x in range(8)}
    assert len(codes) == 2 and torch.equal(plan[0, :7, 4:, 4:6], plan[0, :7, 4:5, 4:5].expand(7, 4, 2))
    torch.testing.assert_close(plan[0, 10, 4:, 4], 3**0.5 * torch.tensor([-0.75, -0.25, 0.25, 0.75]))
    torch.testing.assert_close(plan[0, 11, 4, 4:6], 3**0.5 * torch.tensor([-0.5, 0.5]))
    half = plan_of(cfg, torch.tensor([[[5, 1, 1, 0, 8, 8]]]), (4, 4))      # begins in the middle of a cell
    torch.testing.assert_close(half[0, :10, 0, 0] * 2, half[0, :10, 0, 1])
    goes = plan_of(cfg, torch.tensor([[[-1, 1, 0, 0, 8, 8]], [[8 - 1, 1, 0, 0, 8, 8]]]), (4, 4))
    assert not torch.allclose(goes[0], goes[1])                            # what goes has a direction of its own


# nbs/52c_layouts.ipynb, cell cb3008e8
def test_what_is_written_is_a_layout():
    torch.manual_seed(0)
    cfg = LayoutConfig.tiny()
    writer, tokens = LayoutDecoder(cfg, 32, 6).eval(), torch.randn(40, 5, 32)
    dice = lambda n: [torch.Generator().manual_seed(k) for k in range(n)]
    rows = writer.write(tokens, generator=dice(40))
    there = rows[..., 0] != PAD
    assert rows.shape == (40, 3, 6) and there.any() and not there.all() and (rows[~there] == PAD).all()
    assert not (~there[:, :-1] & there[:, 1:]).any()                       # nothing after the end
    label, tone, x0, y0, x1, y1 = rows[there].T
    assert set(label.tolist()) == {-1, *range(8)} and 0 <= tone.min() and tone.max() < 8
    assert (x0 < x1).all() and (y0 < y1).all() and min(x0.min(), y0.min()) == 0 and max(x1.max(), y1.max()) == 8
    for one in (0, 17): assert torch.equal(writer.write(tokens[one:one + 1], generator=dice(40)[one:one + 1])[0], rows[one])
    seen = torch.randn(40, 6, 8, 8)
    assert not torch.equal(writer.write(tokens, seen, dice(40)), rows)
    assert writer.write(tokens[:0]).shape == (0, 3, 6)


# nbs/52c_layouts.ipynb, cell a12ba92a
def test_layouts_come_back_from_tokens():
    torch.manual_seed(0)
    writer = LayoutDecoder(LayoutConfig.tiny(), 32, 6).eval()
    layouts = torch.tensor([[[3, 4, 0, 1, 8, 8], [-1, 7, 2, 2, 3, 5], [PAD] * 6], [[0, 0, 0, 0, 1, 1]] * 3, [[PAD] * 6] * 3])
    ids = writer.tokenizer.encode(layouts)
    assert torch.equal(writer.tokenizer.decode(ids[:, :-1].clamp(min=0)), layouts)
    assert ids.shape == (3, 19) and (ids[0, 13:] == -100).all() and ids[0, 12] == ids[1, 18] == ids[2, 0] == 0
    assert ids[0, :12].tolist() == [1 + 3, 10 + 4, 18, 19, 26, 26, 1 + 8, 10 + 7, 20, 20, 21, 23]
    tokens = torch.randn(3, 5, 32)
    loss = writer.loss(layouts, tokens)
    seen = torch.randn(3, 6, 8, 8)
    logits = [writer(writer.memory(tokens), torch.cat([torch.zeros(3, 1).long(), ids[:, :k].clamp(min=0)], 1))[:, -1] for k in range(19)]
    said = [(k, i) for k in range(19) for i in range(3) if ids[i, k] >= 0]
    by_hand = -sum(logits[k][i].log_softmax(-1)[ids[i, k]] for k, i in said) / len(said)  # written one by one
    torch.testing.assert_close(loss, by_hand)
    loss.backward()
    assert writer.words.weight.grad.any() and writer.eye[0].weight.grad is None and writer.map.weight.grad is None
    memory = writer.memory(tokens, seen)
    assert memory.shape == (3, 5 + 16, 32)                                 # an eye's place for each four cells
    told = writer.map(memory[:, 5:]).unflatten(1, (4, 4)).unflatten(3, (PLANNED, 2, 2))  # (3, down, across, numbers, two by two)
    far = [(told[b, y // 2, x // 2, :, y % 2, x % 2] - plan_of(writer.cfg, layouts, (8, 8))[b, :, y, x]).square().mean()
           for b in range(3) for y in range(8) for x in range(8)]          # cell by cell
    writer.cfg.map_weight = 0.0
    words = writer.loss(layouts, tokens, seen)
    writer.cfg.map_weight = 2.0
    torch.testing.assert_close(writer.loss(layouts, tokens, seen), words + 2 * sum(far) / len(far))
    writer.loss(layouts, tokens, seen).backward()
    assert writer.eye[0].weight.grad.any() and writer.map.weight.grad.any()


# nbs/52c_layouts.ipynb, cell 3be84365
import os
from functools import cache
from random import Random

LEARN_STEPS = 60 if "IN_TEST" in os.environ else 400
SENTENCES = [(c, t, s) for c in range(8) for t in (1, 2, 4, 6) for s in range(3)]
Random(0).shuffle(SENTENCES)


def world_of(sentences, rng):
    "A layout for each: one object, somewhere on its side."
    rows = []
    for c, t, s in sentences:
        x, y, w, h = 3 * s + rng.randrange(2), rng.randrange(5), rng.randint(1, 2), rng.randint(1, 3)
        rows.append([[c, t, x, y, min(x + w, 9), y + h], [PAD] * 6])
    return torch.tensor(rows)


@cache
def learned():
    "(writer, words, losses) after learning all sentences but sixteen."
    torch.manual_seed(0)
    cfg, rng, curve = replace(LayoutConfig.tiny(), objects=2, bins=9), Random(1), []
    writer, words = LayoutDecoder(cfg, 32, 6), torch.nn.Embedding(18, 32)
    optimizer = torch.optim.Adam([*writer.parameters(), *words.parameters()], 4e-3)
    for _ in range(LEARN_STEPS):
        some = rng.sample(SENTENCES[16:], 48)
        loss = writer.loss(world_of(some, rng), words(torch.tensor(some) + torch.tensor([0, 8, 15])))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curve.append(loss.item())
    return writer.eval(), words, curve


def asked(sentences):
    "{what: share of layouts in which it is right}."
    writer, words, _ = learned()
    dice = [torch.Generator().manual_seed(k) for k in range(len(sentences))]
    rows = writer.write(words(torch.tensor(sentences) + torch.tensor([0, 8, 15])), generator=dice)
    c, t, s = torch.tensor(sentences).T
    one = rows[:, 0]
    right = {"one object": (rows[:, 0, 0] != PAD) & (rows[:, 1, 0] == PAD), "class": one[:, 0] == c,
             "tone": one[:, 1] == t, "side": one[:, 2] // 3 == s}
    return {what: x.float().mean().item() for what, x in right.items()}


# nbs/52c_layouts.ipynb, cell db60d00d
def test_sentences_never_learned_are_laid_out():
    _, _, curve = learned()
    assert sum(curve[-5:]) < 0.8 * sum(curve[:5])
    if LEARN_STEPS > 100: assert min(asked(SENTENCES[:16] * 8).values()) > 0.9
