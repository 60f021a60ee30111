"""Tests of visionllm_edu/v2/chats.py.

Generated from nbs/42d_chats.ipynb by make export: do not edit, edit the notebook.
"""

from visionllm_edu.v2.chats import (
    ASK, ChatMixture, ask_find_then_pick, ask_interactive, ask_multi_round, ask_region_caption,
    ask_region_name, draw_within, point_at, pointable,
)
from visionllm_edu.v2.picture_tasks import PICTURES
from visionllm_edu.v2.word_tasks import BILINGUAL


# nbs/42d_chats.ipynb, cell 96ccc5cf
import copy
import re
from collections import Counter
from random import Random
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from visionllm_edu.data.coco import load_data, write_shapes
from visionllm_edu.geometry import mask_to_box
from visionllm_edu.language.vocabulary import Vocabulary
from visionllm_edu.toybox.prompts import PROMPT_KINDS, Box, Mask, Point
from visionllm_edu.v2.chat_tasks import Asking, Page, ask_detect, chat_of, check_chat, links_to, routed
from visionllm_edu.v2.conversation import ROUTES, V2_BLOCKS, encode_chat

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


# nbs/42d_chats.ipynb, cell 2a79f5b1
def test_prompts_fit_their_object():
    data, overlap = toybox(), {kind: [] for kind in PROMPT_KINDS}
    for row in range(12):
        page = Page(data, row)
        for mask in page.masks(pointable(page)):
            for kind in PROMPT_KINDS:
                prompt = draw_within(mask, kind, Random(row))
                painted, box = prompt.raster(page.sample.size), mask_to_box(mask)
                overlap[kind].append((painted & mask).sum() / painted.sum())
                if kind == "box": assert np.abs(np.array([prompt.x0, prompt.y0, prompt.x1, prompt.y1]) - box).max() < 0.3 * max(box[2:] - box[:2]) + 1
                if kind == "mask": assert (painted & mask).sum() / (painted | mask).sum() > 0.3
    assert min(overlap["point"]) == 1  # a click never misses
    assert all(np.mean(overlap[kind]) > least for kind, least in (("box", 0.4), ("scribble", 0.85), ("mask", 0.75)))


# nbs/42d_chats.ipynb, cell 107b2149
def test_too_small_objects_vanish_with_their_regions():
    data = shapes_data()
    page = next(page for page in (Page(data, row) for row in range(8)) if len(page.real) > 2)
    small = page.real[1]
    page.sample.segmentations[small] = [[4, 4, 6, 4, 6, 6, 4, 6]]
    for seed in range(20):
        rows, regions = point_at(page, page.real, 9, Random(seed))
        assert len(rows) == len(regions) == len(page.real) - 1 and small not in rows
        for row, region in zip(rows, regions):
            painted, mask = region.prompt.raster(page.sample.size), page.masks([row])[0]
            assert (painted & mask).sum() / painted.sum() > 0.4


# nbs/42d_chats.ipynb, cell 792c42dc
def test_regions_and_masks_are_of_the_same_object():
    counts = Counter()
    for data, slack in ((toybox(), 0), (shapes_data(), 1.5)):
        for page, chat in chats_of(ask_interactive, data, 60):
            (target,), (turn,) = chat.targets, chat.turns
            assert turn.user.count("<region>") == len(chat.regions) == len(target.labels) == links_to(turn.assistant)
            assert target.labels.tolist() == [*range(len(chat.regions))]
            for region, mask, box in zip(chat.regions, target.masks, target.boxes_xyxy_px):
                painted = region.prompt.raster(page.sample.size)
                others = [m for m in page.masks(page.real) if not np.array_equal(m, mask)]
                if isinstance(region.prompt, Point): assert (painted & mask).any() and not any((painted & m).any() for m in others)
                if isinstance(region.prompt, Mask): assert all((painted & mask).sum() > (painted & m).sum() for m in others)
                assert np.abs(mask_to_box(mask) - box).max() <= slack
                counts[type(region.prompt).__name__] += 1
            counts[len(chat.regions)] += 1
    assert len(counts) == 8 and min(counts.values()) > 5  # every kind of prompt, one to four regions


# nbs/42d_chats.ipynb, cell efa91863
def test_names_and_descriptions_are_of_what_was_marked():
    for ask in (ask_region_name, ask_region_caption):
        for page, chat in chats_of(ask, toybox()):
            (region,), (turn,) = chat.regions, chat.turns
            assert not chat.targets and not routed(turn.assistant)
            told = [(r["name"], r["description"], page.rows_of(r["annotation_ids"])) for r in page.told["regions"]]
            if ask is ask_region_name: assert turn.assistant in page.present
            else: assert turn.assistant in [description for _, description, _ in told]
            if isinstance(region.prompt, Point):  # a click lies on exactly one object
                (hit,) = [row for row in page.real if page.masks([row])[0][int(region.prompt.y), int(region.prompt.x)]]
                assert turn.assistant in ([page.names[hit]] if ask is ask_region_name else [d for _, d, rows in told if hit in rows])


# nbs/42d_chats.ipynb, cell cf889bdb
def test_the_picked_ones_are_among_the_found():
    for data in (toybox(), shapes_data(12)):
        chats = chats_of(ask_find_then_pick, data)
        for page, chat in chats:
            found, picked = chat.targets
            assert [found.turn, picked.turn] == [0, 1] and not found.labels.any() and not picked.labels.any()
            assert 1 < len(found.labels) and all((found.boxes_xyxy_px == box).all(1).any() for box in picked.boxes_xyxy_px)
        assert len(chats) > 5


# nbs/42d_chats.ipynb, cell a6a4bd9b
def test_rounds_keep_their_own_targets():
    tasks = Counter()
    for page, chat in chats_of(ask_multi_round, toybox(), 60):
        assert 2 <= len(chat.turns) <= 3 and chat.rows == [page.row]
        said = " ".join(turn.assistant for turn in chat.turns)
        numbers = [int(k) for k in re.findall(r"region(\d)\[SEG\]", said)]
        assert numbers == sorted(set(numbers))  # no region has another's number
        before = 0
        for k, turn in enumerate(chat.turns):
            mine = [int(n) for n in re.findall(r"region(\d)\[SEG\]", turn.assistant)]
            assert mine in ([], [*range(before + 1, before + 1 + turn.user.count("<region>"))])
            before += turn.user.count("<region>")
        tasks[len(chat.targets)] += 1
    assert set(tasks) >= {0, 1, 2}


# nbs/42d_chats.ipynb, cell f05b1b30
def test_chat_i_is_always_the_same():
    from torch.utils.data import DataLoader
    def same(a, b):
        assert a.turns == b.turns and a.rows == b.rows and a.task == b.task
        for x, y in zip(a.regions, b.regions, strict=True):
            assert x.image == y.image and np.array_equal(x.prompt.raster((128, 128)), y.prompt.raster((128, 128)))
        for x, y in zip(a.targets, b.targets, strict=True):
            for name in ("turn", "image", "labels", "boxes_xyxy_px", "masks", "keypoints", "sigmas", "areas"):
                assert np.array_equal(getattr(x, name), getattr(y, name))
        assert [np.array_equal(*pair) for pair in zip(a.images, b.images, strict=True)] == [True] * len(a.images)

    data = toybox()
    mixture, fresh = ChatMixture(data, seed=3), ChatMixture(data, seed=3)
    straight = [mixture[i] for i in range(48)]
    for i in reversed(range(48)): same(straight[i], fresh[i])
    loader = DataLoader(ChatMixture(data, seed=3), batch_size=4, sampler=range(16, 48), num_workers=2, collate_fn=list)
    for i, chat in enumerate(chat for batch in loader for chat in batch): same(straight[16 + i], chat)  # as after a crash at 16
    other = ChatMixture(data, seed=4)
    assert any(straight[i].turns != other.draw(i).turns for i in range(8))


# nbs/42d_chats.ipynb, cell 30b2c966
def test_records_are_only_read():
    data = toybox()
    before = [copy.deepcopy(data.read(image_id)) for image_id in data.image_ids]
    mixture = ChatMixture(data)
    for i in range(60):
        chat = mixture.draw(i)
        for target in chat.targets:
            target.boxes_xyxy_px[:], target.labels[:] = -1, -1
            for values in (target.masks, target.keypoints, target.areas):
                if values is not None: values[:] = 0
        assert (chat.rows or chat.task == "generate") and all(page.told == before[page.row] for page in [Page(data, row) for row in chat.rows])
    again = ChatMixture(data)
    for i in range(60):
        first, second = mixture.draw(i), again.draw(i)
        assert all(np.array_equal(a.boxes_xyxy_px, b.boxes_xyxy_px) and (a.labels >= 0).all() for a, b in zip(first.targets, second.targets, strict=True))
    assert [data.read(image_id) for image_id in data.image_ids] == before


# nbs/42d_chats.ipynb, cell 598645c1
def test_every_chat_of_every_task_checks_out():
    data = toybox()
    mixture, seen = ChatMixture(data, seed=1), Counter()
    for i in range(280):
        chat = mixture[i]
        check_chat(chat)
        assert len(chat.images) == len(chat.rows) and all(image.mode == "RGB" for image in chat.images)
        seen[chat.task] += 1
        for target in chat.targets:
            if target.picture is not None: continue  # nothing is to be found
            w, h = chat.images[target.image].size
            assert target.masks is None or target.masks.shape[1:] == (h, w)
            assert (target.boxes_xyxy_px >= 0).all() and (target.boxes_xyxy_px[:, 2:] <= (w, h)).all()
            assert target.boxes_xyxy_px.dtype == np.float32 and target.labels.dtype == np.int64
        for region in chat.regions: assert region.prompt.raster(chat.images[region.image].size).any()
        if chat.task == "in_context":
            (target,), (link,) = chat.targets, [re.search(r"(\w+)\[SEG\]", chat.turns[0].assistant)[1]]
            pages = [Page(data, row) for row in chat.rows]
            assert target.image == len(pages) - 1 and len(set(chat.rows)) == len(pages) > 1
            assert [region.image for region in chat.regions] == [*range(target.image)]
            assert len(target.labels) == pages[-1].names.count(link) > 0
            for region, page in zip(chat.regions, pages):  # each mark lies on an object of that class
                painted = region.prompt.raster(page.sample.size)
                assert (painted & page.masks(page.listed([link])[0]).any(0)).any()
    assert set(seen) == set(ASK) and min(seen.values()) > 5


# nbs/42d_chats.ipynb, cell b78d462e
def test_plain_folders_serve_what_they_can():
    data = shapes_data(12)
    mixture = ChatMixture(data)
    unserved = {"region_caption", "choice", "relation", "grounded_caption", "edit", *BILINGUAL}
    assert set(ASK) - set(mixture.tasks) == unserved and len(mixture.tasks) == 13
    assert {mixture[i].task for i in range(150)} == set(mixture.tasks)
    for records in data.tables.annotations.values():
        for a in records: a.pop("segmentation")
    mixture = ChatMixture(data)
    assert set(ASK) - set(mixture.tasks) == unserved | {"segment", "semantic", "interactive", "in_context"}
    chats = [mixture[i] for i in range(80)]
    assert all(isinstance(region.prompt, Box) for chat in chats for region in chat.regions) and any(chat.regions for chat in chats)
    assert all(target.masks is None for chat in chats for target in chat.targets if len(target.labels))


# nbs/42d_chats.ipynb, cell f4287858
def test_crowds_are_neither_targets_nor_marked():
    data = shapes_data(12)
    for records in data.tables.annotations.values(): records[0]["iscrowd"] = 1
    crowds = {row: Page(data, row) for row in range(12)}
    mixture = ChatMixture(data, full_list=1)
    for i in range(150):
        chat = mixture.draw(i)
        for target in chat.targets:
            if target.picture is not None: continue
            page = crowds[chat.rows[target.image]]
            real = page.sample.boxes_xyxy_px[page.real]
            if chat.task not in ("semantic", "multi_round"): assert all((box == real).all(1).any() for box in target.boxes_xyxy_px)
    only = next(p for p in crowds.values() if set(p.names) - p.present)  # a class of which there is just a crowd
    assert not set(ask_detect(only, Random(0), Asking(full=True)).turn.assistant.split()) & {f"{n}[DET]," for n in set(only.names) - only.present}


# nbs/42d_chats.ipynb, cell 65163f11
def test_weights_and_batches():
    data = toybox()
    mixture = ChatMixture(data, {"detect": 3, "caption": 1, "pose": 0}, batch=8)
    chats = [mixture.draw(i) for i in range(400)]
    count = Counter(chat.task for chat in chats)
    assert set(count) == {"detect", "caption"} and 260 < count["detect"] < 340  # 300 are expected
    for start in range(0, 400, 8):  # in a batch, all lists are full or none is
        lists = [links_to(chat.turns[0].assistant) == len(data.categories) for chat in chats[start:start + 8] if chat.task == "detect"]
        assert len(set(lists)) <= 1
    alike = ChatMixture(data, {"detect": 3, "caption": 1}, batch=8, alike=True)
    kinds = [alike.draw(i).task for i in range(160)]
    assert all(len({*kinds[k : k + 8]}) == 1 for k in range(0, 160, 8)) and {*kinds} == {"detect", "caption"}
    short = ChatMixture(data, {"detect": 1}, max_classes=6, full_list=1)
    assert all(links_to(short.draw(i).turns[0].assistant) == 6 for i in range(20))
    for wrong, words in (({"detekt": 1}, "unknown task"), ({"detect": -1}, "weight"), ({"detect": float("nan")}, "weight"), ({}, "nothing to learn")):
        with pytest.raises(ValueError, match=words): ChatMixture(data, wrong)
    with pytest.raises(ValueError, match="serves"): ChatMixture(shapes_data(), {"choice": 1})


# nbs/42d_chats.ipynb, cell e749a640
def test_a_chat_is_cheap():
    import time
    data = toybox()
    mixture = ChatMixture(data, {task: 1.0 for task in ASK if task not in PICTURES})
    start = time.process_time()
    for i in range(200): mixture.draw(i)
    assert time.process_time() - start < 200 * 6e-3  # measured 0.8 ms each; slow machines get their share


# nbs/42d_chats.ipynb, cell 1aa5a2b3
def small_vocabulary(mixture, n=150):
    texts = [text for i in range(n) for turn in mixture.draw(i).turns for text in (turn.user, turn.assistant)]
    return Vocabulary.train([re.sub(r"\[[A-Z]+\]|<[^>]+>", " ", text) for text in texts], text_size=600,
                            range=1, num_classes=1, max_points=1, extra=V2_BLOCKS)


# nbs/42d_chats.ipynb, cell 6cf11f09
def test_encoded_links_are_called_like_their_objects():
    data = toybox()
    mixture = ChatMixture(data)
    v, objects = small_vocabulary(mixture), Counter()
    for i in range(150):
        chat = mixture.draw(i)
        coded = encode_chat(chat.conversation, v, image_tokens=[4] * len(chat.rows), limit=2048)
        assert (coded.ids == v.image_id).sum() == 4 * len(chat.rows)
        for target in chat.targets:
            links = [link for link in coded.links if link.turn == target.turn and ROUTES[link.token] == "object"]
            if target.picture is not None: continue
            page = Page(data, chat.rows[target.image])
            for box, label in zip(target.boxes_xyxy_px, target.labels):
                row = next((r for r in page.real if np.array_equal(page.sample.boxes_xyxy_px[r], box)), None)
                if row is None or chat.task not in ("detect", "segment", "pose", "in_context"): continue
                assert links[label].phrase.endswith(page.names[row])
                objects[chat.task] += 1
    assert len(objects) == 4 and min(objects.values()) > 5


# nbs/42d_chats.ipynb, cell 4d1860c9
def test_one_question_one_kind_of_answer():
    mixture, wanted = ChatMixture(toybox()), {}
    for i in range(1200):
        chat = mixture.draw(i)
        if chat.task == "multi_round": continue
        routes = tuple(sorted(set(routed(chat.turns[0].assistant))))
        assert wanted.setdefault(chat.turns[0].user, routes) == routes, chat.turns[0].user
