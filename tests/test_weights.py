"""Tests of visionllm_edu/weights.py.

Generated from nbs/19_weights.ipynb by make export: do not edit, edit the notebook.
"""

import json
import torch
from pathlib import Path
from torch import nn

from visionllm_edu.weights import (
    CHECKOUT, SHIPPED, atomic, digests, find_weights, installed_commit, list_shipped,
    load_weights, save_weights, weights_address, write_json,
)


# nbs/19_weights.ipynb, cell 25608d61
def test_a_failure_leaves_the_old_file():
    from tempfile import TemporaryDirectory
    import pytest
    with TemporaryDirectory() as folder:
        path = Path(folder, "new", "config.json")          # folders are made on the way
        with atomic(path) as tmp: tmp.write_text("old")
        with pytest.raises(KeyboardInterrupt), atomic(path) as tmp:
            tmp.write_text("ne")
            assert path.read_text() == "old"               # while we write, the old one stands
            raise KeyboardInterrupt
        assert path.read_text() == "old" and len(list(path.parent.iterdir())) == 1
        with atomic(path) as tmp: tmp.write_text("new")
        assert path.read_text() == "new" and len(list(path.parent.iterdir())) == 1
        write_json(path, {"AP": 0.5})
        with pytest.raises(TypeError): write_json(path, {"AP": torch.ones(1)})     # not a number of JSON
        assert json.loads(path.read_text()) == {"AP": 0.5}


# nbs/19_weights.ipynb, cell fcd62e7c
class Tied(nn.Module):
    "A word guesser whose two tables are one, with a layer and a buffer."

    def __init__(self, seed=0, words=6, width=4):
        super().__init__()
        torch.manual_seed(seed)
        self.read, self.layer = nn.Embedding(words, width), nn.Linear(width, width)
        self.write = nn.Linear(width, words, bias=False)
        self.write.weight = self.read.weight
        self.register_buffer("steps", torch.tensor(seed))

    def forward(self, ids): return self.write(self.layer(self.read(ids)).relu())


# nbs/19_weights.ipynb, cell f5a63b5d
def test_a_failed_save_leaves_the_old_pair():
    from tempfile import TemporaryDirectory
    import pytest
    with TemporaryDirectory() as folder:
        save_weights(Tied(seed=0), folder, {"width": 4})
        before = {f.name: f.read_bytes() for f in Path(folder).iterdir()}
        with pytest.raises(TypeError): save_weights(Tied(seed=1), folder, {"width": object()})
        assert {f.name: f.read_bytes() for f in Path(folder).iterdir()} == before
        assert set(before) == {"config.json", "model.safetensors"}


# nbs/19_weights.ipynb, cell debc3d88
def test_round_trip_is_exact():
    from tempfile import TemporaryDirectory
    saved, loaded, ids = Tied(seed=7), Tied(seed=1), torch.arange(6)
    with TemporaryDirectory() as folder:
        save_weights(saved, folder, {"width": 4})
        assert json.loads(Path(folder, "config.json").read_text()) == {"width": 4}
        load_weights(loaded, folder)
    for name, t in saved.state_dict().items(): assert torch.equal(loaded.state_dict()[name], t), name
    assert loaded.write.weight is loaded.read.weight and loaded.steps == 7
    assert torch.equal(saved(ids), loaded(ids))


# nbs/19_weights.ipynb, cell 30a7fca4
def test_unusual_tensors_pass():
    from tempfile import TemporaryDirectory
    class Unusual(nn.Module):
        def __init__(self, value):
            super().__init__()
            self.low = nn.Parameter(torch.full((2, 3), value, dtype=torch.bfloat16))
            self.crosswise = nn.Parameter(torch.arange(6.0).view(2, 3).T * value)
            line = torch.arange(4.0) * value               # two views that begin at one place
            self.register_buffer("every_second", line[::2])
            self.register_buffer("first_two", line[:2])
            self.register_buffer("empty", torch.zeros(0, 4))
            self.register_buffer("nothing", torch.zeros(0))
    one, two = Unusual(1.0), Unusual(2.0)
    with TemporaryDirectory() as folder:
        save_weights(one, folder, {})
        load_weights(two, folder)
    for name, t in one.state_dict().items(): assert torch.equal(two.state_dict()[name], t), name


# nbs/19_weights.ipynb, cell 6053c018
from contextlib import contextmanager
from tempfile import TemporaryDirectory

import pytest
from safetensors.torch import load_file

@contextmanager
def refused(message, words=6):
    "Saves a model, lets the caller break the file, and expects this message when it is loaded."
    model, ids = Tied(seed=1, words=words), torch.arange(6)
    before = model(ids)
    with TemporaryDirectory() as folder:
        save_weights(Tied(seed=0), folder, {})
        yield Path(folder, "model.safetensors")
        with pytest.raises(ValueError, match=message): load_weights(model, folder)
    assert torch.equal(model(ids), before)


# nbs/19_weights.ipynb, cell 4d732ed6
def test_broken_files_are_refused():
    with refused("has no model.safetensors; accepted is a folder") as file: file.unlink()
    with refused("is not a whole safetensors file") as file: file.write_text("<html>404: not found")
    with refused("is not a whole safetensors file") as file: file.write_bytes(file.read_bytes()[:-1])
    with refused("is not a whole safetensors file") as file: file.write_bytes(b"")
    with refused("is damaged: its numbers are not the ones") as file:
        content = bytearray(file.read_bytes())
        content[-3] ^= 1                                   # one bit of the last tensor
        file.write_bytes(content)


# nbs/19_weights.ipynb, cell fb41a8d7
def test_wrong_tensors_are_refused():
    from safetensors.torch import save_file
    def change(file, **new):
        tensors = {k: t for k, t in (load_file(file) | new).items() if t is not None}
        save_file(tensors, file)
    with refused("holds 'other', which this model does not have") as file:
        change(file, other=torch.ones(1))
    with refused("lacks 'steps', which this model needs") as file: change(file, steps=None)
    with refused(r"'read.weight' has the size \(6, 4\), this model has \(7, 4\)", words=7): pass
    with refused("holds 'write.weight', which this model shares with another") as file:
        change(file, **{"write.weight": torch.ones(6, 4)})


# nbs/19_weights.ipynb, cell 70c2280b
def test_digests_are_sha256():
    with TemporaryDirectory() as folder:
        Path(folder, "abc.json").write_text("abc")         # FIPS 180-2's first example
        Path(folder, "README.md").write_text("a card may change")
        Path(folder, "deeper").mkdir()
        assert digests(folder) == {
            "abc.json": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}


# nbs/19_weights.ipynb, cell 218db70d
def test_the_list_says_what_is_shipped():
    with TemporaryDirectory() as root:
        for name in ("b", "a"): save_weights(Tied(seed=3), Path(root, "data/weights", name), {"width": 4})
        Path(root, "data/weights/unfinished").mkdir()
        found = list_shipped(root)
        assert [*found] == ["a", "b"] and found["a"] == digests(Path(root, "data/weights/a"))
        assert json.loads(Path(root, "visionllm_edu/shipped.json").read_text()) == found
    checkout = CHECKOUT / "data" / "weights"
    for name, files in SHIPPED.items():                    # and ours is up to date
        if checkout.is_dir(): assert digests(checkout / name) == files, f"{name}: run `python -m visionllm_edu ship data/weights/{name}`"
    if checkout.is_dir(): assert {f.parent.name for f in checkout.glob("*/model.safetensors")} == {*SHIPPED}


# nbs/19_weights.ipynb, cell 8c1a8ab7
def test_address_from_either_kind_of_metadata():
    import pytest
    from email.message import Message
    want = "https://raw.githubusercontent.com/me/repo/v7/data/weights"
    def about(*lines):
        message = Message()
        for name, value in lines: message[name] = value
        return message
    home = about(("Name", "x"), ("Home-page", "https://github.com/me/repo"))
    links = about(("Project-URL", "Documentation, https://me.github.io/repo"),
                  ("Project-URL", "Source, https://github.com/me/repo.git"))
    assert weights_address(home, "v7") == weights_address(links, "v7") == want
    with pytest.raises(ValueError, match="names no repository on github.com"): weights_address(about())
    assert weights_address().startswith("https://raw.githubusercontent.com/")   # ours has one
    assert installed_commit('{"url": "...", "vcs_info": {"vcs": "git", "commit_id": "5fae"}}') == "5fae"
    assert installed_commit('{"url": "file:///here", "dir_info": {"editable": true}}') == "HEAD"


# nbs/19_weights.ipynb, cell 45d8fd4c
import os
from unittest.mock import patch

@contextmanager
def shop():
    "A folder with shipped weights `toy`, its digests, its address, and a cache of its own."
    with TemporaryDirectory() as place, patch.dict(os.environ, XDG_CACHE_HOME=f"{place}/cache"):
        shelf = Path(place, "shelf", "toy")
        save_weights(Tied(seed=3), shelf, {"width": 4})
        yield shelf, digests(shelf), shelf.parent.as_uri()


# nbs/19_weights.ipynb, cell 35954b86
def test_places_are_tried_in_order():
    with shop() as (shelf, files, address):
        root = shelf.parents[1]
        fetched = find_weights("toy", files, address, root=root)
        assert fetched == root / "cache/visionllm_edu/weights/toy" and digests(fetched) == files
        (root / "data/weights/toy").mkdir(parents=True)
        assert find_weights("toy", files, address, root=root) == root / "data/weights/toy"
        assert find_weights(shelf, files, address, root=root) == shelf
        model = Tied()
        load_weights(model, fetched)
        assert model.steps == 3


# nbs/19_weights.ipynb, cell ce193e03
def test_cached_files_need_no_connection():
    import pytest
    with shop() as (shelf, files, address):
        folder = find_weights("toy", files, address)
        (shelf / "config.json").unlink()                   # the shop has one file left
        assert find_weights("toy", files, address) == folder
        (folder / "model.safetensors").write_bytes(b"damaged")
        find_weights("toy", files, address)
        assert digests(folder) == files
        (folder / "config.json").unlink()
        with pytest.raises(ValueError, match="could not download .*config.json.*give a folder"):
            find_weights("toy", files, address)


# nbs/19_weights.ipynb, cell de1b56b3
def test_wrong_digest_is_refused():
    import pytest
    with shop() as (shelf, files, address):
        with pytest.raises(ValueError, match="config.json has the SHA-256 .*, expected is 0000"):
            find_weights("toy", files | {"config.json": "0000"}, address)
        cache = shelf.parents[1] / "cache"
        assert not [f for f in cache.rglob("*") if f.is_file()]


# nbs/19_weights.ipynb, cell 8ba75c61
def test_offline_is_one_clear_line():
    import pytest
    with shop() as (shelf, files, address):
        with pytest.raises(ValueError, match="could not download http://127.0.0.1:9/toy/config.json"):
            find_weights("toy", files, "http://127.0.0.1:9")
        with patch("huggingface_hub.constants.HF_HUB_OFFLINE", True):
            with pytest.raises(ValueError, match="nobody/nothing: no such folder, and the hub did not"):
                find_weights("nobody/nothing")
    with pytest.raises(ValueError, match="accepted are a folder, a hub id .owner/name., or shipped"):
        find_weights("no-such-weights")
