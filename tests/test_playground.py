"""Tests of visionllm_edu/playground.py.

Generated from nbs/37_using.ipynb by make export: do not edit, edit the notebook.
"""

import pytest
import random
import torch
from PIL import Image
from dataclasses import replace
from datetime import datetime
from functools import cache
from tempfile import TemporaryDirectory

from visionllm_edu.data.coco import load_data, write_shapes
from visionllm_edu.data.tasks import sample_questions
from visionllm_edu.language.instructions import Instruction, TASKS
from visionllm_edu.playground import (
    ALWAYS, Playground, USES, ask, compose, film_strip, make_fields, other_tokens, read_upload,
    reply_ids, token_html,
)
from visionllm_edu.plot import to_png
from visionllm_edu.reply import Detections, Reply
from visionllm_edu.v1.model import VisionLLMv1


# nbs/37_using.ipynb, cell 55642e9a
def test_composes_what_a_form_says():
    assert compose("detect", "dog, ball") == Instruction("detect", ("dog", "ball"))
    assert compose("segment", " dog ,", points=9) == Instruction("segment", ("dog",), num_points=9)
    assert compose("ground", "not used", phrase="the dog, left") == Instruction("ground", ("the dog, left",))
    assert compose("caption", detail="long", question="") == Instruction("caption", detail="long")
    assert compose("pose", "child", points=17, range=128).range == 128
    assert compose("detect", "dog, ball", remap=True).class_indices == other_tokens(2)
    for wrong in ({"classes": " , "}, {"classes": "dog, dog"}, {"classes": "dog", "range": 0}):
        with pytest.raises(ValueError): compose("detect", **wrong)


# nbs/37_using.ipynb, cell de20579c
class Sure:
    "Stands for a model that is sure of its boxes: as many as reach the threshold, the best one without."
    class cfg: categories = ("dog", "ball")
    scores = [0.9, 0.6, 0.2]
    def __call__(self, image, asked, threshold=None):
        if asked.is_text: return Reply(" a dog ")
        scores = self.scores[:1] if threshold is None else [s for s in self.scores if s >= threshold]
        boxes, n = [[k, k, k + 9.0, k + 9.0] for k in range(len(scores))], len(scores)
        rows = [f"(<c0>, <p-{k}>, <p0>, <p1>, <p2>)" for k in range(n)]
        return Reply("\n".join(rows), detections=Detections(scores, [0] * n, ["dog"] * n, boxes))


# nbs/37_using.ipynb, cell 634a1609
def test_ask_takes_the_best_for_a_phrase():
    assert len(ask(Sure(), None, "detect dogs", 0.5).reply.detections) == 2
    answer = ask(Sure(), None, "ground the dog", 0.95)
    assert len(answer.reply.detections) == 1 and "\n" not in answer.reply.text
    assert answer.threshold == answer.reply.detections.scores[0]  # asked again with it, only the best one passes
    assert answer.words == "1 found: dog 0.90" and ask(Sure(), None, "What is it?").words == "a dog"
    assert ask(Sure(), None, "detect balls", 0.99).words == "nothing found"
    with pytest.raises(ValueError, match="no task found"): ask(Sure(), None, "blah")


# nbs/37_using.ipynb, cell 1ff099bb
@cache
def tiny():
    "A tiny model with random weights, for tests."
    torch.manual_seed(0)
    return VisionLLMv1.build("tiny").eval()


# nbs/37_using.ipynb, cell 1aad72c4
def test_tokens_become_spans():
    words = tiny().vocabulary
    ids = words.encode("a <c3> < b")
    text = token_html([ids], words)
    assert text.count("<span") == len(ids) and 'class="t t-class"' in text and "&lt;c3&gt;" in text and "> < " not in text
    three = "\n".join(["(<c0>, <p-1>, <p2>, <p3>, <p4>)"] * 3)
    rows = reply_ids(Reply(three, detections=Detections([], [], [], [])), words)
    assert len(rows) == 3 and {len(row) for row in rows} == {5}
    assert "and 1 more" in token_html(rows, words, most=10) and token_html(rows, words, most=1).count("t-class") == 1
    assert "none" in token_html([], words) and reply_ids(Reply("a dog"), words) == [words.encode("a dog")]


# nbs/37_using.ipynb, cell 22f9167c
def test_film_strips_are_pictures():
    with TemporaryDirectory() as folder:
        one = load_data(write_shapes(folder, n=1)).image(0)
        for asked in ("detect balls", "ground the ball", "Describe the image", "How many balls?"):
            assert film_strip(tiny(), one, ask(tiny(), one, asked)).data.startswith(b"\x89PNG")


# nbs/37_using.ipynb, cell 620e4ce1
def uploaded(content, name="mine.png"):
    "A file as FileUpload hands it over."
    return {"name": name, "type": "image/png", "size": len(content), "content": memoryview(content),
            "last_modified": datetime(2026, 1, 1)}


# nbs/37_using.ipynb, cell de4e5e74
def test_uploads_are_pictures_or_errors():
    shot = Image.new("RGB", (30, 20), "red")
    assert read_upload(uploaded(to_png(shot))).size == (30, 20)
    for broken in (b"", b"hello", to_png(shot)[:40]):
        with pytest.raises(ValueError, match="mine.png is no picture"): read_upload(uploaded(broken))


# nbs/37_using.ipynb, cell 8a323b5c
def test_every_task_has_its_fields():
    fields = make_fields(5)
    assert set(USES) == set(TASKS) and {name for used in USES.values() for name in used} | {"task", *ALWAYS} == set(fields)
    assert (fields["scene"].max, fields["points"].min, fields["points"].max) == (4, 8, 24)
    assert tuple(fields["range"].options) == (64, 128, 256, 512) and tuple(fields["task"].options) == TASKS


# nbs/37_using.ipynb, cell 44b86aa9
@cache
def toy_form():
    "A playground with a tiny model and two scenes."
    toy_form.folder = TemporaryDirectory()
    return Playground(tiny(), load_data(write_shapes(toy_form.folder.name, n=2)))

def move(form, **values):
    "Changes fields as a hand would; what the form shows then."
    for name, value in values.items(): form.fields[name].value = value
    return form


# nbs/37_using.ipynb, cell 765d0027
def test_moving_the_form_asks_again():
    form = move(toy_form(), scene=0, words="", task="detect", classes="ball, kite")
    first, seen = form.picture.value, form.answer
    assert move(form, scene=1).picture.value != first and form.answer is not seen
    assert "prompt" in form.prompt.value and form.note.value == ""
    for task in TASKS:
        move(form, task=task)
        assert form.answer.instruction.task == task
        hidden = {name for name, field in form.fields.items() if field.layout.display == "none"}
        assert hidden == set(form.fields) - {*USES[task], *ALWAYS, "task"}
    assert move(form, task="segment", points=9, remap=True).answer.instruction.format.endswith("y9)")
    assert bytes(move(form, film=True).film.value).startswith(b"\x89PNG") and not bytes(move(form, film=False).film.value)


# nbs/37_using.ipynb, cell a134a9c8
def test_own_words_overrule_the_form():
    form = move(toy_form(), task="detect", words="Describe the picture in detail")
    assert form.answer.instruction == Instruction("caption", detail="long") and form.fields["task"].disabled
    assert move(form, words="").answer.instruction.task == "detect" and not form.fields["task"].disabled


# nbs/37_using.ipynb, cell 2ddfad06
def test_bad_input_is_one_line():
    form = move(toy_form(), scene=0, task="detect", classes="ball", words="")
    wrong = [{"classes": " "}, {"classes": "ball, ball"}, {"classes": "<c1>"}, {"words": "blah blub"}, {"upload": (uploaded(b"hello"),)}]
    for values in wrong:
        name, before = next(iter(values)), form.answer
        usual = form.fields[name].value
        move(form, **values)
        line = form.note.value.removeprefix('<div class="wrong">').removesuffix("</div>")
        assert line and not set(line) & set("\n<") and "stale" in form.shown._dom_classes and form.answer is before
        move(form, **{name: usual})
        assert form.note.value == "" and "stale" not in form.shown._dom_classes


# nbs/37_using.ipynb, cell 5a7c21cd
def test_an_upload_takes_the_place_of_the_scene():
    form = move(toy_form(), scene=0, task="detect", classes="ball", words="")
    move(form, upload=(uploaded(to_png(Image.new("RGB", (50, 30), "white"))),))
    assert form.image.size == (50, 30) and form.answer.reply.image.size == (50, 30)
    assert move(form, scene=1).fields["upload"].value == () and form.image.size != (50, 30)  # a scene takes it back


# nbs/37_using.ipynb, cell fe0b25e7
def vary_range(instruction, rng):
    "The instruction with another range; one that asks for words stays as it is."
    return instruction if instruction.is_text else replace(instruction, range=rng.choice([64, 128, 256, 512]))

def quiz(model, data, n):
    "The share of right answers to the first question of each of n scenes."
    samples = [data.sample(i) for i in range(n)]
    asked = [sample_questions(s, data.categories)[0] for s in samples]
    replies = model.respond([s.image for s in samples], [Instruction("answer", question=q["question"]) for q in asked])
    return sum(r.text.strip() == q["answer"] for r, q in zip(replies, asked)) / n


# nbs/37_using.ipynb, cell f02a7b01
def test_solutions_of_using():
    asked, rng = Instruction("detect", ("dog",)), random.Random(0)
    drawn = [vary_range(asked, rng) for _ in range(40)]
    assert {one.range for one in drawn} == {64, 128, 256, 512} and {one.categories for one in drawn} == {("dog",)}
    assert vary_range(Instruction("caption"), rng) == Instruction("caption")
    class Says:
        "A model that says the same again and again."
        def __init__(self, *texts): self.texts = texts
        def respond(self, images, asked): return [Reply(text) for text in self.texts]

    with TemporaryDirectory() as folder:
        two = load_data(write_shapes(folder, n=2))
        right = [sample_questions(two.sample(i), two.categories)[0]["answer"] for i in range(2)]
        assert quiz(Says(*right), two, 2) == 1 and quiz(Says(right[0], "no idea"), two, 2) == 0.5
