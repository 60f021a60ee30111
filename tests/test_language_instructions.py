"""Tests of visionllm_edu/language/instructions.py.

Generated from nbs/12_instructions.ipynb by make export: do not edit, edit the notebook.
"""

import numpy as np
import torch

from visionllm_edu.language.instructions import (
    IGNORE, Instruction, POINTS, TASKS, TEMPLATES, class_dictionary, decode_sets, encode_sets,
    from_offsets, parse_instruction, sample_instruction, sets_to_text, template_texts,
    text_to_sets, to_offsets,
)
from visionllm_edu.language.vocabulary import Vocabulary


# nbs/12_instructions.ipynb, cell 26c11de7
def test_offsets_loop_vectorised_batched_masked():
    points = torch.rand(5, 3, 2, generator=torch.Generator().manual_seed(0))  # 5 objects of 3 points
    centers = points.mean(1)
    step = lambda i, k, axis: round((points[i, k, axis] - centers[i, axis]).item() * 512)
    loop = [[[step(i, k, 0), step(i, k, 1)] for k in range(3)] for i in range(5)]
    assert to_offsets(points, centers).tolist() == loop                       # vectorised
    assert to_offsets(points[2:3], centers[2:3]).tolist() == loop[2:3]        # a batch of one
    every = to_offsets(points, centers[:, None])                              # every centre and object
    assert every.shape == (5, 5, 3, 2) and every[range(5), range(5)].tolist() == loop
    gap = points.clone()
    gap[1, 2] = float("nan")
    assert to_offsets(gap, centers).isnan().sum() == 2                        # with a gap


# nbs/12_instructions.ipynb, cell 7d12dd12
def test_offsets_come_back_within_half_a_step():
    points = torch.rand(50, 4, 2, generator=torch.Generator().manual_seed(0))
    centers = torch.rand(50, 2, generator=torch.Generator().manual_seed(1))
    for reach in (128, 512):
        back = from_offsets(to_offsets(points, centers, reach), centers, reach)
        torch.testing.assert_close(back, points, atol=0.5 / reach + 1e-6, rtol=0)


# nbs/12_instructions.ipynb, cell 02a2fd4f
def test_wordings_can_be_told_apart():
    openings = [t.split("{")[0] for wordings in TEMPLATES.values() for t in wordings]
    for i, a in enumerate(openings):
        assert not any(b.startswith(a) for j, b in enumerate(openings) if i != j), a
    assert all(len(wordings) >= 3 for wordings in TEMPLATES.values())
    assert all(t.count("<image>") == 1 for wordings in TEMPLATES.values() for t in wordings)
    assert {name.split()[0] for name in TEMPLATES} == set(TASKS)


# nbs/12_instructions.ipynb, cell ec472414
def test_instruction_defaults_and_equality():
    assert Instruction("detect", ("dog", "cat")).class_indices == (0, 1)
    points = {task: Instruction(task, ("dog",)).points_per_set for task in POINTS}
    assert points == {"detect": 2, "ground": 2, "pose": 17, "segment": 16}
    assert Instruction("caption").points_per_set == 0 and Instruction("caption").is_text
    assert Instruction("detect", ("a  dog ",)) == Instruction("detect", ("a dog",), template=2)
    assert Instruction("detect", ("dog",)).text != Instruction("detect", ("dog",), template=2).text
    assert Instruction("segment", ("dog",), num_points=24).format == "(c, x1, y1, ..., x24, y24)"


# nbs/12_instructions.ipynb, cell bd8e0bdf
import pytest

def refused(message, task, categories=(), *rest, **more):
    "The instruction raises a ValueError of one line that holds the message."
    with pytest.raises(ValueError, match=message) as error:
        Instruction(task, categories, *rest, **more)
    assert "\n" not in str(error.value)


# nbs/12_instructions.ipynb, cell 306af029
def test_impossible_tasks_and_formats_are_refused():
    refused("unknown task 'paint'", "paint")
    refused("accepted are 8 to 24", "segment", ("dog",), num_points=7)
    refused("accepted are 2", "detect", ("dog",), num_points=3)
    refused("whole numbers from 1", "detect", ("dog",), range=0)
    refused("has 0 to 2", "detect", ("dog",), template=9)
    refused("'short' and 'long'", "caption", detail="epic")
    refused("takes no categories", "caption", ("dog",))
    refused("takes no question", "caption", question="why?")
    refused("needs a question", "answer")


# nbs/12_instructions.ipynb, cell 5246b15a
def test_impossible_classes_are_refused():
    refused("at least one category", "detect")
    refused("a category is empty", "detect", ("dog", " "))
    refused("'dog' is given twice", "detect", ("dog", "cat", "dog"))
    refused("513 categories, but there are only 512", "detect", tuple(f"thing {i}" for i in range(513)))
    refused("one expression, got 2", "ground", ("a cat", "a dog"))
    refused("from 0 to 511", "detect", ("dog",), (512,))
    refused("stands for two", "detect", ("a", "b"), (3, 3))
    refused("not one each", "detect", ("a", "b"), (3,))
    refused("<c3> is a token of the model", "detect", ("<c3>",))
    refused("reads like two", "detect", ("a', 'b",))
    refused("expected a text, got 5", "detect", (5,))


# nbs/12_instructions.ipynb, cell 9b1c1698
COCO_NAMES = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,"
    "fire hydrant,stop sign,parking meter,bench,bird,cat,dog,horse,sheep,cow,"
    "elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,suitcase,frisbee,"
    "skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,"
    "tennis racket,bottle,wine glass,cup,fork,knife,spoon,bowl,banana,apple,"
    "sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,"
    "potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,"
    "cell phone,microwave,oven,toaster,sink,refrigerator,book,clock,vase,scissors,"
    "teddy bear,hair drier,toothbrush").split(",")
EVERYTHING = Instruction("detect", tuple(COCO_NAMES))
vocabulary = Vocabulary.train(template_texts() + [EVERYTHING.text] * 20)


# nbs/12_instructions.ipynb, cell fd00c487
def test_prompts_are_short():
    entries = len(vocabulary.encode(class_dictionary(EVERYTHING.categories, EVERYTHING.class_indices)))
    assert len(COCO_NAMES) == 80 and entries / 80 < 4.5
    assert len(vocabulary.encode(EVERYTHING.text)) < 450
    assert max(len(vocabulary.encode(t)) for t in template_texts()) < 80


# nbs/12_instructions.ipynb, cell 0f56f32b
def test_random_instructions_vary():
    import random
    rng, here = random.Random(0), {"dog", "person", "kite"}
    drawn = [sample_instruction("segment", sorted(here), COCO_NAMES, rng, max_categories=8)
             for _ in range(400)]
    assert {i.num_points for i in drawn} == set(range(8, 25))
    assert {i.template for i in drawn} == {0, 1, 2}
    assert {len(i.categories) for i in drawn} == set(range(1, 9))
    assert all(here & set(i.categories) for i in drawn)  # never a prompt without an object
    assert any(i.categories[0] not in here for i in drawn if here & set(i.categories[1:]))  # any order
    dogs = {i.class_indices[i.categories.index("dog")] for i in drawn if "dog" in i.categories}
    assert len(dogs) > 100                               # <c_i> that stood for a dog


# nbs/12_instructions.ipynb, cell 2fcfd0af
def test_the_seed_decides_everything():
    import numpy as np
    draw = lambda seed: sample_instruction("detect", ["dog"], COCO_NAMES, np.random.default_rng(seed))
    assert draw(5) == draw(5) and draw(5).text == draw(5).text and draw(5) != draw(6)
    assert sample_instruction("detect", [], ["cat"], np.random.default_rng(0)).categories == ("cat",)


# nbs/12_instructions.ipynb, cell e7551160
def test_rendered_prompts_come_back():
    import random
    rng = random.Random(0)
    odd = ["child's toy", "a, b", "the boys'", "x:y", "50% {blue}", "éclair", "'quoted", "range 12"]
    for _ in range(600):
        task = rng.choice(TASKS)
        question = "Is it, he's asking, {one}: a dog? Judge by the picture alone." * (task == "answer")
        i = sample_instruction(task, rng.sample(odd, 3), COCO_NAMES, rng, question=question,
                               range=rng.choice([128, 512]))
        back = parse_instruction(i.text)
        assert back == i and back.text == i.text and back.template == i.template


# nbs/12_instructions.ipynb, cell c39cae91
def test_near_misses_are_not_hits():
    import pytest
    text = Instruction("segment", ("dog",), num_points=24, template=1).text
    assert parse_instruction(text).num_points == 24
    for change in (("x24", "x23"), ("'dog'", "dog"), ("range of 512", "range of 0512")):
        with pytest.raises(ValueError): parse_instruction(text.replace(*change))


# nbs/12_instructions.ipynb, cell 21c6cb7d
def test_typed_orders_are_read():
    def read(text, *known):
        i = parse_instruction(text, known)
        return i.task, *i.categories
    assert read("Detect dogs, buses & traffic lights.") == ("detect", "dog", "bus", "traffic light")
    assert read("can you find the skis", "skis") == ("detect", "skis")
    assert read("detect everything", "dog", "cat") == ("detect", "dog", "cat")
    assert read("<image> locate the man next to the dog") == ("ground", "the man next to the dog")
    assert read("keypoints") == read("Find the poses of people in this picture") == ("pose", "person")
    assert parse_instruction("segment {'dog':<c3>, \"cat\"} with 16 points").class_indices == (3, 1)
    outline = parse_instruction("segment horses using 24 boundary points and range 256")
    assert (outline.categories, outline.num_points, outline.range) == (("horse",), 24, 256)


# nbs/12_instructions.ipynb, cell d02a76b2
def test_typed_questions_and_captions_are_read():
    ask = lambda text: parse_instruction(text).question
    assert ask("Can you see a dog?") == "Can you see a dog?" and ask("what is this") == "what is this"
    assert ask("Answer the question: why is it wet") == "why is it wet"
    detail = lambda text: parse_instruction(text).detail
    assert detail("Describe this image in detail") == detail("Give me a long caption") == "long"
    assert detail("Write a short caption!") == detail("caption") == "short"


# nbs/12_instructions.ipynb, cell 2f1cccd1
def test_the_rest_is_refused():
    import pytest
    for text in ("", "   ", "dogs", "hello there", "{'dog':<c0>}", "Describe the dog's feelings"):
        with pytest.raises(ValueError, match="detect dogs and cats"): parse_instruction(text)
    reasons = {"detect": "at least one category", "segment dogs with 99 points": "8 to 24",
               "detect <c3>": "token of the model", "detect {'a':<c0>, 'b':<c0>}": "two categories"}
    for text, reason in reasons.items():
        with pytest.raises(ValueError, match=reason): parse_instruction(text)


# nbs/12_instructions.ipynb, cell 8752aa1d
def test_encoding_equals_the_formula():
    points, size, center = torch.tensor([[[70.0, 144], [330, 430]]]), (640, 480), (0.3, 0.6)
    asked = Instruction("detect", ("cat", "dog"), class_indices=(7, 3), range=256)
    ids = encode_sets([1], points, [center], size, asked, vocabulary)[0]
    by_hand = lambda k, axis: round((points[0, k, axis].item() / size[axis] - center[axis]) * 256)
    assert vocabulary.offset(ids[1:]).tolist() == [by_hand(k, a) for k in (0, 1) for a in (0, 1)]
    assert ids[0] == vocabulary.class_id(3)


# nbs/12_instructions.ipynb, cell 6e569589
def test_gaps_and_empty_lists():
    pose, nowhere = Instruction("pose", ("person",)), np.full((1, 17, 2), np.nan)
    gaps = encode_sets([0], nowhere, np.zeros((1, 2)), (64, 64), pose, vocabulary)
    assert gaps[0, 1:].eq(IGNORE).all() and vocabulary.kind(int(gaps[0, 0])) == "class"
    none = encode_sets([], np.zeros((0, 17, 2)), np.zeros((0, 2)), (64, 64), pose, vocabulary)
    assert none.shape == (0, 35) and none.dtype == torch.long


# nbs/12_instructions.ipynb, cell 2fd5d903
def test_sets_as_text_and_back():
    rows = [[vocabulary.class_id(3), vocabulary.location_id(-12), IGNORE], [vocabulary.query_ids[0]]]
    assert sets_to_text(rows, vocabulary) == "(<c3>, <p-12>, _)\n(<cls>)"
    assert text_to_sets(sets_to_text(rows, vocabulary), vocabulary) == rows
    assert text_to_sets("so (two words, <c3>) ok", vocabulary) == [[vocabulary.unk_id, rows[0][0]]]


# nbs/12_instructions.ipynb, cell 161ed9b4
def test_wrong_targets_are_refused():
    import pytest
    def encode(label, count, asked, vocabulary=vocabulary):
        encode_sets([label], np.zeros((1, count, 2)), np.zeros((1, 2)), (64, 64), asked, vocabulary)
    asked = Instruction("detect", ("dog",))
    with pytest.raises(ValueError, match=r"shape \(1, 3, 2\)"): encode(0, 3, asked)
    with pytest.raises(ValueError, match="the instruction has 1 categories"): encode(1, 2, asked)
    small = Vocabulary.train(["a dog"], 300, range=4, num_classes=2, max_points=2)
    with pytest.raises(ValueError, match="range 512"): encode(0, 2, asked, small)
    with pytest.raises(ValueError, match="number of points 16"):
        encode(0, 16, Instruction("segment", ("dog",), range=4), small)


# nbs/12_instructions.ipynb, cell 94b87b09
rows = text_to_sets("""(<c3>, <p-105>, <p-154>, <p105>, <p154>)
    (<c9>, <p-1>, <p-1>, <p1>, <p1>) (dog, <p-1>, <p-1>, <p1>, <p1>)
    (<c7>, <p-1>, <c3>, <p1>, <p1>) (<c7>, <p1>, <p1>, <p-1>, <p-1>) (<c7>, <p1>)""", vocabulary)
asked = Instruction("detect", ("traffic light", "dog"), class_indices=(7, 3))
said = decode_sets(rows, [[0.315, 0.6]] * len(rows), (640, 480), asked, vocabulary)


# nbs/12_instructions.ipynb, cell bdf24823
def test_what_is_dropped_has_a_reason():
    assert said.keep.tolist() == [0] and said.labels.tolist() == [1]
    assert said.points_px.round().tolist() == [[[70, 144], [333, 432]]]
    reasons = "not in the prompt", "where a class token", "<c3> where y1", "no area", "2 tokens"
    assert len(said.dropped) == len(reasons)
    assert all(reason in line for line, reason in zip(said.dropped, reasons))
    small = Instruction("detect", ("traffic light", "dog"), class_indices=(7, 3), range=100)
    far = decode_sets(rows[:1], [[0.315, 0.6]], (640, 480), small, vocabulary)
    assert far.dropped == ["set 0: <p-105> where x1 belongs, a location within 100"]
    lost = decode_sets(rows[:1], [[0.315, float("nan")]], (640, 480), asked, vocabulary)
    assert lost.dropped == ["set 0: its centre is not a number"]


# nbs/12_instructions.ipynb, cell 05d990ec
def test_only_class_tokens_name_a_class():
    edge = Instruction("detect", ("a", "b"), class_indices=(0, 511))  # first and last of the block
    box, center = list(map(vocabulary.location_id, (-9, -9, 9, 9))), [[0.5, 0.5]]
    for first in range(-2, len(vocabulary) + 2, 7):
        got = decode_sets([[first, *box]], center, (64, 64), edge, vocabulary)
        assert len(got) == (first in (vocabulary.class_id(0), vocabulary.class_id(511)))
    both = [[vocabulary.class_id(i), *box] for i in (511, 0)]
    got = decode_sets(both, center * 2, (64, 64), edge, vocabulary)
    assert got.labels.tolist() == [1, 0]


# nbs/12_instructions.ipynb, cell 19c2b131
def test_sets_come_back():
    g, size = torch.Generator().manual_seed(0), (640, 480)
    for task, n in (("detect", 2), ("segment", 24), ("pose", 17)):
        asked = Instruction(task, tuple(COCO_NAMES[:5]), (7, 3, 1, 0, 9), num_points=n)
        points = torch.rand(50, n, 2, generator=g)
        if task == "detect": points = torch.stack([points.amin(1) * 0.9, points.amax(1) * 0.9 + 0.1], 1)
        labels, centers = torch.randint(5, (50,), generator=g), torch.rand(50, 2, generator=g)
        px = points * torch.tensor(size)
        ids = encode_sets(labels, px, centers, size, asked, vocabulary)
        back = decode_sets(ids, centers, size, asked, vocabulary)
        assert back.keep.tolist() == list(range(50)) and back.labels.equal(labels) and not back.dropped
        assert ((back.points_px - px).abs() <= torch.tensor(size) / 1024 + 1e-3).all()


# nbs/12_instructions.ipynb, cell 81cea16a
def test_objects_are_independent():
    g = torch.Generator().manual_seed(1)
    points, centers = torch.rand(6, 2, 2, generator=g) * 64, torch.rand(6, 2, generator=g)
    labels, order = torch.arange(6) % 3, torch.randperm(6, generator=g)
    def encode(of, indices=(0, 1, 2)):
        asked = Instruction("detect", ("a", "b", "c"), indices)
        return encode_sets(labels[of], points[of], centers[of], (64, 64), asked, vocabulary)
    rows = encode(torch.arange(6))
    assert encode(order).equal(rows[order])
    assert torch.cat([encode([i]) for i in range(6)]).equal(rows)
    other = encode(torch.arange(6), (400, 7, 31))
    assert other[:, 1:].equal(rows[:, 1:]) and not other[:, 0].eq(rows[:, 0]).any()


# nbs/12_instructions.ipynb, cell 439edee6
def test_decoding_never_crashes():
    import random
    rng, edges = random.Random(0), (-2**63, 2**63 - 1, -1, IGNORE, len(vocabulary))
    asks = [Instruction("detect", ("a", "b"), (5, 0)), Instruction("segment", ("a",), num_points=8),
            Instruction("pose", ("person",))]
    def wild():
        place = vocabulary.location_id(rng.randint(-512, 512))
        return rng.choice([rng.randrange(len(vocabulary)), place, vocabulary.class_id(0),
                           rng.randint(-2**63, 2**63 - 1), rng.choice(edges)])
    for _ in range(500):
        asked, m = rng.choice(asks), rng.randrange(4)
        width, ragged = 1 + 2 * asked.points_per_set, rng.random() < 0.3
        rows = [[wild() for _ in range(rng.randrange(40) if ragged else width)] for _ in range(m)]
        if not ragged: rows = torch.tensor(rows).long().reshape(m, width)
        centers = torch.tensor(rng.choices([0.5, 0.9, 2.0, float("nan"), float("inf")], k=2 * m))
        said = decode_sets(rows, centers.reshape(m, 2), (640, 480), asked, vocabulary)
        assert len(said) + len(said.dropped) == m and len(said) == len(said.keep) == len(said.points_px)
        assert not said.points_px.isnan().any()
