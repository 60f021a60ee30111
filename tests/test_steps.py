"""Tests of visionllm_edu/steps.py.

Generated from nbs/19c_steps.ipynb by make export: do not edit, edit the notebook.
"""

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from types import SimpleNamespace

from visionllm_edu.steps import Steps, split_off


# nbs/19c_steps.ipynb, cell 6b2623b4
class Line(Steps, LightningModule):
    "y = a x + b, in two parts."
    def __init__(self):
        super().__init__()
        self.cfg = SimpleNamespace(weight_decay=0.0)
        self.slope, self.offset = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    def losses(self, batch):
        x, y = batch.T[..., None]
        return {"fit": (self.slope(x) + self.offset(torch.ones_like(x)) - y).square().mean(),
                "size": 1e-3 * self.slope.weight.abs().sum()}
    def groups(self):
        offset, rest = split_off(self, self.offset)
        return [(rest, 0.1), (offset, 0.01)]

def points(n=64):
    "(n, 2) of y = 3 x - 1."
    x = torch.linspace(-1, 1, n)
    return torch.stack([x, 3 * x - 1], 1)


# nbs/19c_steps.ipynb, cell caee9974
def test_groups_are_a_partition():
    line = Line()
    held = [p for group in line.configure_optimizers().param_groups for p in group["params"]]
    assert sorted(map(id, held)) == sorted(id(p) for p in line.parameters())
    assert [g["lr"] for g in line.configure_optimizers().param_groups] == [0.1, 0.01] == line.peak_rates()
    line.offset.requires_grad_(False)
    assert [len(g["params"]) for g in line.configure_optimizers().param_groups] == [1, 0]


# nbs/19c_steps.ipynb, cell a1200757
def test_shared_weights_stand_once():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)
            self.b.weight = self.a.weight
    own, rest = split_off(tied := Tied(), tied.a, tied.b)
    assert len(own) == 3 and len(rest) == 2 and not {id(p) for p in own} & {id(p) for p in rest}


# nbs/19c_steps.ipynb, cell 7ca4b1d3
def test_a_gradient_of_zero_is_not_none():
    absent, zero = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([absent, zero], 0.1, weight_decay=0.5)
    zero.grad = torch.zeros(2)
    optimizer.step()
    assert (absent == 1).all() and (zero < 1).all()


# nbs/19c_steps.ipynb, cell 8cf2400c
def test_the_trainer_takes_steps():
    import logging, warnings

    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.manual_seed(0)
    line = Line()
    trainer = Trainer(max_steps=30, accelerator="cpu", logger=False, enable_checkpointing=False,
                      enable_progress_bar=False, enable_model_summary=False)
    trainer.fit(line, torch.utils.data.DataLoader([points()] * 30, batch_size=None))
    logged = trainer.callback_metrics
    assert {"train/fit", "train/size", "train/loss"} <= set(logged) and trainer.global_step == 30
    torch.testing.assert_close(logged["train/loss"], logged["train/fit"] + logged["train/size"])


# nbs/19c_steps.ipynb, cell 139b30a0
def test_a_batch_with_nothing_to_teach_moves_nothing():
    line = Line()
    line.losses, line.log_dict = lambda batch: {}, lambda *told, **how: None
    loss = line.training_step(points())
    loss.backward()
    assert loss == 0 and all(p.grad is not None and not p.grad.any() for p in line.parameters())
