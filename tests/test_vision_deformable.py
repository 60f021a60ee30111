"""Tests of visionllm_edu/vision/deformable.py.

Generated from nbs/21_deformable.ipynb by make export: do not edit, edit the notebook.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import DeformableDetrConfig
from transformers.models.deformable_detr import modeling_deformable_detr as twins

from visionllm_edu.vision.backbone import Backbone, BackboneConfig
from visionllm_edu.vision.deformable import (
    DecoderLayer, DeformableAttention, DeformableConfig, DeformableDecoder, DeformableEncoder,
    EncoderLayer, deformable_sample, flatten_maps, inverse_sigmoid, move_reference,
    reference_grid, sampling_locations, sine_position, unflatten_maps,
)


# nbs/21_deformable.ipynb, cell b39eebb8
def bilinear(x, place):  # x (c, h, w): one map; place (2,): x and y in [0, 1]
    "Returns (c,): the map read at a place between cells."
    c, h, w = x.shape
    column, row = (place * torch.tensor([w, h]) - 0.5).unbind()   # cell centres lie at whole numbers
    out = torch.zeros(c)
    for i in (row.floor().long(), row.floor().long() + 1):
        for j in (column.floor().long(), column.floor().long() + 1):
            if 0 <= i < h and 0 <= j < w:
                out = out + (1 - (row - i).abs()) * (1 - (column - j).abs()) * x[:, i, j]
    return out


# nbs/21_deformable.ipynb, cell a86a760c
def test_bilinear_is_grid_sample():
    torch.manual_seed(0)
    x, places = torch.randn(3, 5, 7), torch.rand(20, 2) * 1.4 - 0.2     # some of them outside
    read = F.grid_sample(x[None], 2 * places[None, None] - 1, align_corners=False)[0, :, 0].T
    torch.testing.assert_close(torch.stack([bilinear(x, p) for p in places]), read)


# nbs/21_deformable.ipynb, cell b9c22614
def sample_loop(values, shapes, locations, weights):
    b, q, heads, levels, points, _ = locations.shape
    starts = [sum(h * w for h, w in shapes[:level]) for level in range(levels)]
    out = torch.zeros(b, q, heads, values.shape[-1])
    for i, j, m, l, k in torch.cartesian_prod(*map(torch.arange, (b, q, heads, levels, points))).tolist():
        h, w = shapes[l]
        level_map = values[i, starts[l]:starts[l] + h * w, m].T.reshape(-1, h, w)
        out[i, j, m] += weights[i, j, m, l, k] * bilinear(level_map, locations[i, j, m, l, k])
    return out.flatten(2)


# nbs/21_deformable.ipynb, cell 7849d053
def example(b=2, q=5, heads=2, points=3, width=4, shapes=((6, 4), (3, 2))):
    "Random values, shapes, locations (some outside of the maps) and weights."
    torch.manual_seed(0)
    values = torch.randn(b, sum(h * w for h, w in shapes), heads, width)
    locations = torch.rand(b, q, heads, len(shapes), points, 2) * 1.2 - 0.1
    weights = torch.rand(b, q, heads, len(shapes) * points).softmax(-1)
    return values, list(shapes), locations, weights.view(locations.shape[:-1])

slow = sample_loop(*example())
slow.shape


# nbs/21_deformable.ipynb, cell cc019822
def sample_vectorised(values, shapes, locations, weights):   # one picture: no b axis anywhere
    size = torch.tensor([(w, h) for h, w in shapes])[:, None]              # (levels, 1, 2)
    start = torch.tensor([0, *(h * w for h, w in shapes[:-1])]).cumsum(0)  # (levels,)
    spot = locations * size - 0.5                                          # (q, heads, levels, points, 2) in cells
    head = torch.arange(values.shape[1])[:, None, None]                    # (heads, 1, 1)
    out = 0
    for corner in torch.cartesian_prod(torch.arange(2), torch.arange(2)):
        cell = spot.floor().long() + corner
        near = (1 - (spot - cell).abs()).prod(-1) * ((cell >= 0) & (cell < size)).all(-1) * weights
        x, y = cell.clamp(min=0).minimum(size - 1).unbind(-1)
        row = start[:, None] + y * size[..., 0] + x                        # (q, heads, levels, points)
        out = out + (near[..., None] * values[row, head]).sum((2, 3))      # (q, heads, d/heads)
    return out.flatten(1)

values, shapes, locations, weights = example()
fast = sample_vectorised(values[0], shapes, locations[0], weights[0])
torch.testing.assert_close(fast, slow[0])


# nbs/21_deformable.ipynb, cell 94cf19e5
def test_every_rung_is_equal():
    values, shapes, locations, weights = example()
    batched = deformable_sample(values, shapes, locations, weights)
    assert batched.shape == (2, 5, 8)
    torch.testing.assert_close(batched, sample_loop(values, shapes, locations, weights))
    one_by_one = [sample_vectorised(values[i], shapes, locations[i], weights[i]) for i in range(2)]
    torch.testing.assert_close(batched, torch.stack(one_by_one))


# nbs/21_deformable.ipynb, cell 796690c2
def test_offsets_count_cells_or_fractions_of_a_box():
    point, box = torch.tensor([[[0.5, 0.5]]]), torch.tensor([[[0.5, 0.5, 0.2, 0.4]]])
    offsets = torch.tensor([2.0, 1.0]).expand(1, 1, 1, 2, 1, 2)
    seen = sampling_locations(point, offsets, [(10, 20), (5, 10)])[0, 0, 0, :, 0]
    torch.testing.assert_close(seen, torch.tensor([[0.6, 0.6], [0.7, 0.7]]))
    four = torch.full((1, 1, 1, 2, 4, 2), 4.0)
    edge = sampling_locations(box, four, [(10, 20), (5, 10)])[0, 0, 0, 0, 0]
    torch.testing.assert_close(edge, torch.tensor([0.6, 0.7]))


# nbs/21_deformable.ipynb, cell 1ffc45f9
def parts(d=32, heads=4, points=2, shapes=((6, 5), (3, 3), (2, 2), (1, 1)), b=2, q=7):
    "Query (b, q, d), reference (b, q, 2), tokens (b, n, d), shapes and a padding mask (b, n), all random."
    torch.manual_seed(0)
    n = sum(h * w for h, w in shapes)
    query, reference, tokens = torch.randn(b, q, d), torch.rand(b, q, 2), torch.randn(b, n, d)
    return query, reference, tokens, list(shapes), torch.rand(b, n) < 0.2

query, reference, tokens, shapes, padding = parts()
attention = DeformableAttention(32, heads=4, points=2)
locations, weights = attention.look(query, reference, shapes)
out = attention(query, reference, tokens, shapes)
print("locations", tuple(locations.shape), " weights", tuple(weights.shape), " out", tuple(out.shape))


# nbs/21_deformable.ipynb, cell 5185a6b3
def shake(module):
    "Returns the module with random weights everywhere, so that a comparison tests all of them."
    torch.manual_seed(1)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2)
    return module

def twin_config(**changes):
    "A Deformable DETR configuration that fits `parts`."
    cfg = DeformableDetrConfig(**dict(dict(
        d_model=32, encoder_attention_heads=4, decoder_attention_heads=4, encoder_n_points=2, decoder_n_points=2,
        encoder_ffn_dim=64, decoder_ffn_dim=64, encoder_layers=2, decoder_layers=2, num_feature_levels=4,
        dropout=0.0, attention_dropout=0.0, activation_dropout=0.0), **changes))
    cfg._attn_implementation = "eager"
    return cfg


# nbs/21_deformable.ipynb, cell 849fd95c
ATTENTION = {"offsets": "sampling_offsets", "weights": "attention_weights",
             "values": "value_proj", "output": "output_proj"}

def load_twin(twin, ours, names):
    "Returns `twin` with our weights, its parameters being named as `names` says, part by part."
    twin.load_state_dict({".".join(names.get(part, part) for part in key.split(".")): value
                          for key, value in split_projections(ours.state_dict()).items()})
    return twin.eval()

def split_projections(state):
    "torch keeps queries, keys and values of ordinary attention in one matrix, transformers in three."
    out = {key: value for key, value in state.items() if "in_proj" not in key}
    for key in [key for key in state if "in_proj" in key]:
        for name, part in zip("qkv", state[key].chunk(3)):
            out[key.replace("in_proj_", f"{name}_proj.")] = part
    return out

def assert_same(ours, theirs, inputs):
    "Asserts that two results, and their gradients with respect to all inputs, agree."
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    grads = [torch.autograd.grad(out.square().mean(), inputs, retain_graph=True) for out in (ours, theirs)]
    for a, b in zip(*grads):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


# nbs/21_deformable.ipynb, cell 24011283
def test_attention_equals_transformers():
    query, reference, tokens, shapes, padding = parts()
    ours = shake(DeformableAttention(32, heads=4, points=2))
    twin = twins.DeformableDetrMultiscaleDeformableAttention(twin_config(), num_heads=4, n_points=2)
    load_twin(twin, ours, ATTENTION)
    boxes = torch.cat([reference, torch.rand(2, 7, 2) / 2], -1)
    for where in (reference, boxes):
        inputs = [x.requires_grad_() for x in (query, where, tokens)]
        theirs, _ = twin(query, ~padding, tokens, reference_points=where[:, :, None].expand(-1, -1, 4, -1),
                         spatial_shapes=torch.tensor(shapes), spatial_shapes_list=shapes)
        assert_same(ours(query, where, tokens, shapes, padding), theirs, inputs)


# nbs/21_deformable.ipynb, cell a4f77a71
def test_weight_gradients_equal_transformers():
    query, reference, tokens, shapes, padding = parts()
    ours = shake(DeformableAttention(32, heads=4, points=2))
    twin = twins.DeformableDetrMultiscaleDeformableAttention(twin_config(), num_heads=4, n_points=2)
    load_twin(twin, ours, ATTENTION)
    ours(query, reference, tokens, shapes).square().mean().backward()
    twin(query, None, tokens, reference_points=reference[:, :, None].expand(-1, -1, 4, -1),
         spatial_shapes=torch.tensor(shapes), spatial_shapes_list=shapes)[0].square().mean().backward()
    for name, other_name in ATTENTION.items():
        layer, other = getattr(ours, name), getattr(twin, other_name)
        torch.testing.assert_close(layer.weight.grad, other.weight.grad, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(layer.bias.grad, other.bias.grad, atol=1e-5, rtol=1e-5)


# nbs/21_deformable.ipynb, cell 278dd092
def test_padding_is_never_read():
    query, reference, tokens, shapes, padding = parts()
    layer = shake(DeformableAttention(32, heads=4, points=2))
    scribbled = tokens.masked_scatter(padding[..., None], 100 * torch.randn(tokens.shape))
    clean = layer(query, reference, tokens, shapes, padding)
    torch.testing.assert_close(layer(query, reference, scribbled, shapes, padding), clean)
    assert (layer(query, reference, scribbled, shapes) - clean).abs().max() > 1     # without the mask it is read


# nbs/21_deformable.ipynb, cell a18d9fb3
def test_shapes_must_fit():
    query, reference, tokens, shapes, _ = parts()
    layer = DeformableAttention(32, heads=4, points=2)
    with pytest.raises(ValueError, match="don't describe 44 tokens on 4 levels"):
        layer(query, reference, tokens, shapes[:3])
    with pytest.raises(ValueError, match="width 30 is not a multiple of 4 heads"):
        DeformableAttention(30, heads=4)


# nbs/21_deformable.ipynb, cell 1236e105
def test_positions_equal_transformers():
    twin = twins.DeformableDetrSinePositionEmbedding(16, normalize=True)
    theirs = twin((1, 32, 6, 5), "cpu", torch.float32)[0].flatten(1).T
    torch.testing.assert_close(sine_position(6, 5, 32), theirs, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="width 30 is not a multiple of 4"):
        sine_position(6, 5, 30)


# nbs/21_deformable.ipynb, cell 836a7a5c
def test_flatten_round_trip():
    maps = [torch.randn(2, 8, h, w) for h, w in ((6, 4), (3, 2))]
    tokens, shapes = flatten_maps(maps)
    assert tokens.shape == (2, 30, 8) and shapes == [(6, 4), (3, 2)]
    for there, back in zip(maps, unflatten_maps(tokens, shapes)):
        torch.testing.assert_close(there, back)


# nbs/21_deformable.ipynb, cell cc59febf
FEED_FORWARD = {"feed_forward": "mlp", "0": "fc1", "3": "fc2"}
ENCODER = {**ATTENTION, **FEED_FORWARD, "attention": "self_attn", "norm1": "self_attn_layer_norm",
           "norm2": "final_layer_norm"}
DECODER = {**ATTENTION, **FEED_FORWARD, "self_attention": "self_attn", "out_proj": "o_proj",
           "cross_attention": "encoder_attn", "norm1": "self_attn_layer_norm",
           "norm2": "encoder_attn_layer_norm", "norm3": "final_layer_norm"}


# nbs/21_deformable.ipynb, cell 525df9ad
def test_encoder_layer_equals_transformers():
    _, _, tokens, shapes, padding = parts()
    ours = shake(EncoderLayer(32, heads=4, points=2, ffn=64))
    twin = load_twin(twins.DeformableDetrEncoderLayer(twin_config()), ours, ENCODER)
    position = torch.randn(tokens.shape[1], 32, requires_grad=True)
    where = reference_grid(shapes)
    theirs = twin(tokens.requires_grad_(), ~padding, position[None], where[None, :, None].expand(2, -1, 4, -1),
                  torch.tensor(shapes), shapes)
    assert_same(ours(tokens, position, where, shapes, padding), theirs, [tokens, position])


# nbs/21_deformable.ipynb, cell 724154e1
def test_decoder_layer_equals_transformers():
    hidden, reference, memory, shapes, padding = parts()
    ours = shake(DecoderLayer(32, heads=4, points=2, ffn=64))
    twin = load_twin(twins.DeformableDetrDecoderLayer(twin_config()), ours, DECODER)
    position = torch.randn_like(hidden)
    inputs = [x.requires_grad_() for x in (hidden, position, reference, memory)]
    theirs = twin(hidden, position, reference[:, :, None].expand(-1, -1, 4, -1), torch.tensor(shapes), shapes,
                  encoder_hidden_states=memory, encoder_attention_mask=~padding)
    assert_same(ours(hidden, position, reference, memory, shapes, padding), theirs, inputs)


# nbs/21_deformable.ipynb, cell d6ef278c
def test_encoder_equals_transformers():
    torch.manual_seed(0)
    ours = shake(DeformableEncoder(DeformableConfig.tiny()))
    twin = twins.DeformableDetrEncoder(twin_config())
    for layer, other in zip(ours.layers, twin.layers):
        load_twin(other, layer, ENCODER)
    maps = [torch.randn(2, 32, h, w, requires_grad=True) for h, w in ((6, 5), (3, 3), (2, 2), (1, 1))]
    tokens, shapes = flatten_maps(maps)
    theirs = twin(inputs_embeds=tokens, spatial_position_embeddings=ours.position(shapes)[None],
                  valid_ratios=torch.ones(2, 4, 2), spatial_shapes=torch.tensor(shapes), spatial_shapes_list=shapes).last_hidden_state
    assert_same(ours(maps)[0], theirs, maps)


# nbs/21_deformable.ipynb, cell 59e9ad5b
def test_references_stay_inside():
    where = torch.tensor([0.0, 0.2, 0.5, 1.0])
    torch.testing.assert_close(inverse_sigmoid(where), twins.inverse_sigmoid(where))
    torch.testing.assert_close(move_reference(where, torch.zeros(4)), where, atol=2e-5, rtol=0)
    far = move_reference(where, torch.tensor([-9.0, 9.0, 50.0, -50.0]))
    assert ((far >= 0) & (far <= 1)).all()


# nbs/21_deformable.ipynb, cell 610cdd28
def test_groups_that_are_kept_apart_do_not_hear_each_other():
    torch.manual_seed(0)
    decoder, shapes = DeformableDecoder(DeformableConfig.tiny()), [(4, 4), (2, 2), (1, 1), (1, 1)]
    hidden, position, memory, at = torch.randn(2, 5, 32), torch.randn(2, 5, 32), torch.randn(2, 22, 32), torch.rand(2, 5, 2)
    group = torch.tensor([0, 0, 0, 1, 1])
    together, _ = decoder(hidden, position, at, memory, shapes, apart=group[:, None] != group)
    for own in (group == 0, group == 1):
        alone, _ = decoder(hidden[:, own], position[:, own], at[:, own], memory, shapes)
        torch.testing.assert_close(together[:, :, own], alone, atol=1e-5, rtol=1e-5)
    heard, _ = decoder(hidden, position, at, memory, shapes)
    assert (heard - together).abs().amax() > 1e-3


# nbs/21_deformable.ipynb, cell b15d9380
class Finder(nn.Module):
    "Three queries look for three things: backbone, encoder, and a decoder that refines their points."
    def __init__(self, layers=3):
        super().__init__()
        cfg = DeformableConfig.tiny(decoder_layers=layers)
        self.backbone = Backbone(BackboneConfig.tiny())
        self.encoder, self.decoder = DeformableEncoder(cfg), DeformableDecoder(cfg)
        self.content, self.position = nn.Parameter(torch.randn(3, 32)), nn.Parameter(torch.randn(3, 32))
        self.steps = nn.ModuleList(nn.Linear(32, 2) for _ in range(layers))

    def refine(self, layer, hidden, reference):
        return move_reference(reference, self.steps[layer](hidden))

    def forward(self, images):                                 # (b, 3, h, w)
        memory, shapes = self.encoder(self.backbone(images))
        start = torch.full((len(images), 3, 2), 0.5)           # everyone starts in the middle
        content = self.content.expand(len(images), -1, -1)
        return self.decoder(content, self.position, start, memory, shapes, self.refine)


# nbs/21_deformable.ipynb, cell aa1402f0
def test_references_are_detached_between_layers():
    torch.manual_seed(0)
    finder = Finder(layers=2)
    _, references = finder(torch.randn(2, 3, 64, 64))
    first, second = (step.weight for step in finder.steps)
    grads = [torch.autograd.grad(r.sum(), (first, second), retain_graph=True) for r in references]
    reached = [[bool(g.abs().sum() > 0) for g in layer] for layer in grads]
    assert reached == [[True, False], [False, True]]     # each layer's prediction trains its own step only


# nbs/21_deformable.ipynb, cell dd575896
def test_decoder_equals_transformers():
    hidden, reference, memory, shapes, _ = parts()
    ours = shake(DeformableDecoder(DeformableConfig.tiny()))
    steps = shake(nn.ModuleList(nn.Linear(32, 2) for _ in range(2)))
    twin = twins.DeformableDetrDecoder(twin_config())
    for layer, other in zip(ours.layers, twin.layers):
        load_twin(other, layer, DECODER)
    twin.bbox_embed, position = steps, torch.randn_like(hidden)
    inputs = [x.requires_grad_() for x in (hidden, position, memory)]
    refine = lambda i, h, r: move_reference(r, steps[i](h))
    states, references = ours(hidden, position, reference, memory, shapes, refine)
    theirs = twin(inputs_embeds=hidden, encoder_hidden_states=memory, object_queries_position_embeddings=position,
                  reference_points=reference, spatial_shapes=torch.tensor(shapes), spatial_shapes_list=shapes,
                  valid_ratios=torch.ones(2, 4, 2))
    assert_same(states.transpose(0, 1), theirs.intermediate_hidden_states, inputs)
    walk = theirs.intermediate_reference_points
    torch.testing.assert_close(references.transpose(0, 1), walk, atol=1e-5, rtol=1e-5)


# nbs/21_deformable.ipynb, cell 9a9c7508
def test_batch_equals_single_and_order_does_not_matter():
    hidden, reference, memory, shapes, _ = parts()
    decoder, position = shake(DeformableDecoder(DeformableConfig.tiny())), torch.randn(2, 7, 32)
    states, _ = decoder(hidden, position, reference, memory, shapes)
    alone, _ = decoder(hidden[1:], position[1:], reference[1:], memory[1:], shapes)
    torch.testing.assert_close(states[:, 1:], alone, atol=1e-5, rtol=1e-5)
    order = torch.randperm(7)
    mixed, _ = decoder(hidden[:, order], position[:, order], reference[:, order], memory, shapes)
    torch.testing.assert_close(states[:, :, order], mixed, atol=1e-5, rtol=1e-5)


# nbs/21_deformable.ipynb, cell ee1e5a43
def test_gradients_reach_every_parameter():
    torch.manual_seed(0)
    finder, images = Finder(), torch.randn(2, 3, 64, 64)
    optimizer = torch.optim.SGD(finder.parameters(), lr=0.1)
    for expected in (["encoder.level_embedding"], []):
        optimizer.zero_grad()
        (finder(images)[1] - 0.3).abs().mean().backward()
        missed = [name for name, p in finder.named_parameters() if p.grad is None or p.grad.abs().sum() == 0]
        assert missed == expected
        optimizer.step()


# nbs/21_deformable.ipynb, cell 61b48e48
def discs(n, seed, px=64):
    "Pictures (n, 3, px, px) with one disc per colour channel, and the centres (n, 3, 2) of the discs."
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(n, 3, 2, generator=generator) * 0.8 + 0.1
    inside = torch.cdist(centres, reference_grid([(px, px)]).expand(n, -1, -1)) < 0.09
    return torch.rand(n, 3, px, px, generator=generator) * 0.3 + inside.view(n, 3, px, px) * 0.7, centres

def train(finder, batches, lr):
    "Trains on (images, centres) batches; returns the mean distance of each layer's points, (steps, layers)."
    optimizer, errors = torch.optim.AdamW(finder.parameters(), lr=lr), []
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=len(batches), pct_start=0.1)
    for images, centres in batches:
        error = (finder(images)[1] - centres).abs().mean((1, 2, 3))       # (layers,)
        optimizer.zero_grad(), error.sum().backward()
        nn.utils.clip_grad_norm_(finder.parameters(), 1.0), optimizer.step(), schedule.step()
        errors.append(error.tolist())
    return torch.tensor(errors)


# nbs/21_deformable.ipynb, cell b6844046
def test_overfits_eight_pictures():
    torch.manual_seed(0)
    errors = train(Finder(), [discs(8, seed=0)] * 60, lr=2e-3)
    assert errors[0].min() > 0.2 and errors[-1].max() < 0.06


# nbs/21_deformable.ipynb, cell 4be6d18a
def test_solutions():
    values, shapes, _, _ = example()
    centre = reference_grid(shapes)[7].expand(2, 1, 2, 2, 3, 2)
    same = deformable_sample(values, shapes, centre, torch.full((2, 1, 2, 2, 3), 1 / 6))
    coarse = [bilinear(values[i, 24:, m].T.reshape(4, 3, 2), centre[0, 0, 0, 0, 0])
              for i in range(2) for m in range(2)]
    torch.testing.assert_close(same[:, 0], (values[:, 7].flatten(1) + torch.stack(coarse).view(2, 8)) / 2)
