"""Tests of visionllm_edu/v2_playground.py.

Generated from nbs/63_v2_playground.ipynb by make export: do not edit, edit the notebook.
"""

import io
import numpy as np
import pytest
import torch
from PIL import Image
from dataclasses import replace
from datetime import datetime
from functools import cache
from random import Random
from tempfile import TemporaryDirectory

from visionllm_edu.data.coco import load_data, write_shapes
from visionllm_edu.plot import PALETTE, show_grid, show_image, to_png
from visionllm_edu.reply import Detections
from visionllm_edu.toybox.prompts import Box, Mask, Point, Scribble
from visionllm_edu.v2.answering import Chat, as_chat
from visionllm_edu.v2.chat_tasks import Page, Region
from visionllm_edu.v2.conversation import Turn, answer_ids, id_of, read_reply
from visionllm_edu.v2.model import VisionLLMv2, VisionLLMv2Config, chat_vocabulary
from visionllm_edu.v2.templates import region_links
from visionllm_edu.v2_playground import (
    ChatForm, ChatPlayground, OFFERED, PromptCanvas, TOOLS, answer_picture, bubbles,
    draw_regions, exact_png, legend, link_colours, prompt_from, said_html, suggest,
)


# nbs/63_v2_playground.ipynb, cell faa19dbd
def test_strokes_become_prompts_in_pixels_of_the_picture():
    for shown, size in (((400, 300), (640, 480)), ((350.5, 350.5), (128, 128)), ((90, 30), (30, 90))):
        (w, h), (W, H) = shown, size
        point = prompt_from("point", [(w / 4, h / 2)], shown, size)
        assert (point.x, point.y) == pytest.approx((W / 4, H / 2), abs=1e-9)
        box = prompt_from("box", [(w / 2, h / 2), (w, 0), (0, h)], shown, size)     # only its ends count
        assert (box.x0, box.y0, box.x1, box.y1) == pytest.approx((0, H / 2, W / 2, H), abs=1e-9)
        stroke = prompt_from("scribble", [(0, 0), (w / 2, h / 4), (w, h)], shown, size)
        np.testing.assert_allclose(stroke.points, [(0, 0), (W / 2, H / 4), (W, H)], atol=1e-9)


# nbs/63_v2_playground.ipynb, cell facdf228
def test_hands_slip():
    size = (128, 96)
    far = [(-50, -50), (9000, 9000)]
    assert prompt_from("box", far, (256, 192), size) == Box(0, 0, 128, 96)
    for trail in ([(256, 192)], [(-9, 5)], [(10, 400)], [(256, 0)]):
        point = prompt_from("point", trail, (256, 192), size)
        assert 0 <= point.x < 128 and 0 <= point.y < 96 and point.raster(size).sum() == 1
    for tool in TOOLS:                                             # a drag that goes nowhere is a click
        assert prompt_from(tool, [(20, 20), (21, 22)], (256, 192), size) == Point(10.5, 11)
    for flat in ([(0, 50), (200, 50)], [(0, 192), (200, 192)], [(256, 3), (256, 90)], [(300, 3), (400, 90)]):
        box = prompt_from("box", flat, (256, 192), size)
        assert box.raster(size).any() and 0 <= box.x0 < box.x1 <= 128 and 0 <= box.y0 < box.y1 <= 96
    assert prompt_from("scribble", [(0, 0), (0, 99), (-40, 300)], (256, 192), size).raster(size).any()


# nbs/63_v2_playground.ipynb, cell 346f2154
def test_regions_are_drawn_where_they_are():
    grey = Image.new("RGB", (128, 96), "gray")
    changed = lambda *prompts: np.array(draw_regions(grey, prompts)) != np.array(draw_regions(grey, ()))
    for prompt, inside in ((Point(30, 50), (30, 50)), (Box(30, 40, 60, 70), (30, 60)), (Scribble(((10, 60), (90, 60))), (50, 60)),
                           (Mask(np.pad(np.ones((20, 20), bool), ((50, 26), (30, 78)))), (40, 60))):
        there = changed(prompt).any(-1)
        k = there.shape[1] // 128
        assert k > 1 and there.shape == (96 * k, 128 * k) and there[inside[1] * k, inside[0] * k]
        assert there.mean() < 0.25 and not there[-3 * k :].any()                # and nowhere else
    both, pale = (np.array(draw_regions(grey, [Point(30, 50), Point(90, 50)], earlier=n)).astype(int) for n in (0, 1))
    away = lambda drawn, x: abs(drawn[50 * k, x * k] - 128).sum()
    assert 0 < away(pale, 30) < away(both, 30) and away(pale, 90) == away(both, 90)  # the earlier one is paler
    first, second = (Image.new("RGB", (1, 1), PALETTE[i]).getpixel((0, 0)) for i in (0, 1))
    assert tuple(both[50 * k, 90 * k]) == second and first != second
    drawn = draw_regions(grey, [Point(30, 50)])
    assert np.array_equal(np.array(Image.open(io.BytesIO(exact_png(drawn)))), np.array(drawn))


# nbs/63_v2_playground.ipynb, cell 6d0c8604
def test_canvas_hears_draws_and_forgets():
    canvas = PromptCanvas(Image.new("RGB", (128, 96), "gray"), tool="box")
    seen = [canvas.picture]
    def look():
        "The picture now shown; it must be another than before."
        assert canvas.picture != seen[-1] and bytes(canvas.picture).startswith(b"\x89PNG")
        seen.append(canvas.picture)
        return Image.open(io.BytesIO(canvas.picture))

    canvas.heard(canvas, {"trail": [[0, 0], [32, 24]], "shown": [64, 48]})
    assert canvas.prompts == (Box(0, 0, 64, 48),) and look().size[0] % 128 == 0 and canvas.ink == PALETTE[1]
    canvas.tool = "point"
    canvas.heard(canvas, {"trail": [[32, 24]], "shown": [64, 48]})
    assert canvas.prompts[1] == Point(64, 48) and look() and "2 regions" in canvas.alt
    canvas.undo()
    assert canvas.prompts == (Box(0, 0, 64, 48),) and look() and canvas.picture == seen[1]
    canvas.earlier, canvas.prompts = canvas.prompts, ()            # asked about: paler, and the next one is number 2
    assert look() and canvas.ink == PALETTE[1]
    canvas.earlier = ()
    assert look() and canvas.picture == seen[0]
    canvas.clear(), canvas.undo()                                  # of nothing: nothing happens
    canvas.heard(canvas, {"kind": "something else"}), PromptCanvas().heard(None, {"trail": [[1, 1]], "shown": [9, 9]})
    assert canvas.prompts == () and canvas.picture == seen[0]
    with pytest.raises(Exception, match="tool"): canvas.tool = "eraser"


# nbs/63_v2_playground.ipynb, cell a944f244
def test_words_stay_words_and_tokens_become_chips():
    v = chat_vocabulary()
    ids = answer_ids("<det>A & B</det>[DET] <b> lie, nose[POSE], tail[DET]", v)
    said = said_html([*ids, v.eos_id, id_of("<link>", v)], v, link_colours(read_reply(ids, v)[1]))
    assert said.count("t-routing") == 3 and said.count("t-mark") == 2 and said.count("t-link") == 1 and "&lt;b&gt;" in said
    assert said.count('class="dot"') == 2 and PALETTE[0] in said and PALETTE[1] in said          # not for a keypoint
    assert "A &amp; B" in said and "</s>" not in said and "no words" in said_html([], v)
    page = bubbles([Turn("What is <region>?", "a dog"), Turn("Cut <region> out of <b>", "region2[SEG]"), Turn("So?")], v)
    assert page.count("bubble user") == 3 and page.count("bubble model") == 2 and "<b>" not in page
    assert "region1</span>?" in page and "region2</span> out" in page and page.count(PALETTE[1]) == 2  # asked and answered alike
    assert [*link_colours([("[SEG]", "region2"), ("[DET]", "dog"), ("[GEN]", "")], 2)] == [1, 2, None]


# nbs/63_v2_playground.ipynb, cell ac0043e6
@cache
def words(): return chat_vocabulary()

class Sure:
    "Stands for a trained model: sure of two balls, or of a box in the middle for each region; refuses as the real one does."
    vocabulary = property(lambda self: words())
    def chat(self, image, text, regions=(), after=None, threshold=0.3):
        chat = as_chat(image, text, regions, after)
        n = text.count("<region>")
        said = region_links(n, first=len(chat.regions) - n + 1) if n else "I see." if "?" in text else "ball[DET], kite[DET]."
        ids = tuple(answer_ids(said, words()))
        text, routes = read_reply(ids, words())
        scores = [s for s in (0.9, 0.6)[: n or 2] if s >= threshold]
        names = [phrase for _, phrase in routes[:n] or routes[:1] * 2][: len(scores)]
        boxes = [[20.0, 20.0 + 9 * k, 60.0, 50.0 + 9 * k] for k in range(len(scores))]
        found = Detections(scores, [*range(len(scores))] if n else [0] * len(scores), names, boxes) if routes else None
        turns = [*chat.turns[:-1], replace(chat.turns[-1], assistant=ids)]
        return Chat(text, routes, found, [], chat.images[-1], turns, chat.images, chat.regions)
    def trace(self, *args, **kwargs):
        return [("what the LLM wrote", None, self.chat(*args, **kwargs).text)]


# nbs/63_v2_playground.ipynb, cell 4bad8ff6
def test_legends_and_pictures_of_answers():
    grey = Image.new("RGB", (128, 96), "gray")
    found = Sure().chat(grey, "Find balls and kites.")
    assert legend(found).count("<span>") == 2 and "<b>ball</b> 0.90 0.60" in legend(found) and "<b>kite</b> <em>none" in legend(found)
    plain = Sure().chat(grey, "What is it?")
    assert legend(plain) == "" and np.array_equal(answer_picture(plain), draw_regions(grey, ()))
    asked = Sure().chat(grey, "Segment <region>", [Point(9, 9)], after=None)
    again = Sure().chat(None, "And <region>", [Box(20, 20, 60, 50)], after=asked)
    assert "region2" in legend(again) and PALETTE[1] in legend(again) and PALETTE[0] not in legend(again)
    one = Image.new("RGB", (1, 1), PALETTE[1]).getpixel((0, 0))
    assert (np.array(answer_picture(again)) == one).all(-1).any()                   # region 2 in its own colour, though label 0
    marked = answer_picture(replace(again, detections=None), new=1)
    assert np.array_equal(marked, draw_regions(grey, [Point(9, 9), Box(20, 20, 60, 50)], earlier=1))
    assert answer_picture(Chat("hello")) is None and answer_picture(Chat(images=[grey])) is grey


# nbs/63_v2_playground.ipynb, cell 3bd5c612
def test_suggestions_are_drawn_from_the_scene():
    with TemporaryDirectory() as folder:
        page = Page(load_data(write_shapes(folder, n=2)), 0)
        assert suggest(page, "choice") is None                              # these shapes come without such questions
        many = [suggest(page, "interactive", seed) for seed in range(8)]
        assert len({text for text, _ in many}) > 2 and suggest(page, "interactive", 3)[0] == many[3][0]
        for text, prompts in many:
            assert text.count("<region>") == len(prompts) > 0
            for prompt in prompts: assert prompt.raster(page.sample.size).any()
        assert all(suggest(page, task) is None or not suggest(page, task)[1] for task in ("detect", "caption", "pose"))


# nbs/63_v2_playground.ipynb, cell 356e38fb
def test_the_form_is_laid_out():
    form = ChatForm(5)
    def inside(part): return {part, *(w for child in getattr(part, "children", ()) for w in inside(child))}
    assert {*form.fields.values(), *form.buttons.values(), form.canvas, form.picture, form.film, form.note, form.words,
            form.found} < inside(form.widget)
    assert form.fields["scene"].max == 4 and all(form.buttons[task].tooltip for task in OFFERED)


# nbs/63_v2_playground.ipynb, cell 872b50b9
@cache
def two_scenes():
    two_scenes.folder = TemporaryDirectory()
    return load_data(write_shapes(two_scenes.folder.name, n=2))

def chat_with(model=None):
    "A playground with two scenes, and a model that is sure of everything."
    return ChatPlayground(model or Sure(), two_scenes())

def stroke(play, tool, *trail):
    "What the browser sends when a hand draws on a canvas of 320 x 240."
    play.fields["tool"].value = tool
    play.canvas.heard(play.canvas, {"trail": [list(spot) for spot in trail], "shown": [320, 240]})

def say(play, text):
    "Types and presses send."
    play.fields["request"].value = text
    play.buttons["send"].click()

def note_of(play): return play.note.value.removeprefix('<div class="wrong">').removesuffix("</div>")


# nbs/63_v2_playground.ipynb, cell d4d7b32c
def test_a_chat_by_hand():
    play = chat_with()
    assert play.canvas.image.size == two_scenes().image(0).size and "in your own words" in play.words.value
    bare, (w, h) = play.picture.value, play.canvas.image.size
    stroke(play, "box", (32, 24), (160, 120))
    assert play.canvas.prompts == (Box(32 * w / 320, 24 * h / 240, 160 * w / 320, 120 * h / 240),) and play.fields["request"].value == "<region>"
    say(play, "Segment <region>.")
    assert play.replies[0].routes == [("[SEG]", "region1")] and play.picture.value != bare and play.note.value == ""
    assert "region1</span>." in play.words.value and "t-routing" in play.words.value and "0.90" in play.found.value
    assert play.canvas.prompts == () and len(play.canvas.earlier) == 1 and play.fields["request"].value == ""
    stroke(play, "point", (100, 100))                                       # a second round, about a second region
    assert play.fields["request"].value == "<region>"
    say(play, "And <region>?")
    assert [r.routes for r in play.replies][1] == [("[SEG]", "region2")] and len(play.replies[1].turns) == 2
    say(play, "What is that?")
    assert play.found.value == "" and len(play.replies) == 3 and play.words.value.count("bubble user") == 3
    play.buttons["new chat"].click()
    assert play.replies == [] and play.canvas.earlier == () and play.picture.value == bare and "in your own words" in play.words.value


# nbs/63_v2_playground.ipynb, cell bbda877e
def test_nothing_is_lost_where_something_is_wrong():
    play = chat_with()
    say(play, "Find balls and kites.")
    stroke(play, "point", (100, 100))
    state = lambda: (play.replies, play.canvas.prompts, play.canvas.earlier, play.words.value, play.picture.value, play.found.value)
    before = state()
    for text, why in (("", "a request is a text"), ("   ", "a request is a text"), ("Segment it.", "<region> 0 times, but 1 regions"),
                      ("Segment <region> and <region>.", "<region> 2 times")):
        say(play, text)
        assert why in note_of(play).replace("&lt;", "<").replace("&gt;", ">") and not set(note_of(play)) & set("\n<")
        assert state() == before and play.fields["request"].value == text and not play.buttons["send"].disabled
    say(play, "Segment <region>.")
    assert play.note.value == "" and len(play.replies) == 2


# nbs/63_v2_playground.ipynb, cell 06d039d2
def test_a_cut_answer_is_noted():
    class Breathless(Sure):
        "Never comes to an end."
        def chat(self, *args, **kwargs): return replace(super().chat(*args, **kwargs), finished=False, note="cut <early>")

    play = chat_with(Breathless())
    say(play, "Find balls.")
    assert note_of(play) == "cut &lt;early&gt;" and len(play.replies) == 1 and play.fields["request"].value == ""


# nbs/63_v2_playground.ipynb, cell 8c2fc5f1
def uploaded(content, name="mine.png"):
    "A file as FileUpload hands it over."
    return ({"name": name, "type": "image/png", "size": len(content), "content": memoryview(content),
             "last_modified": datetime(2026, 1, 1)},)


# nbs/63_v2_playground.ipynb, cell 2047431d
def test_pictures_come_and_go():
    play = chat_with()
    say(play, "Find balls.")
    kept = play.replies
    play.fields["upload"].value = uploaded(b"hello")
    assert note_of(play).startswith("mine.png is no picture") and play.replies is kept       # the chat is still there
    say(play, "And kites?")
    assert len(play.replies) == 2
    play.fields["upload"].value = uploaded(to_png(Image.new("RGB", (50, 30), "white")))
    assert play.canvas.image.size == (50, 30) and play.replies == [] and play.note.value == ""
    assert all(play.buttons[task].disabled for task in OFFERED)                                # nothing is known of it
    stroke(play, "point", (319, 239))
    assert play.canvas.prompts == (Point(319 * 50 / 320, 239 * 30 / 240),)
    play.fields["scene"].value = 1                                                             # a scene takes it back
    assert play.fields["upload"].value == () and play.canvas.image.size == two_scenes().image(1).size
    assert play.canvas.prompts == () and not play.buttons["detect"].disabled and play.buttons["choice"].disabled


# nbs/63_v2_playground.ipynb, cell e11bd34c
def test_buttons_suggest():
    play = chat_with()
    for task in OFFERED:
        if play.buttons[task].disabled: continue
        play.buttons[task].click()
        text = play.fields["request"].value
        assert text and text.count("<region>") == len(play.canvas.prompts)
        play.buttons["send"].click()
        assert play.note.value == "" and play.replies[-1].turns[-1].user == text
    texts = {(play.buttons["detect"].click(), play.fields["request"].value)[1] for _ in range(6)}
    assert len(texts) > 2
    play.buttons["interactive"].click()
    n = len(play.canvas.prompts)
    play.buttons["undo"].click()
    assert len(play.canvas.prompts) == n - 1 and play.buttons["clear"].click() is None and play.canvas.prompts == ()


# nbs/63_v2_playground.ipynb, cell de2172c1
def test_thresholds_and_films():
    play = chat_with()
    play.fields["film"].value = True
    assert play.film.layout.display == "none"                                                  # of what?
    say(play, "Find balls.")
    assert bytes(play.film.value).startswith(b"\x89PNG") and play.film.layout.display is None
    say(play, "Find them again.")
    assert len(play.replies[-1].detections) == 2
    first, picture = play.replies[0], play.picture.value
    play.fields["threshold"].value = 0.7                                                       # the last round, once more
    assert len(play.replies) == 2 and play.replies[0] is first and len(play.replies[-1].detections) == 1
    assert play.picture.value != picture and len(play.replies[-1].turns) == 2
    play.fields["film"].value = False
    assert not play.film.value


# nbs/63_v2_playground.ipynb, cell c21ab918
def test_a_real_model_talks():
    torch.manual_seed(0)
    captions = [two_scenes().sample(k, image=False).captions[0] for k in range(2)]
    model = VisionLLMv2.assemble(VisionLLMv2Config.tiny(), chat_vocabulary(captions)).eval()
    play = chat_with(model)
    stroke(play, "scribble", (32, 24), (60, 40), (160, 120))
    say(play, "What is <region>?")
    assert isinstance(play.replies[0], Chat) and "bubble model" in play.words.value
    assert note_of(play) == ("" if play.replies[0].finished else play.replies[0].note)
    assert play.replies[0].regions == [Region(0, play.canvas.earlier[0])]
    play.fields["film"].value = True
    say(play, "[DET] <b>Hello</b> <link>")                                                     # letters, and no harm
    assert len(play.replies[1].turns) == 2 and bytes(play.film.value).startswith(b"\x89PNG") and "<b>" not in play.words.value
    say(play, "And " + " and ".join(f"thing {k}" for k in range(700)))
    assert "places" in note_of(play) and len(play.replies) == 2


# nbs/63_v2_playground.ipynb, cell f5f8bb36
import anywidget
import traitlets

class RequestBox(anywidget.AnyWidget):
    "A text area that sends \"enter\" when Enter is pressed."
    value = traitlets.Unicode().tag(sync=True)
    _esm = """
    function render({ model, el }) {
      const area = document.createElement("textarea");
      const show = () => { if (area.value !== model.get("value")) area.value = model.get("value"); };
      area.rows = 3;
      area.style = "width: 100%; box-sizing: border-box";
      area.oninput = () => { model.set("value", area.value); model.save_changes(); };
      area.onkeydown = (event) => {
        event.stopPropagation();                       // Shift+Enter would run the notebook's cell
        if (event.key !== "Enter" || event.shiftKey) return;
        event.preventDefault();
        model.send("enter");
      };
      model.on("change:value", show);
      show();
      el.append(area);
    }
    export default { render };
    """

class EnterSends(ChatPlayground):
    "The playground, with Enter for send."
    def _lay_out(self):
        self.fields["request"] = RequestBox()
        self.fields["request"].on_msg(lambda _, said, buffers: self.send() if said == "enter" else None)
        return super()._lay_out()


# nbs/63_v2_playground.ipynb, cell 54b36a4b
def test_solutions_of_pointing():
    play = EnterSends(Sure(), two_scenes())
    stroke(play, "point", (100, 100))
    assert play.fields["request"].value == "<region>"
    play.fields["request"]._handle_custom_msg("enter", [])                  # as the browser sends it
    assert len(play.replies) == 1 and play.fields["request"].value == ""
