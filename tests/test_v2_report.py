"""Tests of visionllm_edu/v2_report.py.

Generated from nbs/65c_v2_report.ipynb by make export: do not edit, edit the notebook.
"""

from visionllm_edu.data.coco import load_data
from visionllm_edu.v2_edits import edit_cases
from visionllm_edu.v2_evaluate import SCORES
from visionllm_edu.v2_pictures import Judge, commissions
from visionllm_edu.v2_questions import ChatExaminer
from visionllm_edu.v2_report import (
    ALL_SCORES, DRAWN, EDITED, evaluate_painter, score_drawing, score_edits,
)


# nbs/65c_v2_report.ipynb, cell 5591b786
import pytest
import torch
from types import SimpleNamespace
from visionllm_edu.reply import Detections
from visionllm_edu.v2_evaluate import flat, v2_table
from visionllm_edu.vision.diffusion import Latents, PainterConfig

class Eyes:
    "Sees a ball in every picture that is not grey; its features are the mean colours."
    cfg = SimpleNamespace(image_size=32)
    def backbone(self, pixels): return [torch.nn.functional.avg_pool2d(pixels, 8)]
    def respond(self, images, asked, threshold, batch_size):
        seen = [0 if len(set(image.convert("L").resize((4, 4)).tobytes())) == 1 else 1 for image in images]
        return [SimpleNamespace(detections=Detections(
            scores=torch.ones(n), labels=torch.zeros(n, dtype=torch.long), text_labels=["ball"] * n,
            boxes=torch.tensor([[8.0, 8.0, 60.0, 60.0]] * n).reshape(-1, 4))) for n in seen]

class Artist:
    "Draws and edits by heart: the true picture for every request in English, silence in Chinese."
    def __init__(self, data):
        self.cfg, self.known = SimpleNamespace(draws=True), {}
        painter = Latents(PainterConfig.tiny(size=64)).eval()
        self.pictures = SimpleNamespace(cfg=SimpleNamespace(painter=painter.cfg), painter=painter)
        self.vocabulary = None
        for c in commissions(data, DRAWN): self.known[c.text.lower().rstrip(".")] = data.image(c.row)
        self.edits = {(c.edit.instruction, c.before.tobytes()): c.after for c in edit_cases(data, EDITED)}
    def chat(self, images, texts, **sampling):
        assert len(sampling["generator"]) == len(texts) and sampling.get("num_inference_steps", 2) == 2
        made = []
        for image, text in zip(images, texts):
            meant = sorted((words for words in self.known if words in text.lower()), key=len)
            if image is None: made.append(self.known[meant[-1]] if meant else None)
            else: made.append(self.edits[text, image.tobytes()])
        return [SimpleNamespace(images=[] if p is None else [p]) for p in made]


# nbs/65c_v2_report.ipynb, cell c5f32d32
def test_drawings_have_their_columns():
    data = load_data("toybox:val:16")
    judge, examiner = Judge(Eyes(), data, scenes=16), ChatExaminer(Artist(data), data, batch_size=5)
    told = score_drawing(examiner, judge=judge, num_inference_steps=2)
    assert {"object", "count", "colour", "position", "style", "silent", "frechet", "seconds", "n", "chinese", "again", "real"} == {*told}
    assert told["seconds"] > 0
    assert told["silent"] == 0 and told["frechet"] < 1e-3 and told["n"] == len(commissions(data, DRAWN))
    assert told["chinese"]["silent"] == 1 and told["chinese"]["object"] == 0 and told["chinese"]["frechet"] == -1
    assert told["real"]["frechet"] > told["frechet"]                       # reduced to 64 pixels
    assert {*told["chinese"]} == {*told["real"]} == {*told["again"]} == {*told} - {"n", "chinese", "again", "real"}


# nbs/65c_v2_report.ipynb, cell d1d31650
def test_edits_have_a_floor_and_a_ceiling():
    data = load_data("toybox:val:16")
    examiner = ChatExaminer(Artist(data), data, batch_size=5)
    told = score_edits(examiner, judge=Judge(Eyes(), data, scenes=16))
    assert told["inside"] == told["outside"] == told["copy"]["outside"] == 0 < told["real"]["inside"] < told["copy"]["inside"]
    assert told["n"] == len(edit_cases(data, EDITED)) and {"copy", "real", "achieved", "by_kind"} <= {*told}
    assert "copy" in v2_table({"edit": told}) and not any("copy" in name for name in flat(told))


# nbs/65c_v2_report.ipynb, cell 9e25f6fb
def test_a_painter_is_judged_by_itself():
    from visionllm_edu.language.vocabulary import Vocabulary
    from visionllm_edu.vision.drawing import DiffusionConfig, LatentDiffusion
    data = load_data("toybox:val:6")
    torch.manual_seed(0)
    painter = LatentDiffusion.assemble(DiffusionConfig.tiny(), Vocabulary.train(["A ball."] * 9, 300, range=1, num_classes=1, max_points=1))
    assert painter.text_encoder.cfg.tokens == 16                           # longer captions would be refused
    words = lambda texts, cut=False: torch.randn(len(texts), 16, 32)       # what they say is not the point here
    painter.encode_text = words
    told = evaluate_painter(painter, data, judge=Judge(Eyes(), data, scenes=6), num_inference_steps=1)
    assert {*told} == {"generate", "edit"} and "chinese" not in told["generate"] and told["generate"]["again"]["silent"] == 0
    assert told["edit"]["copy"]["outside"] == 0 < told["edit"]["outside"]
    with pytest.raises(ValueError, match="unknown tasks sing; accepted are generate, edit"): evaluate_painter(painter, data, ["sing"], judge=Judge(Eyes(), data, scenes=6))
    with pytest.raises(ValueError, match="photos: only Toybox knows"): evaluate_painter(painter, SimpleNamespace(name="photos"))


# nbs/65c_v2_report.ipynb, cell 0e003895
def test_who_cannot_draw_is_not_asked():
    from visionllm_edu.data.coco import CocoData
    data = load_data("toybox:val:4")
    mute = ChatExaminer(SimpleNamespace(cfg=SimpleNamespace(draws=False)), data)
    assert score_drawing(mute) is None and score_edits(mute) is None
    plain = ChatExaminer(Artist(data), SimpleNamespace())                     # data that can't be drawn again
    assert score_drawing(plain) is None and score_edits(plain) is None
    assert [*ALL_SCORES] == [*SCORES, "generate", "edit"]
