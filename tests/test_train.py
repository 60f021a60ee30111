"""Tests of visionllm_edu/train.py.

Generated from nbs/34_train.ipynb by make export: do not edit, edit the notebook.
"""

import json
import math
import pytest
import torch
import torch.distributed as dist
from collections import Counter
from dataclasses import replace
from lightning.pytorch import Callback
from pathlib import Path
from safetensors.torch import load_file
from shutil import copy, copytree, rmtree
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from unittest import mock

from visionllm_edu.data.coco import load_data, write_shapes
from visionllm_edu.train import (
    Clock, LossLog, Recipe, differences, make_trainer, overfit_recipe, rate_scale, read_losses,
    recipe_for, run_card, train_v1,
)
from visionllm_edu.v1.model import VisionLLMv1, VisionLLMv1Config
from visionllm_edu.vision.deformable import DeformableConfig


# nbs/34_train.ipynb, cell 7f91de01
def test_recipe_refuses_what_makes_no_run():
    for wrong in (dict(), dict(steps=5, minutes=1.0), dict(steps=0), dict(steps=-3), dict(minutes=0.0),
                  dict(minutes=float("nan")), dict(minutes=-1.0), dict(steps=5, batch_size=0), dict(steps=5, seed=-1)):
        with pytest.raises(ValueError, match="steps|minutes|batch_size|seed"): Recipe(**wrong)


# nbs/34_train.ipynb, cell 3ada219a
def test_recipes_name_their_tasks():
    assert set(recipe_for(steps=1).tasks) == {"detect", "segment", "ground", "pose", "caption", "answer"}
    assert overfit_recipe(steps=1, tasks=["detect"]).tasks == {"detect": 3.0}
    with pytest.raises(ValueError, match="unknown tasks juggle; accepted are detect, "):
        recipe_for(steps=1, tasks=["detect", "juggle"])


# nbs/34_train.ipynb, cell d50d408f
def test_rate_warms_up_then_falls():
    recipe = Recipe(steps=400)
    scales = [rate_scale(recipe, k, k / 400) for k in range(401)]
    top = scales.index(max(scales))
    assert scales[0] == pytest.approx(1 / 50, rel=1e-3) and abs(top - 49) <= 1
    assert scales[:top] == sorted(scales[:top]) and scales[top:] == sorted(scales[top:], reverse=True)
    assert scales[400] == pytest.approx(recipe.final_scale) and min(scales) > 0


# nbs/34_train.ipynb, cell 40254f1b
def test_clock_remembers_earlier_time():
    watch, run = SimpleNamespace(time=1000.0), SimpleNamespace(global_step=7, should_stop=False)
    model = SimpleNamespace(peak_rates=lambda: [1.0, 1.0])
    with mock.patch.object(Clock, "now", staticmethod(lambda: watch.time)):
        clock = Clock(Recipe(minutes=2.0)); clock.on_train_start(run, model)
        watch.time += 90
        kept = clock.state_dict()
        watch.time += 3600                                         # switched off
        clock = Clock(Recipe(minutes=2.0)); clock.load_state_dict(kept); clock.on_train_start(run, model)
        assert clock.progress(run) == 0.75 and not run.should_stop
        watch.time += 30
        clock.on_train_batch_end(run, model, None, None, 0)
        assert clock.seconds == 120 and run.should_stop


# nbs/34_train.ipynb, cell c21a918e
def test_clock_sets_rate_and_noise_by_step():
    run = SimpleNamespace(global_step=49, should_stop=False,
                          optimizers=[SimpleNamespace(param_groups=[{"lr": 0}, {"lr": 0}])])
    clock = Clock(Recipe(steps=400)); clock.on_train_start(run, SimpleNamespace(peak_rates=lambda: [1.0, 0.1]))
    draws = []
    for step in (49, 50, 49):
        run.global_step = step
        clock.on_train_batch_start(run, None, None, 0)
        draws.append(torch.rand(3))
    rates = [group["lr"] for group in run.optimizers[0].param_groups]
    assert rates[0] == rate_scale(clock.recipe, 49, 49 / 400) == pytest.approx(10 * rates[1])
    assert torch.equal(draws[0], draws[2]) and not torch.equal(draws[0], draws[1])


# nbs/34_train.ipynb, cell 99dcd4f4
def test_log_is_cut_back():
    with TemporaryDirectory() as folder:
        path = Path(folder, "losses.csv")
        path.write_text("step,lr,loss,word\n1,0.1,9,\n2,0.1,8,3\n3,0.1,7,3\n4,0.1,6,")  # killed while at 4
        log = LossLog(path)
        log.on_train_start(SimpleNamespace(global_step=2), None)
        assert [row["step"] for row in log.rows] == ["1", "2"]
        assert read_losses(path)["loss"] == [9, 8, 7, 6] and math.isnan(read_losses(path)["word"][0])
        assert read_losses(Path(folder, "none.csv")) == {}


# nbs/34_train.ipynb, cell 469e54d2
def shapes(n=4, folders=[]):
    "A small data set of drawn shapes; its folder lives as long as the process."
    folders.append(TemporaryDirectory())
    return load_data(write_shapes(folders[-1].name, n=n))

def shaky_config():
    "The tiny model with dropout at two places, so that lost random numbers or a wrong mode would show."
    tiny = VisionLLMv1Config.tiny()
    tokenizer = replace(tiny.tokenizer, deformable=DeformableConfig.tiny(dropout=0.1))
    return replace(tiny, tokenizer=tokenizer, language_model=replace(tiny.language_model, dropout=0.1))


# nbs/34_train.ipynb, cell e0386963
def test_card_ignores_where_data_lie():
    with TemporaryDirectory() as a, TemporaryDirectory() as b:
        here, there = load_data(write_shapes(a, n=3)), load_data(write_shapes(b, n=3))
        cards = [run_card(data, Recipe(steps=6), VisionLLMv1Config.tiny()) for data in (here, there)]
        assert cards[0] != cards[1] and differences(*cards) == []
        more = run_card(load_data(write_shapes(b, n=4)), Recipe(steps=6), VisionLLMv1Config.tiny())
        assert any("images: then 3, now 4" in line for line in differences(cards[0], more))


# nbs/34_train.ipynb, cell 52beefbe
def test_attention_is_plain_in_training_alone():
    from lightning.pytorch import Trainer
    from transformers import CLIPTextConfig, CLIPTextModel
    from visionllm_edu.train import plain_attention
    from visionllm_edu.vision.diffusion import Denoiser, PainterConfig
    torch.manual_seed(0)
    text = CLIPTextModel(CLIPTextConfig(vocab_size=20, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, bos_token_id=0, eos_token_id=1))
    both = torch.nn.ModuleList([text, Denoiser(PainterConfig.tiny())]).eval()
    def ways(): return {text.config._attn_implementation, *(type(p).__name__ for p in both[1].unet.attn_processors.values())}
    @torch.no_grad()
    def said():
        tokens = text(input_ids=torch.arange(32).view(2, 16) % 20).last_hidden_state
        return both[1].predict(torch.linspace(-1, 1, 512).view(2, 4, 8, 8), torch.tensor(500), tokens)
    before, fused = ways(), said()
    with plain_attention(Trainer(accelerator="cpu", logger=False), both):
        assert ways() == {"eager", "AttnProcessor"}
        torch.testing.assert_close(said(), fused, atol=1e-5, rtol=1e-4)
    assert ways() == before and "eager" not in before


# nbs/34_train.ipynb, cell 7661a5c4
def test_accelerator_that_is_not_there():
    with pytest.raises(ValueError, match="accelerator 'abacus': "): make_trainer(Recipe(steps=1), [], "abacus")


# nbs/34_train.ipynb, cell e1fc4c6a
class Outage(Callback):
    "Cuts the power after a step, or in the middle of the next: gradients computed, weights not yet changed."

    def __init__(self, step, halfway=False): self.step, self.halfway = step, halfway

    def on_before_optimizer_step(self, trainer, *_): self.cut(trainer, self.halfway)

    def on_train_batch_end(self, trainer, *_): self.cut(trainer, not self.halfway)

    def cut(self, trainer, now):
        if now and trainer.global_step == self.step: raise RuntimeError("power cut")

def files_of(out):
    "Every file of a run, byte by byte."
    return {path: path.read_bytes() for path in sorted(Path(out).rglob("*")) if path.is_file()}

def assert_same_run(a, b):
    "Two runs left the same log and the same weights, but for the last digits of a float."
    logs = [read_losses(Path(out, "losses.csv")) for out in (a, b)]
    assert logs[0].keys() == logs[1].keys()
    for name in logs[0]:
        torch.testing.assert_close(*(torch.tensor(log[name]) for log in logs), rtol=1e-4, atol=1e-5, equal_nan=True)
    weights = [load_file(Path(out, "weights", "model.safetensors")) for out in (a, b)]
    torch.testing.assert_close(*weights, rtol=1e-4, atol=1e-5)


# nbs/34_train.ipynb, cell 2db2ff60
def test_killed_run_equals_unbroken_run():
    data, cfg, recipe = shapes(), shaky_config(), recipe_for(steps=6, batch_size=2, seed=4)
    with TemporaryDirectory() as a, TemporaryDirectory() as b:
        train_v1(data, recipe, a, cfg, quiet=True)
        for outage, minutes, resume in ((Outage(0, True), 0, False), (Outage(2), 0, True),
                                        (Outage(3, True), 0, True), (Outage(6), 99, True)):
            with pytest.raises(RuntimeError, match="power cut"):
                train_v1(data, recipe, b, cfg, resume, quiet=True, checkpoint_minutes=minutes, callbacks=[outage])
        train_v1(data, recipe, b, resume=True, quiet=True)
        assert len(read_losses(Path(b, "losses.csv"))["loss"]) == 6
        assert_same_run(a, b)


# nbs/34_train.ipynb, cell 5ea77fa5
def test_lost_steps_are_taken_again():
    data, recipe = shapes(), recipe_for(steps=5, batch_size=2)
    cfg = shaky_config()
    with TemporaryDirectory() as a, TemporaryDirectory() as b:
        train_v1(data, recipe, a, cfg, quiet=True)
        with pytest.raises(RuntimeError):
            train_v1(data, recipe, b, cfg, quiet=True, checkpoint_minutes=99, callbacks=[Outage(4)])
        assert read_losses(Path(b, "losses.csv"))["step"] == [1, 2, 3, 4]   # the checkpoint is of step 0
        train_v1(data, recipe, b, resume=True, quiet=True)
        assert_same_run(a, b)


# nbs/34_train.ipynb, cell 07794860
def test_minutes_add_up_over_a_power_cut():
    class Watch(Callback):
        time = 0.0
        def on_before_optimizer_step(self, *_): Watch.time += 10

    data, recipe = shapes(), recipe_for(minutes=1.0, batch_size=2)
    with TemporaryDirectory() as out, mock.patch.object(Clock, "now", staticmethod(lambda: Watch.time)):
        run = dict(data=data, recipe=recipe, out=out, cfg=VisionLLMv1Config.tiny(), quiet=True, checkpoint_minutes=0)
        with pytest.raises(RuntimeError): train_v1(**run, callbacks=[Watch(), Outage(4)])
        Watch.time += 5000
        train_v1(**run, resume=True, callbacks=[Watch()])
        log = read_losses(Path(out, "losses.csv"))
    assert log["step"] == [1, 2, 3, 4, 5, 6] and log["lr"][-1] < log["lr"][3]


# nbs/34_train.ipynb, cell 1ce829d7
def test_a_run_with_lora_goes_on():
    data, recipe = shapes(2), Recipe({"detect": 1.0}, 2, steps=1, lora_rank=2)
    with TemporaryDirectory() as out:
        first = train_v1(data, recipe, out, VisionLLMv1Config.tiny(), quiet=True)
        again = train_v1(data, recipe, out, resume=True, quiet=True)
    assert first.language_model.cfg.lora_rank == again.language_model.cfg.lora_rank == again.cfg.language_model.lora_rank == 2


# nbs/34_train.ipynb, cell 18ca19a3
def test_a_recipe_changes_settings_or_says_why_not():
    with TemporaryDirectory() as folder:
        data, recipe = shapes(2), Recipe({"detect": 1.0}, 2, steps=1)
        train_v1(data, recipe, Path(folder, "a"), VisionLLMv1Config.tiny(), quiet=True)
        start, how = Path(folder, "a", "weights"), dict(quiet=True, checkpoint_minutes=0)
        loud = replace(recipe, settings={"decoder.drafts": 8.0, "tokenizer.shape_weight": 20.0}, frozen=("tokenizer",))
        model = train_v1(data, loud, Path(folder, "b"), start=start, **how)
        before = VisionLLMv1.from_pretrained(start).state_dict()
        assert model.cfg.decoder.drafts == model.decoder.cfg.drafts == 8 and model.tokenizer.shape is not None
        assert all(torch.equal(x, before[k]) for k, x in model.state_dict().items() if k in before and k.startswith("tokenizer."))
        again = train_v1(data, loud, Path(folder, "b"), resume=True, start=start, **how)                        # over already
        assert again.cfg == model.cfg and all(map(torch.equal, again.state_dict().values(), model.state_dict().values()))
        with pytest.raises(ValueError, match="leave no place for tokenizer.queries"):
            train_v1(data, replace(recipe, settings={"tokenizer.queries": 4}), Path(folder, "c"), start=start, **how)
        with pytest.raises(ValueError, match="has no setting 'tea'"):
            train_v1(data, replace(recipe, settings={"tea": 1}), Path(folder, "c"), start=start, **how)
        assert not Path(folder, "c").exists()


# nbs/34_train.ipynb, cell ed333491
def test_parts_begin_as_copies():
    with TemporaryDirectory() as folder:
        data, recipe, how = shapes(2), Recipe({"detect": 1.0}, 2, steps=1), dict(cfg=VisionLLMv1Config.tiny(), quiet=True)
        twin = replace(recipe, copies={"tokenizer.decoder.layers.1": "tokenizer.decoder.layers.0"}, frozen=("tokenizer.decoder",))
        layers = train_v1(data, twin, Path(folder, "a"), **how).tokenizer.decoder.layers
        assert all(map(torch.equal, layers[1].state_dict().values(), layers[0].state_dict().values()))
        for said, copies in (("copies is 'tea'", {"tea": "tokenizer"}), ("backbone has other weights than tokenizer", {"backbone": "tokenizer"})):
            with pytest.raises(ValueError, match=said): train_v1(data, replace(recipe, copies=copies), Path(folder, "b"), **how)
        assert not Path(folder, "b").exists()


# nbs/34_train.ipynb, cell 550b4764
def test_runs_of_older_recipes_go_on():
    with TemporaryDirectory() as out:
        data, recipe = shapes(2), Recipe({"detect": 1.0}, 2, steps=1)
        train_v1(data, recipe, out, VisionLLMv1Config.tiny(), quiet=True)
        old = json.loads(Path(out, "recipe.json").read_text())
        del old["recipe"]["copies"]
        Path(out, "recipe.json").write_text(json.dumps(old))
        train_v1(data, recipe, out, resume=True, quiet=True)


# nbs/34_train.ipynb, cell 720bffb5
def test_resuming_something_else_is_refused():
    data, cfg, recipe = shapes(), VisionLLMv1Config.tiny(), recipe_for(steps=1, batch_size=2)
    with TemporaryDirectory() as out:
        train_v1(data, recipe, out, cfg, quiet=True)
        before = files_of(out)
        for said, other in (("steps: then 1, now 9", dict(recipe=recipe_for(steps=9, batch_size=2))),
                            ("images: then 4, now 3", dict(data=data.subset(3))),
                            ("image_size: then 64, now 128", dict(cfg=VisionLLMv1Config.mini())),
                            ("nothing to resume", dict(out=Path(out, "elsewhere")))):
            with pytest.raises(ValueError, match=said) as caught:
                train_v1(**dict(data=data, recipe=recipe, out=out, cfg=cfg, resume=True, quiet=True) | other)
            assert "\n" not in str(caught.value)
        assert files_of(out) == before and not Path(out, "elsewhere").exists()


# nbs/34_train.ipynb, cell 4b1d8c03
def test_nothing_is_written_for_a_run_that_cant_be():
    data, cfg = shapes(2), VisionLLMv1Config.tiny()
    for annotations in data.tables.annotations.values():
        for record in annotations: record.pop("keypoints", None)
    short = replace(cfg, guidance=replace(cfg.guidance, max_length=20))
    with TemporaryDirectory() as folder:
        out = Path(folder, "run")
        for said, wrong in (("no picture serves pose", dict(recipe=recipe_for(steps=1, tasks=["pose"]))),
                            ("text encoder takes at most 20", dict(cfg=short)),
                            ("accelerator 'abacus'", dict(accelerator="abacus"))):
            with pytest.raises(ValueError, match=said):
                train_v1(**dict(data=data, recipe=recipe_for(steps=1), out=out, cfg=cfg, quiet=True) | wrong)
            assert not out.exists()
        train_v1(data, recipe_for(steps=1, tasks=["detect"], batch_size=2), out, cfg, quiet=True)
        held = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
        with pytest.raises(ValueError, match="text encoder takes at most 20"):
            train_v1(data, recipe_for(steps=1), out, short, quiet=True)
        assert held == {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
