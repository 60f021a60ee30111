"""Tests of visionllm_edu/vision/matching.py.

Generated from nbs/22_matching.ipynb by make export: do not edit, edit the notebook.
"""

import pytest
import torch
import torch.nn.functional as F
from itertools import permutations
from transformers.loss import loss_deformable_detr as twins
from transformers.loss.loss_for_object_detection import sigmoid_focal_loss

from visionllm_edu.geometry import box_cxcywh_to_xyxy, box_iou
from visionllm_edu.vision.matching import (
    MatchingConfig, focal_cost, focal_loss, giou_cost, hungarian, l1_cost, match, match_index,
    set_loss, shared_count, shared_counts, total_loss,
)


# nbs/22_matching.ipynb, cell 50571803
def match_brute_force(cost):  # (q, n), q >= n
    q, n = cost.shape
    def total(sigma): return cost[list(sigma), range(n)].sum().item()
    best = min(permutations(range(q), n), key=total)
    return torch.tensor(best), torch.arange(n)

cost = torch.tensor([[1.0, 2.0], [2.0, 9.0]])
match_brute_force(cost)


# nbs/22_matching.ipynb, cell df7157ee
def test_hungarian_equals_brute_force():
    torch.manual_seed(0)
    for _ in range(20):
        cost = torch.randn(5, 3)
        best, found = match_brute_force(cost), hungarian(cost)
        torch.testing.assert_close(cost[found].sum(), cost[best].sum())
        assert len(set(found[0].tolist())) == 3 and sorted(found[1].tolist()) == [0, 1, 2]


# nbs/22_matching.ipynb, cell 62ab9480
def test_hungarian_on_odd_tables():
    rows, columns = hungarian(torch.rand(2, 5))
    assert len(rows) == 2 and len(set(columns.tolist())) == 2               # fewer predictions than objects
    assert [len(x) for x in hungarian(torch.zeros(4, 0))] == [0, 0]         # no object: no pair
    nan = torch.tensor([[float("nan"), 1.0], [5.0, float("inf")], [7.0, 8.0]])
    rows, columns = hungarian(nan)
    assert dict(zip(columns.tolist(), rows.tolist())) == {0: 1, 1: 0}       # broken costs are avoided


# nbs/22_matching.ipynb, cell fe723395
def test_match_index_picks_matched_rows():
    matches = match([torch.tensor([[3.0], [1.0], [2.0]]), torch.tensor([[1.0, 9.0], [9.0, 9.0], [9.0, 1.0]])])
    x = torch.arange(6).view(2, 3)                                          # row 0: 0 1 2, row 1: 3 4 5
    assert x[match_index(matches)].tolist() == [1, 3, 5]


# nbs/22_matching.ipynb, cell 7f53edc2
def test_focal_loss_by_hand_and_by_twin():
    torch.manual_seed(0)
    logits, targets = torch.randn(4, 6, requires_grad=True), (torch.rand(4, 6) < 0.3).float()
    plain = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
    torch.testing.assert_close(focal_loss(logits, targets, alpha=0.5, gamma=0), plain / 2)
    by_hand = 0.0
    for z, t in zip(logits.flatten(), targets.flatten()):
        p_t, a_t = (z.sigmoid(), 0.25) if t == 1 else (1 - z.sigmoid(), 0.75)
        by_hand = by_hand - a_t * (1 - p_t) ** 2 * p_t.log()
    torch.testing.assert_close(focal_loss(logits, targets, num=3), by_hand / 3)
    twin = 6 * sigmoid_focal_loss(logits, targets, num_boxes=3)
    torch.testing.assert_close(focal_loss(logits, targets, num=3), twin)
    ours, theirs = (torch.autograd.grad(loss, logits)[0] for loss in (focal_loss(logits, targets, 3), twin))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


# nbs/22_matching.ipynb, cell 22f76ebd
def test_focal_cost_is_the_difference_of_two_losses():
    for logit in torch.linspace(-4, 4, 9):
        change = focal_loss(logit, torch.tensor(1.0)) - focal_loss(logit, torch.tensor(0.0))
        torch.testing.assert_close(focal_cost(logit), change, atol=1e-5, rtol=1e-4)
    assert focal_cost(torch.tensor(3.0)) < 0 < focal_cost(torch.tensor(-3.0))


# nbs/22_matching.ipynb, cell 569ea4d9
def test_giou_keeps_a_slope_where_iou_has_none():
    far = torch.tensor([[0.7, 0.5, 0.2, 0.2]], requires_grad=True)
    still = torch.tensor([[0.2, 0.5, 0.2, 0.2]])
    slope, = torch.autograd.grad(giou_cost(far, still).sum(), far)
    assert slope[0, 0] > 0                                                       # moving further right costs more
    assert box_iou(box_cxcywh_to_xyxy(far), box_cxcywh_to_xyxy(still)).item() == 0
    torch.testing.assert_close(giou_cost(still, still), torch.tensor([[-1.0]]))
    torch.testing.assert_close(l1_cost(far, still), torch.tensor([[0.5]]))


# nbs/22_matching.ipynb, cell 32b6b174
def test_one_process_shares_with_nobody():
    assert [shared_count(n) for n in (7, 1, 0.25)] == [7, 1, 0.25]
    assert shared_count(0) == shared_count(0.0) == 1
    assert shared_counts({"objects": 3.0, "words": 0.0}) == {"objects": 3.0, "words": 0.0}


# nbs/22_matching.ipynb, cell 84f03886
def random_sets(b=3, q=9, k=5, seed=0):
    "Logits (b, q, k), boxes (b, q, 4), and labels and target boxes as lists; one picture has no object."
    torch.manual_seed(seed)
    counts = [4, 0, 2][:b]
    def boxes(*shape): return torch.rand(*shape, 4) * 0.4 + 0.1
    return (torch.randn(b, q, k, requires_grad=True), boxes(b, q).requires_grad_(),
            [torch.randint(k, (n,)) for n in counts], [boxes(n) for n in counts])


# nbs/22_matching.ipynb, cell 409fe1cc
def test_matcher_and_loss_equal_transformers():
    cfg = MatchingConfig()
    matcher = twins.DeformableDetrHungarianMatcher(cfg.label, cfg.l1, cfg.giou)
    criterion = twins.DeformableDetrImageLoss(matcher, num_classes=5, focal_alpha=0.25, losses=["labels", "boxes"])
    for seed in range(5):
        logits, places, labels, targets = random_sets(seed=seed)
        outputs = {"logits": logits, "pred_boxes": places}
        wanted = [{"class_labels": y, "boxes": t} for y, t in zip(labels, targets)]
        terms, matches = set_loss(logits, places, labels, targets, cfg)
        for (i, j), (their_i, their_j) in zip(matches, matcher(outputs, wanted)):
            assert i.tolist() == their_i.tolist() and j.tolist() == their_j.tolist()
        theirs = criterion(outputs, wanted)
        for name, other in (("label", "loss_ce"), ("l1", "loss_bbox"), ("giou", "loss_giou")):
            torch.testing.assert_close(terms[name], theirs[other], atol=1e-5, rtol=1e-5)
            grads = [torch.autograd.grad(loss, (logits, places), retain_graph=True, allow_unused=True)
                     for loss in (terms[name], theirs[other])]
            for a, b in zip(*grads):
                assert (a is None) == (b is None)
                if a is not None: torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


# nbs/22_matching.ipynb, cell 6ef2ec14
def test_order_does_not_matter():
    logits, places, labels, targets = random_sets(b=1)
    cfg, a, b = MatchingConfig(), torch.randperm(9), torch.randperm(4)
    before, _ = set_loss(logits, places, labels, targets, cfg)
    after, _ = set_loss(logits[:, a], places[:, a], [labels[0][b]], [targets[0][b]], cfg)
    for name in before:
        torch.testing.assert_close(before[name], after[name])


# nbs/22_matching.ipynb, cell 47cff629
def test_only_matched_places_get_gradients():
    logits, places, labels, targets = random_sets()
    terms, matches = set_loss(logits, places, labels, targets, MatchingConfig())
    (terms["l1"] + terms["giou"] + terms["label"]).backward()
    taught = torch.zeros(3, 9, dtype=torch.bool)
    taught[match_index(matches)] = True
    assert ((places.grad.abs().sum(-1) > 0) == taught).all() and taught.sum() == 6
    assert (logits.grad.abs().sum(-1) > 0).all()


# nbs/22_matching.ipynb, cell a7570717
def test_points_empty_batches_and_bad_input():
    cfg = MatchingConfig()
    terms, _ = set_loss(torch.zeros(1, 4, 1), torch.rand(1, 4, 2), [torch.zeros(2).long()], [torch.rand(2, 2)], cfg)
    assert set(terms) == {"label", "l1"}
    nothing, _ = set_loss(torch.zeros(1, 4, 1), torch.rand(1, 4, 2), [torch.zeros(0).long()], [torch.zeros(0, 2)], cfg)
    assert nothing["label"] > 0 and nothing["l1"] == 0
    goal = torch.rand(3, 4) * 0.3 + 0.2
    perfect, _ = set_loss(torch.full((1, 3, 1), 9.0), goal[None], [torch.zeros(3).long()], [goal.flip(0)], cfg)
    assert total_loss(perfect, cfg) < 1e-3
    with pytest.raises(ValueError, match=r"places have 3 numbers, accepted 2 \(points\) or 4"):
        set_loss(torch.zeros(1, 4, 1), torch.rand(1, 4, 3), [torch.zeros(0).long()], [torch.zeros(0, 3)], cfg)
    with pytest.raises(ValueError, match="1 predictions, 2 labels, 1 targets"):
        set_loss(torch.zeros(1, 4, 1), torch.rand(1, 4, 2), [torch.zeros(0).long()] * 2, [torch.zeros(0, 2)], cfg)


# nbs/22_matching.ipynb, cell 0799bab8
def learn_boxes(paired, steps):
    "Fits 12 boxes and logits to 5 targets in changing order; returns IoU per step, boxes, p, targets."
    torch.manual_seed(0)
    goal = torch.tensor([[.2, .2, .2, .2], [.7, .2, .3, .2], [.3, .7, .3, .4], [.75, .7, .2, .3],
                         [.5, .45, .15, .15]])
    raw, logits, cfg, curve = torch.randn(12, 4), torch.full((12, 1), -2.0), MatchingConfig(), []
    optimizer = torch.optim.Adam([raw.requires_grad_(), logits.requires_grad_()], lr=0.05)
    for _ in range(steps):
        target, boxes = goal[torch.randperm(5)], raw.sigmoid()
        seen = slice(None) if paired else slice(5)          # as lists, only the first five have a partner
        terms, matches = set_loss(logits[None], boxes[None], [torch.zeros(5).long()], [target], cfg)
        if not paired:
            terms["l1"] = (boxes[:5] - target).abs().sum() / 5
            terms["giou"] = 1 + giou_cost(boxes[:5], target).diagonal().mean()
        optimizer.zero_grad(), total_loss(terms, cfg).backward(), optimizer.step()
        overlap = box_iou(box_cxcywh_to_xyxy(raw.sigmoid()[seen]), box_cxcywh_to_xyxy(goal)).amax(0).mean()
        curve.append(overlap.item())
    return curve, raw.sigmoid().detach(), logits.sigmoid().detach()[:, 0], goal


# nbs/22_matching.ipynb, cell dfffac4a
def test_pairing_learns_what_a_list_can_not():
    paired, boxes, sure, goal = learn_boxes(True, steps=200)
    listed, *_ = learn_boxes(False, steps=200)
    assert paired[-1] > 0.95 and listed[-1] < 0.5
    assert (sure > 0.5).sum() == 5                                  # one prediction per object: no duplicates


# nbs/22_matching.ipynb, cell e9b3df9b
def test_solutions():
    def greedy(cost):
        cost, pairs = cost.clone(), []
        for _ in range(min(cost.shape)):
            i, j = divmod(cost.argmin().item(), cost.shape[1])
            pairs.append((i, j))
            cost[i], cost[:, j] = float("inf"), float("inf")
        return tuple(torch.tensor(pairs).T)

    torch.manual_seed(0)
    tables = torch.rand(200, 5, 5)
    as_cheap = [bool(c[greedy(c)].sum() < c[hungarian(c)].sum() + 1e-6) for c in tables]
    assert 0.2 < sum(as_cheap) / 200 < 0.6
    assert all(c[hungarian(c)].sum() <= c[greedy(c)].sum() + 1e-6 for c in tables)
