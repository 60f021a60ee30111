"""Tests of visionllm_edu/v2_pictures.py.

Generated from nbs/65_v2_pictures.ipynb by make export: do not edit, edit the notebook.
"""

import numpy as np

from visionllm_edu.toybox.language import NOUNS
from visionllm_edu.v2_pictures import (
    Chatter, Claim, Commission, Copier, Judge, Real, Sight, _holds, achieved, commissions,
    distances, edit_cases, examine_drawing, examine_edits, frechet_distance, totals, verdict,
)


# nbs/65_v2_pictures.ipynb, cell 99336675
from types import SimpleNamespace

import pytest
import torch
from visionllm_edu.data.coco import load_data
from visionllm_edu.reply import Detections

class Oracle:
    "Knows what is in the pictures of a data set, however they were resized to and back."

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


# nbs/65_v2_pictures.ipynb, cell ec7fe342
def test_a_judge_who_knows_everything():
    data = load_data("toybox:val:60")
    judge = Judge(Oracle(data), data, scenes=60)   # colours and styles of these very scenes
    asked = commissions(data, 60)
    scores = totals([verdict(c, seen) for c, seen in zip(asked, judge.look([data.image(c.row) for c in asked]))])
    assert scores["object"] == 1 and scores["count"] > 0.6     # captions leave out what is hardly seen, and what is small
    assert scores["colour"] > 0.5 and scores["style"] > 0.8 and scores["position"] > 0.8
    blind = Judge(Oracle(data, forget=data.categories), data, scenes=60)
    none = totals([verdict(c, seen) for c, seen in zip(asked, blind.look([data.image(c.row) for c in asked]))])
    assert none["object"] == none["count"] == none["colour"] == none["position"] == 0


# nbs/65_v2_pictures.ipynb, cell 5d68d985
def test_verdicts_by_hand():
    seen = Sight(["cat", "cat", "car"], np.array([[0, 0, .2, .2], [.7, .7, .9, .9], [.4, .4, .6, .6]]), ["grey", "black", "red"], "day")
    c = Commission(0, "", "", (Claim("cat", 3), Claim("car", 1, "red", 1)), "night", ("car", "left of", "cat"))
    assert verdict(c, seen) == {"object": [True, True, False, True], "count": [False, True], "colour": [True],
                                "position": [True, True], "style": [False]}
    assert not _holds(("car", "above", "car"), seen) and _holds(("cat", "under", "car"), seen)
    assert totals([verdict(c, seen)])["object"] == 0.75 and totals([])["colour"] == -1


# nbs/65_v2_pictures.ipynb, cell 044c420b
from functools import cache


@cache
def some_cases(): return edit_cases(load_data("toybox:val:40"), 25)


# nbs/65_v2_pictures.ipynb, cell 81404091
def test_copies_and_perfect_edits():
    cases = some_cases()
    assert len(cases) == 25 and all(0 <= c.box.min() and c.box.max() <= 1 for c in cases)
    for case in cases:
        perfect, copied = distances(case, case.after), distances(case, case.before)
        assert perfect == {"inside": 0, "outside": 0} and copied["outside"] == 0 < copied["inside"]
    dressed = next(c for c in cases if c.edit.kind == "dress")
    assert achieved(dressed, dressed.after, None) and not achieved(dressed, dressed.before, None)


# nbs/65_v2_pictures.ipynb, cell 57386f1a
def test_achieved_by_kind():
    def sight(names, boxes, colours=(), style="day"):
        return Sight(names, np.array(boxes).reshape(-1, 4), list(colours) or ["grey"] * len(names), style)
    cases = some_cases()
    for case in cases:
        box, kind = case.box, case.edit.kind
        if kind == "restyle":
            assert achieved(case, case.after, sight([], [], style=case.edit.after.style))
            assert not achieved(case, case.after, sight([], [], style=case.edit.before.style))
        if kind == "replace":
            new = next(o for o in case.edit.after.objects if o.id == case.edit.ids[0])
            assert achieved(case, case.after, sight([new.category], [box])) and not achieved(case, case.after, sight([], []))
        if kind == "remove":
            old = next(o for o in case.edit.before.objects if o.id == case.edit.ids[0])
            assert not achieved(case, case.after, sight([old.category], [box])) and achieved(case, case.after, sight([], []))
    assert len({case.edit.kind for case in cases}) >= 5


# nbs/65_v2_pictures.ipynb, cell e304708d
def test_frechet_distance_of_known_piles():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(4000, 3))
    assert frechet_distance(a, a) < 1e-6
    assert abs(frechet_distance(a, a + [3.0, 0, 0]) - 9) < 1e-6        # moved by 3
    wide = frechet_distance(a, 2 * a)                                   # (2 - 1) squared, for each of three
    assert abs(wide - np.trace(np.cov(a, rowvar=False)) - (a.mean(0) ** 2).sum()) < 1e-6
    with pytest.raises(ValueError, match="piles of 1 and 4000"): frechet_distance(a[:1], a)


# nbs/65_v2_pictures.ipynb, cell a606d2fa
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
    edits, _ = examine_edits(Copier(), data, judge, 8)
    assert edits["outside"] == 0 < edits["inside"] and edits["n"] == 8
    class Mute:
        def chat(self, images, texts, **sampling): return [SimpleNamespace(images=[]) for _ in texts]
    painter = Chatter(Mute())
    assert painter.draw(["A dog."])[0].getpixel((0, 0)) == (128, 128, 128) and painter.silent == 1
