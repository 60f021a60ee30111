"""Tests of visionllm_edu/data/records.py.

Generated from nbs/13b_records.ipynb by make export: do not edit, edit the notebook.
"""

import io
import json
import numpy as np
import pytest
from PIL import Image
from contextlib import redirect_stdout
from pathlib import Path
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tempfile import TemporaryDirectory

from visionllm_edu.data.coco import check_data, load_data, write_shapes
from visionllm_edu.data.records import (
    check_images, find_files, read_json, read_tables, repair_annotation, repair_box,
    repair_outline,
)


# nbs/13b_records.ipynb, cell 84fc9025
def test_repaired_boxes_are_inside_and_stay():
    def random_boxes(n, size=(64, 48), seed=0):
        draws = np.random.default_rng(seed)
        return [[*draws.uniform(-60, 100, 2), *draws.uniform(-10, 90, 2)] for _ in range(n)]

    kept = 0
    for box in random_boxes(500):
        fixed, complaint = repair_box(box, (64, 48))
        assert fixed or complaint  # nothing vanishes without a word
        if not fixed: continue
        x, y, w, h = fixed
        assert w > 0 and h > 0 and x >= 0 and y >= 0 and x + w <= 64 + 1e-9 and y + h <= 48 + 1e-9
        again, complaint = repair_box(fixed, (64, 48))
        assert complaint == "" and np.allclose(again, fixed)
        kept += 1
    assert 100 < kept < 400  # the test saw both kinds


# nbs/13b_records.ipynb, cell 5483eaf2
def test_outlines():
    good, line = [0, 0, 10, 0, 10, 10], [0, 0, 5, 0, 10, 0]
    assert repair_outline([good, line], (64, 48)) == ([good], "1 of 2 polygons unusable")
    assert repair_outline([], (64, 48)) == (None, "")  # no outline is no fault
    full = {"size": [48, 64], "counts": [0, 48 * 64]}  # COCO writes height first
    assert repair_outline(full, (64, 48)) == (full, "")
    for wrong in ({"size": [64, 48], "counts": [0, 48 * 64]}, {"size": [48, 64], "counts": [48 * 64]}, {"counts": []}):
        outline, complaint = repair_outline(wrong, (64, 48))
        assert outline is None and "64x48" in complaint


# nbs/13b_records.ipynb, cell 9a5b81ea
def test_annotation_verdicts():
    images, names = {1: dict(width=64, height=48)}, {1: "cat", 2: "dog"}
    sound = dict(id=5, image_id=1, category_id=2, bbox=[10, 10, 20, 20])
    assert repair_annotation(sound, images, names)[1] == []
    fatal = [{"category_id": 99}, {"bbox": [1, 2, 3]}, {"bbox": [1, 2, 3, float("nan")]}, {"id": "5"}, {"bbox": "big"}]
    mild = [{"image_id": 7}, {"bbox": [0, 0, 0, 9]}, {"bbox": [99, 99, 9, 9]}]
    for change, refuses in [(c, True) for c in fatal] + [(c, False) for c in mild]:
        fixed, said = repair_annotation(sound | change, images, names)
        assert fixed is None and len(said) == 1, change
        assert (said[0][1] == "") == refuses, change
    crowd, said = repair_annotation(sound | {"iscrowd": 1}, images, names)
    assert crowd["iscrowd"] == 1 and "never a training target" in said[0][1]


# nbs/13b_records.ipynb, cell 9b49157c
def test_unreadable_json():
    with TemporaryDirectory() as folder:
        path = Path(folder, "instances.json")
        for text in ("", "{", "[]", "{}", '{"images": {}}', '{"images": [3]}'):
            path.write_text(text)
            with pytest.raises(ValueError, match="instances.json"): read_json(path, "images")
        with pytest.raises(ValueError, match="nowhere.json"): read_json(Path(folder, "nowhere.json"))


# nbs/13b_records.ipynb, cell ca972e69
def test_header_only():
    with TemporaryDirectory() as folder:
        files = find_files(write_shapes(folder, n=2))
        tables, _ = read_tables(files)
        path = files.images / tables.images[1]["file_name"]
        Image.open(path).save(path, "JPEG")
        path.write_bytes(path.read_bytes()[:-20])
        assert [p.fatal for p in check_images(tables.images, files.images)] == [True]
        assert check_images(tables.images, files.images, decode=False) == []


# nbs/13b_records.ipynb, cell ac9629be
def edit(file, change):
    "A fault: applies `change` to the JSON document `file` of a folder."
    def apply(folder):
        path = Path(folder, "annotations", file)
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))
    return apply

def edit_annotation(**values): return edit("instances_train.json", lambda d: d["annotations"][1].update(values))

def edit_image(change):
    "A fault: replaces the first picture by `change` of it."
    def apply(folder):
        path = Path(folder, "train", "000001.png")
        image = Image.open(path).copy()
        change(image, path)
    return apply


# nbs/13b_records.ipynb, cell 66a46765
FAULTS = {
    "annotation 2 .*used before": edit("instances_train.json", lambda d: d["annotations"].append(dict(d["annotations"][1]))),
    "image 1 .*used before": edit("instances_train.json", lambda d: d["images"].append(dict(d["images"][0]))),
    "annotation 2.*unknown category_id 77": edit_annotation(category_id=77),
    "category 'ball': name used 2": edit("instances_train.json", lambda d: d["categories"][1].update(name="ball")),
    "category 1: name is '<c3>'": edit("instances_train.json", lambda d: d["categories"][0].update(name="<c3>")),
    "annotation 2: no 'bbox'": edit("instances_train.json", lambda d: d["annotations"][1].pop("bbox")),
    "image 1 .*its size is given as 0x72": edit("instances_train.json", lambda d: d["images"][0].update(width=0)),
    "image 1 .*the file is 96x72, its record says 90x72": edit("instances_train.json", lambda d: d["images"][0].update(width=90)),
    "image 1 .*no such file": edit_image(lambda image, path: path.unlink()),
    "image 1 .*can't be read": edit_image(lambda image, path: path.write_text("not a picture")),
    "-annotation 0 .*renumbered": edit_annotation(id=0),
    "-annotation 2 .*leaves the 96x72 image; clipped": edit_annotation(bbox=[-9, 5, 30, 30]),
    "-annotation 2.*has no area; left out": edit_annotation(bbox=[9, 5, 0, 30]),
    "-annotation 2.*outside the 96x72 image; left out": edit_annotation(bbox=[99, 5, 9, 30]),
    "-annotation 2 .*crowd": edit_annotation(iscrowd=1),
    "-annotation 2 .*polygons unusable; its box": edit_annotation(segmentation=[[1, 2, 3, 4]]),
    "-annotation 2.*image 99 is not in the file": edit_annotation(image_id=99),
    "-annotation 2.*keypoints are not": edit("person_keypoints_train.json", lambda d: d["annotations"].append(dict(id=2, keypoints=[1]))),
    "-phrases_train.json: annotation 1: means": edit("phrases_train.json", lambda d: d["annotations"][0].update(annotation_ids=[99])),
    "-captions_train.json: annotation 1: needs words": edit("captions_train.json", lambda d: d["annotations"][0].update(caption=" ")),
    "-image 1 .*stored as greyscale": edit_image(lambda image, path: image.convert("L").save(path)),
    "-image 1 .*stored as RGBA": edit_image(lambda image, path: image.convert("RGBA").save(path)),
    "-image 1 .*stored as CMYK": edit_image(lambda image, path: image.convert("CMYK").save(path, "TIFF")),
    "-image 1 .*stored as 16-bit": edit_image(lambda image, path: Image.fromarray(
        np.asarray(image.convert("L")).astype(np.uint16) * 257).save(path)),
}


# nbs/13b_records.ipynb, cell 8e9b48fe
def test_every_fault_is_named():
    import re
    for words, fault in FAULTS.items():
        with TemporaryDirectory() as folder:
            spec = write_shapes(folder, n=3)
            assert check_data(spec) == []  # sound before
            fault(folder)
            lines, harmless = check_data(spec), words.startswith("-")
            assert any(re.search(words.lstrip("-"), line) for line in lines), (words, lines)
            assert all("\n" not in line for line in lines)
            assert any(line.startswith("error: ") for line in lines) != harmless, lines
            if harmless: assert len(load_data(spec)) == 3 and load_data(spec).notes
            else:
                with pytest.raises(ValueError, match=words): load_data(spec)


# nbs/13b_records.ipynb, cell 7251f4dc
def test_id_zero_is_scored():
    with TemporaryDirectory() as folder:
        spec = write_shapes(folder, n=2)
        edit_annotation(id=0)(folder)
        truth = load_data(spec).coco
        perfect = [dict(image_id=a["image_id"], category_id=a["category_id"], bbox=a["bbox"], score=1.0)
                   for a in truth.dataset["annotations"]]
        with redirect_stdout(io.StringIO()):
            score = COCOeval(truth, truth.loadRes(perfect), "bbox")
            score.evaluate(), score.accumulate(), score.summarize()
        assert score.stats[0] > 0.999
