"""Tests of visionllm_edu/ablations.py.

Generated from nbs/34c_ablations.ipynb by make export: do not edit, edit the notebook.
"""

import json
from dataclasses import replace
from pathlib import Path

from visionllm_edu.ablations import (
    EYES, VARIANTS, WHOLE, ablate, collect, effects, effects_table, restart, sight,
)
from visionllm_edu.data.tasks import descriptions
from visionllm_edu.settings import changed
from visionllm_edu.stages import v1_stages
from visionllm_edu.toybox.world import COLORS
from visionllm_edu.train import train_v1


# nbs/34c_ablations.ipynb, cell 60374c4f
from tempfile import TemporaryDirectory

import pytest
import torch
from visionllm_edu.data.coco import load_data
from visionllm_edu.toybox.world import CATEGORIES
from visionllm_edu.train import Recipe, vocabulary_for
from visionllm_edu.v1.model import VisionLLMv1, VisionLLMv1Config, template_vocabulary

def tiny_start(folder):
    "Weights to begin with."
    torch.manual_seed(0)
    data = load_data("toybox:val:4")
    cfg = changed(VisionLLMv1Config.tiny(), {"tokenizer.proposals": True, "decoder.naming_weight": 1.0})
    model = train_v1(data, Recipe({"detect": 1.0}, 2, steps=1), folder, cfg, quiet=True)
    return Path(folder, "weights"), data


# nbs/34c_ablations.ipynb, cell 7b5e88dc
def test_eyes_that_name_rightly_are_judged_right():
    torch.manual_seed(0)
    data = load_data("toybox:val:4")
    model = VisionLLMv1.assemble(replace(VisionLLMv1Config.tiny(), categories=tuple(data.categories)), vocabulary_for(data))
    blank = sight(model, data)
    objects = sum(len(data.records(i)) for i in range(4))
    assert blank["n"] == objects and blank["found"] < 0.3 and blank["named"] < 0.5      # random weights

    told = [text for i in range(4) for text in descriptions(data, data.sample(i, image=False))]
    said = [[t.split(":")[0], *[w for w in t.replace(",", " ").split() if w in COLORS][:1]] for t in told]
    words = [torch.stack([model.language_model.table[model.vocabulary.encode(f" {w}")].mean(0) for w in ws]).sum(0) for ws in said]
    class Perfect(torch.nn.Module):
        "Sounds like the class and the first colour of each object, in their order."
        def __init__(self): super().__init__(); self.at = 0
        def forward(self, e):
            self.at = self.at % len(words) + len(e)  # the next scene, or from the beginning
            return torch.stack(words[self.at - len(e) : self.at])
    model.decoder.see = Perfect()
    model.match = lambda batch, tokens: [(torch.arange(len(s.labels)), torch.arange(len(s.labels))) for s in batch.samples]
    right = sight(model, data)
    assert right["named"] > 0.9 and right["coloured"] > 0.9 and sight(model, data, batch=2)["n"] == objects


# nbs/34c_ablations.ipynb, cell e65a1246
def test_variants_differ_in_what_they_name():
    vocabulary = template_vocabulary()
    for stage, known in VARIANTS.items():
        usual = changed(VisionLLMv1Config.mini(), v1_stages()[stage].settings)
        for name, variant in known.items():
            with torch.device("meta"): VisionLLMv1.assemble(changed(usual, variant.settings), vocabulary)  # raises where parts don't fit
            recipe = replace(v1_stages()[stage], **variant.recipe)  # raises for a setting that isn't
            assert (recipe != v1_stages()[stage]) == bool(variant.recipe), name
            for key, value in variant.settings.items():
                assert changed(usual, {key: value}) != usual, (name, key)
    assert all(WHOLE in known for known in VARIANTS.values())


# nbs/34c_ablations.ipynb, cell d9bb388d
def test_restarted_weights_are_the_same():
    with TemporaryDirectory() as folder:
        start, _ = tiny_start(Path(folder, "run"))
        for settings in ({}, {"tokenizer.proposals": False}, {"decoder.naming_weight": 0.0}):
            one, two = VisionLLMv1.from_pretrained(start), VisionLLMv1.from_pretrained(restart(start, settings, Path(folder, "new")))
            kept = two.state_dict()
            assert two.cfg == changed(one.cfg, settings) and len(kept) > 100
            assert all(torch.equal(x, one.state_dict()[k]) for k, x in kept.items() if k in one.state_dict())
            new = {key.split(".")[1] for key in set(kept) - set(one.state_dict())}
            assert new == ({"queries"} if "tokenizer.proposals" in settings else set())
            again = VisionLLMv1.from_pretrained(restart(start, settings, Path(folder, "again"))).state_dict()
            assert all(torch.equal(x, again[k]) for k, x in kept.items())
        blind = VisionLLMv1.from_pretrained(restart(start, {}, Path(folder, "blind"), EYES)).state_dict()
        random = [k for k, x in one.state_dict().items() if not torch.equal(x, blind[k])]
        assert all(k.startswith(EYES) for k in random) and {k.split(".")[0] for k in random} == {k.split(".")[0] for k in EYES}
        assert all(torch.equal(x, blind[k]) for k, x in one.state_dict().items() if k.startswith("decoder.language_model"))


# nbs/34c_ablations.ipynb, cell bd30bd17
def test_variants_are_trained_scored_and_kept():
    with TemporaryDirectory() as folder:
        start, data = tiny_start(Path(folder, "run"))
        out, how = Path(folder, "out"), dict(steps=2, quiet=True)
        names = [WHOLE, "LoRA, rank 8"]
        scores = ablate("1-detection", start, data, data, out, names=names, **how)
        assert [*scores] == names and all(0 <= s["detect"]["AP"] <= 1 for s in scores.values())
        assert ablate("1-detection", "nowhere", data, data, out, names=names, **how) == scores  # nothing is repeated
        with pytest.raises(ValueError, match="scores.json was made with other settings"):
            ablate("1-detection", start, data, data, out, names=names, steps=3, quiet=True)
        notes = json.loads(collect(out, Path(folder, "all.json")).read_text())
        rows = effects(notes)
        assert [r["variant"] for r in rows] == names and rows[0]["detect AP"] == scores[WHOLE]["detect"]["AP"]
        lost = scores[WHOLE]["detect"]["AP"] - scores["LoRA, rank 8"]["detect"]["AP"]
        assert rows[0]["Δ detect AP"] == 0 and abs(rows[1]["Δ detect AP"] - lost) < 1e-9
        head, first, second = effects_table(notes).splitlines()
        assert rows[0]["steps"] == 2 and head.split() == ["1-detection", "steps", *"detect AP detect AP50 detect AP75".split()] and first.startswith(WHOLE)
        assert f"{scores['LoRA, rank 8']['detect']['AP']:.3f} ({lost:+.3f})" in second
        with pytest.raises(ValueError, match="'1-detection' with no tea; accepted are everything on, LoRA"):
            ablate("1-detection", start, data, data, out, names=["no tea"], **how)
        with pytest.raises(ValueError, match="'9-tea' with no variants; accepted are 0-eyes, 1-detection, 2-all"):
            ablate("9-tea", start, data, data, out, **how)
        with pytest.raises(ValueError, match="holds no finished variant"): collect(Path(folder, "run"), Path(folder, "x"))
