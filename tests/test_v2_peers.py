"""Tests of visionllm_edu/v2_peers.py.

Generated from nbs/64_v2_peers.ipynb by make export: do not edit, edit the notebook.
"""

import torch
from dataclasses import replace
from pathlib import Path

from visionllm_edu.data.coco import load_data
from visionllm_edu.reply import Detections
from visionllm_edu.v2.chat_tasks import Page, target_of
from visionllm_edu.v2.model import VisionLLMv2Config
from visionllm_edu.v2_peers import (
    LabelledPictures, ObjectSpecialist, compare_specialist, score_objects,
)


# nbs/64_v2_peers.ipynb, cell aaf51cda
from tempfile import TemporaryDirectory

import pytest

data = load_data("toybox:val:4")
cfg = replace(VisionLLMv2Config.tiny(), categories=tuple(data.categories))


# nbs/64_v2_peers.ipynb, cell aa7e823a
def test_labelled_pictures():
    row, image, target = LabelledPictures(data)[3]
    assert row == LabelledPictures(data)[3][0] and len(target["boxes"]) == len(target["masks"])
    assert 0 <= target["labels"].min() and target["labels"].max() < len(data.categories)
    assert {LabelledPictures(data)[i][0] for i in range(20)} == {0, 1, 2, 3}   # every picture gets its turn


# nbs/64_v2_peers.ipynb, cell c0f57895
def test_specialist():
    torch.manual_seed(0)
    model = ObjectSpecialist(cfg)
    batch = model.collate([LabelledPictures(data)[i] for i in range(2)])
    losses = model.losses(batch)
    sum(losses.values()).backward()
    assert {"class", "l1", "giou", "mask", "dice", "denoise_class"} <= set(losses)
    assert model.classes.weight.grad.abs().sum() > 0
    model.eval()
    with torch.no_grad():
        before = model(batch.pixels)
        order = torch.randperm(len(data.categories))
        model.classes.weight.copy_(model.classes.weight[order])
        after = model(batch.pixels)
    torch.testing.assert_close(after.logits, before.logits[..., order], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(after.boxes, before.boxes, atol=1e-4, rtol=1e-4)


# nbs/64_v2_peers.ipynb, cell c4a2a830
def test_oracle_scores():
    class Oracle(ObjectSpecialist):
        "Knows what is there."
        def find(self, images, batch_size=16):
            rows = [next(r for r in range(len(data)) if data.image(r).tobytes() == i.tobytes())
                    for i in images]
            pages, found = [Page(data, r) for r in rows], []
            for page, image in zip(pages, images):
                t = target_of(page, *page.listed(data.categories))
                found.append(Detections(scores=torch.ones(len(t.labels)), labels=torch.tensor(t.labels),
                                        text_labels=[data.categories[k] for k in t.labels], image=image,
                                        boxes=torch.tensor(t.boxes_xyxy_px), masks=torch.tensor(t.masks)))
            return found

    scores = score_objects(Oracle(cfg), data)
    assert scores["boxes"]["AP"] == 1 and scores["masks"]["AP"] > 0.99


# nbs/64_v2_peers.ipynb, cell b45421d3
def test_trained_and_resumed():
    with TemporaryDirectory() as folder:
        small = replace(VisionLLMv2Config.tiny(), objects=replace(cfg.objects, denoising=4))
        scores = compare_specialist(data, data, out=folder, cfg=small, steps=2, batch_size=2, quiet=True)
        assert scores["steps"] == 2 and 0 <= scores["boxes"]["AP"] <= 1
        written = Path(folder, "last.ckpt").stat().st_mtime_ns
        again = compare_specialist(data, data, out=folder, cfg=small, steps=2, batch_size=2, quiet=True)
        assert again == scores and Path(folder, "last.ckpt").stat().st_mtime_ns == written  # nothing is trained twice
        few = load_data("toybox:val:4")
        few.categories = few.categories[1:]
        with pytest.raises(ValueError, match=f"can't judge {data.categories[0]}, which toybox:val has"):
            compare_specialist(data, few, out=folder, cfg=small, steps=2)
    try: ObjectSpecialist(VisionLLMv2Config.tiny())
    except ValueError as e: assert "categories" in str(e)
    else: raise AssertionError("a specialist without classes must be refused")


# nbs/64_v2_peers.ipynb, cell dabd2da0
from functools import cache


@cache
def learned(steps=150):
    "A tiny specialist that has seen four pictures again and again, and its losses."
    torch.manual_seed(0)
    model, curve = ObjectSpecialist(replace(cfg, lr_decoders=3e-3)).train(), []
    samples = LabelledPictures(data)
    by_row = {samples[i][0]: samples[i] for i in range(20)}
    batch, optimizer = model.collate([by_row[r] for r in sorted(by_row)]), model.configure_optimizers()
    for _ in range(steps):
        losses = model.losses(batch)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        curve.append({name: float(x.detach()) for name, x in losses.items()})
    return model.eval(), curve


# nbs/64_v2_peers.ipynb, cell 805aa3c7
def test_it_learns_four_pictures():
    model, curve = learned()
    mean = lambda part, name: sum(c[name] for c in part) / len(part)
    assert mean(curve[-10:], "class") < 0.7 * mean(curve[:10], "class") and mean(curve[-10:], "l1") < 0.7 * mean(curve[:10], "l1")
    torch.manual_seed(0)
    assert score_objects(model, data)["boxes"]["AP50"] > 0.1 + score_objects(ObjectSpecialist(cfg), data)["boxes"]["AP50"]
