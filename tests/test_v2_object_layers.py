"""Tests of visionllm_edu/v2/object_layers.py.

Generated from nbs/50a_object_layers.ipynb by make export: do not edit, edit the notebook.
"""

import pytest
import torch
from transformers import GroundingDinoConfig
from transformers.models.grounding_dino import modeling_grounding_dino as twins
from transformers.models.mm_grounding_dino.modeling_mm_grounding_dino import (
    MMGroundingDinoContrastiveEmbedding,
)

from visionllm_edu.v2.object_layers import (
    CategoryLayer, Contrast, FeatureEnhancer, FusionLayer, ObjectDecoderLayer, box_position,
)
from visionllm_edu.vision.deformable import DeformableConfig, reference_grid


# nbs/50a_object_layers.ipynb, cell 0acb13e8
def fuse_loop(x, c):
    "Cells x (n, d) and categories c (k, d) read each other, with plain dot products as scores."
    n, k, scale = len(x), len(c), x.shape[1] ** -0.5
    s = [[(x[i] @ c[j]).item() * scale for j in range(k)] for i in range(n)]
    weights = lambda row: torch.tensor(row).softmax(0)
    read = [sum(w * c[j] for j, w in enumerate(weights(s[i]))) for i in range(n)]
    seen = [sum(w * x[i] for i, w in enumerate(weights([row[j] for row in s]))) for j in range(k)]
    return torch.stack(read), torch.stack(seen)


# nbs/50a_object_layers.ipynb, cell aba50dca
def example(b=2, k=3, d=32, shapes=((6, 5), (3, 3), (2, 2), (1, 1))):
    "Tokens (b, n, d), categories (b, k, d), valid (b, k) with one False, and the maps' shapes."
    torch.manual_seed(0)
    tokens, categories = torch.randn(b, sum(h * w for h, w in shapes), d), torch.randn(b, k, d)
    valid = torch.ones(b, k, dtype=torch.bool)
    valid[-1, -1] = False
    return tokens, categories, valid, list(shapes)

def shake(module):
    "The module with every weight moved, so that a test sees all of them at work."
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return module


# nbs/50a_object_layers.ipynb, cell afafca0f
def test_fusion_lets_the_question_in():
    tokens, categories, valid, _ = example()
    fusion = FusionLayer(32, heads=2, width=32)
    assert (fusion(tokens, categories, valid)[0] - fusion.norm_image(tokens)).abs().max() < 1e-3
    shake(fusion)
    changed = fusion(tokens, categories.flip(-1), valid)[0] - fusion(tokens, categories, valid)[0]
    assert changed.abs().mean() > 0.01


# nbs/50a_object_layers.ipynb, cell 932cb87d
def test_fusion_never_reads_padding():
    tokens, categories, valid, _ = example()
    fusion = shake(FusionLayer(32, heads=2, width=32))
    other = categories.masked_scatter(~valid[..., None], torch.randn(32))    # another padded row
    a, b = fusion(tokens, categories, valid), fusion(tokens, other, valid)
    torch.testing.assert_close(a[0], b[0])
    torch.testing.assert_close(a[1][valid], b[1][valid])
    alone = fusion(tokens[1:], categories[1:, :2], valid[1:, :2])            # the sample without its padding
    torch.testing.assert_close(alone[0], a[0][1:])


# nbs/50a_object_layers.ipynb, cell 22da7d11
ATTENTION = {"in_proj_q": "query", "in_proj_k": "key", "in_proj_v": "value"}
DEFORMABLE = {"offsets": "sampling_offsets", "weights": "attention_weights", "values": "value_proj", "output": "output_proj"}
FUSION = {"norm_image": "layer_norm_vision", "norm_category": "layer_norm_text", "image_gain": "vision_param",
          "category_gain": "text_param", "image_score": "attn.vision_proj", "category_score": "attn.text_proj",
          "image_value": "attn.values_vision_proj", "category_value": "attn.values_text_proj",
          "image_output": "attn.out_vision_proj", "category_output": "attn.out_text_proj"}

def split_projections(state):
    "torch keeps queries, keys and values of attention in one matrix, transformers in three."
    out = {key: value for key, value in state.items() if "in_proj" not in key}
    for key in state.keys() - out.keys():
        before, kind = key.split("in_proj_")
        out |= {f"{before}in_proj_{name}.{kind}": part for name, part in zip("qkv", state[key].chunk(3))}
    return out

def load_twin(twin, ours, names):
    "`twin` with our weights, its parameters being named as `names` says, part by part."
    twin.load_state_dict({".".join(names.get(part, part) for part in key.split(".")): value
                          for key, value in split_projections(ours.state_dict()).items()})
    return twin.eval()

def assert_same(ours, theirs, inputs):
    "Asserts that results, and their gradients with respect to all inputs, agree."
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    sums = [sum(x.square().mean() for x in results) for results in (ours, theirs)]
    for a, b in zip(*(torch.autograd.grad(x, inputs, retain_graph=True) for x in sums)):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)

def twin_config():
    "A Grounding DINO that fits `example`."
    off = dict.fromkeys(("dropout", "attention_dropout", "activation_dropout", "fusion_dropout", "fusion_droppath",
                         "text_enhancer_dropout"), 0.0)
    return GroundingDinoConfig(d_model=32, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=64,
                               decoder_ffn_dim=64, encoder_n_points=2, decoder_n_points=2, **off)


# nbs/50a_object_layers.ipynb, cell 9cd18c7f
def test_fusion_equals_transformers():
    tokens, categories, valid, _ = example()
    inputs = [tokens.requires_grad_(), categories.requires_grad_()]
    ours = shake(FusionLayer(32, heads=2, width=32))
    twin = load_twin(twins.GroundingDinoFusionLayer(twin_config()), ours, FUSION)
    (image, _), (text, _) = twin(tokens, categories, attention_mask_text=~valid)
    assert_same(ours(tokens, categories, valid), (image, text), inputs)


# nbs/50a_object_layers.ipynb, cell f59b2c9d
def test_categories_have_no_order():
    _, categories, valid, _ = example()
    layer, order = shake(CategoryLayer(32, heads=2, ffn=32)), torch.tensor([2, 0, 1])
    torch.testing.assert_close(layer(categories, valid)[:, order], layer(categories[:, order], valid[:, order]))
    without_rivals = layer(categories[:1, :1], valid[:1, :1])
    assert (without_rivals - layer(categories, valid)[:1, :1]).abs().max() > 0.01      # rivals matter


# nbs/50a_object_layers.ipynb, cell 993dd739
RELATION = ATTENTION | {"attention": "self_attn", "feed_forward": "", "norm1": "layer_norm_before", "norm2": "layer_norm_after"}
LOOK = DEFORMABLE | {"attention": "self_attn", "norm1": "self_attn_layer_norm", "norm2": "final_layer_norm"}

def load_feed_forward(twin, ours):
    "Copies the two layers of a feed-forward network, which the twin keeps without a name around them."
    twin.fc1.load_state_dict(ours[0].state_dict()), twin.fc2.load_state_dict(ours[3].state_dict())

def load_without(twin, ours, names):
    "`load_twin` for a layer with a feed-forward network."
    state = {k: v for k, v in split_projections(ours.state_dict()).items() if "feed_forward" not in k}
    state = {".".join(names.get(part, part) for part in k.split(".")): v for k, v in state.items()}
    result = twin.load_state_dict(state, strict=False)
    assert not result.unexpected_keys and {k.split(".")[0] for k in result.missing_keys} == {"fc1", "fc2"}
    load_feed_forward(twin, ours.feed_forward)
    return twin.eval()


# nbs/50a_object_layers.ipynb, cell 03658ce6
def test_encoder_layer_equals_transformers():
    tokens, categories, valid, shapes = example()
    inputs = [tokens.requires_grad_(), categories.requires_grad_()]
    ours = shake(FeatureEnhancer(DeformableConfig.tiny(encoder_layers=1), fusion_width=32))
    twin = twins.GroundingDinoEncoderLayer(twin_config())
    load_twin(twin.fusion_layer, ours.fusions[0], FUSION)
    load_without(twin.text_enhancer_layer, ours.relations[0], RELATION)
    load_without(twin.deformable_layer, ours.layers[0], LOOK)
    where = reference_grid(shapes)[None, :, None].expand(2, -1, 4, -1)
    nobody = torch.zeros(tokens.shape[:2], dtype=torch.bool)
    theirs, _ = twin(tokens, ours.position(shapes)[None], torch.tensor(shapes), shapes, None, nobody, where,
                     text_features=categories, text_attention_mask=~valid, text_position_embedding=torch.zeros(1),
                     text_self_attention_masks=~valid[:, None].expand(-1, 3, -1))
    maps = [part.transpose(1, 2).unflatten(2, shape) for part, shape in zip(tokens.split([h * w for h, w in shapes], 1), shapes)]
    mine = ours(maps, categories, valid)
    assert_same((mine[0], mine[1][valid]), (theirs[0], theirs[1][valid]), inputs)


# nbs/50a_object_layers.ipynb, cell 046f2728
def test_contrast_equals_transformers():
    hidden, (_, categories, valid, _) = torch.randn(2, 5, 32), example()
    ours, text = Contrast(), twin_config()
    later = MMGroundingDinoContrastiveEmbedding(text)
    later.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours(hidden, categories, valid), later(hidden, categories, valid)[..., :3])
    first = twins.GroundingDinoContrastiveEmbedding(text)(hidden, categories, valid)[..., :3]
    torch.testing.assert_close((ours(hidden, categories, valid) - ours.bias) * 32**0.5, first)


# nbs/50a_object_layers.ipynb, cell 53aae1d9
def test_contrast_scores_padding_zero():
    hidden, (_, categories, valid, _) = torch.randn(4, 2, 5, 32), example()
    logits = Contrast()(hidden, categories, valid)            # four layers at once
    assert logits.shape == (4, 2, 5, 3)
    assert (logits[:, 1, :, 2] == -torch.inf).all() and logits[:, valid.nonzero()[:, 0], :, valid.nonzero()[:, 1]].isfinite().all()


# nbs/50a_object_layers.ipynb, cell 5c201dda
def test_position_equals_transformers():
    torch.manual_seed(0)
    boxes = torch.rand(2, 5, 4)
    theirs = twins.encode_sinusoidal_position_embedding(boxes, num_pos_feats=16)
    torch.testing.assert_close(box_position(boxes, 32), theirs, atol=1e-5, rtol=1e-4)


# nbs/50a_object_layers.ipynb, cell 1d47fb92
def decoder_inputs(q=7):
    "Hidden states, positions and boxes of q queries, and what they look at."
    memory, categories, valid, shapes = example()
    boxes = torch.cat([torch.rand(2, q, 2) * 0.6 + 0.2, torch.rand(2, q, 2) * 0.4 + 0.05], -1)
    return torch.randn(2, q, 32), torch.randn(2, q, 32), boxes, memory, shapes, categories, valid


# nbs/50a_object_layers.ipynb, cell 6b7feaef
def test_decoder_layer_equals_transformers():
    hidden, position, boxes, memory, shapes, categories, valid = decoder_inputs()
    inputs = [x.requires_grad_() for x in (hidden, position, boxes, memory, categories)]
    ours = shake(ObjectDecoderLayer(DeformableConfig.tiny()))
    names = ATTENTION | DEFORMABLE | {
        "self_attention": "self_attn", "category_attention": "encoder_attn_text", "cross_attention": "encoder_attn",
        "norm1": "self_attn_layer_norm", "norm_category": "encoder_attn_text_layer_norm",
        "norm2": "encoder_attn_layer_norm", "norm3": "final_layer_norm"}
    twin = load_without(twins.GroundingDinoDecoderLayer(twin_config()), ours, names)
    hide = (~valid)[:, None, None].float().expand(-1, 4, 7, -1) * torch.finfo(torch.float32).min
    theirs = twin(hidden, position, boxes[:, :, None].expand(-1, -1, 4, -1), torch.tensor(shapes), shapes, None, memory,
                  torch.ones(memory.shape[:2]).bool(), categories, hide)
    assert_same((ours(hidden, position, boxes, memory, shapes, categories, valid),), theirs, inputs)


# nbs/50a_object_layers.ipynb, cell d97089e4
def test_blocked_and_absent_queries_are_not_seen():
    hidden, position, boxes, memory, shapes, categories, valid = decoder_inputs()
    layer = shake(ObjectDecoderLayer(DeformableConfig.tiny()))
    blocked, absent = torch.zeros(7, 7, dtype=torch.bool), torch.zeros(2, 7, dtype=torch.bool)
    blocked[2:, :2], absent[1, 6] = True, True             # nobody from 2 on sees 0 and 1; 6 is padding in sample 1
    run = lambda h: layer(h, position, boxes, memory, shapes, categories, valid, blocked, absent)
    louder = hidden.clone()
    louder[:, :2] += 5
    torch.testing.assert_close(run(louder)[:, 2:], run(hidden)[:, 2:])
    louder = hidden.clone()
    louder[:, 6] += 5
    changed = (run(louder) - run(hidden)).abs().amax((1, 2)) > 1e-4
    assert changed.tolist() == [True, True]                # its own state goes on, seen or not (the residual)
    rest = (run(louder) - run(hidden))[:, :6].abs().amax((1, 2)) > 1e-4
    assert rest.tolist() == [True, False]                  # seen in sample 0, absent in sample 1


# nbs/50a_object_layers.ipynb, cell aa95a036
def test_gradients_reach_every_parameter():
    hidden, position, boxes, memory, shapes, categories, valid = decoder_inputs()
    enhancer = shake(FeatureEnhancer(DeformableConfig.tiny(), fusion_width=32))
    layer = shake(ObjectDecoderLayer(DeformableConfig.tiny()))
    maps = [part.transpose(1, 2).unflatten(2, shape) for part, shape in zip(memory.split([h * w for h, w in shapes], 1), shapes)]
    seen, met, _ = enhancer(maps, categories.requires_grad_(), valid)
    layer(hidden, position, boxes, seen, shapes, met, valid).square().mean().backward()
    silent = [name for part in (enhancer, layer) for name, p in part.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent, silent
    assert categories.grad[valid].any() and not categories.grad[~valid].any()


# nbs/50a_object_layers.ipynb, cell bf089a9c
def test_shapes_must_fit():
    hidden, position, boxes, memory, shapes, categories, valid = decoder_inputs()
    layer = ObjectDecoderLayer(DeformableConfig.tiny())
    with pytest.raises(ValueError, match="don't describe"):
        layer(hidden, position, boxes, memory[:, 1:], shapes, categories, valid)


# nbs/50a_object_layers.ipynb, cell 490f24dc
def test_solutions():
    _, categories, valid, _ = example()
    categories[:, 1] = categories[:, 0]
    out = shake(CategoryLayer(32, heads=2, ffn=32))(categories, valid)
    torch.testing.assert_close(out[:, 0], out[:, 1])
    assert (3 * 340 * 128 * 128) / 1e6 < (2 * 340 * 128 * 512) / 1e6
