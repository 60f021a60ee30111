"""Tests of visionllm_edu/vision/backbone.py.

Generated from nbs/20_backbone.ipynb by make export: do not edit, edit the notebook.
"""

import pytest
import tempfile
import torch
import torch.nn.functional as F
from torch import nn
from transformers import DeformableDetrConfig, ResNetConfig, ResNetForImageClassification
from transformers.models.deformable_detr.modeling_deformable_detr import (
    DeformableDetrConvEncoder, DeformableDetrFrozenBatchNorm2d,
)

from visionllm_edu.vision.backbone import (
    Backbone, BackboneConfig, FrozenBatchNorm, build_backbone, convert_norms, pretrained_config,
)


# nbs/20_backbone.ipynb, cell b9a8dc15
def test_frozen_norm_equals_the_twin():
    ours, twin = FrozenBatchNorm(6), DeformableDetrFrozenBatchNorm2d(6)
    weights = {name: torch.rand(6) + 0.1 for name in ("weight", "bias", "running_mean", "running_var")}
    ours.load_state_dict(weights, strict=False), twin.load_state_dict(weights)
    x = torch.randn(2, 6, 3, 3)
    torch.testing.assert_close(ours.train()(x), twin(x), atol=1e-5, rtol=1e-5)
    assert not ours.training and not any(p.requires_grad for p in ours.parameters())


# nbs/20_backbone.ipynb, cell 8a6ba20a
def test_convert_norms_swaps_every_batch_norm():
    def kinds(module):
        return {type(m) for m in module.modules() if "Norm" in type(m).__name__}

    net = nn.Sequential(nn.Conv2d(3, 12, 1), nn.BatchNorm2d(12), nn.Sequential(nn.BatchNorm2d(7)))
    assert kinds(convert_norms(net, "batch")) == {nn.BatchNorm2d}
    assert kinds(convert_norms(net, "frozen")) == {FrozenBatchNorm}
    net = nn.Sequential(nn.BatchNorm2d(12), nn.BatchNorm2d(7))
    assert [n.num_groups for n in convert_norms(net, "group", groups=8)] == [4, 1]   # divisors of 12 and 7


# nbs/20_backbone.ipynb, cell 5751d4fe
def test_bad_configs_are_refused():
    with pytest.raises(ValueError, match="'layer'.*group, frozen, batch"):
        BackboneConfig(norm="layer")
    with pytest.raises(ValueError, match="use norm='frozen'"):
        BackboneConfig(norm="group", pretrained="a/resnet")
    with pytest.raises(ValueError, match="d_model 30"):
        BackboneConfig(d_model=30)


# nbs/20_backbone.ipynb, cell 73bbe010
def test_pretrained_weights_load():
    torch.manual_seed(0)
    sizes = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1],
                         layer_type="basic", num_labels=3)
    classifier = ResNetForImageClassification(sizes).eval()
    with tempfile.TemporaryDirectory() as folder:
        classifier.save_pretrained(folder)
        cfg = pretrained_config(folder, d_model=32)
        loaded = build_backbone(cfg)
        with pytest.raises(ValueError, match="other sizes"):
            Backbone(BackboneConfig.tiny(norm="frozen", hidden_sizes=(8, 16, 24, 40))).load_resnet(folder)
        with pytest.raises(ValueError, match="use 'frozen'"):
            Backbone(BackboneConfig.tiny()).load_resnet(folder)
    x = torch.randn(2, 3, 64, 64)
    expected = classifier.resnet(x).last_hidden_state
    torch.testing.assert_close(loaded.resnet(x).feature_maps[-1], expected, atol=1e-5, rtol=1e-5)
    assert cfg.hidden_sizes == [8, 16, 24, 32] and cfg.norm == "frozen"


# nbs/20_backbone.ipynb, cell ec80f981
def test_equals_deformable_detr_in_transformers():
    torch.manual_seed(0)
    ours = Backbone(BackboneConfig.tiny(norm="frozen", d_model=32, groups=32))
    sizes = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1],
                         layer_type="basic", out_features=["stage2", "stage3", "stage4"])
    twin = DeformableDetrConvEncoder(DeformableDetrConfig(backbone_config=sizes)).eval()
    twin.model.load_state_dict({k: v for k, v in ours.resnet.state_dict().items() if "num_batches" not in k})
    x = torch.randn(2, 3, 64, 96)
    maps = [m for m, _ in twin(x, torch.ones(2, 64, 96))]
    for ours_map, layer, c in zip(ours(x), ours.projections, [*maps, maps[-1]]):
        torch.testing.assert_close(ours_map, layer(c), atol=1e-5, rtol=1e-5)


# nbs/20_backbone.ipynb, cell 037d679a
def test_batch_equals_single_pictures():
    def gap(norm):
        torch.manual_seed(0)
        model, x = Backbone(BackboneConfig.tiny(norm=norm)).train(), torch.randn(3, 3, 64, 64)
        together, alone = model(x), [model(x[i:i + 1]) for i in range(3)]
        return max((m[i] - alone[i][s][0]).abs().max().item() for s, m in enumerate(together) for i in range(3))

    assert gap("group") < 1e-4 and gap("frozen") < 1e-4
    assert gap("batch") > 0.1


# nbs/20_backbone.ipynb, cell 1147ab2f
def test_train_equals_eval():
    model, x = Backbone(BackboneConfig.tiny()), torch.randn(2, 3, 64, 64)
    for trained, evaluated in zip(model.train()(x), model.eval()(x)):
        torch.testing.assert_close(trained, evaluated)


# nbs/20_backbone.ipynb, cell e1f1ec62
def test_gradients_reach_every_free_parameter():
    model = Backbone(BackboneConfig.tiny(norm="frozen", frozen_stages=2))
    sum(m.square().sum() for m in model(torch.randn(2, 3, 64, 64))).backward()
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (parameter.grad is not None), name
        assert parameter.grad is None or parameter.grad.abs().sum() > 0, name
    assert not any(p.requires_grad for p in model.resnet.embedder.parameters())
    assert not any(p.requires_grad for p in model.resnet.encoder.stages[0].parameters())


# nbs/20_backbone.ipynb, cell f6d6d761
def test_a_shifted_picture_shifts_the_maps():
    torch.manual_seed(0)
    resnet = Backbone(BackboneConfig.tiny(norm="frozen")).resnet
    x = torch.randn(1, 3, 512, 512)
    moved = torch.roll(x, 64, dims=-1)
    for stride, before, after in zip((8, 16, 32), resnet(x).feature_maps, resnet(moved).feature_maps):
        h, margin, cells = before.shape[-1], 192 // stride, 64 // stride
        inside = slice(margin, h - margin)
        expected = torch.roll(before, cells, -1)[..., inside]
        torch.testing.assert_close(after[..., inside], expected, atol=1e-4, rtol=1e-4)


# nbs/20_backbone.ipynb, cell d730aad2
def test_odd_sizes_and_wrong_inputs():
    model = Backbone(BackboneConfig.tiny())
    assert [tuple(m.shape[-2:]) for m in model(torch.randn(1, 3, 100, 70))] == [(13, 9), (7, 5), (4, 3), (2, 2)]
    with pytest.raises(ValueError, match=r"\(3, 64, 64\), accepted is \(b, 3, h, w\)"):
        model(torch.randn(3, 64, 64))


# nbs/20_backbone.ipynb, cell 7e1e3ffd
def test_the_fine_map_comes_first_and_changes_no_other():
    model, x = Backbone(BackboneConfig.tiny(fine_map=True)), torch.randn(1, 3, 64, 96)
    fine, *maps = model(x)
    assert fine.shape == (1, 32, 16, 24)
    plain = Backbone(BackboneConfig.tiny())
    plain.load_state_dict({k: w for k, w in model.state_dict().items() if not k.startswith("fine.")})
    for own, four in zip(maps, plain(x), strict=True): torch.testing.assert_close(own, four)


# nbs/20_backbone.ipynb, cell cfd1b5a1
def discs(n, seed, px=64):
    "Noise with one disc each (n, 3, px, px), and the stride-8 cell of each disc's centre (n,)."
    generator = torch.Generator().manual_seed(seed)
    centre = torch.rand(n, 2, generator=generator) * 0.8 + 0.1                     # x, y
    grid = (torch.arange(px) + 0.5) / px
    distance = (grid - centre[:, :1, None]) ** 2 + (grid[:, None] - centre[:, 1:, None]) ** 2
    image = torch.rand(n, 3, px, px, generator=generator) * 0.5
    image[:, 0] += distance < 0.08**2
    cell = (centre * px / 8).long()
    return image, cell[:, 1] * (px // 8) + cell[:, 0]


# nbs/20_backbone.ipynb, cell 8057967b
def overfit(norm, steps):
    "Trains tiny on eight discs; returns losses in train mode and, on the same weights, in eval mode."
    torch.manual_seed(0)
    model, read = Backbone(BackboneConfig.tiny(norm=norm)), nn.Conv2d(32, 1, 1)
    optimizer = torch.optim.AdamW([*model.parameters(), *read.parameters()], lr=1e-3)
    images, cells = discs(8, seed=0)
    losses = {False: [], True: []}
    for _ in range(steps):
        for training in (False, True):
            loss = F.cross_entropy(read(model.train(training)(images)[0]).flatten(1), cells)
            losses[training].append(loss.item())
        optimizer.zero_grad(), loss.backward(), optimizer.step()
    return losses[True], losses[False]


# nbs/20_backbone.ipynb, cell 629b7ea2
def test_overfits_eight_pictures():
    train, evaluated = overfit("group", 25)
    assert train[0] > 2 and train[-1] < 0.1
    assert max(abs(a - b) for a, b in zip(train, evaluated)) < 1e-4
    train, evaluated = overfit("batch", 15)
    assert evaluated[-1] > 3 * train[-1]


# nbs/20_backbone.ipynb, cell 06871b50
def test_solutions():
    def top_down(maps):
        out = [maps[-1]]
        for m in reversed(maps[:-1]):
            out.append(m + F.interpolate(out[-1], size=m.shape[-2:]))
        return out[::-1]

    maps = [torch.zeros(1, 4, s, s) for s in (8, 4, 2)] + [torch.ones(1, 4, 1, 1)]
    assert (top_down(maps)[0] == 1).all() and [m.shape for m in top_down(maps)] == [m.shape for m in maps]
    counts = [sum(p.numel() for p in Backbone(BackboneConfig.mini(layer_type=kind)).parameters())
              for kind in ("bottleneck", "basic")]
    assert counts[0] < counts[1]
