"""Tests of visionllm_edu/v2/object_decoder.py.

Generated from nbs/50_object_decoder.ipynb by make export: do not edit, edit the notebook.
"""

import pytest
import torch

from visionllm_edu.v2.object_decoder import (
    CategoryProjection, ObjectDecoder, ObjectDecoderConfig, best_of_each, pad_categories,
    top_objects,
)


# nbs/50_object_decoder.ipynb, cell 821ce190
def test_categories_are_padded():
    categories, valid = pad_categories([torch.ones(3, 8), torch.ones(0, 8), torch.ones(1, 8)])
    assert categories.shape == (3, 3, 8) and valid.tolist() == [[True] * 3, [False] * 3, [True, False, False]]
    assert torch.equal(categories.any(-1), valid)


# nbs/50_object_decoder.ipynb, cell ea742ff0
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
    maps = [torch.randn(b, 32, -(-side // s), -(-side // s)) for s in (8, 16, 32, 64)]
    valid = torch.ones(b, k, dtype=torch.bool)
    valid[-1, -1] = False
    return maps, torch.randn(b, k, 32), valid, torch.randn(b, 3, side, side)


# nbs/50_object_decoder.ipynb, cell 992b12c2
def test_top_objects_are_sorted_and_complete():
    decoder = shake(ObjectDecoder(ObjectDecoderConfig.tiny()))
    output = decoder(*request())
    for i, found in enumerate(top_objects(output, k=5)):
        scores, query, label = found["scores"], found["queries"], found["labels"]
        assert (scores.diff() <= 0).all() and len(scores) == 5
        torch.testing.assert_close(scores[0], output.logits[i].max().sigmoid())
        torch.testing.assert_close(found["boxes"], output.boxes[i, query])
        torch.testing.assert_close(found["masks"], output.masks[i, query])
    assert all((found["scores"] >= 0.5).all() for found in top_objects(output, threshold=0.5))


# nbs/50_object_decoder.ipynb, cell cab886d9
def test_best_of_each_category():
    output = shake(ObjectDecoder(ObjectDecoderConfig.tiny()))(*request())
    for i, found in enumerate(best_of_each(output)):
        assert found["labels"].tolist() == output.valid[i].nonzero().flatten().tolist()
        torch.testing.assert_close(found["scores"], output.logits[i].amax(0)[output.valid[i]].sigmoid())


# nbs/50_object_decoder.ipynb, cell 30ac1d47
def test_permuting_categories_permutes_logits():
    decoder, order = shake(ObjectDecoder(ObjectDecoderConfig.tiny())), [2, 0, 1]
    maps, categories, valid, pixels = request()
    a, b = decoder(maps, categories, valid, pixels), decoder(maps, categories[:, order], valid[:, order], pixels)
    torch.testing.assert_close(a.stages.logits[..., order], b.stages.logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(a.stages.boxes, b.stages.boxes, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(a.masks, b.masks, atol=1e-3, rtol=1e-3)
    assert a.logits[0].std() > 0.1 and a.boxes.std() > 0.01                 # and there is something to compare


# nbs/50_object_decoder.ipynb, cell 01035445
def test_invalid_categories_change_nothing():
    decoder = shake(ObjectDecoder(ObjectDecoderConfig.tiny()))
    maps, categories, valid, pixels = request()
    plain = decoder(maps, categories, valid, pixels)
    filled = decoder(maps, categories.masked_fill(~valid[..., None], torch.nan), valid, pixels)
    torch.testing.assert_close(filled.stages.boxes, plain.stages.boxes)
    assert (plain.stages.logits[:, 1, :, 2] == -torch.inf).all()
    assert all(2 not in found["labels"] for found in top_objects(plain)[1:])
    assert len(top_objects(plain, k=100)[1]["labels"]) == 12 * 2            # every query with every valid category


# nbs/50_object_decoder.ipynb, cell f5606478
def test_batched_equals_single():
    decoder = shake(ObjectDecoder(ObjectDecoderConfig.tiny()))
    maps, categories, valid, pixels = request(b=3)
    valid[0] = False                                                       # asks for nothing
    together = decoder(maps, categories, valid, pixels)
    alone = decoder([m[2:] for m in maps], categories[2:, :2], valid[2:, :2], pixels[2:])
    torch.testing.assert_close(together.boxes[2:], alone.boxes, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(together.logits[2:, :, :2], alone.logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(together.masks[2:], alone.masks, atol=1e-3, rtol=1e-3)
    assert together.boxes.isfinite().all() and len(top_objects(together)[0]["scores"]) == 0


# nbs/50_object_decoder.ipynb, cell 57bfa194
def test_a_box_loss_alone_reaches_the_links():
    decoder, projection = shake(ObjectDecoder(ObjectDecoderConfig.tiny())), shake(CategoryProjection(48, 32))
    maps, _, _, pixels = request()
    links = [torch.randn(n, 4, 48, requires_grad=True) for n in (3, 2)]
    categories, valid = pad_categories([projection(states) for states in links])
    output = decoder(maps, categories, valid, pixels)
    (output.boxes - 0.3).abs().sum().backward()
    for states in links:
        assert (states.grad.abs().sum(-1) > 0).all()                       # each of the N states of each link
    assert all(p.grad is not None and p.grad.any() for p in projection.parameters())


# nbs/50_object_decoder.ipynb, cell d2bf85ee
def test_gradients_reach_every_parameter():
    decoder = shake(ObjectDecoder(ObjectDecoderConfig.tiny()))
    maps, categories, valid, pixels = request()
    output = decoder(maps, categories, valid, pixels)
    finite = output.stages.logits.masked_fill(~valid[:, None], 0)
    (finite.square().mean() + output.stages.boxes.square().mean() + output.masks.square().mean()).backward()
    silent = [name for name, p in decoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent, silent


# nbs/50_object_decoder.ipynb, cell c32055b0
def test_layers_look_from_detached_boxes():
    decoder, kept = shake(ObjectDecoder(ObjectDecoderConfig.tiny())), []
    hook = decoder.select.register_forward_hook(lambda module, given, found: kept.append(found.boxes))
    output = decoder(*request())
    hook.remove()
    first, = torch.autograd.grad(output.boxes.sum(), kept[0])
    assert not first.any()           # they share one stack, but no gradient goes from an answer to its proposal's box


# nbs/50_object_decoder.ipynb, cell d721333b
def test_wrong_inputs_are_named():
    decoder = ObjectDecoder(ObjectDecoderConfig.tiny())
    maps, categories, valid, pixels = request()
    for bad in ((maps[:3], categories, valid), (maps, categories[..., :8], valid), (maps, categories, valid[:, :2]),
                (maps, categories[:, :0], valid[:, :0])):
        with pytest.raises(ValueError, match="accepted are"):
            decoder(*bad, pixels)


# nbs/50_object_decoder.ipynb, cell 80b25ea2
def test_solutions():
    decoder = shake(ObjectDecoder(ObjectDecoderConfig.tiny()))
    maps, categories, valid, pixels = request()
    only = torch.tensor([[True, False, False]]).expand(2, -1)
    assert all((found["labels"] == 0).all() for found in top_objects(decoder(maps, categories, only, pixels)))
    output = decoder(maps, categories, valid, pixels)
    number = (output.logits.sigmoid() >= 0.5).sum(1)
    assert torch.equal(number.sum(1), torch.tensor([len(f["labels"]) for f in top_objects(output, threshold=0.5)]))
