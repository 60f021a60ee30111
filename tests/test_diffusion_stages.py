"""Tests of visionllm_edu/diffusion_stages.py.

Generated from nbs/53b_diffusion_stages.ipynb by make export: do not edit, edit the notebook.
"""

from random import Random

from visionllm_edu.data.tasks import descriptions
from visionllm_edu.diffusion_stages import (
    DIFFUSION, PictureMixture, diffusion_stages, inventory, picture_mixture,
)


# nbs/53b_diffusion_stages.ipynb, cell f35d78d8
import re
import pytest
import torch
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from visionllm_edu.data.coco import load_data, write_shapes
from visionllm_edu.data.edits import edit_of
from visionllm_edu.stages import train_stages
from visionllm_edu.train import Recipe, read_losses
from visionllm_edu.vision.diffusion import PainterConfig
from visionllm_edu.vision.drawing import DiffusionConfig, LatentDiffusion
from visionllm_edu.vision.layout import LayoutConfig, layout_of


def tiny_planner():
    "The size for tests, with layouts of all classes of Toybox."
    layout = replace(LayoutConfig.tiny(), classes=32)
    return replace(DiffusionConfig.tiny(), painter=PainterConfig.tiny(layout=layout))


# nbs/53b_diffusion_stages.ipynb, cell f24b7002
def test_samples_by_number():
    data = load_data("toybox:train:16")
    a, b = (PictureMixture(data, {"reconstruct": 1, "draw": 2, "edit": 2}, 3) for _ in range(2))
    other = PictureMixture(data, {"reconstruct": 1, "draw": 2, "edit": 2}, 4)
    few = PictureMixture(data, {"draw_few": 1.0})
    for i in range(6):
        s = few[i]
        assert s.task == "draw" and s.text and any(s.picture.tobytes() == data.image(r).tobytes() for r in range(16) if len(data.sample(r, image=False).labels) <= 3)
    first = data.sample(0, image=False)
    told = inventory(data, first, Random(0))
    assert all(line.split(": ")[-1] in told for line in descriptions(data, first)) and told.count(";") == len(first.labels) - 1
    seen = lambda s: (s.task, s.text, s.picture.tobytes(), s.source and s.source.tobytes())
    rows = [seen(a[i]) for i in range(12)]
    assert rows == [seen(b[i]) for i in reversed(range(12))][::-1]
    assert rows != [seen(other[i]) for i in range(12)]
    assert {row[0] for row in rows} == {"reconstruct", "draw", "edit"}
    assert all(a[i].layout is None for i in range(4))
    planned = PictureMixture(data, {"draw": 1, "edit": 1}, 3, 96, LayoutConfig())
    assert all(s.picture.size == (96, 96) and s.layout.shape == (12, 6) for s in map(planned.__getitem__, range(12)))
    row_of = {text: r for r in range(16) for s in [data.sample(r, image=False)] for text in s.captions + s.long_captions}
    drawn = next(s for s in map(planned.__getitem__, range(40)) if s.task == "draw" and s.text in row_of)
    row = row_of[drawn.text]
    want = layout_of(LayoutConfig(), data.image(row).resize((96, 96), 2), data.sample(row, image=False))
    assert torch.equal(drawn.layout, want) and (want[0] >= 0).all()
    plans = map(PictureMixture(data, {"plan": 1.0}, 3, 96, LayoutConfig()).__getitem__, range(12))
    assert all(s.task == "plan" and torch.equal(s.layout, planned.layouts[r]) for s in plans for r in [row_of.get(s.text)] if r in planned.layouts)
    for task in ("find_one", "find_change"):
        for s in map(PictureMixture(data, {task: 1.0}, 3, None, LayoutConfig()).__getitem__, range(8)):
            assert s.task == "find" and s.source is None
            row = next(r for r in range(16) if s.picture.tobytes() == data.image(r).tobytes())
            shown = data.sample(row)
            if task == "find_one":
                ids = next(p["annotation_ids"] for p in shown.phrases if p["text"] == s.text)
                one = layout_of(LayoutConfig(), shown.image, shown, [k for k, i in enumerate(shown.annotation_ids) if i in ids])
                assert torch.equal(s.layout, one) and (one[:, 0] >= 0).sum() == len(ids)
            else:
                change = next(t for t in (edit_of(data, row, n) for n in range(4)) if t and t.edit.instruction == s.text)
                assert torch.equal(s.layout, layout_of(LayoutConfig(), change.after, change.changed))
    edit = next(a[i] for i in range(12) if a[i].task == "edit")
    assert edit.source.tobytes() != edit.picture.tobytes() and edit.text.endswith(".")


# nbs/53b_diffusion_stages.ipynb, cell 2d015c5c
def test_what_is_refused():
    with TemporaryDirectory() as folder:
        shapes = load_data(write_shapes(folder, "train", 4, (64, 64), 0))
        with pytest.raises(ValueError, match="only Toybox can draw a scene again"):
            PictureMixture(shapes, {"edit": 1.0})
        assert PictureMixture(shapes, {"draw": 1.0})[0].text  # captions are enough to draw
        Path(folder, "annotations", "captions_train.json").unlink()
        with pytest.raises(ValueError, match="has no captions, so there is nothing to draw by"):
            PictureMixture(load_data(f"coco:{folder}:train"), {"draw": 1.0})
    for tasks in ({}, {"paint": 1.0}, {"draw": 0.0}):
        with pytest.raises(ValueError, match="accepted are weights above 0 for some of reconstruct, draw, draw_few, edit, find"):
            PictureMixture(load_data("toybox:train:16"), tasks)


# nbs/53b_diffusion_stages.ipynb, cell e29b953b
def test_four_stages():
    short = {name: replace(r, steps=2, minutes=None, batch_size=8) for name, r in diffusion_stages().items()}
    data, cfg = load_data("toybox:train:16"), tiny_planner()
    quiet = dict(quiet=True, accelerator="cpu", course=DIFFUSION, checkpoint_minutes=0)
    def part(model, name): return [p.clone() for p in model.get_submodule(name).parameters()]
    def same(a, b): return all(torch.equal(x, y) for x, y in zip(a, b))
    with TemporaryDirectory() as out:
        train_stages(data, dict([*short.items()][:2]), out, cfg, **quiet)
        coded, drew = (LatentDiffusion.from_pretrained(Path(out, n, "weights")) for n in ("0-autoencoder", "1-draw"))
        assert same(part(coded, "painter.vae"), part(drew, "painter.vae"))
        assert not same(part(coded, "painter.unet"), part(drew, "painter.unet"))
        assert same(part(coded, "painter.editor"), part(drew, "painter.editor"))
        assert not drew.painter.begun and coded.painter.std != 1
        looked = train_stages(data, dict([*short.items()][:3]), out, cfg, resume=True, **quiet)
        assert all(same(part(looked, name), part(drew, name)) for name in ("painter.unet", "text_encoder", "painter.vae"))
        assert not same(part(looked, "painter.layouts.eye"), part(drew, "painter.layouts.eye"))
        model = train_stages(data, short, out, cfg, resume=True, **quiet)
        assert model.painter.begun and same(part(model, "painter.vae"), part(coded, "painter.vae"))
        assert set(read_losses(Path(out, "0-autoencoder", "losses.csv"))) == {"step", "lr", "kl", "loss", "pixels"}
        assert {"edit_noise", "edit_layout", "find_layout", "draw_layout", "loss"} <= set(read_losses(Path(out, "3-edit", "losses.csv")))
        assert model.cfg.categories == tuple(data.categories)
    edits = short["3-edit"]
    assert [("find_one" in picture_mixture(data, edits, c).tasks) for c in (cfg, DiffusionConfig.tiny())] == [True, False]
    assert picture_mixture(data, short["2-look"], DiffusionConfig.tiny()).tasks == {"draw": 1.0}


# nbs/53b_diffusion_stages.ipynb, cell 5ffe604f
def test_half_precision_costs_the_same():
    short = {name: replace(r, steps=2, minutes=None, batch_size=4) for name, r in diffusion_stages().items()}
    def losses(precision):
        "The curve of each stage, in two steps."
        with TemporaryDirectory() as out:
            train_stages(load_data("toybox:train:16"), short, out, tiny_planner(), quiet=True, accelerator="cpu", course=DIFFUSION, precision=precision)
            return [loss for name in short for loss in read_losses(Path(out, name, "losses.csv"))["loss"]]
    assert losses("bf16-mixed") == pytest.approx(losses("32-true"), rel=0.02)
