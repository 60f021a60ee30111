"""Tests of visionllm_edu/v2/mask_decoder.py.

Generated from nbs/51_mask_decoder.ipynb by make export: do not edit, edit the notebook.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from visionllm_edu.geometry import mask_iou
from visionllm_edu.v2.mask_decoder import (
    MaskDecoder, grow_masks, mask_bce, mask_dice, mask_logits, shrink_masks,
)


# nbs/51_mask_decoder.ipynb, cell 4a609026
def test_logits_equal_a_loop():
    torch.manual_seed(0)
    queries, features = torch.randn(3, 2, 4, 8), torch.randn(2, 8, 5, 6)        # 3 layers, 2 samples, 4 queries
    out = mask_logits(queries, features)
    assert out.shape == (3, 2, 4, 5, 6)
    for layer, b, q in torch.cartesian_prod(torch.arange(3), torch.arange(2), torch.arange(4)).tolist():
        one = sum(queries[layer, b, q, i] * features[b, i] for i in range(8)) / 8**0.5
        torch.testing.assert_close(out[layer, b, q], one)


# nbs/51_mask_decoder.ipynb, cell c1b805cb
def test_odd_sizes_fit():
    decoder = MaskDecoder(d=8, d_mask=8)
    features = decoder(torch.randn(1, 8, 9, 7), torch.randn(1, 3, 70, 50))      # 70 / 8 and 50 / 8, rounded up
    assert features.shape == (1, 8, 18, 13)


# nbs/51_mask_decoder.ipynb, cell 83904ff6
def test_odd_width_is_refused():
    with pytest.raises(ValueError, match="even numbers"):
        MaskDecoder(d=32, d_mask=15)


# nbs/51_mask_decoder.ipynb, cell 7bc4aba5
def test_gradients_and_independence():
    torch.manual_seed(0)
    decoder = MaskDecoder(d=32, d_mask=16)
    hidden, memory = torch.randn(2, 3, 32), torch.randn(2, 32, 8, 8)
    features = decoder(memory, torch.randn(2, 3, 32, 32) * 2)
    masks = mask_logits(decoder.queries(hidden), features)
    masks.square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in decoder.parameters())
    hidden[:, 0] += 1
    changed = (mask_logits(decoder.queries(hidden), features) - masks).abs().amax((0, 2, 3)) > 1e-4
    assert changed.tolist() == [True, False, False]


# nbs/51_mask_decoder.ipynb, cell f3fb8e59
def test_sizes_round_trip():
    rows, columns = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="ij")
    discs = torch.stack([(rows - y) ** 2 + (columns - x) ** 2 < r**2 for x, y, r in ((20, 30, 12), (40, 33, 20), (30, 30, 7))])
    small = shrink_masks(discs, (16, 16))
    assert small.shape == (3, 16, 16) and small.min() == 0 and small.max() == 1
    again = grow_masks(small - 0.5, (64, 64))
    assert again.dtype == torch.bool and (torch.from_numpy(mask_iou(again.numpy(), discs.numpy())).diagonal() > 0.88).all()
    assert shrink_masks(discs[:0], (16, 16)).shape == (0, 16, 16)               # no object, no trouble


# nbs/51_mask_decoder.ipynb, cell bf3b9e22
def test_losses_are_what_they_say():
    torch.manual_seed(0)
    truth = torch.zeros(3, 16, 16)
    truth[0, 2:9, 3:8], truth[1, 4:12, :] = 1, 1                              # and an empty mask
    perfect = 40 * truth - 20
    assert (mask_bce(perfect, truth) < 1e-6).all() and (mask_dice(perfect, truth) < 1e-4).all()
    assert (mask_dice(-perfect, truth)[:2] > 0.97).all()
    logits = torch.randn(3, 16, 16)
    p = logits.sigmoid()
    by_hand = torch.stack([1 - (2 * (p[i] * truth[i]).sum() + 1) / (p[i].sum() + truth[i].sum() + 1) for i in range(3)])
    torch.testing.assert_close(mask_dice(logits, truth), by_hand)
    each = torch.stack([F.binary_cross_entropy(p[i], truth[i]) for i in range(3)])
    torch.testing.assert_close(mask_bce(logits, truth), each, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mask_dice(logits[None], truth[None])[0], by_hand)   # leading axes are free


# nbs/51_mask_decoder.ipynb, cell 26f0e832
def test_dice_equals_transformers():
    from transformers.loss.loss_for_object_detection import dice_loss

    torch.manual_seed(0)
    logits, truth = torch.randn(4, 8, 8), (torch.rand(4, 8, 8) < 0.4).float()
    torch.testing.assert_close(mask_dice(logits, truth).sum() / 3, dice_loss(logits.flatten(1), truth.flatten(1), 3))


# nbs/51_mask_decoder.ipynb, cell 502b88cf
def coloured_discs(n, seed, side=64):
    "Pixels (n, 3, side, side) in [0, 1] with a red and a blue disc each, and their masks (n, 2, side, side)."
    generator = torch.Generator().manual_seed(seed)
    rand = lambda *shape: torch.rand(*shape, generator=generator)
    rows, columns = torch.meshgrid(torch.arange(side) + 0.5, torch.arange(side) + 0.5, indexing="ij")
    x = torch.stack([16 + 4 * rand(n), 46 + 4 * rand(n)], 1)
    x = torch.where(rand(n, 1) < 0.5, x, x.flip(1))[..., None, None]                     # who is on the left is chance
    y, r = 20 + 24 * rand(n, 2)[..., None, None], 6 + 8 * rand(n, 2)[..., None, None]
    masks = (rows - y) ** 2 + (columns - x) ** 2 < r**2
    pixels, paint = 0.7 + 0.2 * rand(n, 3, side, side), torch.tensor([[0.9, 0.2, 0.2], [0.2, 0.3, 0.9]])
    for i in range(2):
        pixels = torch.where(masks[:, i, None], paint[i][:, None, None], pixels)
    return pixels, masks

class TwoQueries(nn.Module):
    "A mask decoder with two learned object queries, over the bare picture at stride 8."
    def __init__(self, d=16):
        super().__init__()
        self.see, self.hidden, self.decoder = nn.Conv2d(3, d, 1), nn.Parameter(torch.randn(2, d)), MaskDecoder(d, 16)

    def forward(self, pixels):
        memory = self.see(F.adaptive_avg_pool2d(pixels, pixels.shape[-1] // 8))
        queries = self.decoder.queries(self.hidden).expand(len(pixels), -1, -1)
        return mask_logits(queries, self.decoder(memory, pixels))

def learn(model, pixels, masks, steps):
    "Trains on all pictures at once. Returns the two curves."
    targets = shrink_masks(masks.flatten(0, 1), (16, 16)).view(*masks.shape[:2], 16, 16)
    optimizer, curves = torch.optim.AdamW(model.parameters(), 5e-3), {"cross-entropy": [], "dice": []}
    for _ in range(steps):
        logits = model(pixels)
        losses = mask_bce(logits, targets).mean(), mask_dice(logits, targets).mean()
        optimizer.zero_grad(), sum(losses).backward(), optimizer.step()
        for curve, loss in zip(curves.values(), losses):
            curve.append(loss.item())
    return curves


# nbs/51_mask_decoder.ipynb, cell ca5ca2f6
def test_learns_to_segment_unseen_discs():
    torch.manual_seed(0)
    model, (pixels, masks) = TwoQueries(), coloured_discs(16, seed=0)
    learn(model, 2 * pixels - 1, masks, 80)
    unseen, truth = coloured_discs(8, seed=1)
    said = torch.stack([grow_masks(m, (64, 64)) for m in model(2 * unseen - 1).detach()])
    overlap = (said & truth).sum((2, 3)) / (said | truth).sum((2, 3))
    assert overlap.mean() > 0.75
    assert (said & truth.flip(1)).sum() < 0.1 * truth.sum()              # neither takes the other's disc


# nbs/51_mask_decoder.ipynb, cell 64c8683f
def test_solutions():
    best, who = torch.tensor([[[1.0, -1.0]], [[2.0, -3.0]]]).max(0)
    assert torch.where(best > 0, who, -1).tolist() == [[1, -1]]
    features = torch.cat([torch.randn(1, 3, 4, 4), torch.ones(1, 1, 4, 4)], 1)
    assert (mask_logits(torch.tensor([[[0.0, 0.0, 0.0, -1.0]]]), features) < 0).all()      # solution 1
