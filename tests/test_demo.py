"""Tests of visionllm_edu/demo.py.

Generated from nbs/36_demo.ipynb by make export: do not edit, edit the notebook.
"""

import html
import io
import json
import pytest
import re
import torch
from contextlib import redirect_stdout
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory

from visionllm_edu.data.coco import load_data, write_shapes
from visionllm_edu.demo import object_card, page, requests_for, run_demo, show_weights, turn
from visionllm_edu.language.instructions import Instruction
from visionllm_edu.reply import Detections, Reply
from visionllm_edu.train import read_losses
from visionllm_edu.v1.model import VisionLLMv1, VisionLLMv1Config


# nbs/36_demo.ipynb, cell bd8a39b8
FOLDER = TemporaryDirectory()

def scenes(n=6):
    "A few scenes with shapes, as a data set."
    return load_data(write_shapes(FOLDER.name, n=n))

def tiny_config(lr=4e-3):
    "The tiny size with the aids for coordinates that the mini size has."
    tiny = VisionLLMv1Config.tiny()
    decoder = replace(tiny.decoder, smoothing=2.0, distance_weight=10.0)
    return replace(tiny, lr=lr, lr_language_model=lr, decoder=decoder)


# nbs/36_demo.ipynb, cell 9dfce1f5
def test_page_asks_what_the_data_can_answer():
    data = scenes()
    tasks = [[ask.instruction.task for ask in requests_for(data, i)] for i in range(len(data))]
    assert tasks[4] == ["detect", "segment", "ground", "pose", "caption", "answer"]
    assert tasks[0] == ["detect", "segment", "ground", "caption", "answer"]         # no kite there, so no keypoints
    for i in (0, 4):
        for ask in requests_for(data, i):
            assert ask.true.image_id == data.sample(i, image=False).image_id and (len(ask.true.labels) > 0 or ask.true.answer)


# nbs/36_demo.ipynb, cell f9eb1c12
def test_cards_show_the_truth_and_escape():
    data = scenes()
    ask = requests_for(data, 4)[0]
    nothing = Detections(torch.zeros(0), [], [], torch.zeros(0, 4))
    card = object_card(ask, Reply("(<c0>)", detections=nothing, image=ask.true.image))
    assert "model: 0 found" in card and "data: 4 there" in card and card.count("<img") == 2
    assert "In the data: block, block, kite, block." in card and "&lt;c0&gt;" in card and "<c0>" not in card
    caption = requests_for(data, 4)[4]
    wrong, right = turn(caption, Reply("1 < 2 & so on")), turn(caption, Reply(f" {caption.true.answer}"))
    assert "1 &lt; 2 &amp; so on" in wrong and f"in the data: {caption.true.answer}" in wrong and 'class="wrong"' in wrong
    assert "word for word" in right and 'class="right"' in right


# nbs/36_demo.ipynb, cell dc1316e5
class Outline(HTMLParser):
    "Collects the pictures and links of a page, and whether its tags close in order."

    def __init__(self, text):
        super().__init__()
        self.open, self.images, self.links = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "img": self.images.append(dict(attrs))
        if tag == "a": self.links.append(dict(attrs)["href"])
        if tag not in ("img", "meta"): self.open.append(tag)

    def handle_endtag(self, tag): assert self.open.pop() == tag, tag

def untrained_page():
    "A page of a model that knows nothing, with its data."
    data = scenes().subset([1, 4])
    torch.manual_seed(0)
    model = VisionLLMv1.build("tiny")
    return data, page(model, data, {"detect": {"AP50": 0.0, "n": 2}}, "It knows <nothing>.", {"step": [1, 2], "class": [8.0, 7.0]})


# nbs/36_demo.ipynb, cell a70915f6
def test_page_is_whole_and_needs_nothing_else():
    data, text = untrained_page()
    seen = Outline(text)
    assert seen.open == [] or seen.open == ["!doctype"]
    assert all(image["alt"] and image["src"].startswith("data:image/") for image in seen.images)
    assert not re.search(r"https?://|url\(|<script|<link", text)                       # nothing to load
    assert all(f'id="{link[1:]}"' in text for link in seen.links) and len(seen.links) == 4
    asks = [ask for i in range(2) for ask in requests_for(data, i)]
    objects = [ask for ask in asks if not ask.instruction.is_text]
    assert text.count('<article class="card') == len(objects) == 8 and text.count('<div class="turn">') == len(asks) - 8
    assert len(seen.images) == 2 + 2 * 8 + 2                                           # scenes, pairs, curve and journey
    assert all(text.count(html.escape(ask.words)) >= 1 for ask in asks) and "It knows &lt;nothing&gt;." in text


# nbs/36_demo.ipynb, cell c98fc9df
def test_demo_from_drawing_to_page():
    told, spec = io.StringIO(), write_shapes(FOLDER.name, n=2)
    with TemporaryDirectory() as out:
        with redirect_stdout(told): scores = run_demo(out, minutes=0.02, spec=spec, quiet=True, cfg=tiny_config())
        text, kept = Path(out, "index.html").read_text(), json.loads(Path(out, "scores.json").read_text())
        steps = int(read_losses(Path(out, "run", "losses.csv"))["step"][-1])
        again = VisionLLMv1.from_pretrained(Path(out, "run", "weights"))
    assert kept == scores and set(scores) == {"detect", "segment", "ground", "pose", "caption", "answer"}
    assert f"the 2 scenes below for 0.02 minutes: {steps} steps, 6 tasks at once" in text and "0.5 million parameters" in text
    assert [line[:6] for line in told.getvalue().splitlines() if " of 3:" in line] == ["1 of 3", "2 of 3", "3 of 3"]
    assert told.getvalue().strip().endswith("index.html") and again.cfg.categories == ("ball", "block", "kite")


# nbs/36_demo.ipynb, cell 72cfa1df
def test_demo_of_weights():
    with TemporaryDirectory() as out:
        weights, spec = Path(out, "weights"), write_shapes(FOLDER.name, n=2)
        torch.manual_seed(0)
        model = VisionLLMv1.build("tiny")
        model.cfg = replace(model.cfg, categories=("ball", "block", "kite"))
        model.save_pretrained(weights)
        with redirect_stdout(io.StringIO()): scores = show_weights(Path(out, "page"), str(weights), spec, quiet=True, images=1)
        text = Path(out, "page", "index.html").read_text()
        assert json.loads(Path(out, "page", "scores.json").read_text()) == scores
        assert "One picture, many instructions" in text and "&lt;c77&gt;" in text and "8 points" in text
        with pytest.raises(ValueError, match="no-such-weights"): show_weights(Path(out, "other"), "no-such-weights")
        assert not Path(out, "other").exists()


# nbs/36_demo.ipynb, cell d27aa029
def test_demo_refuses_what_is_not_there():
    with TemporaryDirectory() as out:
        with pytest.raises(ValueError, match="nothing-here"), redirect_stdout(io.StringIO()):
            run_demo(Path(out, "demo"), spec="coco:nothing-here:train")
        assert not Path(out, "demo").exists()


# nbs/36_demo.ipynb, cell 90b9d3b5
def best_of(asks, replies, k):
    "The k pairs to show if one wants to look good."
    return sorted(zip(asks, replies), key=lambda pair: pair[1].text.strip() != pair[0].true.answer)[:k]

def to_coco(model, data, threshold=0.0):
    "Detections of a whole data set as COCO results."
    asked, results = Instruction("detect", tuple(data.categories)), []
    for i in range(len(data)):
        found = model(data.image(i), asked, threshold).detections
        for score, label, (x1, y1, x2, y2) in zip(found.scores.tolist(), found.labels.tolist(), found.boxes.tolist()):
            results.append({"image_id": data.sample(i, image=False).image_id, "category_id": data.category_ids[label],
                            "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score})
    return results


# nbs/36_demo.ipynb, cell 5aa5ae37
def test_solutions():
    data = scenes()
    asks = [requests_for(data, i)[-1] for i in (1, 2, 4)]
    kept = best_of(asks, [Reply("no idea"), Reply("red"), Reply("yellow")], 2)
    assert {reply.text for _, reply in kept} == {"red", "yellow"}

    class Found:
        "Stands for a model that finds one block everywhere."
        def __call__(self, image, asked, threshold):
            return Reply(detections=Detections([0.9], [1], ["block"], [[10.0, 20.0, 30.0, 50.0]]))

    results = to_coco(Found(), data)
    assert results[0] == {"image_id": 1, "category_id": 2, "bbox": [10, 20, 20, 30], "score": pytest.approx(0.9)} and len(results) == 6
    json.dumps(results)
