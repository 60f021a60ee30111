"""Tests of visionllm_edu/settings.py.

Generated from nbs/19b_settings.ipynb by make export: do not edit, edit the notebook.
"""

import json
import pytest
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path

from visionllm_edu.language.vocabulary import Vocabulary
from visionllm_edu.settings import (
    OnDisk, changed, from_plain, inherit, of_size, parts_of, without_downloads,
)


# nbs/19b_settings.ipynb, cell af0e7a61
from dataclasses import dataclass, field

@dataclass
class EyeConfig:
    patch: int = 14
    channels: tuple[int, ...] = (8, 16)
    pretrained: str | None = None
    @classmethod
    def tiny(cls): return cls(patch=7)
    @classmethod
    def mini(cls): return cls()

@dataclass
class SpeechConfig:
    layers: int = 4
    pretrained: bool = True
    @classmethod
    def tiny(cls): return cls(layers=1)
    @classmethod
    def mini(cls): return cls()

@dataclass
class ToyConfig:
    name: str = "toy"
    eye: EyeConfig = field(default_factory=EyeConfig.mini)
    speech: SpeechConfig = field(default_factory=SpeechConfig.mini)


# nbs/19b_settings.ipynb, cell a7305ff6
def test_a_size_is_a_size_of_every_part():
    assert parts_of(ToyConfig) == {"eye": EyeConfig, "speech": SpeechConfig}
    tiny = of_size(ToyConfig, "tiny", name="small")
    assert (tiny.name, tiny.eye.patch, tiny.speech.layers) == ("small", 7, 1)
    assert of_size(ToyConfig, "mini") == ToyConfig()


# nbs/19b_settings.ipynb, cell 6ffcb1a8
def test_settings_travel_as_json():
    import pytest

    tiny = of_size(ToyConfig, "tiny")
    plain = json.loads(json.dumps(asdict(tiny)))
    assert from_plain(ToyConfig, plain) == tiny
    with pytest.raises(ValueError, match="SpeechConfig has no setting 'layer'"):
        from_plain(ToyConfig, plain | {"speech": {"layer": 3}})
    with pytest.raises(ValueError, match="EyeConfig needs the setting 'patch', it is missing"):
        from_plain(ToyConfig, plain | {"eye": {"channels": [8], "pretrained": None}})


# nbs/19b_settings.ipynb, cell c7988e7c
def test_nothing_is_fetched():
    cfg = ToyConfig(eye=EyeConfig(pretrained="someone/resnet"))
    plain = without_downloads(cfg)
    assert plain.eye.pretrained is None and plain.speech.pretrained is False
    assert cfg.eye.pretrained == "someone/resnet" and replace(plain, eye=cfg.eye, speech=cfg.speech) == cfg


# nbs/19b_settings.ipynb, cell 06a5219e
import torch
from torch import nn

@dataclass
class WordsConfig:
    width: int = 6

class Words(OnDisk, nn.Module):
    "The smallest model that can be a folder: one table."
    settings = WordsConfig
    def __init__(self, cfg, vocabulary):
        super().__init__()
        self.cfg, self.vocabulary, self.table = cfg, vocabulary, nn.Embedding(len(vocabulary), cfg.width)
    @classmethod
    def assemble(cls, cfg, vocabulary): return cls(cfg, vocabulary)


# nbs/19b_settings.ipynb, cell 60a4c7b5
def test_a_model_comes_back_as_it_went():
    from tempfile import TemporaryDirectory

    torch.manual_seed(0)
    words = Words(WordsConfig(5), Vocabulary.train(["a red ball"] * 3, 280, range=1, num_classes=1, max_points=1))
    with TemporaryDirectory() as folder:
        words.save_pretrained(folder)
        again = Words.from_pretrained(folder)
        assert again.cfg == words.cfg and not again.training
        assert torch.equal(again.table.weight, words.table.weight)
        assert again.vocabulary.encode("a ball") == words.vocabulary.encode("a ball")
        Path(folder, "config.json").write_text('{"width": 7}')
        with pytest.raises(ValueError, match="table.weight"): Words.from_pretrained(folder)
        Path(folder, "config.json").unlink()
        with pytest.raises(ValueError, match="has no config.json"): Words.from_pretrained(folder)


# nbs/19b_settings.ipynb, cell 57fb98ce
def test_weights_are_inherited_where_they_fit():
    old = Words.assemble(WordsConfig(width=4), Vocabulary.train(["a red ball"], 280))
    same, wider, blank = inherit(WordsConfig(width=4), old), inherit(WordsConfig(width=5), old), inherit(WordsConfig(width=4), old, anew=("table",))
    equal = lambda a, b: [torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values())]
    assert all(equal(same, old)) and not any(equal(blank, old))
    assert wider.cfg.width == 5 and all(equal(wider, inherit(WordsConfig(width=5), old)))
    assert changed(ToyConfig(), {"eye.patch": 7, "speech.layers": 1}) == of_size(ToyConfig, "tiny")
    with pytest.raises(ValueError, match="EyeConfig has no setting 'pitch'; accepted are patch"): changed(ToyConfig(), {"eye.pitch": 7})


# nbs/19b_settings.ipynb, cell 4fb40861
def test_solutions():
    def gaps(a, b, path=""):
        for f in fields(a):
            x, y = getattr(a, f.name), getattr(b, f.name)
            if is_dataclass(x): yield from gaps(x, y, f"{path}{f.name}.")
            elif x != y: yield f"{path}{f.name}: {x} and {y}"

    assert [*gaps(ToyConfig(), of_size(ToyConfig, "tiny"))] == ["eye.patch: 14 and 7", "speech.layers: 4 and 1"]
