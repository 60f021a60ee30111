"""Tests of visionllm_edu/v2_pictures.py.

Generated from nbs/65_v2_pictures.ipynb by make export: do not edit, edit the notebook.
"""

import numpy as np

from visionllm_edu.toybox.language import NOUNS
from visionllm_edu.v2_pictures import (
    Chatter, Claim, Commission, Judge, Real, Sight, _holds, commissions, examine_drawing,
    eye_features, frechet_distance, totals, verdict,
)


# nbs/65_v2_pictures.ipynb, cell 2e0e3da2
from types import SimpleNamespace

import pytest
import torch
from visionllm_edu.data.coco import load_data
from visionllm_edu.reply import Detections

class Oracle:
    "Knows what is in the pictures of a data set, by their bytes."

    def __init__(self, data, forget=()):
        self.data, self.forget = data, set(forget)
        self.rows = {data.image(r).tobytes(): r for r in range(len(data))}

    def respond(self, images, asked, threshold, batch_size):
        out = []
        for image in images:
            sample = self.data.sample(self.rows[image.tobytes()], image=False)
            keep = [k for k, label in enumerate(sample.labels) if self.data.categories[label] not in self.forget]
            names = [self.data.categories[sample.labels[k]] for k in keep]
            found = Detections(scores=torch.ones(len(keep)), labels=torch.zeros(len(keep), dtype=torch.long),
                               text_labels=names, boxes=torch.tensor(sample.boxes_xyxy_px[keep]).reshape(-1, 4))
            out.append(SimpleNamespace(detections=found))
        return out


# nbs/65_v2_pictures.ipynb, cell e988cfa4
def test_claims_are_what_captions_say():
    data = load_data("toybox:val:40")
    found = commissions(data, 30)
    assert len(found) == 30 and found == commissions(data, 30) != commissions(data, 30, seed=2)
    for c in found:
        objects = data.scene(c.row).objects
        for claim in c.claims:
            alike = [o for o in objects if o.category == claim.name]
            assert len(alike) >= claim.count and (not claim.colour or claim.colour in {o.color for o in alike})
            assert claim.name in c.text.lower() or NOUNS[claim.name][0] in c.text.lower()
        assert not c.style or c.style == data.scene(c.row).style
    assert any(c.relation for c in commissions(data, 40, seed=5)) and any(x.side >= 0 for c in found for x in c.claims)


# nbs/65_v2_pictures.ipynb, cell 2c0a197d
def test_a_judge_who_knows_everything():
    data = load_data("toybox:val:60")
    judge = Judge(Oracle(data), load_data("toybox:train:500"))
    asked = commissions(data, 60)
    scores = totals([verdict(c, seen) for c, seen in zip(asked, judge.look([data.image(c.row) for c in asked]))])
    assert scores["object"] == 1 and scores["count"] > 0.8     # captions leave out what is hardly seen, and what is small
    assert scores["colour"] > 0.6 and scores["style"] > 0.8 and scores["position"] > 0.8
    blind = Judge(Oracle(data, forget=data.categories), data, scenes=60)
    none = totals([verdict(c, seen) for c, seen in zip(asked, blind.look([data.image(c.row) for c in asked]))])
    assert none["object"] == none["count"] == none["colour"] == none["position"] == 0
    assert totals([verdict(c, seen) for c, seen in zip(asked, judge.look([None] * len(asked)))])["style"] == 0


# nbs/65_v2_pictures.ipynb, cell 59486332
def test_verdicts_by_hand():
    seen = Sight(["cat", "cat", "car"], np.array([[0, 0, .2, .2], [.7, .7, .9, .9], [.4, .4, .6, .6]]), ["grey", "black", "red"], "day")
    c = Commission(0, "", "", (Claim("cat", 3), Claim("car", 1, "red", 1)), "night", ("car", "left of", "cat"))
    assert verdict(c, seen) == {"object": [True, True, False, True], "count": [False], "colour": [True],
                                "position": [True, True], "style": [False]}
    assert not _holds(("car", "above", "car"), seen) and _holds(("cat", "under", "car"), seen)
    assert totals([verdict(c, seen)])["object"] == 0.75 and totals([])["colour"] == -1


# nbs/65_v2_pictures.ipynb, cell e304708d
def test_frechet_distance_of_known_piles():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(4000, 3))
    assert frechet_distance(a, a) < 1e-6
    assert abs(frechet_distance(a, a + [3.0, 0, 0]) - 9) < 1e-6        # moved by 3
    wide = frechet_distance(a, 2 * a)                                   # (2 - 1) squared, for each of three
    assert abs(wide - np.trace(np.cov(a, rowvar=False)) - (a.mean(0) ** 2).sum()) < 1e-6
    with pytest.raises(ValueError, match="piles of 1 and 4000"): frechet_distance(a[:1], a)


# nbs/65_v2_pictures.ipynb, cell b4a5002b
def test_spoilt_pictures_are_further_away():
    from visionllm_edu.v1.model import VisionLLMv1
    eyes = VisionLLMv1.from_pretrained("v1-toybox")
    one, other = ([load_data(f"toybox:{split}:24").image(r) for r in range(24)] for split in ("val", "test"))
    spoilt = [image.resize((8, 8)).resize(image.size) for image in other]
    seen, real, off = (eye_features(eyes, pile, 10) for pile in (one, other, spoilt))
    assert seen.shape == (24, eyes.cfg.backbone.d_model)
    assert frechet_distance(seen, off) > frechet_distance(seen, real) > frechet_distance(seen, seen) - 1e-6


# nbs/65_v2_pictures.ipynb, cell 5ee81753
def test_examinations_end_to_end():
    data = load_data("toybox:val:12")
    class Seeing(Oracle):
        "An oracle for pictures that it has never seen, too: it sees nothing there."
        def respond(self, images, asked, threshold, batch_size):
            known = [i.tobytes() in self.rows for i in images]
            some = iter(super().respond([i for i, k in zip(images, known) if k], asked, threshold, batch_size))
            empty = SimpleNamespace(detections=Detections(scores=torch.zeros(0), labels=torch.zeros(0, dtype=torch.long),
                                                          text_labels=[], boxes=torch.zeros(0, 4)))
            return [next(some) if k else empty for k in known]
    judge = Judge(Seeing(data), data, scenes=12)
    scores, drawn = examine_drawing(Real(data, commissions(data, 8)), data, judge, 8, batch_size=3)
    assert scores["object"] == 1 and len(drawn) == 8
    shrunk, _ = examine_drawing(Real(data, commissions(data, 8), 64), data, judge, 8)
    assert shrunk["object"] == 0                              # other bytes: this oracle knows none of them
    from visionllm_edu.vision.diffusion import Latents, PainterConfig
    torch.manual_seed(0)
    blurred = Real(data, commissions(data, 8), latents=Latents(PainterConfig.tiny()).eval()).draw([c.text for c in commissions(data, 8)])
    assert [b.size for b in blurred] == [data.image(c.row).size for c in commissions(data, 8)] and blurred[0] != blurred[1]
    class Mute:
        def chat(self, images, texts, **sampling): return [SimpleNamespace(images=[]) for _ in texts]
    assert Chatter(Mute()).draw(["A dog."]) == [None]
    class Notes(Mute):
        "Notes what it is asked."
        def chat(self, images, texts, **sampling): return [SimpleNamespace(images=[text]) for text in texts]
    words = [c.text for c in commissions(data, 8)]
    one_by_one = [text for word in words for text in Chatter(Notes()).draw([word])]
    assert Chatter(Notes()).draw(words) == one_by_one                        # the wording does not depend on the batch
    silent, _ = examine_drawing(Chatter(Mute()), data, judge, 8)
    assert silent["object"] == silent["style"] == 0 and silent["silent"] == 1
    chinese, _ = examine_drawing(Real(data, commissions(data, 8)), data, judge, 8, chinese=True)
    assert chinese == scores
