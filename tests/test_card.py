"""Tests of visionllm_edu/card.py.

Generated from nbs/39_card.ipynb by make export: do not edit, edit the notebook.
"""

import json
import pytest
import torch
from dataclasses import replace
from pathlib import Path
from safetensors.torch import load_file
from tempfile import TemporaryDirectory

from visionllm_edu.card import (
    BEFORE, describe_run, ship_weights, split_scores, versions_told, write_card,
)
from visionllm_edu.data.coco import load_data
from visionllm_edu.stages import train_stages, v1_stages
from visionllm_edu.train import Recipe
from visionllm_edu.v1.model import VisionLLMv1, VisionLLMv1Config
from visionllm_edu.weights import digests, find_weights


# nbs/39_card.ipynb, cell 62bc1d9a
def tiny_run(folder, n=1):
    "A finished tiny course of the first n stages."
    stages = dict(list({k: replace(r, minutes=None, steps=2, batch_size=2) for k, r in v1_stages().items()}.items())[:n])
    train_stages(load_data("toybox:train:4"), stages, folder, VisionLLMv1Config.tiny(), quiet=True)
    return Path(folder)


# nbs/39_card.ipynb, cell bf628ba9
def test_shipped_weights_are_the_trained_ones_rounded():
    with TemporaryDirectory() as folder:
        run, out = tiny_run(Path(folder, "run"), 2), Path(folder, "toy")
        ship_weights(run, out)
        trained, shipped = (load_file(p / "model.safetensors") for p in (run / "0-prompts" / "weights", out))
        assert all(shipped[k].dtype == torch.float16 and torch.equal(shipped[k], trained[k].half()) for k in trained)
        model = VisionLLMv1.from_pretrained(out)
        assert all(p.dtype == torch.float32 for p in model.parameters())
        text = write_card(out).read_text()
        assert "| 0-prompts | detect | prompts | 2 | 2 |" in text and "Not scored yet." in text
        (run / "0-prompts").rename(run / "0-a"), (run / "0-drills").rename(run / "0-b")
        assert [*describe_run(run)["stages"]] == ["0-b", "0-a"]              # by what happened, not by name
        (out / "scores").mkdir()
        (out / "scores" / "val.json").write_text(json.dumps({"detect": {"AP": 0.25, "n": 7}}))
        assert "| val | 0.250 | - | - | - | - | - | 7 |" in write_card(out).read_text()
        assert len(list((out / "logs").glob("*.csv"))) == 2
        (run / "0-b").rename(run / "0-drills"), (run / "0-a").rename(run / "0-prompts")
        ship_weights(run, out)
        assert len(split_scores(out)) == 1                                  # the same weights again
        more = {"1-detection": Recipe({"detect": 1.0}, 2, steps=1), "0-drills": Recipe({"detect": 1.0}, 2, steps=3)}
        train_stages(load_data("toybox:train:4"), more, Path(folder, "more"), start=out, quiet=True)
        alone = ship_weights(Path(folder, "more"), Path(folder, "alone"))   # of weights that are nowhere else
        told = BEFORE.format(digests(out)["model.safetensors"])
        assert told in write_card(alone).read_text() and "It went on from" not in write_card(out).read_text()
        for _ in range(2):                                                  # what it went on from stays, once
            ship_weights(Path(folder, "more"), out)
            about = json.loads((out / "run.json").read_text())
            assert [*about["stages"]] == ["0-drills-before", "0-prompts", "1-detection", "0-drills"] and split_scores(out) == {}
            assert {p.stem for p in out.glob("logs/*.csv")} == {*about["stages"]}
        assert [stage["steps"] for stage in about["stages"].values()] == [2, 2, 1, 3]
        ship_weights(tiny_run(Path(folder, "other")), out)
        assert [p.stem for p in out.glob("logs/*.csv")] == ["0-drills"]


# nbs/39_card.ipynb, cell c1316b16
def test_unfinished_courses_are_not_shipped():
    with TemporaryDirectory() as folder:
        run = tiny_run(Path(folder, "run"))
        (run / "0-drills" / "done.json").unlink()
        with pytest.raises(ValueError, match="0-drills is not finished"): ship_weights(run, Path(folder, "out"))
        with pytest.raises(ValueError, match="holds no stages"): ship_weights(folder, Path(folder, "out"))
        assert not Path(folder, "out").exists()


# nbs/39_card.ipynb, cell b9f0a150
def test_cards_name_each_version_of_the_code():
    one, other = {"commit": "aaa"}, {"commit": "bbb+"}
    assert versions_told({"a": one, "b": one}) == "All of it at commit aaa."
    told = versions_told({"a": other, "b": one})
    assert "2 versions of the code" in told and "A + marks" in told


# nbs/39_card.ipynb, cell e0ea5a57
def test_v2_has_a_card():
    from visionllm_edu.v2.model import VisionLLMv2Config
    from visionllm_edu.v2_stages import V2, v2_recipe
    with TemporaryDirectory() as folder:
        run, out = Path(folder, "run"), Path(folder, "toy2")
        stages = {"0-words": replace(v2_recipe(steps=1, batch_size=2, tasks=["answer"]), source="words")}
        train_stages(load_data("toybox:train:4"), stages, run, VisionLLMv2Config.tiny(), course=V2, quiet=True)
        ship_weights(run, out)
        (out / "scores").mkdir()
        (out / "scores" / "val.json").write_text(json.dumps({"detect": {"AP": 0.25, "n": 7, "forced": {"AP": 0.5}}}))
        text = write_card(out).read_text()
    assert "VisionLLMv2.from_pretrained(\"toy2\")" in text and "evaluate v2" in text
    assert "| val | 0.250 | 7 |" in text and "| val, teacher-forced | 0.500 |  |" in text


# nbs/39_card.ipynb, cell c7dfcd92
def test_a_painter_has_a_card():
    from visionllm_edu.diffusion_stages import DIFFUSION, diffusion_stages
    from visionllm_edu.vision.drawing import DiffusionConfig
    with TemporaryDirectory() as folder:
        run, out = Path(folder, "run"), Path(folder, "toy3")
        stages = {"0-autoencoder": replace(diffusion_stages()["0-autoencoder"], minutes=None, steps=1, batch_size=2)}
        train_stages(load_data("toybox:train:4"), stages, run, DiffusionConfig.tiny(), course=DIFFUSION, quiet=True)
        ship_weights(run, out)
        (out / "scores").mkdir()
        (out / "scores" / "val.json").write_text(json.dumps({"generate": {"object": 0.5, "n": 9, "again": {"object": 0.75}}}))
        text = write_card(out).read_text()
        able = DIFFUSION.kind.from_pretrained(out)
        able.painter.begin_editor()
        able.half().save_pretrained(out)
        assert "has not learned to edit" in text and "has not learned to edit" not in write_card(out).read_text()
    assert "drawn scenes of 16 pixels with 20 kinds" in text and "language model" not in text and "Steered by its own" in text
    assert "| val, true pictures, through the autoencoder | 0.750 |" in text


# nbs/39_card.ipynb, cell 7158bded
def test_shipped_card_is_up_to_date():
    import shutil
    folder = find_weights("v1-toybox")
    with TemporaryDirectory() as copy:
        again = shutil.copytree(folder, Path(copy, "v1-toybox"))
        assert write_card(again).read_text() == (folder / "README.md").read_text()
    assert (folder / "model.safetensors").stat().st_size < 25e6


# nbs/39_card.ipynb, cell fd8dad59
def test_solutions():
    x = torch.full((1,), 0.1)
    assert (x.half().float() - x).abs() < (x.bfloat16().float() - x).abs()
    assert torch.finfo(torch.bfloat16).max > 1e38 > torch.finfo(torch.float16).max
