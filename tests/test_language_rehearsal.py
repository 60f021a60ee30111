"""Tests of visionllm_edu/language/rehearsal.py.

Generated from nbs/18c_rehearsal.ipynb by make export: do not edit, edit the notebook.
"""

import numpy as np
from torch.utils.data import Dataset

from visionllm_edu.language.rehearsal import Rehearsal, unpacked


# nbs/18c_rehearsal.ipynb, cell 3276cb2f
import torch
import torch.nn.functional as F
from torch import nn

class Words(Dataset):
    "Random vectors with a kind each."
    def __init__(self, seed, batch=32):
        self.seed, self.batch, dice = seed, batch, torch.Generator().manual_seed(seed)
        self.x, self.y = torch.randn(200, 64, generator=dice), torch.randint(20, (200,), generator=dice)
    def __getitem__(self, index):
        k = np.random.default_rng([self.seed, index]).integers(200)
        return self.x[k], self.y[k]

def learn(net, data, batches=300):
    "Trains the net on batches of a data set, as a list of samples each."
    steps = torch.optim.Adam(net.parameters(), 1e-3)
    for k in range(batches):
        some = [data[32 * k + i] for i in range(32)]
        x, y = map(torch.stack, zip(*(sum(some, []) if isinstance(some[0], list) else some)))
        steps.zero_grad(); F.cross_entropy(net(x), y).backward(); steps.step()

def reader(words):
    "A network that knows these words."
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 20))
    learn(net, words)
    return net

def known(net, words): return (net(words.x).argmax(1) == words.y).float().mean().item()


# nbs/18c_rehearsal.ipynb, cell 7f099fd4
def test_rehearsal_comes_in_whole_batches():
    class Count(Dataset):
        "Item i is (name, i)."
        def __init__(self, name, seed=2, batch=4): self.name, self.seed, self.batch = name, seed, batch
        def __getitem__(self, index): return self.name, index

    mixed = Rehearsal(Count("seen"), Count("told"), 0.3, each=2)
    kinds = [isinstance(mixed[i], list) for i in range(400)]
    assert all(len(set(kinds[i : i + 4])) == 1 for i in range(0, 400, 4)) and 0.15 < np.mean(kinds) < 0.45
    first = kinds.index(True)
    assert mixed[first] == [("told", 2 * first), ("told", 2 * first + 1)] and mixed[kinds.index(False)][0] == "seen"
    assert len(unpacked([mixed[first + k] for k in range(4)])) == 8 and unpacked([1, 2]) == [1, 2]
    again = Rehearsal(Count("seen"), Count("told"), 0.3, each=2)
    assert [again[i] for i in (399, 7, first)] == [mixed[i] for i in (399, 7, first)]   # a function of the number
    assert not any(isinstance(Rehearsal(Count("seen"), Count("told"), 0.0)[i], list) for i in range(100))


# nbs/18c_rehearsal.ipynb, cell 14d70eb7
def test_rehearsal_keeps_the_old_lesson():
    old, new, kept = Words(1), Words(2), {}
    for share in (0.0, 0.25):
        net = reader(old)
        learn(net, Rehearsal(new, old, share))
        kept[share] = known(net, old)
    assert kept[0.25] > kept[0.0] + 0.2
