"""Tests of visionllm_edu/v2/chat_tasks.py.

Generated from nbs/42a_chat_tasks.ipynb by make export: do not edit, edit the notebook.
"""

from visionllm_edu.v2.chat_tasks import (
    Asking, ChatSample, Page, Region, Target, ask_detect, ask_ground, ask_grounded_caption,
    ask_pose, ask_segment, ask_semantic, chat_of, check_chat, draw_classes, link_name,
    linked_spans, links_to, merged, plain, routed, sigmas_of, target_of,
)


# nbs/42a_chat_tasks.ipynb, cell c54bb99f
import re
from collections import Counter
from dataclasses import replace
from random import Random
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from PIL import Image
from visionllm_edu.data.coco import load_data, write_shapes
from visionllm_edu.geometry import COCO_SIGMAS, mask_to_box
from visionllm_edu.toybox.prompts import Point
from visionllm_edu.v2.conversation import ROUTES, Turn

def toybox(n=24): return load_data(f"toybox:val:{n}")

def shapes_data(n=8, size=(96, 72), keep=[]):
    "A small data set of drawn shapes without Toybox's extras; its folder lives as long as the process."
    keep.append(TemporaryDirectory())
    return load_data(write_shapes(keep[-1].name, n=n, size=size))

def chats_of(ask, data, n=40, **how):
    "Up to n (page, chat), each about another page, if there are so many."
    pages = [Page(data, k % len(data)) for k in range(n)]
    made = [(page, chat_of(ask(page, Random(k), Asking(**how)), page)) for k, page in enumerate(pages)]
    return [(page, chat) for page, chat in made if chat is not None]


# nbs/42a_chat_tasks.ipynb, cell 893f32c6
def test_links_are_counted_by_decoder():
    answer = "<det>A man</det>[DET], dog[SEG]: nose[POSE], left eye[POSE]"
    assert routed(answer) == ["[DET]", "[SEG]", "[POSE]", "[POSE]"]
    assert links_to(answer) == 2 and links_to(answer, "keypoint") == 2 and links_to(answer, "edit") == 0
    assert routed("no links at all, not even [det] or [ DET]") == []


# nbs/42a_chat_tasks.ipynb, cell 269a927a
def test_the_checker_finds_disagreement():
    grey, box = Image.new("RGB", (8, 8)), np.array([[0, 0, 4, 4]], np.float32)
    def chat(answer="dog[DET]", question="?", regions=(), **target):
        made = Target(**(dict(turn=0, image=0, boxes_xyxy_px=box, labels=np.array([0])) | target))
        return ChatSample([grey], [Turn(question, answer)], list(regions), [made])
    assert check_chat(chat()).turns and check_chat(chat("cat[DET], dog[DET]", labels=np.array([1])))
    assert check_chat(ChatSample([grey], [Turn("And now?")]))  # an answer that is awaited has no links yet
    point = Region(0, Point(1, 1))
    for wrong, words in (
            (chat(labels=np.array([1])), "1 object links"), (chat(labels=np.array([0, 0])), "1 boxes"),
            (chat("dog"), r"answers \[\] have links"), (chat(turn=1), "answers"), (chat(image=1), "picture 1"),
            (chat("dog[DET], nose[POSE]"), "0 keypoints"), (chat(keypoints=np.zeros((1, 1, 3))), "1 keypoints"),
            (chat(question="<region>?"), "region"), (chat(regions=[point]), "region"),
            (chat(question="<region>?", regions=[Region(2, point.prompt)]), "picture"), (chat("[GEN]"), "0 object links"), (chat("dog[DET] [GEN]"), "pictures")):
        with pytest.raises(ValueError, match=words): check_chat(wrong)


# nbs/42a_chat_tasks.ipynb, cell ba6d1b4d
def test_foreign_words_cant_route():
    for token in (*ROUTES, "<region>", "<link>", "<image>", "<det>", "<eos>", "<assistant>"):
        assert token not in plain(f"a{token}b {token}") and token not in link_name(token)
    assert plain(" a  dog\n") == "a dog" and link_name("wine glass") == "wine glass"
    assert link_name("St. Bernard, large: wet.") == "St Bernard large wet" and link_name(",") == "thing"


# nbs/42a_chat_tasks.ipynb, cell 9a15309b
def test_masks_and_boxes_are_of_the_same_object():
    for data, slack in ((toybox(), 0), (shapes_data(), 1.5)):  # corners of a polygon may miss a pixel
        for row in range(8):
            page = Page(data, row)
            order = Random(row).sample(page.real, len(page.real))
            target = target_of(page, order, range(len(order)))
            for box, mask, area in zip(target.boxes_xyxy_px, target.masks, target.areas):
                assert np.abs(mask_to_box(mask) - box).max() <= slack and abs(mask.sum() - area) <= 0.1 * slack * area
            assert target_of(page, [], []).masks.shape == (0, *page.sample.size[::-1])
    page.sample.segmentations[page.real[0]] = None
    assert target_of(page, page.real[:1], [0]).masks is None and target_of(page, page.real[1:], [0] * len(page.real[1:])).masks is not None


# nbs/42a_chat_tasks.ipynb, cell d4cdea27
def test_lists_of_classes():
    offered = [f"class {k}" for k in range(10)]
    for seed in range(60):
        few = draw_classes({"class 1", "class 2"}, offered, Random(seed))
        assert len(set(few)) == len(few) and {"class 1", "class 2"} & set(few)
        assert sum(name not in ("class 1", "class 2") for name in few) <= 5
        assert sorted(draw_classes({"class 1"}, offered, Random(seed), full=True)) == offered
        short = draw_classes({"class 1"}, offered, Random(seed), full=True, most=3)
        assert len(short) == 3 and "class 1" in short
        assert draw_classes(set(), offered, Random(seed)) and draw_classes(set(), [], Random(seed)) == []
    draws = {tuple(draw_classes(set(offered), offered, Random(seed))) for seed in range(60)}
    assert len({len(d) for d in draws}) > 5  # not always all that are there


# nbs/42a_chat_tasks.ipynb, cell 09fe44c2
def test_absent_classes_own_a_link_and_no_box():
    data, absent = toybox(), 0
    for ask in (ask_detect, ask_segment, ask_semantic):
        for page, chat in chats_of(ask, data, full=True):
            (target,), (turn,) = chat.targets, chat.turns
            assert links_to(turn.assistant) == len(data.categories) == len(routed(turn.assistant))
            names = re.findall(r"([a-z]+)\[", turn.assistant)
            assert {names[k] for k in target.labels} == page.present  # the words before a link name its objects
            absent += len(set(names) - page.present)
            if ask is ask_detect: assert len(target.labels) == len(page.real)
            if ask is ask_semantic: assert len(target.labels) == len(page.present) and (np.diff(target.labels) > 0).all()
    assert absent > 500


# nbs/42a_chat_tasks.ipynb, cell 34bec9fe
def test_merging_loses_no_pixel():
    for page, chat in chats_of(ask_semantic, toybox(), full=True):
        (target,) = chat.targets
        assert np.array_equal(target.masks.any(0), page.masks(page.real).any(0))
        assert all(np.array_equal(box, mask_to_box(mask)) for box, mask in zip(target.boxes_xyxy_px, target.masks))
    nothing = merged(target_of(page, [], []))
    assert nothing.boxes_xyxy_px.shape == (0, 4) and nothing.masks.shape[0] == 0


# nbs/42a_chat_tasks.ipynb, cell faba1bd1
def test_phrases_lead_to_what_they_mean():
    for data in (toybox(), shapes_data()):
        for page, chat in chats_of(ask_ground, data):
            (target,), (turn,) = chat.targets, chat.turns
            assert routed(turn.assistant) == ["[GRD]"] and len(target.labels) and not target.labels.any()
            boxes = target.boxes_xyxy_px
            same = [p for p in page.sample.phrases if p["text"] in turn.user
                    and np.array_equal(page.sample.boxes_xyxy_px[page.rows_of(p["annotation_ids"])], boxes)]
            assert same
            if "the leftmost person" in turn.user:
                people = [row for row in page.real if page.names[row] in ("man", "woman", "child")]
                assert boxes[0, ::2].mean() == page.sample.boxes_xyxy_px[people][:, ::2].mean(1).min()


# nbs/42a_chat_tasks.ipynb, cell 243fe451
def test_keypoints_follow_the_answers_links():
    data, kinds = toybox(), Counter()
    for page, chat in chats_of(ask_pose, data, 120):
        (target,), (turn,) = chat.targets, chat.turns
        names = [n.split(".")[-1].split(":")[-1].strip(" ,") for n in re.findall(r"([^\[\]]*)\[POSE\]", turn.assistant)]
        names = [re.search(r"(left |right )?(nose|eye|ear|shoulder|elbow|wrist|hip|knee|ankle|neck|root of tail|front paw|back paw)$", n)[0] for n in names]
        assert target.keypoints.shape == (len(target.labels), len(names), 3) and len(target.sigmas) == len(names)
        for box, point in zip(target.boxes_xyxy_px, target.keypoints):
            row = next(r for r in page.real if np.array_equal(page.sample.boxes_xyxy_px[r], box))
            skeleton = data.keypoints_of[page.names[row]]
            for name, xyv in zip(names, point):  # the named joint, wherever it stands in the skeleton
                assert np.array_equal(xyv, page.sample.keypoints[row, skeleton.index(name.replace(" ", "_"))])
        kinds["one" if len(names) == 1 else "all" if len(names) == 17 else "some"] += 1
        kinds["animal" if "tail" in " ".join(skeleton) else "person"] += 1
    assert min(kinds.values()) > 8 and len(kinds) == 5


# nbs/42a_chat_tasks.ipynb, cell f237fa67
def test_sigmas_are_cocos():
    skeletons = toybox().keypoints_of
    np.testing.assert_allclose(sigmas_of(skeletons["man"]), COCO_SIGMAS, atol=1e-6)
    assert (sigmas_of(skeletons["dog"]) != 0.05).all() and sigmas_of(["antenna"]) == np.float32(0.05)


# nbs/42a_chat_tasks.ipynb, cell fcc7bbf7
def test_phrases_of_a_caption_own_their_objects():
    several = 0
    for page, chat in chats_of(ask_grounded_caption, toybox(), 72):
        (target,), (turn,) = chat.targets, chat.turns
        phrases = re.findall("<det>(.*?)</det>", turn.assistant)
        assert len(phrases) == links_to(turn.assistant) and set(target.labels) == set(range(len(phrases)))
        words = re.sub(r"<det>|</det>|\[DET\]", "", turn.assistant)
        (spans,) = [c["spans"] for c in page.told["captions"] if c["caption"] == words]
        for k, phrase in enumerate(phrases):
            mine = target.boxes_xyxy_px[target.labels == k]
            assert any(phrase == words[s["start"]:s["end"]] and np.array_equal(mine, page.sample.boxes_xyxy_px[page.rows_of(s["annotation_ids"])]) for s in spans)
            several += len(mine) > 1
        assert len(np.unique(target.boxes_xyxy_px, axis=0)) == len(target.boxes_xyxy_px)  # nothing twice
    assert several > 5
    first, again = dict(start=0, end=3, annotation_ids=[1]), dict(start=9, end=12, annotation_ids=[1, 2])
    assert linked_spans([again, first]) == [first] and linked_spans([dict(first, end=10), dict(again, annotation_ids=[3])])[1:] == []
