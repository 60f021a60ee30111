"""Tests of visionllm_edu/v2/keypoint_decoder.py.

Generated from nbs/52_keypoint_decoder.ipynb by make export: do not edit, edit the notebook.
"""

import pytest
import torch
from torch import nn

from visionllm_edu.data.coco import image_to_tensor
from visionllm_edu.geometry import box_xyxy_to_cxcywh
from visionllm_edu.plot import plot_mask
from visionllm_edu.toybox.dataset import SKELETONS
from visionllm_edu.toybox.figures import PERSON_KEYPOINTS
from visionllm_edu.toybox.scene import render, sample_scene
from visionllm_edu.v2.keypoint_decoder import (
    KeypointDecoder, KeypointDecoderConfig, KeypointProjection, PoseHeads, PoseLayer,
    group_attention, to_skeleton, top_poses,
)
from visionllm_edu.v2.object_decoder import CategoryProjection, pad_categories
from visionllm_edu.vision.backbone import Backbone, BackboneConfig
from visionllm_edu.vision.deformable import DecoderLayer, DeformableConfig


# nbs/52_keypoint_decoder.ipynb, cell d36a227d
def test_links_become_features():
    torch.manual_seed(0)
    project = KeypointProjection(d_llm=48, d=32)
    links = [torch.randn(3, 4, 48), torch.randn(1, 4, 48)]                     # 3 names in one sample, 1 in the other
    features, named = pad_categories([project(x) for x in links])
    assert features.shape == (2, 3, 32) and named.tolist() == [[True] * 3, [True, False, False]]
    torch.testing.assert_close(features[1, 0], project(links[1])[0])
    torch.testing.assert_close(project(links[0].flip(1)), project(links[0]))   # the mean knows no order of queries
    assert project(links[0][:, :1]).shape == (3, 32)                           # one query per link works too


# nbs/52_keypoint_decoder.ipynb, cell c697cc6e
def mask_loop(p, k):
    "Who (row) hears whom (column): p groups of 1 + k queries, the instance in front."
    n = p * (1 + k)
    mask = torch.zeros(n, n, dtype=torch.bool)
    for i in range(n):
        for j in range(n):
            same_body = i // (1 + k) == j // (1 + k)
            i_is_instance, j_is_instance = i % (1 + k) == 0, j % (1 + k) == 0
            mask[i, j] = j_is_instance if i_is_instance else same_body
    return mask

plot_mask(mask_loop(3, 4), parts=[("body 1", 5), ("body 2", 5), ("body 3", 5)], title="3 bodies, 4 joints each")


# nbs/52_keypoint_decoder.ipynb, cell 0372fb95
def mask_tensors(p, k):
    body = torch.arange(p).repeat_interleave(1 + k)                        # 0 0 0 0 0 1 1 1 ...
    instance = torch.arange(p * (1 + k)) % (1 + k) == 0
    return torch.where(instance[:, None], instance[None], body[:, None] == body[None])

assert all((mask_loop(p, k) == mask_tensors(p, k)).all() for p, k in ((3, 4), (1, 1), (2, 17)))


# nbs/52_keypoint_decoder.ipynb, cell ac86c212
def test_every_rung_hears_the_same():
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(32, 4, batch_first=True)
    for p, k in ((3, 4), (1, 1), (2, 17)):
        who, values = torch.randn(2, p, 1 + k, 32), torch.randn(2, p, 1 + k, 32)
        flat = [x.flatten(1, 2) for x in (who, who, values)]
        masked, _ = attention(*flat, attn_mask=~mask_loop(p, k))               # torch: True = must not hear
        ours = group_attention(attention, who, values, torch.ones(2, k).bool())
        torch.testing.assert_close(ours.flatten(1, 2), masked, atol=1e-5, rtol=1e-5)


# nbs/52_keypoint_decoder.ipynb, cell 24d1d808
def shake(module, std=0.1):
    "Returns the module with noise on every weight."
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters(): parameter.add_(torch.randn_like(parameter) * std)
    return module


# nbs/52_keypoint_decoder.ipynb, cell 9e12966b
def test_instances_equal_the_plain_layer():
    torch.manual_seed(0)
    memory, shapes = torch.randn(2, 22, 32), [(4, 4), (2, 2), (1, 1), (1, 1)]
    layer = shake(PoseLayer(DeformableConfig.tiny()))
    plain = DecoderLayer(32, 4, 4, 2, 64)
    plain.load_state_dict(layer.state_dict())
    hidden, position, reference = torch.randn(2, 3, 5, 32), torch.randn(2, 3, 5, 32), torch.rand(2, 3, 5, 4)
    out = layer(hidden, position, reference, memory, shapes, torch.ones(2, 4).bool())
    front = plain(hidden[:, :, 0], position[:, :, 0], reference[:, :, 0], memory, shapes)
    torch.testing.assert_close(out[:, :, 0], front, atol=1e-5, rtol=1e-5)
    assert (out[:, :, 1:] - layer(hidden, position, reference, memory, shapes, torch.zeros(2, 4).bool())[:, :, 1:]).abs().max() > 0.01


# nbs/52_keypoint_decoder.ipynb, cell 90f694bd
def test_steps_count_in_boxes():
    torch.manual_seed(0)
    heads, joints = shake(PoseHeads(8)), torch.randn(1, 2, 4, 8)
    joints[:, 1] = joints[:, 0]                                                # two bodies that think the same,
    boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.4], [0.5, 0.5, 0.1, 0.2]]])       # one twice as large
    _, points, _ = heads(joints, boxes, torch.full((1, 2, 3, 2), 0.5))
    torch.testing.assert_close(points[0, 0] - 0.5, 2 * (points[0, 1] - 0.5))
    assert (points - 0.5).abs().min() > 1e-4


# nbs/52_keypoint_decoder.ipynb, cell 8eb59187
def tiny(shaken=True, **changes):
    "A tiny decoder; `shaken`: with noise on all its weights."
    torch.manual_seed(0)
    decoder = KeypointDecoder(KeypointDecoderConfig.tiny(**changes))
    return (shake(decoder) if shaken else decoder).eval()

def request(categories=(2, 1), names=(5, 3)):
    "Random maps and features of a batch: all that `forward` wants."
    g = torch.Generator().manual_seed(0)
    maps = [torch.randn(len(names), 32, s, s, generator=g) for s in (8, 4, 2, 1)]
    pad = lambda counts: pad_categories([torch.randn(n, 32, generator=g) for n in counts])
    (words, valid), (keypoints, named) = pad(categories), pad(names)
    return dict(maps=maps, categories=words, valid=valid, keypoints=keypoints, named=named)


# nbs/52_keypoint_decoder.ipynb, cell 9e542bfb
def test_a_new_decoder_stands_still():
    output = tiny(shaken=False)(**request())
    middle = output.last.boxes[:, :, None, :2].expand_as(output.last.keypoints)
    torch.testing.assert_close(output.last.keypoints, middle)
    torch.testing.assert_close(output.stages[1].boxes, output.stages[0].boxes)


# nbs/52_keypoint_decoder.ipynb, cell 733c3096
def test_permuting_names_permutes_answers():
    decoder = tiny()
    asked = request(names=(5, 5))
    order = torch.tensor([3, 0, 4, 1, 2])
    one, two = decoder(**asked).last, decoder(**asked | {"keypoints": asked["keypoints"][:, order]}).last
    torch.testing.assert_close(two.keypoints, one.keypoints[:, :, order], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(two.visibility, one.visibility[:, :, order], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(two.boxes, one.boxes), torch.testing.assert_close(two.logits, one.logits)
    assert one.keypoints.diff(dim=2).abs().max() > 0.01       # the five answers do differ


# nbs/52_keypoint_decoder.ipynb, cell a80f3f36
def test_boxes_do_not_depend_on_the_names():
    decoder = tiny()
    asked = request(names=(17, 17))
    full = decoder(**asked)
    for names in ([0], [4, 2], [16, 3, 9, 1], list(range(17))):
        some = decoder(**asked | {"keypoints": asked["keypoints"][:, names], "named": asked["named"][:, names]})
        assert some.last.keypoints.shape == (2, 4, len(names), 2)
        for mine, theirs in zip(some.stages, full.stages):
            torch.testing.assert_close(mine.boxes, theirs.boxes), torch.testing.assert_close(mine.logits, theirs.logits)
    moved = (some.last.keypoints - full.last.keypoints).abs().max()
    assert moved < 1e-5                                        # the same names: the same answer
    alone = decoder(**asked | {"keypoints": asked["keypoints"][:, :1], "named": asked["named"][:, :1]})
    assert (alone.last.keypoints[:, :, 0] - full.last.keypoints[:, :, 0]).abs().max() > 1e-4   # alone: another company


# nbs/52_keypoint_decoder.ipynb, cell e8654239
def test_bodies_are_closed():
    decoder = tiny(pose_layers=3)
    asked = request(names=(5, 5))
    clean = decoder(**asked)

    def disturb(module, args):
        hidden = args[0].clone()
        hidden[0, 0, 1:] += 3.0 * torch.sin(torch.arange(5 * 32.0)).view(5, 32)     # the joints of body 0, picture 0
        return hidden, *args[1:]

    hook = decoder.pose.layers[0].register_forward_pre_hook(disturb)
    after = decoder(**asked)
    hook.remove()
    moved = (after.last.keypoints - clean.last.keypoints).abs().amax((2, 3))        # (b, p)
    assert moved[0, 0] > 0.001 and moved[0, 1:].max() == 0 and moved[1].max() == 0
    assert torch.equal(after.last.boxes, clean.last.boxes) and torch.equal(after.last.logits, clean.last.logits)


# nbs/52_keypoint_decoder.ipynb, cell e4e5a19d
def test_batched_equals_single():
    decoder = tiny()
    asked = request(categories=(2, 1), names=(3, 5))
    batch = decoder(**asked)
    for i, (c, k) in enumerate(((2, 3), (1, 5))):
        alone = decoder([m[i:i + 1] for m in asked["maps"]], asked["categories"][i:i + 1, :c],
                        asked["valid"][i:i + 1, :c], asked["keypoints"][i:i + 1, :k], asked["named"][i:i + 1, :k])
        for mine, theirs in zip(alone.stages, batch.stages):
            torch.testing.assert_close(mine.boxes[0], theirs.boxes[i], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(mine.logits[0], theirs.logits[i, :, :c], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(alone.last.keypoints[0], batch.last.keypoints[i, :, :k], atol=1e-5, rtol=1e-4)
    assert not batch.last.logits[1, :, 1].isfinite().any()                     # padding is no answer


# nbs/52_keypoint_decoder.ipynb, cell 58110c43
def test_bad_requests_are_refused():
    decoder, asked = tiny(), request()
    with pytest.raises(ValueError, match="name at least one of each in the batch, got 2 categories and 0 keypoints"):
        decoder(**asked | {"keypoints": asked["keypoints"][:, :0], "named": asked["named"][:, :0]})
    with pytest.raises(ValueError, match=r"2 pictures need categories \(2, c, 32\), .* got \(1, 2, 32\)"):
        decoder(**asked | {"categories": asked["categories"][:1]})
    none = decoder(**asked | {"valid": torch.tensor([[True, True], [False, False]])})
    torch.testing.assert_close(none.last.keypoints[0], decoder(**asked).last.keypoints[0])
    assert none.last.logits[1].isneginf().all() and none.last.keypoints.isfinite().all()


# nbs/52_keypoint_decoder.ipynb, cell 02c5d1c9
def test_gradients_reach_everything():
    decoder, asked = tiny().train(), request(names=(5, 5), categories=(2, 2))
    for name in ("categories", "keypoints"): asked[name].requires_grad_()
    output = decoder(**asked)
    by_points = torch.autograd.grad(output.last.keypoints.square().sum(), (asked["categories"], asked["keypoints"]), retain_graph=True)
    assert all(g.abs().sum(-1).min() > 0 for g in by_points)                   # every link of every sample
    parts = [x for stage in output.stages for k, x in vars(stage).items() if k != "hidden"]
    sum(x.square().mean() for x in parts).backward()
    dead = [name for name, p in decoder.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert not dead, dead


# nbs/52_keypoint_decoder.ipynb, cell 06a96898
def test_answers_are_read_back():
    output = tiny()(**request(categories=(2, 1), names=(5, 3)))
    found = top_poses(output, k=6)
    assert [tuple(f["keypoints"].shape) for f in found] == [(6, 5, 3), (4, 3, 3)]     # 4 instances, 1 category: 4 pairs
    for f in found:
        assert f["scores"].diff().max() <= 0 and 0 <= f["keypoints"].min() <= f["keypoints"].max() <= 1
    assert found[1]["labels"].max() == 0 and len(top_poses(output, threshold=1.1)[0]["scores"]) == 0
    whole = to_skeleton(found[1]["keypoints"], ["left eye", "nose", "left_hip"], PERSON_KEYPOINTS)
    assert whole.shape == (4, 17, 3) and (whole[..., 2] > 0).sum(1).tolist() == [3] * 4
    torch.testing.assert_close(whole[:, 0], found[1]["keypoints"][:, 1])              # a person's list starts with the nose
    with pytest.raises(ValueError, match="no keypoint 'trunk', accepted: nose, left_eye"):
        to_skeleton(found[1]["keypoints"], ["trunk", "nose", "neck"], PERSON_KEYPOINTS)


# nbs/52_keypoint_decoder.ipynb, cell 06aee4b3
def figure_in(seed, category, size):
    "A Toybox picture with one figure, its box (1, 4) and keypoints (17, 3) in pixels, and the names of those."
    scene = sample_scene(seed, num_objects=1, categories=(category,), style="day")
    drawn = render(scene, size)
    return drawn.image, drawn.boxes_xyxy_px, drawn.keypoints[0], SKELETONS[scene.objects[0].group]["keypoints"]


# nbs/52_keypoint_decoder.ipynb, cell b0cc156a
class Poser(nn.Module):
    "A backbone, two projections and a decoder, and a fixed random table in the place of the LLM."
    def __init__(self, words):
        super().__init__()
        self.backbone = Backbone(BackboneConfig.tiny())
        self.decoder = KeypointDecoder(KeypointDecoderConfig.tiny(encoder_layers=1, instance_layers=1))
        self.category, self.keypoint = CategoryProjection(48, 32), KeypointProjection(48, 32)
        self.table = {word: torch.randn(4, 48) for word in sorted(set(words))}       # N = 4 states per link

    def forward(self, pixels, categories, names):
        states = lambda rows: [torch.stack([self.table[word] for word in row]) for row in rows]
        asked = [pad_categories([self.category(x) for x in states(categories)]),
                 pad_categories([self.keypoint(x) for x in states(names)])]
        return self.decoder(self.backbone(pixels), *asked[0], *asked[1])

def lesson_pair(size=64):
    "Two pictures with one figure each: pixels, images, names, true boxes (2, 1, 4) and joints (2, 1, K, 2), labelled (2, 1, K)."
    found = [figure_in(7, "woman", size), figure_in(29, "horse", size)]
    images, boxes, points, names = zip(*[(i, torch.tensor(b), torch.tensor(p[::s]), n[::s]) for (i, b, p, n), s in zip(found, (1, 2))])
    joints = pad_categories(list(points))[0][:, None] / torch.tensor([size, size, 1])
    pixels = torch.stack([image_to_tensor(image, size) for image in images])
    return pixels, images, names, box_xyxy_to_cxcywh(torch.stack(boxes) / size), joints[..., :2], joints[..., 2] > 0


# nbs/52_keypoint_decoder.ipynb, cell 5b238c8e
def test_solutions():
    def alone(attention, who, values, named):
        b, p, n = who.shape[:3]
        front, _ = attention(who[:, :, 0], who[:, :, 0], values[:, :, 0], need_weights=False)
        deaf = ~torch.eye(n).bool()[1:]
        deaf[:, 0] = False
        body = who.flatten(0, 1)
        joints, _ = attention(body[:, 1:], body, values.flatten(0, 1), attn_mask=deaf, need_weights=False)
        return torch.cat([front[:, :, None], joints.unflatten(0, (b, p))], 2)

    torch.manual_seed(0)
    attention, who = nn.MultiheadAttention(32, 4, batch_first=True), torch.randn(1, 2, 18, 32)
    torch.testing.assert_close(alone(attention, who, who, None)[:, :, :2], alone(attention, who[:, :, :2], who[:, :, :2], None))
    assert 40 * 40 + 40 * 17 * 18 == 13840
