"""Tests of visionllm_edu/geometry.py.

Generated from nbs/10_geometry.ipynb by make export: do not edit, edit the notebook.
"""

import numpy as np
import pytest
import torch
from scipy import ndimage
from transformers.loss import loss_for_object_detection as transformers_loss

from visionllm_edu.geometry import (
    BOUNDARY_METHODS, COCO_SIGMAS, box_cxcywh_to_xyxy, box_iou, box_xyxy_to_cxcywh,
    clip_boxes_xyxy_px, generalized_box_iou, keypoint_similarity, mask_iou, mask_to_box,
    mask_to_polygons, mask_to_rle, polygon_area, polygon_to_mask, polygons_to_rle, rle_to_mask,
    sample_boundary, segmentation_to_mask, to_px, to_unit,
)


# nbs/10_geometry.ipynb, cell 8f56f72d
def test_box_formats_round_trip():
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.4], [0.1, 0.9, 0.2, 0.2]])
    corners = box_cxcywh_to_xyxy(boxes)
    torch.testing.assert_close(corners[0], torch.tensor([0.4, 0.3, 0.6, 0.7]))
    torch.testing.assert_close(box_xyxy_to_cxcywh(corners), boxes)
    assert np.allclose(box_cxcywh_to_xyxy(boxes.numpy()), corners)  # the same code, the other library
    assert box_cxcywh_to_xyxy(np.zeros((0, 4))).shape == (0, 4)     # an image without objects


# nbs/10_geometry.ipynb, cell 41cfd539
def test_pixels_and_fractions_round_trip():
    size = (640, 480)
    assert to_unit([320, 240], size).tolist() == [0.5, 0.5]
    assert to_px([0, 0, 1, 0.5], size).tolist() == [0, 0, 640, 240]
    boxes_px = torch.tensor([[-8.0, 20.0, 700.0, 490.0], [650.0, 0.0, 660.0, 9.0]])
    torch.testing.assert_close(to_px(to_unit(boxes_px, size), size), boxes_px)
    assert clip_boxes_xyxy_px(boxes_px, size).tolist() == [[0, 20, 640, 480], [640, 0, 640, 9]]


# nbs/10_geometry.ipynb, cell 9f73d0c9
def test_box_iou_counts_pixels():
    rng = np.random.default_rng(0)
    corner = rng.integers(0, 8, (2, 20, 2))
    a, b = np.concatenate([corner, corner + rng.integers(1, 8, (2, 20, 2))], -1)
    pixels = lambda box: {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])}
    counted = [[len(pixels(p) & pixels(q)) / len(pixels(p) | pixels(q)) for q in b] for p in a]
    assert np.allclose(box_iou(a, b), counted)
    assert np.allclose(np.diag(box_iou(a, a)), 1) and np.allclose(box_iou(a, b), box_iou(b, a).T)
    assert box_iou(np.zeros((1, 4)), np.zeros((1, 4))) == 0  # not NaN


# nbs/10_geometry.ipynb, cell 6baa7e0d
def test_giou_equals_transformers_and_pulls():
    torch.manual_seed(0)
    a, b = (box_cxcywh_to_xyxy(torch.rand(n, 4)) for n in (5, 7))
    torch.testing.assert_close(generalized_box_iou(a, b), transformers_loss.generalized_box_iou(a, b))
    torch.testing.assert_close(box_iou(a, b), transformers_loss.box_iou(a, b)[0])
    far, true = torch.tensor([[5.0, 5, 6, 6]], requires_grad=True), torch.tensor([[0.0, 0, 1, 1]])
    assert torch.autograd.grad(box_iou(far, true).sum(), far)[0].abs().sum() == 0
    pull = torch.autograd.grad(generalized_box_iou(far, true).sum(), far)[0][0]
    assert pull[:2].max() < 0  # moving left and up would improve it


# nbs/10_geometry.ipynb, cell bbd058f1
def test_polygons_fill_whole_pixels():
    square = np.array([[1, 1], [4, 1], [4, 4], [1, 4]])
    filled = polygon_to_mask(square, (6, 5))
    assert filled.shape == (5, 6) and filled.sum() == 9 and filled[1:4, 1:4].all()
    assert (polygon_to_mask(square[::-1], (6, 5)) == filled).all()                  # either way round
    assert (polygon_to_mask(square - [3, 0], (6, 5))[1:4, 0]).all()                 # partly outside
    two = rle_to_mask(polygons_to_rle([square.ravel().tolist(), square + [2, 1]], (6, 5)))
    assert two.sum() == 9 + 9 - 2                                                   # a union, overlaps once
    with pytest.raises(ValueError, match="3 or more points"): polygons_to_rle([[1, 1, 4, 4]], (6, 5))


# nbs/10_geometry.ipynb, cell 89f56e6f
def test_every_spelling_is_the_same_mask():
    mask = np.zeros((4, 5), dtype=bool)
    mask[1:3, 1:4] = True
    spellings = [mask, mask_to_rle(mask), {"size": [4, 5], "counts": [5, 2, 2, 2, 2, 2, 5]}, [[1, 1, 4, 1, 4, 3, 1, 3]]]
    assert all((segmentation_to_mask(s, (5, 4)) == mask).all() for s in spellings)
    with pytest.raises(ValueError, match="5 x 4 pixels for an image of 4 x 5"): segmentation_to_mask(mask, (4, 5))


# nbs/10_geometry.ipynb, cell 950e7972
def test_outlines_lose_nothing_but_holes():
    rng = np.random.default_rng(0)
    for _ in range(100):
        mask = rng.random(rng.integers(1, 12, 2)) < rng.random()
        if not mask.any(): continue
        rings, (h, w) = mask_to_polygons(mask), mask.shape
        closed = ndimage.binary_fill_holes(mask, structure=np.ones((3, 3)))
        assert (rle_to_mask(polygons_to_rle(rings, (w, h))) == closed).all()
        if (closed == mask).all(): assert len(rings) == ndimage.label(mask)[1]
    assert mask_to_polygons(np.zeros((3, 3), dtype=bool)) == []


# nbs/10_geometry.ipynb, cell c745c6c8
def test_masks_and_boxes_agree():
    boxes = np.array([[0, 0, 4, 4], [2, 1, 6, 5], [5, 5, 7, 6]])
    masks = np.array([[[x0 <= x < x1 and y0 <= y < y1 for x in range(8)] for y in range(6)] for x0, y0, x1, y1 in boxes])
    assert (np.array([mask_to_box(m) for m in masks]) == boxes).all()
    assert np.allclose(mask_iou(masks, masks[:2]), box_iou(boxes, boxes[:2]))  # a box is a mask too
    assert (mask_to_box(np.zeros((3, 3), dtype=bool)) == 0).all()


# nbs/10_geometry.ipynb, cell f2fc46e5
def test_boundary_follows_the_object():
    shape = np.array([[10, 60], [14, 22], [30, 8], [48, 10], [60, 40], [84, 22], [90, 32], [58, 92], [18, 92]]) * 1.0
    for method in BOUNDARY_METHODS:
        points = sample_boundary([shape], 16, (100, 100), method)
        np.testing.assert_allclose(sample_boundary([3 * shape + 7], 16, (400, 400), method), 3 * points + 7)
        again = sample_boundary([np.roll(shape, 4, 0)[::-1]], 16, (100, 100), method)
        assert np.linalg.norm(again - points, axis=1).max() < (2 if method == "arc" else 1e-9)
        assert polygon_area(points) > 0                     # clockwise
    first = sample_boundary([shape], 16, (100, 100))[0]
    assert np.isclose(first[0], (10 + 90) / 2) and first[1] < (8 + 92) / 2  # 12 o'clock: straight above the centre
    wide = lambda method: sample_boundary([shape * [5, 1]], 16, (500, 100), method) / [5, 1]
    np.testing.assert_allclose(wide("rays"), sample_boundary([shape], 16, (100, 100), "rays"))
    assert np.abs(wide("polar") - sample_boundary([shape], 16, (100, 100), "polar")).max() > 5


# nbs/10_geometry.ipynb, cell c85f0e34
def test_boundary_of_masks_parts_and_bad_input():
    left, right = np.array([[5, 5], [40, 8], [38, 90], [8, 88]]), np.array([[60, 20], [95, 10], [90, 80], [62, 70]])
    mask = segmentation_to_mask([left, right], (100, 100))
    for method in ("rays", "polar"):
        apart = sample_boundary([left, right], 12, (100, 100), method) - sample_boundary(mask, 12, (100, 100), method)
        assert np.abs(apart).max() < 2.5
    for method in ("arc", "corners"):                       # the bridge covers nothing
        points = sample_boundary([left, right], 24, (100, 100), method)
        assert mask_iou(mask[None], polygon_to_mask(points, (100, 100))[None]) > 0.9
    assert np.isfinite(sample_boundary([[3, 3, 3, 3, 3, 3]], 8, (9, 9))).all()   # a dot
    with pytest.raises(ValueError, match="rays, polar, arc, corners"): sample_boundary([left], 8, (100, 100), "spiral")
    with pytest.raises(ValueError, match="needs 3 or more"): sample_boundary([left], 2, (100, 100))
    with pytest.raises(ValueError, match="empty mask"): sample_boundary(np.zeros((9, 9), dtype=bool), 8, (9, 9))


# nbs/10_geometry.ipynb, cell ffe422a2
def test_keypoint_similarity_equals_pycocotools():
    from pycocotools.cocoeval import COCOeval
    rng = np.random.default_rng(0)
    true = np.concatenate([rng.uniform(0, 99, (4, 17, 2)), rng.integers(0, 3, (4, 17, 1))], -1)
    points, areas = true[..., :2] + rng.normal(0, 6, (4, 17, 2)), rng.uniform(500, 5000, 4)
    run, ours = COCOeval(iouType="keypoints"), keypoint_similarity(points, true, areas)
    assert np.allclose(run.params.kpt_oks_sigmas, COCO_SIGMAS)
    for p, k, area, similarity in zip(points, true, areas, ours):
        run._gts = {(1, 1): [{"keypoints": k.ravel(), "bbox": [0, 0, 99, 99], "area": area}]}
        run._dts = {(1, 1): [{"keypoints": np.insert(p, 2, 1, axis=1).ravel(), "score": 1}]}
        assert np.isclose(run.computeOks(1, 1).item(), similarity)
    torch.testing.assert_close(keypoint_similarity(*map(torch.tensor, (points, true, areas))), torch.tensor(ours))
