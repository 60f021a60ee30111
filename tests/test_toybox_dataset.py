"""Tests of visionllm_edu/toybox/dataset.py.

Generated from nbs/07_toybox_dataset.ipynb by make export: do not edit, edit the notebook.
"""

import errno
import numpy as np
from pathlib import Path
from pycocotools import mask as coco_mask

from visionllm_edu.toybox.dataset import (
    _check_room, _whole_or_nothing, check_request, export_toybox, load_toybox, made,
    make_record, object_records, pack, split_categories, unpack,
)
from visionllm_edu.toybox.language import LEAST_PIXELS
from visionllm_edu.toybox.scene import SPLITS, render, split_scene


# nbs/07_toybox_dataset.ipynb, cell 862921a8
def test_categories_are_stable():
    import pytest
    everyday = {c["id"]: c["name"] for c in split_categories("train")}
    for split in SPLITS:
        for c in split_categories(split):
            assert everyday.get(c["id"], c["name"]) == c["name"] and c["id"] > 0
            assert len(c.get("keypoints", [0] * 17)) == 17
    with pytest.raises(ValueError, match="unknown split 'dev'; known: train, val"): split_categories("dev")
    with pytest.raises(ValueError, match="size must be 32 to 1024 px, got 16"): check_request("val", 16)


# nbs/07_toybox_dataset.ipynb, cell f9062cd4
def test_records_agree_with_masks():
    scene = split_scene("train", 7)
    drawing = render(scene)
    records = object_records(scene, drawing, 8)
    for o, mask, box in zip(scene.objects, drawing.masks, drawing.boxes_xyxy_px):
        if mask.sum() < LEAST_PIXELS: assert o.id not in records; continue
        rle = records[o.id]["segmentation"]
        assert (coco_mask.decode({"size": rle["size"], "counts": rle["counts"].encode()}) == mask).all()
        x, y, w, h = records[o.id]["bbox"]
        assert (x, y, x + w, y + h) == tuple(box) and records[o.id]["area"] == mask.sum()
        assert ("keypoints" in records[o.id]) == (o.group in ("person", "animal"))


# nbs/07_toybox_dataset.ipynb, cell 3bd3fe20
def test_texts_point_at_annotations():
    png, record = make_record("train", 5)
    known = {a["id"] for a in record["annotations"]}
    assert len([c for c in record["captions"] if c["detail"] == "short"]) == 5
    for part in ("phrases", "regions"): assert all(set(r["annotation_ids"]) <= known for r in record[part])
    for c in record["captions"]: assert all(set(s["annotation_ids"]) <= known for s in c["spans"])
    assert make_record("train", 5) == (png, record) and unpack(pack(record)) == record


# nbs/07_toybox_dataset.ipynb, cell 7ecc98f4
def test_workers_draw_what_one_process_draws():
    with made("val", 0, 6, 64, 1) as alone: expected = list(alone)
    with made("val", 0, 6, 64, 2) as crew: assert list(crew) == expected
    assert unpack(expected[4][1])["image"]["id"] == 5


# nbs/07_toybox_dataset.ipynb, cell a6894f75
def test_interrupted_work_leaves_nothing():
    import tempfile
    import pytest
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "data")
        with pytest.raises(KeyboardInterrupt):
            with _whole_or_nothing(target, 1) as scratch:
                (scratch / "half").write_text("a")
                raise KeyboardInterrupt
        assert list(Path(folder).iterdir()) == []
        with _whole_or_nothing(target, 1) as scratch: (scratch / "all").write_text("abc")
        assert (target / "all").read_text() == "abc" and len(list(Path(folder).iterdir())) == 1
        with pytest.raises(OSError, match="the disk is full: .* scenes need about .* MB"): _check_room(target, 10 ** 12)


# nbs/07_toybox_dataset.ipynb, cell 2a324895
def test_a_full_disk_is_named():
    import tempfile
    import pytest
    with tempfile.TemporaryDirectory() as folder, pytest.raises(OSError, match="point VISIONLLM_CACHE to another"):
        with _whole_or_nothing(Path(folder, "data"), 1): raise OSError(errno.ENOSPC, "No space left on device")


# nbs/07_toybox_dataset.ipynb, cell a1c98809
def test_the_data_set_reads_like_any_other():
    import os, pickle, tempfile
    import pytest
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("VISIONLLM_CACHE", folder)
        toys = load_toybox("novel:8", size=64, progress=False)
        assert len(toys) == 8 and toys[0].image.size == (64, 64) and "giraffe" in toys.categories
        assert len(toys.subset(3)) == 3 and toys.subset([5]).sample(0).image_id == 6
        assert toys.scene(2) == split_scene("novel", 2)
        again = pickle.loads(pickle.dumps(toys))                # as data loaders with workers do
        assert again[1].captions == toys[1].captions
        assert toys.coco.getAnnIds() and load_toybox("novel:8", size=64, progress=False).folder == toys.folder
        with pytest.raises(ValueError, match="'0' scenes; split val has 1 to 1,000"): load_toybox("val:0")
        with pytest.raises(ValueError, match="unknown split"): load_toybox("vall")


# nbs/07_toybox_dataset.ipynb, cell 2662df72
def test_export_and_cache_agree():
    import tempfile
    import pytest
    from visionllm_edu.data.coco import load_data
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("VISIONLLM_CACHE", folder)
        a = load_data(f"coco:{export_toybox(Path(folder, 'out'), 8, split='val', size=64, progress=False)}:val")
        b = load_toybox("val:8", size=64, progress=False)
        assert a.notes == [] and a.categories == b.categories and a.keypoints_of == b.keypoints_of
        for x, y in ((a[i], b[i]) for i in range(8)):
            assert (np.asarray(x.image) == np.asarray(y.image)).all()
            for name in ("labels", "boxes_xyxy_px", "keypoints", "areas", "annotation_ids"):
                assert np.array_equal(getattr(x, name), getattr(y, name)), name
            for name in ("segmentations", "captions", "long_captions", "phrases", "questions", "file_name"):
                assert getattr(x, name) == getattr(y, name), name


# nbs/07_toybox_dataset.ipynb, cell ba0d7379
def test_ground_truth_scores_one():
    import tempfile
    import pytest
    from visionllm_edu.metrics import coco_ap
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("VISIONLLM_CACHE", folder)
        toys = load_toybox("train:12", progress=False)
        for coco, kinds in ((toys.coco, ("bbox", "segm")), (toys.coco_keypoints, ("keypoints",))):
            perfect = [a | {"score": 1.} for a in coco.dataset["annotations"]]
            for kind in kinds: assert coco_ap(coco, perfect, kind)["AP"] == 1., kind


# nbs/07_toybox_dataset.ipynb, cell 69e7ce91
def test_bad_exports_are_refused():
    import pytest
    with pytest.raises(ValueError, match="split val has scenes 0 to 999; asked for 10 from 995 on"):
        export_toybox("never", 10, seed=995, split="val")
    with pytest.raises(ValueError, match="asked for 0"): export_toybox("never", 0)
    assert not Path("never").exists()


# nbs/07_toybox_dataset.ipynb, cell c39882fb
def test_splits_do_not_overlap():
    seeds = sorted((first, first + count) for first, count, _ in SPLITS.values())
    assert all(a[1] <= b[0] for a, b in zip(seeds, seeds[1:]))
    from visionllm_edu.toybox.scene import HELD_OUT
    assert not any((o.category, o.color) in HELD_OUT for i in range(50) for o in split_scene("train", i).objects)
    assert all(any((o.category, o.color) in HELD_OUT for o in split_scene("composition", i).objects) for i in range(10))
