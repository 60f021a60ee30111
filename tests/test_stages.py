"""Tests of visionllm_edu/stages.py.

Generated from nbs/34b_stages.ipynb by make export: do not edit, edit the notebook.
"""

import json
import os
import pytest
import torch
from dataclasses import replace
from lightning.pytorch import Callback
from pathlib import Path
from safetensors.torch import load_file
from tempfile import TemporaryDirectory

from visionllm_edu.data.coco import load_data, write_shapes
from visionllm_edu.settings import changed, inherit
from visionllm_edu.stages import Sketches, hand_over, stage_cards, train_stages, v1_stages
from visionllm_edu.train import Recipe, V1, freeze, read_losses, train_v1
from visionllm_edu.v1.model import VisionLLMv1, VisionLLMv1Config


# nbs/34b_stages.ipynb, cell f4d31dbc
def tiny_course(steps=2):
    "All stages, of so many steps each."
    return {name: replace(r, minutes=None, steps=steps, batch_size=2) for name, r in v1_stages().items()}


# nbs/34b_stages.ipynb, cell c6a49ef2
def test_frozen_parts_stay():
    with TemporaryDirectory() as folder:
        model = train_stages(load_data("toybox:train:4"), tiny_course(), folder, VisionLLMv1Config.tiny(), quiet=True)
        before, after = (load_file(Path(folder, name, "weights", "model.safetensors")) for name in ("1-detection", "2-all-tasks"))
        moved = {k.split(".")[0] for k in after if not torch.equal(before[k], after[k])}
        assert moved == {"guidance", "tokenizer", "decoder"}
        said = load_file(Path(folder, "3-saying", "weights", "model.safetensors"))
        assert {k.split(".")[0] for k in said if not torch.equal(said[k], after[k])} == {"decoder"} and model.decoder.cfg.drafts == 8
        words, boxes = (load_file(Path(folder, name, "weights", "model.safetensors")) for name in ("0-words", "1-detection"))
        assert {k.split(".")[0] for k in boxes if not torch.equal(words[k], boxes[k])} == {"backbone", "guidance", "tokenizer", "decoder"}
        first, second = (load_file(Path(folder, name, "weights", "model.safetensors")) for name in ("0-drills", "0-words"))
        assert {k.split(".")[0] for k in second if not torch.equal(first[k], second[k])} == {"decoder"}     # words teach the LM alone


# nbs/34b_stages.ipynb, cell 1a4a6b76
def test_all_stages_learn_in_bfloat16():
    torch.manual_seed(0)
    data = load_data("toybox:train:4")
    model = VisionLLMv1.assemble(VisionLLMv1Config.mini(), V1.vocabulary(data)).train()
    for name in ("0-questions", "0-eyes", "1-detection", "2-all-tasks", "3-saying"):
        if name == "3-saying":
            model = inherit(changed(model.cfg, v1_stages()[name].settings), model).train()
            freeze(model, v1_stages()[name].frozen)
        samples = V1.mixture(data, replace(v1_stages()[name], rehearsal=0.0), model.cfg)
        batch = model.collate([samples[i] for i in range(4)])
        with torch.no_grad(): full = model.losses(batch)
        with torch.autocast("cpu", torch.bfloat16): half = model.losses(batch)
        model.zero_grad(), sum(half.values()).backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters()), name
        for term, loss in full.items(): torch.testing.assert_close(half[term].float(), loss, rtol=0.15, atol=0.05)


# nbs/34b_stages.ipynb, cell 032c05e3
class PowerCut(Callback):
    "Ends the run after the first step of the stage named."
    def __init__(self, stage): self.stage = stage
    def on_train_batch_end(self, trainer, *_):
        if self.stage in str(trainer.callbacks[2].out): raise RuntimeError("power cut")


# nbs/34b_stages.ipynb, cell 60c63dec
def test_stopped_course_goes_on():
    with TemporaryDirectory() as folder:
        data, cfg, options = load_data("toybox:train:4"), VisionLLMv1Config.tiny(), {"quiet": True, "checkpoint_minutes": 0}
        train_stages(data, tiny_course(), Path(folder, "a"), cfg, **options)
        with pytest.raises(RuntimeError, match="power cut"):
            train_stages(data, tiny_course(), Path(folder, "b"), cfg, callbacks=[PowerCut("1-detection")], **options)
        assert Path(folder, "b", "0-words", "done.json").exists() and not Path(folder, "b", "2-all-tasks").exists()
        with pytest.raises(RuntimeError, match="power cut"):
            train_stages(data, tiny_course(), Path(folder, "b"), cfg, resume=True, callbacks=[PowerCut("3-saying")], **options)
        train_stages(data, tiny_course(), Path(folder, "b"), cfg, resume=True, **options)
        a, b = (load_file(Path(folder, x, "3-saying", "weights", "model.safetensors")) for x in "ab")
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


# nbs/34b_stages.ipynb, cell d1a444d8
def test_a_course_that_was_handed_over_goes_on_elsewhere():
    with TemporaryDirectory() as folder:
        here, there, data = Path(folder, "a"), Path(folder, "b"), load_data("toybox:train:4")
        course, cfg, how = dict([*tiny_course().items()][-5:]), VisionLLMv1Config.tiny(), {"quiet": True, "checkpoint_minutes": 0}
        with pytest.raises(RuntimeError, match="power cut"):
            train_stages(data, course, here, cfg, callbacks=[PowerCut("1-detection")], **how)
        hand_over(here, there)
        assert not (there / "0-review" / "weights").exists() and (there / "0-eyes" / "weights").exists()
        assert (there / "1-detection" / "last.ckpt").exists() and not list(there.glob("0-eyes/last.ckpt*"))
        for out in (here, there): train_stages(data, course, out, cfg, resume=True, **how)
        a, b = (load_file(Path(out, "3-saying", "weights", "model.safetensors")) for out in (here, there))
        assert all(torch.equal(x, b[k]) for k, x in a.items())
        assert [f.name for f in stage_cards(there)] == [*course]
        with pytest.raises(ValueError, match="exists; give a new folder"): hand_over(here, there)
        with pytest.raises(ValueError, match="holds no stages"): hand_over(folder, Path(folder, "c"))


# nbs/34b_stages.ipynb, cell 9968221a
def test_another_recipe_is_refused():
    with TemporaryDirectory() as folder:
        data, one = load_data("toybox:train:4"), dict(list(tiny_course().items())[:1])
        train_stages(data, one, folder, VisionLLMv1Config.tiny(), quiet=True)
        other = {name: replace(r, language_rate=3.0) for name, r in one.items()}
        for finished in (True, False):
            if not finished: Path(folder, "0-drills", "done.json").unlink()
            with pytest.raises(ValueError, match="language_rate: then 0.7, now 3.0"):
                train_stages(data, other, folder, resume=True, quiet=True)


# nbs/34b_stages.ipynb, cell 57761082
def test_sketches_change_nothing_but_the_folder():
    with TemporaryDirectory() as folder:
        data, one, cfg = load_data("toybox:train:4"), {"2-all-tasks": tiny_course(3)["2-all-tasks"]}, VisionLLMv1Config.tiny()
        train_stages(data, one, Path(folder, "a"), cfg, quiet=True)
        train_stages(data, one, Path(folder, "b"), cfg, quiet=True, callbacks=[Sketches(data, folder, minutes=0, images=2)])
        assert len(list(Path(folder, "pictures").glob("*_step_*.png"))) == 3
        a, b = (load_file(Path(folder, x, "2-all-tasks", "weights", "model.safetensors")) for x in "ab")
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


# nbs/34b_stages.ipynb, cell 8cf91652
def test_two_processes_learn_what_one_does():
    import subprocess, sys
    SCRIPT = """
import sys
from visionllm_edu.data.coco import load_data
from visionllm_edu.train import recipe_for, train_v1
from visionllm_edu.v1.model import VisionLLMv1Config
spec, out, devices = sys.argv[1:]
train_v1(load_data(spec), recipe_for(steps=4, batch_size=4), out, VisionLLMv1Config.tiny(), accelerator="cpu",
         devices=int(devices), quiet=True)
"""
    with TemporaryDirectory() as folder:
        spec, script = write_shapes(Path(folder, "shapes"), n=6), Path(folder, "run.py")
        script.write_text(SCRIPT)
        for devices in ("1", "2"):
            done = subprocess.run([sys.executable, str(script), spec, str(Path(folder, devices)), devices],
                                  env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr[-2000:]
        one, two = (load_file(Path(folder, n, "weights", "model.safetensors")) for n in "12")
        torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-5)


# nbs/34b_stages.ipynb, cell 624b8645
def test_accumulated_batches_make_one_step():
    with TemporaryDirectory() as folder:
        recipe = Recipe({"detect": 1.0}, 2, accumulate=3, steps=2)
        train_v1(load_data("toybox:train:4"), recipe, folder, VisionLLMv1Config.tiny(), quiet=True)
        assert read_losses(Path(folder, "losses.csv"))["step"] == [1, 2]


# nbs/34b_stages.ipynb, cell 10aaa25d
def test_half_a_step_is_taken_again():
    from lightning.pytorch import Callback
    class Outage(Callback):
        "Cuts the power after the fourth batch, the first of the second step."
        def on_train_batch_end(self, trainer, model, outputs, batch, index):
            if index == 3: raise RuntimeError("power cut")
    recipe, data, cfg = Recipe({"detect": 1.0}, 2, accumulate=3, steps=3), load_data("toybox:train:4"), VisionLLMv1Config.tiny()
    with TemporaryDirectory() as whole, TemporaryDirectory() as cut:
        train_v1(data, recipe, whole, cfg, quiet=True)
        with pytest.raises(RuntimeError, match="power cut"):
            train_v1(data, recipe, cut, cfg, quiet=True, checkpoint_minutes=0, callbacks=[Outage()])
        assert read_losses(Path(cut, "losses.csv"))["step"] == [1]
        train_v1(data, recipe, cut, resume=True, quiet=True)
        a, b = (load_file(Path(out, "weights", "model.safetensors")) for out in (whole, cut))
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


# nbs/34b_stages.ipynb, cell e60d9d17
def test_devices_must_share_a_batch():
    with TemporaryDirectory() as folder, pytest.raises(ValueError, match="3 devices can't share batches of 4"):
        train_v1(load_data("toybox:train:4"), Recipe(batch_size=4, steps=1), folder, VisionLLMv1Config.tiny(), devices=3, quiet=True)


# nbs/34b_stages.ipynb, cell 077cca1a
def test_solutions():
    stages = {"4-pose": Recipe({"pose": 1.0}, 2, steps=2, frozen=("backbone", "guidance", "tokenizer"))}
    with TemporaryDirectory() as folder:
        model = train_stages(load_data("toybox:train:8"), stages, folder, VisionLLMv1Config.tiny(), quiet=True)
        assert {n.split(".")[0] for n, p in model.named_parameters() if p.requires_grad} == {"decoder"}
