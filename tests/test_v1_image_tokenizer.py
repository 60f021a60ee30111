"""Tests of visionllm_edu/v1/image_tokenizer.py.

Generated from nbs/31_image_tokenizer.ipynb by make export: do not edit, edit the notebook.
"""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from dataclasses import replace
from itertools import permutations
from torch import Tensor, nn

from visionllm_edu.data.coco import COLOURS, SHAPES, image_to_tensor, shape_polygon
from visionllm_edu.language.instructions import template_texts
from visionllm_edu.language.vocabulary import Vocabulary
from visionllm_edu.v1.image_tokenizer import (
    ImageTokenizer, ImageTokenizerConfig, ImageTokens, LearnedQueries, Proposals, ShapeHead,
    home_cells, match_cost, overlaps, proposal_loss, shape_loss, tokenizer_loss,
)
from visionllm_edu.v1.language_guidance import LanguageGuidance, LanguageGuidanceConfig, TextEncoder
from visionllm_edu.vision.backbone import Backbone, BackboneConfig
from visionllm_edu.vision.deformable import reference_grid
from visionllm_edu.vision.matching import focal_loss, hungarian


# nbs/31_image_tokenizer.ipynb, cell 5d684773
def test_a_curve_can_be_any_outline():
    import math

    torch.manual_seed(0)
    head, e = ShapeHead(8, waves=3), torch.randn(2, 8)
    few, many = head.outline(e, 8), head.outline(e, 24)
    torch.testing.assert_close(few, many[:, ::3])                    # the same curve, fewer points
    a = head.curve(e).view(2, 2, 7)
    by_hand = a[..., 0] + sum(a[..., h] * math.cos(2 * math.pi * h * 5 / 8) + a[..., 3 + h] * math.sin(2 * math.pi * h * 5 / 8) for h in (1, 2, 3))
    torch.testing.assert_close(few[:, 5], by_hand)
    assert head.pose(e, 17).shape == (2, 17, 2)
    true = few.detach().clone() + 0.1
    true[0, 3:] = float("nan")
    torch.testing.assert_close(shape_loss(few, true), torch.tensor(0.2))
    assert shape_loss(few, torch.full_like(few, float("nan"))) == 0


# nbs/31_image_tokenizer.ipynb, cell 27aa1e18
def random_maps(b=2, d=32, sides=(8, 4, 2, 1)):
    "Four random maps, fine to coarse."
    return [torch.randn(b, d, side, side) for side in sides]

def small_tokenizer(seed=0, **changes):
    "A tiny tokenizer with random weights, none of its matrices at zero any more, so that tests reach everything."
    torch.manual_seed(seed)
    cfg = ImageTokenizerConfig.tiny()
    for name, value in changes.items(): setattr(cfg, name, value)
    tokenizer = ImageTokenizer(cfg)
    for weight in tokenizer.parameters():
        if weight.ndim == 2 and not weight.any(): nn.init.normal_(weight, std=0.2)
    return tokenizer


# nbs/31_image_tokenizer.ipynb, cell c4feb930
def brute_force_loss(objectness, centers, targets, cfg):
    "Objectness and centre loss of one picture and layer, by trying all assignments; not divided by n."
    cost = match_cost(objectness, centers, targets, cfg)
    ways = permutations(range(len(centers)), len(targets))           # token of each object
    best = min(ways, key=lambda way: sum(cost[i, j] for j, i in enumerate(way)))
    yes_or_no = sum(focal_loss(o, torch.tensor(float(i in best))) for i, o in enumerate(objectness))
    distance = sum((centers[i] - targets[j]).abs().sum() for j, i in enumerate(best))
    return cfg.objectness_weight * yes_or_no, cfg.center_weight * distance


# nbs/31_image_tokenizer.ipynb, cell 59be4e50
def test_many_helpers_learn_from_one_object():
    box = torch.tensor([[0.3, 0.3, 0.2, 0.2], [0.7, 0.7, 0.2, 0.2]])
    start = torch.tensor([[0.31, 0.3, 0.2, 0.2], [0.7, 0.69, 0.2, 0.22], [0.3, 0.33, 0.2, 0.2], [0.5, 0.5, 0.2, 0.2], [0.3, 0.3, 0.6, 0.6]])
    q, n = overlaps(start, box)
    assert q.tolist() == [0, 1, 2] and n.tolist() == [0, 1, 0]        # between two objects, or too large: nobody's
    assert len(overlaps(start, box[:0])[0]) == 0
    cfg, sure = ImageTokenizerConfig.mini(), torch.zeros(1, 5)
    tokens = lambda boxes: ImageTokens(torch.zeros(1, 5, 4), boxes[None, :, :2], sure, boxes[None, :, 2:], [], start=start[None])
    right = box[[0, 1, 0, 1, 0]]
    of = lambda helpers: tokenizer_loss(replace(tokens(right), helpers=tokens(helpers)), [box], [(torch.tensor([0, 1]), torch.tensor([0, 1]))], cfg)["helper"]
    assert of(right) < 1e-4 and of(start) > 0.05
    far = right.clone(); far[3:] = torch.rand(2, 4)
    assert of(far) < 1e-4                                             # what becomes of those two is nobody's concern


# nbs/31_image_tokenizer.ipynb, cell 9a2129b0
def plain_matches(tokens, boxes, cfg):
    "Matches of the last layer by `match_cost` alone."
    return [hungarian(match_cost(o, c, box[:, :2], cfg)) for o, c, box in zip(tokens.objectness, tokens.centers, boxes)]

def some_boxes(*counts):
    "Random boxes (n, 4) cxcywh, one tensor for each count."
    return [torch.cat([torch.rand(n, 2) * 0.6 + 0.2, torch.rand(n, 2) * 0.2 + 0.1], 1) for n in counts]


# nbs/31_image_tokenizer.ipynb, cell 0dfb8c32
def test_every_object_has_one_home():
    torch.manual_seed(0)
    boxes = torch.cat([torch.rand(400, 2), torch.rand(400, 2) ** 2], 1)
    boxes[:4, :2] = torch.tensor([[0, 0], [1, 1], [0.5, 0.5], [0.25, 1]])            # borders and corners
    for shapes in ([(16, 16), (8, 8), (4, 4), (2, 2)], [(12, 12), (6, 6), (3, 3), (2, 2)], [(5, 9), (3, 5), (2, 3), (1, 2)]):
        home, near = home_cells(boxes, shapes)
        cells = home.long().argmax(1)
        level = torch.arange(4).repeat_interleave(torch.tensor([h * w for h, w in shapes]))[cells]
        sides, size = torch.tensor(shapes), boxes[:, 2:].prod(1).sqrt()
        assert (home.sum(1) == 1).all() and not (home & ~near).any()
        assert ((reference_grid(shapes)[cells] - boxes[:, :2]) * sides[level].flip(1)).abs().max() <= 0.5 + 1e-5
        assert (size * sides[level].amax(1) <= 3)[level < 3].all()                   # it fits there,
        assert (size * sides[(level - 1).clamp(min=0)].amax(1) > 3)[level > 0].all()  # and on no finer map


# nbs/31_image_tokenizer.ipynb, cell 88228737
def test_queries_start_at_the_best_cells():
    tokenizer, maps = small_tokenizer(proposals=True), random_maps()
    memory, shapes = tokenizer.encoder(maps)
    found = tokenizer.propose(memory, shapes)
    content, position, reference = tokenizer.propose.start(memory, found, 10)
    for said, places, start in zip(found.objectness, found.centers, reference):
        assert torch.equal(start, places[said.topk(10).indices])
    assert content.shape == position.shape == (2, 10, 32) and content.requires_grad and not reference.requires_grad
    tokenizer(maps).centers.sum().backward()
    assert all(p.grad is None for p in tokenizer.propose.center.parameters())
    assert not hasattr(tokenizer, "queries")                                         # nothing learned by heart is left


# nbs/31_image_tokenizer.ipynb, cell 64e1b087
def test_perfect_proposals_cost_nothing():
    cfg, shapes = ImageTokenizerConfig(), [(8, 8), (4, 4)]
    box = torch.tensor([[0.3, 0.6, 0.2, 0.3], [0.8, 0.2, 0.1, 0.1]])
    (home, near), centers, extents = home_cells(box, shapes), torch.rand(1, 80, 2), torch.rand(1, 80, 2)
    for true, cells in zip(box, near): centers[0, cells], extents[0, cells] = true[:2], true[2:]
    right = Proposals(20.0 * (2 * home.any(0).float() - 1)[None], centers, extents, shapes)
    silent = replace(right, objectness=torch.full((1, 80), -20.0))
    assert proposal_loss(right, [box], cfg) < 1e-4 and proposal_loss(silent, [box[:0]], cfg) < 1e-4
    assert proposal_loss(silent, [box], cfg) > 1 and proposal_loss(replace(right, centers=centers + 0.1), [box], cfg) > 1


# nbs/31_image_tokenizer.ipynb, cell 12056edd
aids = dict(proposals=True, box_references=True)


# nbs/31_image_tokenizer.ipynb, cell ed230f58
def test_queries_start_as_boxes_and_stay_until_a_head_moves_them():
    tokenizer, maps = ImageTokenizer(replace(ImageTokenizerConfig.tiny(), **aids)), random_maps()
    tokens = tokenizer(maps)
    best = tokens.proposals.objectness.topk(10, 1).indices[..., None].expand(-1, -1, 2)
    boxes = torch.cat([x.gather(1, best) for x in (tokens.proposals.centers, tokens.proposals.extents)], -1)
    torch.testing.assert_close(tokens.start, boxes)
    for _, centers, extents in (*tokens.layers, (None, tokens.centers, tokens.extents)):   # fresh heads correct nothing
        torch.testing.assert_close(torch.cat([centers, extents], -1), boxes)
    moved = small_tokenizer(**aids)(maps)                                                 # others move all four numbers
    assert ((torch.cat([moved.centers, moved.extents], -1) - moved.start).abs().mean((0, 1)) > 1e-3).all()
    for wrong, said in ((dict(box_references=True), "box_references needs proposals"), (dict(proposals=True, helpers=4), "helpers needs box")):
        with pytest.raises(ValueError, match=said): small_tokenizer(**wrong)


# nbs/31_image_tokenizer.ipynb, cell 4978756b
def test_the_decoder_alone_reads_the_fine_map():
    tokenizer, (fine, *maps) = small_tokenizer(fine_map=True, **aids), random_maps(sides=(16, 8, 4, 2, 1))
    fine.requires_grad_()
    tokens = tokenizer([fine, *maps])
    torch.testing.assert_close(tokens.proposals.objectness, tokenizer([0 * fine, *maps]).proposals.objectness)
    tokens.embeddings.square().sum().backward()
    assert fine.grad.abs().sum() > 0 and [layer.cross_attention.levels for layer in tokenizer.decoder.layers] == [5, 5]


# nbs/31_image_tokenizer.ipynb, cell c8a06041
def test_helpers_change_nothing_that_is_said():
    tokenizer, maps = small_tokenizer(helpers=6, **aids), random_maps()
    learning, asked = tokenizer.train()(maps), tokenizer.eval()(maps)
    assert asked.helpers is None and learning.helpers.embeddings.shape == (2, 6, 32)
    for name in ("embeddings", "centers", "extents", "objectness", "start"):
        torch.testing.assert_close(getattr(learning, name), getattr(asked, name), atol=1e-5, rtol=1e-5)
    assert (learning.helpers.embeddings - learning.embeddings[:, :6]).abs().mean() > 0.01    # same start, another role


# nbs/31_image_tokenizer.ipynb, cell c2ab7d58
def test_loss_equals_brute_force():
    tokenizer, cfg = small_tokenizer(queries=5), ImageTokenizerConfig.tiny()
    tokens, boxes = tokenizer(random_maps(b=3)), some_boxes(3, 0, 1)
    losses = tokenizer_loss(tokens, boxes, plain_matches(tokens, boxes, cfg), cfg)
    layers = [*tokens.layers, (tokens.objectness, tokens.centers, None)]
    pairs = [brute_force_loss(o[i], c[i], boxes[i][:, :2], cfg) for o, c, _ in layers for i in range(3)]
    for name, terms in zip(("objectness", "center"), zip(*pairs)):
        torch.testing.assert_close(losses[name], torch.as_tensor(sum(terms) / 4))      # 4 objects in the batch


# nbs/31_image_tokenizer.ipynb, cell 8a07fe05
def test_loss_of_sets_empty_sets_and_crowds():
    tokenizer, cfg = small_tokenizer(), ImageTokenizerConfig.tiny()
    tokens, (boxes,) = tokenizer(random_maps(b=1)), some_boxes(4)
    loss = lambda boxes: tokenizer_loss(tokens, [boxes], plain_matches(tokens, [boxes], cfg), cfg)
    for name in ("objectness", "center"): torch.testing.assert_close(loss(boxes.flip(0))[name], loss(boxes)[name])
    empty = loss(boxes[:0])
    assert empty["objectness"] > 0 and empty["center"] == 0 and empty["extent"] == 0
    nobody = small_tokenizer(helpers=4, **aids)(random_maps())                # no sample has objects to show
    none = replace(nobody, **{k: x[:0] for k, x in vars(nobody).items() if isinstance(x, Tensor)}, layers=[])
    assert tokenizer_loss(replace(none, proposals=None, helpers=None), [], [], cfg) == {}
    crowd, = some_boxes(25)
    assert len(plain_matches(tokens, [crowd], cfg)[0][0]) == 10 and all(v.isfinite() for v in loss(crowd).values())


# nbs/31_image_tokenizer.ipynb, cell bbb70b2c
def test_losses_take_half_precision():
    tokenizer, boxes = small_tokenizer(helpers=6, **aids).train(), some_boxes(3, 0)
    with torch.autocast("cpu", dtype=torch.bfloat16): tokens = tokenizer(random_maps())
    assert tokens.objectness.dtype == torch.bfloat16
    cfg = tokenizer.cfg
    losses = tokenizer_loss(tokens, boxes, plain_matches(tokens, boxes, cfg), cfg)
    assert {"objectness", "center", "extent", "proposal", "helper"} == losses.keys()
    assert all(x.isfinite() for x in losses.values())
    sum(losses.values()).backward()


# nbs/31_image_tokenizer.ipynb, cell b0d9b518
def test_two_sure_tokens_on_one_object_cost_more_than_one():
    cfg, box = ImageTokenizerConfig(), torch.tensor([[0.5, 0.5, 0.2, 0.2]])
    def cost_of(*logits):
        n = len(logits)
        tokens = ImageTokens(torch.zeros(1, n, 4), torch.full((1, n, 2), 0.5), torch.tensor([logits]), torch.full((1, n, 2), 0.2), [])
        return tokenizer_loss(tokens, [box], plain_matches(tokens, [box], cfg), cfg)

    alone, twins, silent = cost_of(4.0, -4.0), cost_of(4.0, 4.0), cost_of(-4.0, -4.0)
    assert alone["objectness"] < 0.01 and twins["objectness"] > 1 and silent["objectness"] > 1
    assert alone["center"] < 1e-6 and alone["extent"] < 1e-5            # all of them lie where they should
    assert "extent" not in tokenizer_loss(ImageTokens(torch.zeros(1, 1, 4), torch.rand(1, 1, 2), torch.zeros(1, 1), torch.rand(1, 1, 2), []),
                                          [box], [hungarian(torch.zeros(1, 1))], ImageTokenizerConfig(extent_weight=0.0))


# nbs/31_image_tokenizer.ipynb, cell 9faceee6
def test_permuted_queries_give_permuted_tokens():
    tokenizer, maps, order = small_tokenizer(), random_maps(), torch.randperm(10)
    before = tokenizer(maps)
    for table in (tokenizer.queries.content, tokenizer.queries.position): table.weight.data = table.weight[order]
    after = tokenizer(maps)
    for name in ("embeddings", "centers", "objectness", "extents"):
        torch.testing.assert_close(getattr(after, name), getattr(before, name)[:, order], atol=1e-5, rtol=1e-5)


# nbs/31_image_tokenizer.ipynb, cell b49dd1ef
def test_batch_equals_single_pictures():
    tokenizer, maps = small_tokenizer(), random_maps(b=3)
    together = tokenizer(maps)
    for i in range(3):
        alone = tokenizer([m[i:i + 1] for m in maps])
        for name in ("embeddings", "centers", "objectness", "extents"):
            torch.testing.assert_close(getattr(together, name)[i], getattr(alone, name)[0], atol=1e-5, rtol=1e-5)


# nbs/31_image_tokenizer.ipynb, cell d7ce0196
def test_any_resolution_gives_m_tokens():
    tokenizer = small_tokenizer()
    shapes = {tuple(tokenizer(random_maps(1, sides=sides)).embeddings.shape) for sides in ((8, 4, 2, 1), (16, 8, 4, 2))}
    wide = [torch.randn(1, 32, h, w) for h, w in ((6, 12), (3, 6), (2, 3), (1, 2))]
    assert shapes | {tuple(tokenizer(wide).embeddings.shape)} == {(1, 10, 32)}


# nbs/31_image_tokenizer.ipynb, cell bb56fef6
def test_centres_stay_inside():
    tokenizer, boxes = small_tokenizer(), some_boxes(2, 2)
    for head in tokenizer.center: nn.init.normal_(head[-1].bias, std=100)
    tokens, cfg = tokenizer(random_maps()), ImageTokenizerConfig.tiny()
    for centers in (tokens.centers, *(c for _, c, _ in tokens.layers)):
        assert centers.min() >= 0 and centers.max() <= 1
    sum(tokenizer_loss(tokens, boxes, plain_matches(tokens, boxes, cfg), cfg).values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in tokenizer.parameters())


# nbs/31_image_tokenizer.ipynb, cell 9b4cadac
def small_eyes(seed=0, **changes):
    "A tiny backbone, guidance and tokenizer with random weights."
    vocabulary = Vocabulary.train([*template_texts(), *(f"find every {name}" for name in SHAPES)], text_size=600, range=16, num_classes=8)
    torch.manual_seed(seed)
    cfg = LanguageGuidanceConfig.tiny()
    guidance = LanguageGuidance(cfg, TextEncoder(cfg, vocabulary), d_model=32)
    sizes = replace(ImageTokenizerConfig.tiny(), **changes)
    return nn.ModuleList([Backbone(BackboneConfig.tiny()), guidance, ImageTokenizer(sizes)])


# nbs/31_image_tokenizer.ipynb, cell 0c599bf0
def test_tokens_depend_on_the_prompt():
    backbone, guidance, tokenizer = small_eyes()
    maps = backbone(torch.randn(1, 3, 64, 64))
    ball, kite, again = (tokenizer(guidance(maps, [f"find every {word}"])).embeddings for word in ("ball", "kite", "ball"))
    assert torch.equal(ball, again) and ((ball - kite).abs().amax(-1) > 1e-4).all()


# nbs/31_image_tokenizer.ipynb, cell 9ca260ff
def test_gradients_reach_every_parameter():
    cfg, boxes = ImageTokenizerConfig.tiny(), some_boxes(3, 2)
    def stuck(tokenizer):
        tokens = tokenizer(random_maps())
        sum(tokenizer_loss(tokens, boxes, plain_matches(tokens, boxes, cfg), cfg).values()).backward()
        return [name for name, p in tokenizer.named_parameters() if p.grad is None or p.grad.abs().sum() == 0]

    assert stuck(small_tokenizer()) == []
    assert {name.split(".")[0] for name in stuck(ImageTokenizer(cfg))} == {"center", "encoder"}     # fresh: behind the zeros
    assert [name for name in stuck(ImageTokenizer(cfg)) if "encoder" in name] == ["encoder.level_embedding"]


# nbs/31_image_tokenizer.ipynb, cell 69ccbc75
def test_the_centre_loss_reaches_the_words():
    backbone, guidance, tokenizer = small_eyes()
    for head in tokenizer.center: nn.init.normal_(head[-1].weight, std=0.3)
    tokens, boxes = tokenizer(guidance(backbone(torch.randn(1, 3, 64, 64)), ["find every kite"])), some_boxes(2)
    losses = tokenizer_loss(tokens, boxes, plain_matches(tokens, boxes, tokenizer.cfg), tokenizer.cfg)
    losses["center"].backward()
    assert guidance.encoder.bert.embeddings.word_embeddings.weight.grad.abs().sum() > 1e-4


# nbs/31_image_tokenizer.ipynb, cell d12dcf0f
def drawn_scene(rng, side=64):
    "A picture with a shape in each quarter, and [(name, box cxcywh in [0, 1])]."
    image, found = Image.new("RGB", (4 * side, 4 * side), "#a9cf8f"), []
    pen = ImageDraw.Draw(image)
    for k in range(4):
        center = (np.array([k % 2, k // 2]) + 0.5) / 2 + rng.uniform(-0.1, 0.1, 2)
        name = str(rng.choice(SHAPES))
        polygon = shape_polygon(name, 4 * side * center, 4 * side * rng.uniform(0.1, 0.14))
        pen.polygon([tuple(p) for p in polygon], fill=COLOURS[str(rng.choice([*COLOURS]))])
        low, high = polygon.min(0), polygon.max(0)
        found.append((name, np.concatenate([(low + high) / 2, high - low]) / (4 * side)))
    return image.reduce(4), found


# nbs/31_image_tokenizer.ipynb, cell 22f5c2d0
def requests(n=8):
    "n scenes times three prompts: scenes, pixels (3n, 3, 64, 64), texts, and the boxes asked for."
    rng = np.random.default_rng(0)
    scenes = [drawn_scene(rng) for _ in range(n)]
    pixels = torch.stack([image_to_tensor(image, 64) for image, _ in scenes for _ in SHAPES])
    boxes = [torch.tensor(np.array([box for name, box in found if name == asked]).reshape(-1, 4), dtype=torch.float32)
             for _, found in scenes for asked in SHAPES]
    return scenes, pixels, [f"find every {name}" for _ in scenes for name in SHAPES], boxes


# nbs/31_image_tokenizer.ipynb, cell 554781d1
def see(eyes, pixels, texts, words="paper"):
    "Image tokens of the pictures; `words` says how the texts come in."
    backbone, guidance, tokenizer = eyes
    maps = backbone(pixels)
    if words != "queries": return tokenizer(guidance(maps, texts) if words == "paper" else maps)
    features, valid = guidance.encoder(texts)
    mean = (guidance.project(features) * valid[..., None]).sum(1) / valid.sum(1, keepdim=True)        # (b, d)
    hook = tokenizer.decoder.register_forward_pre_hook(lambda _, args: (args[0] + mean[:, None], *args[1:]))
    try: return tokenizer(maps)
    finally: hook.remove()


# nbs/31_image_tokenizer.ipynb, cell 49de5ed8
def train(eyes, pixels, texts, boxes, steps, words="paper", extent_weight=0.0):
    "Trains on one fixed batch, as it is with the paper's L_tok; returns {term: losses}."
    cfg = ImageTokenizerConfig(extent_weight=extent_weight)
    optimizer = torch.optim.AdamW(eyes.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.1)
    curves = {"objectness": [], "center": []}
    for _ in range(steps):
        tokens = see(eyes, pixels, texts, words)
        losses = tokenizer_loss(tokens, boxes, plain_matches(tokens, boxes, cfg), cfg)
        optimizer.zero_grad(), sum(losses.values()).backward()
        nn.utils.clip_grad_norm_(eyes.parameters(), 1.0)
        optimizer.step(), schedule.step()
        for name in curves: curves[name].append(losses[name].item())
    return curves


# nbs/31_image_tokenizer.ipynb, cell cecd82c0
def judge(tokens, scenes, boxes):
    "How many of the named objects were found, and how often an object that was not named was claimed."
    found = claimed = 0
    for i, named in enumerate(boxes):
        sure = tokens.centers[i][tokens.objectness[i].sigmoid() > 0.4]
        everything = torch.tensor(np.array([box[:2] for _, box in scenes[i // 3][1]]), dtype=torch.float32)
        near = lambda places: (torch.cdist(places, sure, p=torch.inf) < 0.05).any(1).sum().item() if len(sure) else 0
        found += near(named[:, :2])
        claimed += near(everything) - near(named[:, :2])
    return found, claimed


# nbs/31_image_tokenizer.ipynb, cell c96983fe
def test_tokens_find_what_is_named():
    scenes, pixels, texts, boxes = requests()
    eyes = small_eyes()
    with torch.no_grad(): before = see(eyes, pixels, texts)
    curves = train(eyes, pixels, texts, boxes, steps=150)
    with torch.no_grad(): after = see(eyes, pixels, texts)
    named = sum(map(len, boxes))
    assert judge(before, scenes, boxes) == (0, 0)
    assert judge(after, scenes, boxes)[0] >= 0.9 * named and judge(after, scenes, boxes)[1] <= 0.05 * named
    assert (after.objectness.sigmoid() > 0.4).sum() <= 1.1 * named          # and nothing else is claimed


# nbs/31_image_tokenizer.ipynb, cell 151e8fb3
def test_solutions():
    from visionllm_edu.vision.deformable import reference_grid

    def average_pool(maps, m):
        side = int(m**0.5)
        pooled = nn.functional.adaptive_avg_pool2d(maps[0], side)
        return pooled.flatten(2).mT, reference_grid([(side, side)]).expand(len(pooled), -1, -1)

    embeddings, centers = average_pool(random_maps(), 16)
    assert embeddings.shape == (2, 16, 32) and centers.shape == (2, 16, 2)
    torch.manual_seed(0)
    queries = LearnedQueries(60, 128)
    spread = lambda: queries.reference(queries.position.weight).std(0).mean().item()
    before = spread()
    nn.init.xavier_uniform_(queries.reference.weight), nn.init.zeros_(queries.reference.bias)
    assert 2 < spread() / before < 3
