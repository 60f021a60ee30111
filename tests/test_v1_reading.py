"""Tests of visionllm_edu/v1/reading.py.

Generated from nbs/32b_reading.ipynb by make export: do not edit, edit the notebook.
"""

import numpy as np
import pytest
import torch
from dataclasses import replace
from math import log
from tempfile import TemporaryDirectory
from torch import nn

from visionllm_edu.data.coco import load_data, write_shapes
from visionllm_edu.data.tasks import make_task
from visionllm_edu.language.instructions import Instruction, class_dictionary
from visionllm_edu.language.language_model import LanguageModel, LanguageModelConfig
from visionllm_edu.language.vocabulary import Vocabulary
from visionllm_edu.v1.model import VisionLLMv1Config, build, template_vocabulary
from visionllm_edu.v1.open_ended_decoder import OpenEndedDecoder, OpenEndedDecoderConfig
from visionllm_edu.v1.reading import (
    DrillMixture, PromptMixture, Reading, Told, ToldMixture, refusals, told_lesson,
)
from visionllm_edu.vision.deformable import point_position


# nbs/32b_reading.ipynb, cell ab7aa413
WORDS = "dog cat bird fish tree ball kite lake red blue big small".split()

def small_vocabulary():
    "Twelve words, with and without a space before them, and 16 class tokens."
    spelled = [class_dictionary(WORDS, range(12)), *WORDS, "a " + " ".join(WORDS)]
    return Vocabulary.train(spelled * 5, text_size=400, range=16, num_classes=16, max_points=8)


# nbs/32b_reading.ipynb, cell 7a565565
FOLDER = TemporaryDirectory()

def scenes(n=6):
    "A few scenes with shapes, as a data set."
    return load_data(write_shapes(FOLDER.name, n=n))


# nbs/32b_reading.ipynb, cell 3996b23f
def same(a, b):
    "Are two told scenes equal in everything?"
    pairs = zip(vars(a).values(), vars(b).values())
    return all(np.array_equal(x, y) if isinstance(x, np.ndarray) else x == y for x, y in pairs)


# nbs/32b_reading.ipynb, cell e5cebec0
def test_drills_ask_every_word_and_repeat_exactly():
    drills, resumed = (DrillMixture(scenes(), seed=1, grow=1000) for _ in range(2))
    for i in range(0, 3000, 37):
        told, k = drills[i], len(drills[i].objects)
        assert 2 <= k <= drills.longest(i) and sorted(told.asked) == list(range(k))
        assert [told.instruction.categories[j] for j in told.asked] == told.objects
        assert k < len(told.centers) <= k + 4 and told.centers.min() >= 0 and told.centers.max() <= 1
    assert all(same(drills[i], resumed[i]) for i in (2999, 70, 1500))   # in any order
    assert not same(drills[70], DrillMixture(scenes(), seed=2, grow=1000)[70])
    assert [drills.longest(i) for i in (0, 500, 1000, 9999)] == [4, 14, 24, 24]


# nbs/32b_reading.ipynb, cell 0bf89541
def test_prompt_drills_ask_in_real_wording():
    prompts, again = (PromptMixture(scenes(), seed=1, grow=100) for _ in range(2))
    for i in range(0, 300, 7):
        told, listed = prompts[i], prompts[i].instruction.categories
        assert told.instruction.text == told.prompt and told.instruction.task in ("detect", "segment")
        for words, place in zip(told.objects, told.asked):
            name = words.split(":")[0]
            assert listed[place] == name if place >= 0 else name not in listed
        assert sorted(told.asked[told.asked >= 0]) == list(range(len(listed))) and len(listed) <= prompts.longest(i)
    assert all(same(prompts[i], again[i]) for i in (250, 3))


# nbs/32b_reading.ipynb, cell 81e6a485
def test_a_told_scene_is_the_scene():
    data = scenes()
    mixture, resumed = ToldMixture(data, seed=3), ToldMixture(data, seed=3)
    for i in range(40):
        (_, sample, instruction, _), told = mixture.draw(i), mixture[i]
        n, names = len(sample.labels), [data.categories[c] for c in sample.labels]
        assert told.instruction == instruction and len(told.asked) == n
        assert sorted(line.split(":")[0] for line in told.objects) == sorted(names)
        assert n + 2 <= len(told.centers) <= n + 8
        if instruction.task == "detect":
            wanted = make_task(sample, instruction, data.categories).labels
            assert sorted(told.asked[told.asked >= 0]) == sorted(wanted)
        assert bool(told.answer) == instruction.is_text
    assert all(same(mixture[i], resumed[i]) for i in (39, 3, 20))


# nbs/32b_reading.ipynb, cell fc79b6ef
def test_lessons_name_the_class_in_the_list():
    v, places = small_vocabulary(), np.zeros((4, 2), np.float32)
    told = Told(Instruction("detect", ("kite", "ball"), (7, 3)), ["ball", "tree", "kite"], places, np.array([1, -1, 0]))
    asked, targets = told_lesson(told, v)
    assert asked.tie.tolist() == [[0, 2]]                                # nobody asks about the tree
    assert v.class_index(targets).tolist() == [3, 7] and asked.ids.unique().tolist() == [v.query_ids[0]]
    asked, targets = told_lesson(Told(Instruction("caption"), ["ball"], places, np.array([-1]), "a red ball"), v)
    assert v.decode(targets[:-1].tolist()) == "a red ball" and targets[-1] == v.eos_id
    assert asked.ids[0, 0] == v.bos_id and asked.tie.unique().tolist() == [-1]


# nbs/32b_reading.ipynb, cell 4b983339
def test_refusing_lowers_every_class():
    v = small_vocabulary()
    logits = torch.zeros(1, len(v), requires_grad=True)
    refusals(logits, v).sum().backward()
    assert logits.grad[0, v.eos_id] < 0 and (logits.grad[0, list(v.class_ids)] > 0).all()
    torch.testing.assert_close(refusals(logits, v), torch.tensor([log(len(v))]))


# nbs/32b_reading.ipynb, cell 4e5e92f5
class Reader(Reading, nn.Module):
    "A decoder and a vocabulary: all that `Reading` needs."

    def __init__(self, vocabulary, cfg, echo=False):
        super().__init__()
        lm = LanguageModel(cfg, len(vocabulary), vocabulary.location_ids, vocabulary.class_ids)
        self.decoder = OpenEndedDecoder(OpenEndedDecoderConfig(echo=echo), lm, vocabulary, 16)
        self.vocabulary = vocabulary

    device = property(lambda self: self.decoder.place.weight.device)

def small_reader(seed=0):
    "A reader with random weights, those of its layers three times as loud as transformers draws them."
    torch.manual_seed(seed)
    reader = Reader(small_vocabulary(), LanguageModelConfig(hidden_size=96, layers=3, heads=6, mlp_size=192))
    layers = reader.decoder.language_model.lm.model.layers
    for weight in layers.parameters():
        if weight.ndim == 2: weight.data *= 3
    return reader

def ready_reader(seed=0):
    "A reader with our first weights for look-up, and with an echo of the words before each word."
    torch.manual_seed(seed)
    cfg = LanguageModelConfig(hidden_size=96, layers=3, heads=6, mlp_size=192, lookup_start=True)
    return Reader(small_vocabulary(), cfg, echo=True)

class ShortDrills(DrillMixture):
    "Drills of twelve words and 8 class tokens, in lists of two or three."
    def __init__(self, seed=0):
        super().__init__(scenes(), seed, classes=8)
        self.words = WORDS

    def longest(self, index): return 3


# nbs/32b_reading.ipynb, cell ed99aafa
def test_collate_pads_on_the_right():
    reader, drills = small_reader(), ShortDrills()
    told = [drills[i] for i in range(8)]
    batch = reader.collate_told(told)
    assert batch.centers.shape == (8, max(len(t.centers) for t in told), 2)
    for t, centers, words, prompt in zip(told, batch.centers, batch.objects, batch.prompts):
        n = len(t.centers)
        assert torch.equal(centers[:n], torch.from_numpy(t.centers)) and not centers[n:].any()
        assert [reader.vocabulary.decode(x) for x in words] == t.objects
        assert prompt.count(reader.vocabulary.image_id) == 1


# nbs/32b_reading.ipynb, cell 9b2a2113
def test_word_tokens_are_sums_of_rows():
    reader, drills = small_reader(), ShortDrills()
    told = [replace(drills[i], objects=[f"{name}: a big red {name}" for name in drills[i].objects]) for i in range(3)]
    batch, v = reader.collate_told(told), reader.vocabulary
    tokens, table = reader.word_tokens(batch), reader.decoder.language_model.embed
    for i, t in enumerate(told):
        for j, center in enumerate(batch.centers[i]):
            ids = v.encode(t.objects[j]) if j < len(t.objects) else [v.pad_id]
            said = sum(table(torch.tensor(k)) for k in ids) / len(ids) ** 0.5
            there = reader.decoder.place(point_position(center, 96, temperature=1 / 64))
            torch.testing.assert_close(tokens[i, j], said + there, atol=1e-5, rtol=1e-5)


# nbs/32b_reading.ipynb, cell c5260a2e
def test_a_batch_equals_its_scenes():
    reader, drills = small_reader(), ShortDrills()
    told = [drills[i] for i in range(6)]
    batch = reader.collate_told(told)
    wide = [replace(t, centers=centers.numpy()) for t, centers in zip(told, batch.centers)]
    alone = [reader.told_losses(reader.collate_told([t]))["class"] * len(t.objects) for t in wide]
    together = reader.told_losses(batch)["class"]
    torch.testing.assert_close(together, sum(alone) / sum(len(t.objects) for t in told), atol=1e-5, rtol=1e-5)


# nbs/32b_reading.ipynb, cell 37d42661
def test_only_the_decoder_learns_from_words():
    torch.manual_seed(0)
    model, mixture = build(VisionLLMv1Config.tiny(), template_vocabulary()), ToldMixture(scenes())
    losses = model.told_losses(model.collate_told([mixture[i] for i in range(12)]))
    assert set(losses) == {"class", "word"}
    sum(losses.values()).backward()
    learned = {tuple(name.split(".")[:2]) for name, p in model.named_parameters()
               if p.grad is not None and p.grad.abs().sum() > 0}
    assert learned == {("decoder", "language_model"), ("decoder", "place"), ("decoder", "tie")}


# nbs/32b_reading.ipynb, cell bc035162
def test_unknown_tasks_are_refused():
    with pytest.raises(ValueError, match="unknown task 'spot'; accepted: detect"):
        ToldMixture(scenes(), {"spot": 1.0})


# nbs/32b_reading.ipynb, cell 4ecb2629
def practise(reader, drills, steps, lr=2e-3, batch=64):
    "Trains on fresh drills, never the same twice; returns the class loss of each step."
    optimizer = torch.optim.AdamW(reader.parameters(), lr=lr, betas=(0.9, 0.98))
    scale = lambda step: min(1, (step + 1) / 40, (steps - step) / 100)     # a warm-up, and a slow end
    schedule, losses = torch.optim.lr_scheduler.LambdaLR(optimizer, scale), []
    for step in range(steps):
        told = [drills[step * batch + j] for j in range(batch)]
        loss = reader.told_losses(reader.collate_told(told))["class"]
        optimizer.zero_grad(), loss.backward()
        nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
        optimizer.step(), schedule.step()
        losses.append(loss.item())
    return losses

def guessing(longest):
    "The log k line: mean loss over all words of lists of 2 to `longest` words, for a guess from the list."
    k = np.arange(2, longest + 1)
    return float((k * np.log(k)).sum() / k.sum())


# nbs/32b_reading.ipynb, cell 96ad3d95
def examine(reader, drills, n=100):
    "Loss and share of right answers on n lists of three words."
    batch = reader.collate_told([t for t in (drills[i] for i in range(4 * n)) if len(t.objects) == 3][:n])
    with torch.no_grad():
        logits = reader.decoder.class_logits(reader.decoder.read_tokens(batch.prompts, reader.word_tokens(batch)))
        loss = reader.told_losses(batch)["class"].item()
    right = [logits[i, j].argmax() == c for i, t in enumerate(batch.samples)
             for j, c in enumerate(told_lesson(t, reader.vocabulary)[1])]
    return loss, float(np.mean(right))


# nbs/32b_reading.ipynb, cell bd0d8bfc
def test_solutions():
    class SpacedDrills(DrillMixture):
        def __getitem__(self, index):
            told = super().__getitem__(index)
            return replace(told, objects=[" " + name for name in told.objects])

    class ChattyDrills(DrillMixture):
        def __getitem__(self, index):
            told, rng = super().__getitem__(index), np.random.default_rng([self.seed, 3, index])
            more = [self.words[j] for j in rng.integers(0, len(self.words), len(told.objects))]
            return replace(told, objects=[f"{name}: {other}" for name, other in zip(told.objects, more)])

    v, (plain, spaced, chatty) = small_vocabulary(), (kind(scenes(), 7) for kind in (DrillMixture, SpacedDrills, ChattyDrills))
    for drills in (plain, spaced, chatty): drills.words = WORDS
    assert plain[5].prompt == spaced[5].prompt == chatty[5].prompt
    listed = set(v.encode(plain[5].prompt))
    assert all(listed & set(v.encode(name)) for name in plain[5].objects)
    assert not any(listed & set(v.encode(name)) for name in spaced[5].objects)       # the thread is cut
    assert all(long.startswith(name + ": ") for name, long in zip(plain[5].objects, chatty[5].objects))
