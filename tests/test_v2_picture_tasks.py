"""Tests of visionllm_edu/v2/picture_tasks.py.

Generated from nbs/42c_picture_tasks.ipynb by make export: do not edit, edit the notebook.
"""

from visionllm_edu.v2.picture_tasks import ask_edit, ask_generate


# nbs/42c_picture_tasks.ipynb, cell ae982b8e
from random import Random
from tempfile import TemporaryDirectory

from visionllm_edu.data.coco import load_data, write_shapes
from visionllm_edu.data.edits import edit_of
from visionllm_edu.v2.chat_tasks import Asking, Page, chat_of, links_to

def toybox(n=12): return load_data(f"toybox:val:{n}")

def chats_of(ask, data, n=24):
    "Up to n (page, chat), page after page."
    pages = [Page(data, k % len(data)) for k in range(n)]
    made = [(page, chat_of(ask(page, Random(k), Asking()), page)) for k, page in enumerate(pages)]
    return [(page, chat) for page, chat in made if chat is not None]


# nbs/42c_picture_tasks.ipynb, cell e2ec24f5
def test_a_drawing_shows_nothing():
    for page, chat in chats_of(ask_generate, toybox()):
        (turn,), (target,) = chat.turns, chat.targets
        assert chat.rows == [] and chat.conversation.images == 0 and links_to(turn.assistant, "generate") == 1
        assert target.picture.tobytes() == page.data.image(page.row).tobytes()
        assert target.words in [*page.sample.captions, *page.sample.long_captions]
        assert target.words.lower() in turn.user.lower()
    page = Page(toybox(), 0)                                       # for those who only read, nothing is painted
    blank, full = (ask_generate(page, Random(0), Asking(blank=b)) for b in (True, False))
    assert blank.turn == full.turn and blank.target.words == full.target.words and blank.target.picture.size == (8, 8)


# nbs/42c_picture_tasks.ipynb, cell ce8b6c36
def test_an_edit_shows_what_is_changed():
    found = chats_of(ask_edit, toybox())
    assert len(found) > 12
    for page, chat in found:
        (turn,), (target,) = chat.turns, chat.targets
        edits = [edit_of(page.data, page.row, k) for k in range(4)]
        assert target.words in [e.edit.instruction for e in edits if e]
        assert chat.rows == [page.row] and target.words in turn.user and links_to(turn.assistant, "edit") == 1
        assert target.picture.tobytes() in {e.after.tobytes() for e in edits if e}
        assert target.shown.labels.tolist() in [e.changed.labels.tolist() for e in edits if e]
        assert target.picture.tobytes() != page.data.image(page.row).tobytes()


# nbs/42c_picture_tasks.ipynb, cell a02bb179
def test_other_data_are_drawn_but_not_edited():
    with TemporaryDirectory() as folder:
        shapes = load_data(write_shapes(folder, n=4, size=(96, 72)))
        assert len(chats_of(ask_generate, shapes)) == 24 and not chats_of(ask_edit, shapes)
