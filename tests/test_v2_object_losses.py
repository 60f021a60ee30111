"""Tests of visionllm_edu/v2/object_losses.py.

Generated from nbs/50b_object_losses.ipynb by make export: do not edit, edit the notebook.
"""

import pytest
import torch
from copy import deepcopy
from dataclasses import replace
from time import process_time
from torch import nn

from visionllm_edu.geometry import box_cxcywh_to_xyxy, generalized_box_iou
from visionllm_edu.v2.mask_decoder import grow_masks, mask_bce, mask_logits, shrink_masks
from visionllm_edu.v2.object_decoder import (
    ObjectDecoder, ObjectDecoderConfig, ObjectOutput, Predictions, top_objects,
)
from visionllm_edu.v2.object_losses import (
    assign, box_giou, class_term, make_noise, mask_terms, noise_terms, object_losses,
    pad_targets, stage_terms,
)
from visionllm_edu.vision.backbone import Backbone, BackboneConfig
from visionllm_edu.vision.matching import MatchingConfig, focal_loss, match, pair_costs, set_loss


# nbs/50b_object_losses.ipynb, cell 07d77983
def test_bad_targets_are_named():
    boxes, valid = torch.full((1, 4), 0.5), torch.tensor([[True, True, False]])
    with pytest.raises(ValueError, match="valid categories are"):
        pad_targets([{"boxes": boxes, "labels": torch.tensor([2])}], valid)          # asks for what isn't there
    with pytest.raises(ValueError, match="give one each"):
        pad_targets([{"boxes": boxes, "labels": torch.tensor([0, 1])}], valid)
    with pytest.raises(ValueError, match="give one each"):
        pad_targets([{"boxes": boxes, "labels": torch.tensor([0]), "masks": torch.zeros(2, 8, 8)}], valid)
    with pytest.raises(ValueError, match="2 targets for 1 samples"):
        pad_targets([{}, {}], valid)


# nbs/50b_object_losses.ipynb, cell ede69d69
def test_giou_equals_all_pairs():
    torch.manual_seed(0)
    a, b = torch.rand(5, 4), torch.rand(3, 4)
    pairs = generalized_box_iou(box_cxcywh_to_xyxy(a), box_cxcywh_to_xyxy(b))
    torch.testing.assert_close(box_giou(a[:, None], b), pairs)
    flat = torch.tensor([0.5, 0.5, 0.0, 0.0], requires_grad=True)                    # a box without area
    box_giou(flat, flat).backward()
    assert flat.grad.isfinite().all()


# nbs/50b_object_losses.ipynb, cell 1f3fba0d
def said_and_wanted(s=3, b=2, q=7, k=3, d=8):
    "Random predictions, targets of 2 and 0 objects, and valid categories."
    torch.manual_seed(0)
    stages = Predictions(torch.randn(s, b, q, k), torch.rand(s, b, q, 4) * 0.5 + 0.1, torch.randn(s, b, q, d))
    targets = [{"boxes": torch.rand(n, 4) * 0.4 + 0.2, "labels": torch.randint(k, (n,)), "masks": torch.rand(n, 16, 16) < 0.5}
               for n in (2, 0)]
    valid = torch.ones(b, k, dtype=torch.bool)
    output = ObjectOutput(stages, valid, torch.randn(s, b, q, 4), torch.randn(b, 4, 8, 8))
    return output, targets, ObjectDecoderConfig.tiny()


# nbs/50b_object_losses.ipynb, cell 36351332
def test_assignment_equals_one_by_one():
    output, targets, cfg = said_and_wanted()
    query, found = assign(output.stages, pad_targets(targets, output.valid), cfg)
    weights = MatchingConfig(cfg.class_cost, cfg.l1_cost, cfg.giou_cost)
    for i in range(3):
        costs = [pair_costs(output.stages.logits[i, j], output.stages.boxes[i, j], t["labels"], t["boxes"], weights)
                 for j, t in enumerate(targets)]
        for j, (rows, columns) in enumerate(match(costs)):
            assert query[i, j, columns].tolist() == rows.tolist()
            assert found[i, j].sum() == len(rows)


# nbs/50b_object_losses.ipynb, cell b452a274
def test_more_objects_than_queries():
    output, targets, cfg = said_and_wanted(q=1)
    query, found = assign(output.stages, pad_targets(targets, output.valid), cfg)
    assert found.sum(-1).tolist() == [[1, 0]] * 3                       # one query answers for one object, the other is missed


# nbs/50b_object_losses.ipynb, cell 9493003b
def test_padding_categories_cost_nothing():
    logits = torch.randn(2, 5, 3)
    logits[1, :, 2] = -torch.inf
    valid = torch.tensor([[True, True, True], [True, True, False]])[:, None]
    logits.requires_grad_()
    loss = class_term(logits, torch.zeros(2, 5, 3), valid)
    loss.backward()
    assert loss.isfinite() and (logits.grad[1, :, 2] == 0).all() and (logits.grad[0] != 0).all()
    torch.testing.assert_close(loss, focal_loss(logits[0], torch.zeros(5, 3)) + focal_loss(logits[1, :, :2], torch.zeros(5, 2)))


# nbs/50b_object_losses.ipynb, cell a5f77da5
def test_stages_equal_lesson_22():
    output, targets, cfg = said_and_wanted()
    wanted = pad_targets(targets, output.valid)
    terms = stage_terms(output, wanted, *assign(output.stages, wanted, cfg))
    weights = MatchingConfig(cfg.class_cost, cfg.l1_cost, cfg.giou_cost)
    labels, boxes = [t["labels"] for t in targets], [t["boxes"] for t in targets]
    singly = [set_loss(output.stages.logits[i], output.stages.boxes[i], labels, boxes, weights, num=1)[0] for i in range(3)]
    for ours, theirs in (("class", "label"), ("l1", "l1"), ("giou", "giou")):
        torch.testing.assert_close(terms[ours], sum(term[theirs] for term in singly))


# nbs/50b_object_losses.ipynb, cell cc53c653
def test_masks_count_where_they_exist():
    output, targets, cfg = said_and_wanted()
    targets[1] = {"boxes": torch.rand(1, 4) * 0.4 + 0.2, "labels": torch.tensor([1]), "masks": None}
    pairs = assign(output.stages, pad_targets(targets, output.valid), cfg)
    output.mask_queries.requires_grad_()
    sum(mask_terms(output, targets, *pairs).values()).backward()
    touched = output.mask_queries.grad.abs().sum(-1) > 0               # (s, b, q)
    assert touched.sum((0, 2)).tolist() == [3 * 2, 0]                   # the matched queries of sample 0, no one else
    query, _ = pairs
    one_by_one = sum(mask_bce(mask_logits(output.mask_queries[i, :1, query[i, 0, j]][:, None], output.mask_features[:1])[0, 0],
                              shrink_masks(targets[0]["masks"][j:j + 1], (8, 8))[0]) for i in range(3) for j in range(2))
    torch.testing.assert_close(mask_terms(output, targets, *pairs)["mask"], one_by_one)
    nothing = mask_terms(output, [t | {"masks": None} for t in targets], *pairs)
    assert nothing["mask"] == 0 and nothing["dice"] == 0 and nothing["mask"].requires_grad


# nbs/50b_object_losses.ipynb, cell 1208aecc
def test_copies_are_as_promised():
    torch.manual_seed(0)
    boxes = torch.rand(2, 3, 4) * 0.2 + torch.tensor([0.3, 0.3, 0.1, 0.1])
    targets = [{"boxes": boxes[0], "labels": torch.tensor([0, 1, 3])}, {"boxes": boxes[1, :1], "labels": torch.tensor([3])}]
    valid = torch.tensor([[True, True, False, True], [False, False, False, True]])
    noise = make_noise(targets, valid, ObjectDecoderConfig.tiny(denoising=300, label_noise=1.0))
    groups = noise.groups
    assert groups == 100 and noise.labels.shape == (2, groups * 2 * 3)
    assert set(noise.labels[0].tolist()) == {0, 1, 3} and set(noise.labels[1][noise.real[1]].tolist()) == {3}
    assert noise.real.sum(1).tolist() == [groups * 2 * 3, groups * 2 * 1]
    corners = box_cxcywh_to_xyxy(noise.boxes[0])
    assert corners.min() >= -1e-6 and corners.max() <= 1 + 1e-6 and (noise.boxes[..., 2:] >= 0).all()
    near, far = box_giou(noise.boxes[0].view(groups, 2, 3, 4), boxes[0]).mean((0, 2))
    assert near > 0.2 and far < 0
    same = make_noise(targets, valid, ObjectDecoderConfig.tiny(label_noise=0.0)).labels
    assert same[0].view(-1, 3).unique(dim=0).tolist() == [[0, 1, 3]]
    assert make_noise([{"boxes": boxes[0, :0], "labels": torch.zeros(0).long()}], valid[:1], ObjectDecoderConfig.tiny()) is None


# nbs/50b_object_losses.ipynb, cell a1bba9f3
def shake(module):
    "The module with every weight moved, so that a test sees all of them at work."
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return module.eval()

def request(b=2, k=3, side=64):
    "Maps, categories, valid (the last sample has one category less) and pixels, all random."
    torch.manual_seed(0)
    maps = [torch.randn(b, 32, side // s, side // s) for s in (8, 16, 32, 64)]
    valid = torch.ones(b, k, dtype=torch.bool)
    valid[-1, -1] = False
    return maps, torch.randn(b, k, 32), valid, torch.randn(b, 3, side, side)

def some_targets(*counts, side=64):
    "Targets with so many objects each, of categories 0 and 1."
    return [{"boxes": torch.rand(n, 4) * 0.3 + 0.3, "labels": torch.randint(2, (n,)), "masks": torch.rand(n, side, side) < 0.5}
            for n in counts]


# nbs/50b_object_losses.ipynb, cell 3b71ac2d
def test_denoising_does_not_leak():
    decoder, inputs = shake(ObjectDecoder(ObjectDecoderConfig.tiny())), request()
    noise = make_noise(some_targets(3, 1), inputs[2], decoder.cfg)
    without, with_ = decoder(*inputs), decoder(*inputs, noise)
    for a, b in zip(vars(without.stages).values(), vars(with_.stages).values()):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    other = replace(noise, boxes=noise.boxes.clone())
    size = noise.labels.shape[1] // noise.groups
    other.boxes[:, :size] = torch.rand(2, size, 4) * 0.5 + 0.2            # group 0 gets other boxes
    moved = (decoder(*inputs, other).denoised.hidden - with_.denoised.hidden).abs().amax((0, 1, 3)) > 1e-4
    assert moved[:size].all() and not moved[size:].any() and len(moved) > size


# nbs/50b_object_losses.ipynb, cell 6a72dfcf
def test_padded_copies_are_not_seen():
    decoder, inputs = shake(ObjectDecoder(ObjectDecoderConfig.tiny())), request()
    noise = make_noise(some_targets(3, 1), inputs[2], decoder.cfg)
    other = replace(noise, boxes=torch.where(noise.real[..., None], noise.boxes, 0.9))
    assert (~noise.real).any()
    a, b = decoder(*inputs, noise), decoder(*inputs, other)
    torch.testing.assert_close(a.denoised.boxes[:, noise.real], b.denoised.boxes[:, noise.real])


# nbs/50b_object_losses.ipynb, cell aec56f70
def test_perfect_copies_cost_nothing():
    output, targets, cfg = said_and_wanted()
    noise = make_noise(targets, output.valid, cfg)
    wanted, (groups, n) = pad_targets(targets, output.valid), (noise.groups, 2)
    boxes = wanted.boxes[:, None, None].expand(2, groups, 2, n, 4).flatten(1, 3)
    logits = torch.full((2, groups, 2, n, 3), -20.0)
    logits[:, :, 0] = torch.where(nn.functional.one_hot(wanted.labels, 3)[:, None] > 0, 20.0, -20.0)
    perfect = Predictions(logits.flatten(1, 3)[None], boxes[None], torch.zeros(1, 2, groups * 4, 8))
    terms = noise_terms(replace(output, noise=noise, denoised=perfect), wanted)
    assert all(value < 1e-4 for value in terms.values()), terms
    swapped = Predictions(-perfect.logits, perfect.boxes, perfect.hidden)            # near ones refused, far ones accepted
    assert noise_terms(replace(output, noise=noise, denoised=swapped), wanted)["denoise_class"] > 10


# nbs/50b_object_losses.ipynb, cell 6e599e82
def test_two_calls_agree():
    decoder, inputs, targets = shake(ObjectDecoder(ObjectDecoderConfig.tiny())), request(), some_targets(3, 1)
    before, noise = deepcopy(targets), make_noise(targets, inputs[2], decoder.cfg)
    output = decoder(*inputs, noise)
    first, second = object_losses(output, targets, decoder.cfg), object_losses(output, targets, decoder.cfg)
    assert {k: v.item() for k, v in first.items()} == {k: v.item() for k, v in second.items()}
    for old, new in zip(before, targets):
        assert old.keys() == new.keys() and all(torch.equal(old[key], new[key]) for key in old)


# nbs/50b_object_losses.ipynb, cell f9803359
def test_batch_is_the_sum_of_its_samples():
    decoder, (maps, categories, valid, pixels) = shake(ObjectDecoder(ObjectDecoderConfig.tiny())), request()
    targets = some_targets(3, 1)
    together = object_losses(decoder(maps, categories, valid, pixels), targets, decoder.cfg)
    single = [object_losses(decoder([m[i:i + 1] for m in maps], categories[i:i + 1, :3 - i], valid[i:i + 1, :3 - i], pixels[i:i + 1]),
                            targets[i:i + 1], decoder.cfg) for i in range(2)]
    for name, value in together.items():
        torch.testing.assert_close(4 * value, 3 * single[0][name] + single[1][name], atol=1e-3, rtol=1e-3)


# nbs/50b_object_losses.ipynb, cell 8dad0c12
def test_every_weight_is_applied_once():
    decoder, inputs, targets = ObjectDecoder(ObjectDecoderConfig.tiny()), request(), some_targets(3, 1)
    output = decoder(*inputs, make_noise(targets, inputs[2], decoder.cfg))
    plain = object_losses(output, targets, decoder.cfg)
    for name in ("class", "l1", "giou", "mask", "dice"):
        double = replace(decoder.cfg, **{f"{name}_weight": 2 * getattr(decoder.cfg, f"{name}_weight")})
        for term, value in object_losses(output, targets, double).items():
            torch.testing.assert_close(value, plain[term] * (2 if term in (name, f"denoise_{name}") else 1))


# nbs/50b_object_losses.ipynb, cell 31bddd5e
def test_nothing_to_find_is_a_lesson_too():
    decoder, inputs = ObjectDecoder(ObjectDecoderConfig.tiny()), request()
    targets = some_targets(0, 0)
    output = decoder(*inputs, make_noise(targets, inputs[2], decoder.cfg))
    losses = object_losses(output, targets, decoder.cfg)
    assert losses["class"] > 0 and not any(losses[name] for name in ("l1", "giou", "mask", "dice"))
    sum(losses.values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in decoder.parameters())
    assert decoder.mask_decoder.coarse.weight.grad is not None            # on many devices, no parameter is ever left out


# nbs/50b_object_losses.ipynb, cell 5b9a9d98
def test_box_losses_reach_the_categories():
    decoder, (maps, categories, valid, pixels) = shake(ObjectDecoder(ObjectDecoderConfig.tiny())), request()
    targets = some_targets(3, 1)
    output = decoder(maps, categories.requires_grad_(), valid, pixels)
    losses = object_losses(output, targets, decoder.cfg)
    (losses["l1"] + losses["giou"]).backward()
    assert (categories.grad[valid].abs().sum(-1) > 0).all() and not categories.grad[~valid].any()


# nbs/50b_object_losses.ipynb, cell ba76da4a
COLOURS = torch.tensor([[0.9, 0.25, 0.2], [0.2, 0.4, 0.9], [0.2, 0.7, 0.3]])

def drawn_scene(seed, side=64):
    "Pixels (3, side, side) in [0, 1] and the target of one to three shapes, each in its own quarter."
    generator = torch.Generator().manual_seed(seed)
    rand = lambda *n: torch.rand(*n, generator=generator)
    n = int(rand(1) * 3) + 1
    quarter, labels, r = torch.randperm(4, generator=generator)[:n], (rand(n) * 3).long(), 7 + 6 * rand(n)
    x, y = 16 + 32 * (quarter % 2) + 6 * rand(n) - 3, 16 + 32 * (quarter // 2) + 6 * rand(n) - 3
    masks = shape_masks(x, y, r, side)[labels, torch.arange(n)]
    pixels = 0.75 + 0.1 * rand(3, side, side)
    for mask, label in zip(masks, labels):
        pixels = torch.where(mask, COLOURS[label][:, None, None], pixels)
    return pixels, {"boxes": torch.stack([x, y, 2 * r, 2 * r], 1) / side, "labels": labels, "masks": masks}

def shape_masks(x, y, r, side):
    "Masks (3 kinds, n, side, side) of discs, squares and triangles."
    rows, columns = torch.meshgrid(torch.arange(side) + 0.5, torch.arange(side) + 0.5, indexing="ij")
    dx, dy, r = columns - x[:, None, None], rows - y[:, None, None], r[:, None, None]
    return torch.stack([dx**2 + dy**2 < r**2, torch.maximum(dx.abs(), dy.abs()) < r,
                        (dy.abs() < r) & (dx.abs() < (dy + r) / 2)])


# nbs/50b_object_losses.ipynb, cell 488dfcf1
def overfit(steps, cfg=ObjectDecoderConfig.tiny()):
    "Trains on four scenes. Returns pixels, targets, the curve of every term, and the last answer."
    torch.manual_seed(0)
    scenes, targets = zip(*map(drawn_scene, range(4)))
    pixels, valid = 2 * torch.stack(scenes) - 1, torch.ones(4, 3, dtype=torch.bool)
    backbone, decoder = Backbone(BackboneConfig.tiny()), ObjectDecoder(cfg)
    categories, curves = nn.Parameter(torch.randn(3, 32)), {}
    answer = lambda noise=None: decoder(backbone(pixels), categories.expand(4, -1, -1), valid, pixels, noise)
    parameters = [*backbone.parameters(), *decoder.parameters(), categories]
    optimizer = torch.optim.AdamW(parameters, 2e-3)
    for _ in range(steps):
        losses = object_losses(answer(make_noise(targets, valid, cfg)), targets, cfg)
        optimizer.zero_grad(), sum(losses.values()).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        for name, value in losses.items():
            curves.setdefault(name, []).append(value.item())
    with torch.no_grad():
        return torch.stack(scenes), targets, curves, answer()


# nbs/50b_object_losses.ipynb, cell 4ae76035
def test_overfits_four_scenes():
    start = process_time()
    _, targets, curves, output = overfit(steps=160)
    assert process_time() - start < 20
    for found, target in zip(top_objects(output, threshold=0.5), targets):
        assert sorted(found["labels"].tolist()) == sorted(target["labels"].tolist())
        boxes = [box_cxcywh_to_xyxy(x["boxes"]) for x in (found, target)]
        assert (generalized_box_iou(*boxes).amax(0) > 0.7).all()
        masks = grow_masks(found["masks"], (64, 64))
        overlap = (masks[:, None] & target["masks"]).sum((2, 3)) / (masks[:, None] | target["masks"]).sum((2, 3))
        assert (overlap.amax(0) > 0.7).all()


# nbs/50b_object_losses.ipynb, cell 5cb985ff
def test_solutions():
    def changes(cfg, steps=60):
        "Share of the last stage's pairs that a step changes, as a mean."
        torch.manual_seed(0)
        scenes, targets = zip(*map(drawn_scene, range(4)))
        pixels, valid = 2 * torch.stack(scenes) - 1, torch.ones(4, 3, dtype=torch.bool)
        backbone, decoder, wanted = Backbone(BackboneConfig.tiny()), ObjectDecoder(cfg), pad_targets(targets, valid)
        categories, before, shares = nn.Parameter(torch.randn(3, 32)), None, []
        parameters = [*backbone.parameters(), *decoder.parameters(), categories]
        optimizer = torch.optim.AdamW(parameters, 2e-3)
        for _ in range(steps):
            noise = make_noise(targets, valid, cfg) if cfg.denoising else None
            output = decoder(backbone(pixels), categories.expand(4, -1, -1), valid, pixels, noise)
            query, found = assign(output.stages, wanted, cfg)
            if before is not None: shares.append((query[-1] != before)[found[-1]].float().mean().item())
            before = query[-1]
            optimizer.zero_grad(), sum(object_losses(output, targets, cfg).values()).backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
        return sum(shares) / len(shares)

    assert all(0 <= changes(ObjectDecoderConfig.tiny(denoising=copies), steps=4) <= 1 for copies in (8, 0))
