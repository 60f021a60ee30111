"""Tests of visionllm_edu/v2_stages.py.

Generated from nbs/61_v2_stages.ipynb by make export: do not edit, edit the notebook.
"""

import pytest

from visionllm_edu.v2.model import VisionLLMv2, VisionLLMv2Config
from visionllm_edu.v2_stages import PAINT, V2, picture_stages, v2_recipe, v2_stages, v2_vocabulary
from visionllm_edu.vision.drawing import LatentDiffusion


# nbs/61_v2_stages.ipynb, cell 328ac4a9
def test_recipes_without_stages():
    assert v2_recipe(steps=3, tasks=["detect"]).tasks == {"detect": 2.0} and v2_recipe(minutes=1).batch_size == 8
    with pytest.raises(ValueError, match="juggle; accepted are caption"): v2_recipe(steps=1, tasks=["juggle"])


# nbs/61_v2_stages.ipynb, cell 9df3d84c
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import load_file
from visionllm_edu.data.coco import load_data
from visionllm_edu.stages import train_stages
from visionllm_edu.train import read_losses

def tiny_course(steps=2):
    "All stages, of so many steps each."
    return {name: replace(r, minutes=None, steps=steps, batch_size=4) for name, r in v2_stages().items()}


# nbs/61_v2_stages.ipynb, cell a5bf8877
def test_each_stage_moves_its_parts():
    with TemporaryDirectory() as folder:
        train_stages(load_data("toybox:train:16"), tiny_course(), folder, VisionLLMv2Config.tiny(), course=V2, quiet=True)
        state = {name: load_file(Path(folder, name, "weights", "model.safetensors")) for name in v2_stages()}
        terms = {name: set(read_losses(Path(folder, name, "losses.csv"))) for name in v2_stages()}
    assert "naming" in terms["0-eyes"] and "text" not in terms["0-eyes"]
    assert {"text", "link_naming"} <= terms["0-words"] and "class" not in terms["0-words"] | terms["1-chat"]
    names = [*v2_stages()]
    def moved(stage):
        "Parts of which a weight changed in a stage."
        before, after = state[names[names.index(stage) - 1]], state[stage]
        return {key.split(".")[0] for key in after if not torch.equal(after[key], before[key])}
    eyes, finders = {"image_encoder", "region_encoder"}, {"objects", "keypoints", "category", "backbone"}
    assert moved("0-eyes") == eyes and moved("0-questions") == moved("0-relations") == {"link"}
    assert {"link"} | eyes <= moved("1-chat") and not finders & moved("1-chat")
    assert {"link", "objects", "category", "backbone"} <= moved("2-search") and not eyes & moved("2-search")
    assert {"keypoints", "body", "joint", "link", "backbone"} <= moved("2-bodies") and not eyes & moved("2-bodies")
    assert all(torch.equal(x, state["1-chat"][k]) for k, x in state["2-bodies"].items() if k.startswith("link.language_model"))
    assert {"link", "objects", "category", "backbone"} | eyes <= moved("2-together")
    assert {"objects", "category", "backbone"} <= moved("3-decoders") and not ({"link"} | eyes) & moved("3-decoders")


# nbs/61_v2_stages.ipynb, cell ced22f82
def test_a_look_at_a_model_that_only_wishes_to_draw():
    from visionllm_edu.v2.conversation import id_of
    data = load_data("toybox:train:2")
    model = VisionLLMv2.assemble(VisionLLMv2Config.tiny(), v2_vocabulary(data, 600)).eval()
    model.link.writable = torch.tensor([id_of("[GEN]", model.vocabulary)])
    assert [said for _, said in V2.look(model, [data.image(0)], data.categories)] == ["no answer"]


# nbs/61_v2_stages.ipynb, cell 11501aa9
def test_all_kinds_of_batches_learn_in_bfloat16():
    torch.manual_seed(0)
    data = load_data("toybox:train:4")
    model = VisionLLMv2.assemble(VisionLLMv2Config.mini(), V2.vocabulary(data)).train()
    for name in ("0-words", "0-eyes", "1-chat", "2-search", "2-bodies", "2-together"):
        chats = V2.mixture(data, v2_stages()[name], model.cfg)
        batch = model.collate([chats[i] for i in range(4)])
        with torch.no_grad(): torch.manual_seed(1); full = model.losses(batch)      # the seed is for denoising
        with torch.autocast("cpu", torch.bfloat16): torch.manual_seed(1); half = model.losses(batch)
        model.zero_grad(), sum(half.values()).backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters()), name
        for term, loss in full.items():
            about = 0.02 if "text" in term or "naming" in term else 0.4                # decoders: see above
            torch.testing.assert_close(half[term].float(), loss, rtol=about, atol=0.05)


# nbs/61_v2_stages.ipynb, cell 2c21819d
def test_two_processes_learn_what_one_does():
    import os, subprocess, sys
    SCRIPT = """
import sys
from dataclasses import replace
from visionllm_edu.data.coco import load_data
from visionllm_edu.train import train_model
from visionllm_edu.v2.model import VisionLLMv2Config
from visionllm_edu.v2_stages import V2, v2_recipe
out, devices = sys.argv[1:]
cfg = VisionLLMv2Config.tiny()
cfg = replace(cfg, objects=replace(cfg.objects, denoising=0))
recipe = v2_recipe(steps=4, batch_size=4, tasks=["detect", "segment", "pose", "answer", "caption"])
recipe = replace(recipe, matmul="highest")  # "medium" rounds to bfloat16 on some CPUs, halves otherwise than the whole
train_model(V2, load_data("toybox:train:8"), recipe, out, cfg, accelerator="cpu", devices=int(devices), quiet=True)
"""
    with TemporaryDirectory() as folder:
        script = Path(folder, "run.py")
        script.write_text(SCRIPT)
        for devices in ("1", "2"):
            done = subprocess.run([sys.executable, str(script), str(Path(folder, devices)), devices],
                                  env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=900)
            assert done.returncode == 0, done.stderr[-2000:]
        one, two = (load_file(Path(folder, n, "weights", "model.safetensors")) for n in "12")
        torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-5)


# nbs/61_v2_stages.ipynb, cell 1ee633fe
def test_painters_are_lent_to_a_model_that_talks():
    from visionllm_edu.vision.drawing import DiffusionConfig
    data = load_data("toybox:train:8")
    with TemporaryDirectory() as folder:
        torch.manual_seed(0)
        lender = LatentDiffusion(DiffusionConfig.tiny(), v2_vocabulary(data, 600))
        lender.painter.begin_editor()
        lender.save_pretrained(Path(folder, "painter"))
        talks = VisionLLMv2.assemble(VisionLLMv2Config.tiny(), v2_vocabulary(data, 600))
        first = {name: replace(r, minutes=None, steps=3, batch_size=6, tasks=PAINT if r.source == "words" else PAINT | {"caption": 1.0})
                 for name, r in picture_stages(str(Path(folder, "painter"))).items()}
        talks.save_pretrained(Path(folder, "talks"))
        with pytest.raises(ValueError, match="edit, generate need an image decoder: start from a model made by"):
            train_stages(data, {"5-every-decoder": first["5-every-decoder"]}, Path(folder, "out"), course=V2, start=Path(folder, "talks"), quiet=True)
        model = train_stages(data, first, Path(folder, "out"), course=V2, start=Path(folder, "talks"), quiet=True)
        talks.with_pictures(Path(folder, "painter")).save_pretrained(Path(folder, "whole"))
        states = [VisionLLMv2.from_pretrained(f).state_dict() for f in (Path(folder, "whole"), *(Path(folder, "out", name, "weights") for name in first))]
        terms = [{*read_losses(Path(folder, "out", name, "losses.csv"))} - {"step", "lr", "loss", "link_naming"} for name in first]
    words, drawn = {"text", "generate_caption", "edit_caption"}, {"generate_noise", "edit_noise"}
    assert terms[0] <= words and terms[0] & words - {"text"} and all(words | drawn <= some for some in terms[1:])
    moved = [{n for n, x in a.items() if not torch.equal(x, b[n])} for a, b in zip(states, states[1:])]
    assert all(n.startswith(("pictures.bridges.", "link.queries.tables.generate", "link.queries.tables.edit")) for n in moved[0]) and moved[0]
    edits = [any(n.startswith("pictures.painter.editor") for n in some) for some in moved]
    assert edits == [False, False, True] and any(n.startswith("link.language_model") for n in moved[1]) and not any(n.startswith("link") for n in moved[2])
    assert not any(n.startswith(("pictures.painter.unet", "pictures.painter.vae")) for some in moved for n in some)
