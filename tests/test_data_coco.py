"""Tests of visionllm_edu/data/coco.py.

Generated from nbs/13_coco.ipynb by make export: do not edit, edit the notebook.
"""

import numpy as np
import pytest
import torch
from PIL import Image
from pathlib import Path
from tempfile import TemporaryDirectory

from visionllm_edu.data.coco import (
    IMAGE_MEAN, IMAGE_STD, image_to_tensor, load_data, load_image, shared_data, to_rgb,
    write_shapes,
)


# nbs/13_coco.ipynb, cell ed77602b
def test_drawing_is_repeatable():
    with TemporaryDirectory() as one, TemporaryDirectory() as two:
        write_shapes(one, n=2), write_shapes(two, n=2)
        files = [path.relative_to(one) for path in Path(one).rglob("*.*")]
        assert len(files) == 7 and all((Path(one) / f).read_bytes() == (Path(two) / f).read_bytes() for f in files)


# nbs/13_coco.ipynb, cell bd577b37
def test_every_mode_becomes_the_same_picture():
    grey = Image.fromarray(np.arange(0, 240, 20, dtype=np.uint8).reshape(3, 4))
    want = np.asarray(grey.convert("RGB"))
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F"):
        image = to_rgb(grey.convert(mode))
        assert image.mode == "RGB" and image.size == grey.size
        if mode != "1": assert np.abs(np.asarray(image).astype(int) - want).max() <= 2, mode
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    assert (np.asarray(to_rgb(deep)) == want).all()
    clear = Image.new("RGBA", (2, 2), (200, 0, 0, 0))  # red, but nobody can see it
    assert (np.asarray(to_rgb(clear)) == 255).all()
    lying = Image.new("RGB", (4, 2))
    lying.getexif()[0x0112] = 6  # "turn me by a quarter"
    assert to_rgb(lying).size == (2, 4) and to_rgb(lying, upright=False).size == (4, 2)


# nbs/13_coco.ipynb, cell 1f05bca6
def test_four_ways_to_give_an_image():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.png")
        Image.fromarray(pixels).save(path)
        ways = [path, str(path), pixels, Image.fromarray(pixels), torch.from_numpy(pixels).permute(2, 0, 1) / 255]
        for way in ways: assert (np.asarray(load_image(way)) == pixels).all()
        path.write_bytes(path.read_bytes()[:60])
        with pytest.raises(ValueError, match="a.png: can't be read"): load_image(path)


# nbs/13_coco.ipynb, cell 09dc0a85
def test_pixels_for_the_network():
    mean = np.full((6, 9, 3), np.round(np.array([0.485, 0.456, 0.406]) * 255), dtype=np.uint8)
    pixels = image_to_tensor(mean, 4)
    assert pixels.shape == (3, 4, 4) and pixels.dtype == torch.float32
    assert pixels.abs().max() < 0.01  # the average colour lands at zero
    white = image_to_tensor(Image.new("RGB", (4, 4), "white"), 4)[:, 0, 0]
    torch.testing.assert_close(white, (1 - torch.tensor(IMAGE_MEAN)) / torch.tensor(IMAGE_STD))


# nbs/13_coco.ipynb, cell c62ac7fd
def test_join_three_ways():
    with TemporaryDirectory() as folder: data = load_data(write_shapes(folder, n=5))
    records = data.coco.dataset["annotations"]
    for i, number in enumerate(data.image_ids):
        by_loop = [a["id"] for a in records if a["image_id"] == number]
        by_index = [a["id"] for a in data.records(i)]
        by_pycocotools = data.coco.getAnnIds(imgIds=[number])
        assert by_loop == by_index == by_pycocotools == data.sample(i, image=False).annotation_ids.tolist()
        assert by_loop  # every scene has objects


# nbs/13_coco.ipynb, cell e3083135
def test_sample_agrees_with_pycocotools():
    from visionllm_edu.geometry import mask_iou, mask_to_box, segmentation_to_mask
    with TemporaryDirectory() as folder: data = load_data(write_shapes(folder, n=5))
    for i in range(len(data)):
        sample = data.sample(i, image=False)
        for row, record in enumerate(data.coco.loadAnns(sample.annotation_ids.tolist())):
            assert data.categories[sample.labels[row]] == data.coco.cats[record["category_id"]]["name"]
            twin, ours = data.coco.annToMask(record).astype(bool), segmentation_to_mask(sample.segmentations[row], sample.size)
            assert mask_iou(twin[None], ours[None]).item() == 1
            assert np.abs(mask_to_box(ours) - sample.boxes_xyxy_px[row]).max() <= 3  # thin tips of a kite cover no pixel
            assert abs(twin.sum() - sample.areas[row]) < 0.1 * sample.areas[row]


# nbs/13_coco.ipynb, cell 6fc9bcc3
def test_subsets():
    with TemporaryDirectory() as folder:
        data = load_data(write_shapes(folder, n=6))
        assert len(data.coco.anns) == sum(len(data.records(i)) for i in range(6))  # looked at before cutting
        small, chosen = data.subset(2), data.subset([4, 1])
        assert len(small) == 2 and small.image_ids == data.image_ids[:2]
        assert chosen.image_ids == [data.image_ids[4], data.image_ids[1]]
        assert chosen[0].captions == data[4].captions
        assert set(small.coco.imgs) == set(small.image_ids) and len(small.coco.anns) < len(data.coco.anns)
        with pytest.raises(ValueError, match="at least 1"): data.subset(0)


# nbs/13_coco.ipynb, cell 2d985f96
def test_parts_may_be_missing():
    import json
    with TemporaryDirectory() as folder:
        write_shapes(folder, n=2)
        document = json.loads(Path(folder, "annotations", "instances_train.json").read_text())
        for a in document["annotations"]: del a["segmentation"], a["area"], a["iscrowd"]
        Path(folder, "mine.json").write_text(json.dumps(document))
        data = load_data(f"coco:{folder}/train:{folder}/mine.json")
        sample = data[0]
        assert sample.segmentations == [None] * len(sample.labels) and sample.keypoints is None
        assert sample.captions == sample.phrases == sample.questions == [] and data.coco_keypoints is None
        assert (sample.areas > 0).all() and not sample.crowd.any() and data.notes == []


# nbs/13_coco.ipynb, cell f76d877c
def test_turned_pictures_fit_their_boxes():
    with TemporaryDirectory() as folder:
        spec = write_shapes(folder, n=1)
        path = Path(folder, "train", "000001.png")
        image = Image.open(path).copy()
        exif = Image.Exif()
        exif[0x0112] = 6
        image.save(path, exif=exif)  # pixels as annotated, the note says "turn me"
        assert load_data(spec)[0].image.size == image.size
        image.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)  # lying, turned back by the note
        assert np.array_equal(np.asarray(load_data(spec)[0].image), np.asarray(image))


# nbs/13_coco.ipynb, cell c09b53da
def test_coco_mini_loads():
    folder = shared_data("coco_mini")
    if folder is None: print("coco_mini is not here: skipped")
    for split, images in (("train2017", 80), ("val2017", 79)) if folder else ():
        data = load_data(f"coco:{folder}:{split}")
        assert len(data) == images and len(data.categories) == 80 and data.keypoint_names[0] == "nose"
        assert data.categories[79] == "toothbrush" and data.category_ids[79] == 90  # the gap, closed
        sample = data[0]
        assert sample.image.size == sample.size and len(sample.captions) >= 5
        assert all("crowd" in note for note in data.notes)


# nbs/13_coco.ipynb, cell f5853d2a
def test_bccd_loads():
    folder = shared_data("bccd")
    if folder is None: print("bccd is not here: skipped")
    else:
        data = load_data(f"coco:{folder / 'images'}:{folder / 'train.json'}")
        assert len(data) == 205 and data.categories == ["red blood cell", "white blood cell", "platelet"]
        assert data[0].segmentations[0] is None and data[0].captions == [] and data.notes == []
