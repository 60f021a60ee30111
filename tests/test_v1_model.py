"""Tests of visionllm_edu/v1/model.py.

Generated from nbs/33_v1_model.ipynb by make export: do not edit, edit the notebook.
"""

import json
import logging
import numpy as np
import pytest
import torch
import warnings
from dataclasses import asdict, replace
from lightning.pytorch import Trainer
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from torch import nn
from torch.utils.data import DataLoader

from visionllm_edu.data.coco import load_data, write_shapes
from visionllm_edu.data.tasks import TaskMixture, make_task
from visionllm_edu.language.instructions import Instruction, from_offsets, sets_to_text
from visionllm_edu.settings import from_plain, without_downloads
from visionllm_edu.v1.answering import outputs_of
from visionllm_edu.v1.model import (
    Batch, SIZES, VisionLLMv1, VisionLLMv1Config, build, class_targets, lesson_of, only,
    pairing_cost, template_vocabulary, true_boxes,
)
from visionllm_edu.v1.reading import ToldBatch, ToldMixture, refusals
from visionllm_edu.vision.backbone import BackboneConfig
from visionllm_edu.vision.deformable import DeformableConfig
from visionllm_edu.vision.matching import hungarian


# nbs/33_v1_model.ipynb, cell 42cdb5ce
from math import exp, log

def cost_loop(objectness, centers, belief, boxes, classes, weights=(2.0, 5.0, 2.0)):
    "The cost C (m, n), one number at a time; weights of objectness, distance and class."
    table = []
    for o, l, p in zip(objectness.tolist(), centers.tolist(), belief.tolist()):
        s = 1 / (1 + exp(-o))
        f = 0.25 * (1 - s) ** 2 * -log(s) - 0.75 * s**2 * -log(1 - s)
        far = [abs(l[0] - x) + abs(l[1] - y) for x, y, *_ in boxes.tolist()]
        table.append([weights[0] * f + weights[1] * d - weights[2] * p[k] for d, k in zip(far, classes.tolist())])
    return torch.tensor(table)


# nbs/33_v1_model.ipynb, cell c5e58d9e
def test_settings_travel_as_json():
    for size in SIZES:
        cfg = replace(getattr(VisionLLMv1Config, size)(), categories=("kite", "ball"))
        assert from_plain(VisionLLMv1Config, json.loads(json.dumps(asdict(cfg)))) == cfg
    plain = asdict(VisionLLMv1Config.tiny())
    with pytest.raises(ValueError, match="LanguageModelConfig has no setting 'hiden_size'"):
        from_plain(VisionLLMv1Config, plain | {"language_model": {"hiden_size": 64}})
    with pytest.raises(ValueError, match="ImageTokenizerConfig needs the setting 'queries', it is missing"):
        from_plain(VisionLLMv1Config, plain | {"tokenizer": {k: v for k, v in plain["tokenizer"].items() if k != "queries"}})


# nbs/33_v1_model.ipynb, cell eeac0caf
FOLDER = TemporaryDirectory()

def scenes(n=6):
    "A few scenes with shapes, as a data set."
    return load_data(write_shapes(FOLDER.name, n=n))

def six_tasks(data, k=4):
    "One task sample of each kind about scene k."
    sample = data[k]
    ask = [Instruction("detect", ("ball", "block", "kite")), Instruction("segment", ("kite", "block"), (7, 2), num_points=8),
           Instruction("ground", (sample.phrases[0]["text"],)), Instruction("pose", ("kite",), num_points=4),
           Instruction("caption"), Instruction("answer", question=sample.questions[0]["question"])]
    return [make_task(sample, instruction, data.categories, shapes=True) for instruction in ask]


# nbs/33_v1_model.ipynb, cell 38dbae59
def test_cost_equals_the_loops():
    sample, v = six_tasks(scenes())[1], template_vocabulary()
    torch.manual_seed(0)
    objectness, centers, said = torch.randn(10), torch.rand(10, 2), 5 * torch.randn(10, len(v))
    belief, cfg = said.softmax(-1), VisionLLMv1Config.tiny()
    cost = pairing_cost(objectness, centers, belief, sample, v, cfg)
    weights = cfg.tokenizer.objectness_cost, cfg.tokenizer.center_cost, cfg.class_cost
    slow = cost_loop(objectness, centers, belief, true_boxes(sample), class_targets(sample, v), weights)
    assert cost.shape == (10, 4)
    torch.testing.assert_close(cost, slow, atol=1e-5, rtol=1e-5)
    q, n = hungarian(cost)
    assert sorted(n.tolist()) == [0, 1, 2, 3] and len(set(q.tolist())) == 4       # each object one token of its own


# nbs/33_v1_model.ipynb, cell a7c67e2d
def test_lessons_in_words_and_with_little_room():
    data, v = scenes(), template_vocabulary()
    *_, caption, _ = six_tasks(data)
    asked, targets, shares = lesson_of(caption, (torch.zeros(0), torch.zeros(0)), torch.zeros(10, 2), v, 400)
    assert v.decode(targets[:-1]) == caption.answer and targets[-1] == v.eos_id
    assert torch.equal(asked.ids[0, 1:], targets[:-1]) and asked.ids[0, 0] == v.bos_id       # each place says the next word
    outlines = six_tasks(data)[1]
    asked, targets, _ = lesson_of(outlines, (torch.arange(4), torch.arange(4)), torch.rand(10, 2), v, places=40)
    assert len(targets) == 2 * 17 and len(set(asked.tie[0].tolist())) == 2                     # room for two sets of 17


# nbs/33_v1_model.ipynb, cell aea7b944
def tiny_model(data, seed=0, **changes):
    "A tiny model of random weights for a data set."
    torch.manual_seed(seed)
    cfg = replace(VisionLLMv1Config.tiny(), categories=tuple(data.categories), **changes)
    return build(cfg, template_vocabulary([data[k].captions[0] for k in range(len(data))], data.categories))

def shaken(model, seed=1):
    "The model with noise on all its weights, so that every connection matters."
    torch.manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters(): p.add_(0.05 * torch.randn_like(p))
    return model


# nbs/33_v1_model.ipynb, cell d8f05473
def test_classes_are_asked_where_sets_are_wanted():
    data = scenes()
    model, samples = shaken(tiny_model(data)), six_tasks(data)
    batch = model.collate(samples[4:] + samples[:4])      # words first, so that rows and samples differ
    with torch.no_grad():
        tokens = model.see(batch.pixels, [s.instruction.text for s in batch.samples])
        context = model.decoder.read(batch.prompts, tokens.embeddings, tokens.centers)
        some, every = model._classes(batch, context), model.decoder.class_logits(context)
        words = Batch(batch.pixels[:2], batch.prompts[:2], batch.samples[:2])
        assert model._classes(words, context.select([0, 1])) == [None, None] == some[:2]
    for one, known in zip(some[2:], every[2:]): torch.testing.assert_close(one, known, atol=1e-5, rtol=1e-5)


# nbs/33_v1_model.ipynb, cell fe3f3a00
def untied_model(data):
    "A shaken tiny model whose matchings are clear, so that a rounding error can't turn them."
    one_layer = replace(VisionLLMv1Config.tiny().tokenizer, deformable=DeformableConfig.tiny(decoder_layers=1))
    return shaken(tiny_model(data, class_cost=1000.0, tokenizer=one_layer))


# nbs/33_v1_model.ipynb, cell 8becf088
def test_mixed_batch_is_the_weighted_mean_of_its_samples():
    data = scenes()
    model, samples = untied_model(data), six_tasks(data, k=1)
    empty = make_task(data[0], Instruction("detect", ("kite",)), data.categories)        # there is none in scene 0
    samples.append(empty)
    together = model.losses(model.collate(samples))
    alone = [model.losses(model.collate([s])) for s in samples]
    sets = [len(s.labels) for s in samples]
    words = [len(model.vocabulary.encode(s.answer)) + 1 if s.answer else 0 for s in samples]
    counts = dict.fromkeys(("class", "coordinate"), (sets, sum(sets))) | {"word": (words, sum(words))}
    counts |= dict.fromkeys(("objectness", "center", "extent"), ([max(1, n) for n in sets], sum(sets)))
    assert set(together) == set(counts) and len(empty.labels) == 0
    for name, (n, total) in counts.items():
        mean = sum(k * losses[name] for k, losses in zip(n, alone) if name in losses) / total
        torch.testing.assert_close(together[name], mean, atol=1e-4, rtol=1e-4)


# nbs/33_v1_model.ipynb, cell 40312ace
def test_nothing_to_find_and_nothing_but_words():
    data = scenes()
    model = tiny_model(data)
    *_, caption, question = six_tasks(data)
    empty = make_task(data[0], Instruction("segment", ("kite",)), data.categories)
    losses = model.losses(model.collate([empty]))
    assert losses.keys() == {"objectness", "center", "extent"} and losses["objectness"] > 0 == losses["center"]
    losses = model.losses(model.collate([caption, question]))
    assert losses.keys() == {"word"}
    losses["word"].backward()                                      # words alone teach the backbone, too
    assert model.backbone.projections[0][0].weight.grad.abs().max() > 0


# nbs/33_v1_model.ipynb, cell 294dd991
def test_more_objects_than_tokens():
    data = scenes()
    model = tiny_model(data, tokenizer=replace(VisionLLMv1Config.tiny().tokenizer, queries=2))
    sample = six_tasks(data)[0]
    assert len(sample.labels) == 4
    losses = model.losses(model.collate([sample]))                 # two objects find a token, two are left out
    assert all(x.isfinite() and x > 0 for x in losses.values())


# nbs/33_v1_model.ipynb, cell 0f55e916
def test_proposals_and_told_scenes_have_losses_of_their_own():
    data = scenes()
    model = shaken(tiny_model(data, tokenizer=replace(VisionLLMv1Config.tiny().tokenizer, proposals=True)))
    batch = model.collate(six_tasks(data))
    tokens = model.see(batch.pixels, [s.instruction.text for s in batch.samples])
    some = only(tokens, [3, 1])
    for part, whole in ((some, tokens), (some.proposals, tokens.proposals)): assert torch.equal(part.centers, whole.centers[[3, 1]])
    assert some.proposals.shapes == tokens.proposals.shapes and torch.equal(some.layers[0][0], tokens.layers[0][0][[3, 1]])
    losses = model.losses(batch)
    sum(losses.values()).backward()
    assert losses["proposal"] > 0 and all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())
    told = model.collate([ToldMixture(data)[i] for i in range(6)])
    assert isinstance(told, ToldBatch) and model.losses(told).keys() <= {"class", "word"}


# nbs/33_v1_model.ipynb, cell bc12672b
def test_aids_name_matched_tokens_and_refuse_the_rest():
    torch.manual_seed(0)
    data, cfg = scenes(), VisionLLMv1Config.tiny()
    cfg = replace(cfg, decoder=replace(cfg.decoder, naming_weight=1.0, refusal_weight=1.0))
    model = build(cfg, template_vocabulary(data.categories))
    asked = Instruction("detect", tuple(data.categories))
    plain = [make_task(data[i], asked, data.categories) for i in (0, 1)]
    named = [replace(s, descriptions=[data.categories[c] for c in s.labels]) for s in plain]
    terms = model.losses(model.collate(named))
    assert {"naming", "refusal"} <= set(terms) and "naming" not in model.losses(model.collate(plain))
    terms["naming"].backward()
    moved = lambda part: any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())
    assert moved(model.decoder.see) and moved(model.tokenizer) and not moved(model.decoder.language_model)

    batch = model.collate(named)
    with torch.no_grad():
        tokens = model.see(batch.pixels, [s.instruction.text for s in batch.samples])
        logits = model.decoder.class_logits(model.decoder.read(batch.prompts, tokens.embeddings, tokens.centers))
        matches = model.match(batch, tokens, [*logits])
        each = refusals(logits.flatten(0, 1), model.vocabulary).view(logits.shape[:2])
        by_hand = sum(tokens.objectness[i, q].sigmoid() * each[i, q] for i in range(2)
                      for q in range(each.shape[1]) if q not in matches[i][0].tolist())
        found = model._refused(batch, tokens, [*logits], matches)["refusal"]
    torch.testing.assert_close(found, by_hand / sum(len(q) for q, _ in matches))


# nbs/33_v1_model.ipynb, cell 64d142dc
def test_eyes_learn_without_words():
    torch.manual_seed(0)
    data, cfg = scenes(), VisionLLMv1Config.tiny()
    cfg = replace(cfg, decoder=replace(cfg.decoder, naming_weight=1.0, refusal_weight=1.0))
    model, asked = build(cfg, template_vocabulary(data.categories)), Instruction("detect", tuple(data.categories))
    shown = [make_task(data[i], asked, data.categories) for i in (0, 1)]
    terms = model.losses(model.collate([replace(
        s, purpose="eyes", descriptions=[data.categories[c] for c in s.labels]) for s in shown]))
    assert {"naming", "objectness", "center", "extent"} <= set(terms) and not {"class", "coordinate", "word", "refusal"} & set(terms)
    sum(terms.values()).backward()
    moved = lambda part: any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())
    assert moved(model.backbone) and moved(model.tokenizer) and moved(model.decoder.see)
    assert all(p.grad is None for p in model.language_model.parameters())


# nbs/33_v1_model.ipynb, cell abdbcdc6
def test_tokens_show_the_scene_and_know_shapes():
    from visionllm_edu.v1.image_tokenizer import shape_loss
    torch.manual_seed(0)
    data, cfg = scenes(), VisionLLMv1Config.tiny()
    samples = six_tasks(data, k=1)
    words = [s for s in samples if s.instruction.is_text]
    assert all(len(s.scene_px) == (~data.sample(1, image=False).crowd).sum() for s in words)
    deaf = build(cfg, template_vocabulary(data.categories))
    silent = deaf.losses(deaf.collate(words))
    assert silent["word"] > 0 and not silent.keys() & {"naming", "shape"} and silent.get("center", 0) == 0
    cfg = replace(cfg, whole_scene=True, tokenizer=replace(cfg.tokenizer, shape_weight=20.0))
    model = build(cfg, template_vocabulary(data.categories))
    terms = model.losses(model.collate(words))
    assert {"word", "objectness", "center", "extent"} <= terms.keys() and terms["shape"] > 0   # of what a question is about
    terms = model.losses(model.collate(samples))
    terms["shape"].backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.tokenizer.decoder.parameters())
    assert all(p.grad is None for p in model.decoder.parameters())
    with torch.no_grad():                                            # by hand: what heads say of matched tokens, per object
        batch = model.collate(samples[:1])
        tokens = model.see(batch.pixels, [samples[0].instruction.text])
        (q, k), = model.match(batch, tokens)
        head, e, s = model.tokenizer.shape, tokens.embeddings[0, q], samples[0]
        gap = lambda said, known: shape_loss(said + tokens.centers[0, q, None], torch.as_tensor(known)[k] / torch.tensor(s.size))
        kites = (s.labels == 2).sum().clip(1)
        by_hand = 20 * (gap(head.outline(e, 24), s.outlines_px) / len(q) + gap(head.pose(e, 4), s.poses_px) / kites)
        torch.testing.assert_close(model._shapes(batch, tokens, [(q, k)])["shape"], by_hand)
        assert model._shapes(model.collate([replace(s, outlines_px=None, poses_px=None)]), tokens, [(q, k)])["shape"] == 0


# nbs/33_v1_model.ipynb, cell e17e2ee6
def test_helpers_learn_boxes_words_and_shapes():
    torch.manual_seed(0)
    data, cfg = scenes(), VisionLLMv1Config.tiny()
    cfg = replace(cfg, tokenizer=replace(cfg.tokenizer, proposals=True, box_references=True, fine_map=True, helpers=6, shape_weight=20.0),
                  backbone=replace(cfg.backbone, fine_map=True), decoder=replace(cfg.decoder, naming_weight=1.0, boxes=True))
    model = build(cfg, template_vocabulary(data.categories)).train()
    for head in (*model.tokenizer.center, *model.tokenizer.extent): torch.nn.init.normal_(head[-1].weight, std=0.1)  # not at rest
    asked = Instruction("segment", tuple(data.categories), num_points=8)
    s = make_task(data[0], asked, data.categories, told=[data.categories[c] for c in data[0].labels], shapes=True)
    batch = model.collate([replace(s, purpose="eyes")])
    tokens = model.see(batch.pixels, [s.instruction.text])
    on = true_boxes(s)[:1].expand(1, 6, 4)
    helpers = replace(tokens.helpers, start=on)
    terms = model._eyes_losses(batch, replace(tokens, helpers=helpers), model.match(batch, tokens))
    assert {"helper", "helper_naming", "helper_shape"} <= terms.keys()
    for name in ("helper", "helper_naming", "helper_shape"):
        model.zero_grad(), terms[name].backward(retain_graph=True)
        assert model.tokenizer.helper.grad.abs().sum() > 0 and model.backbone.fine[0].weight.grad.abs().sum() > 0, name
    away = replace(tokens, helpers=replace(helpers, start=on * 0 + torch.tensor([0.01, 0.01, 0.01, 0.01])))
    lost = model._eyes_losses(batch, away, model.match(batch, tokens))
    assert "helper_naming" not in lost and lost["helper"] == 0 and lost["helper_shape"] == 0
    with pytest.raises(ValueError, match="one makes the map, the other reads it"):
        build(replace(cfg, backbone=BackboneConfig.tiny()), template_vocabulary(data.categories))
    model.zero_grad(), model.losses(model.collate([s]))["coordinate"].backward()      # what the LM says of a box
    assert model.decoder.size.weight.grad.abs().sum() > 0
    nn.init.normal_(model.decoder.size.weight, std=0.1)
    model.zero_grad(), model.losses(model.collate([s]))["coordinate"].backward()      # reaches how the tokenizer sizes it
    assert model.tokenizer.extent[-1][-1].weight.grad.abs().sum() > 0


# nbs/33_v1_model.ipynb, cell 67554348
def test_drafts_are_what_tokens_say_and_frozen_eyes_rest():
    torch.manual_seed(0)
    data, cfg = scenes(), VisionLLMv1Config.tiny()
    tokenizer = replace(cfg.tokenizer, proposals=True, box_references=True, helpers=6, shape_weight=20.0)
    cfg = replace(cfg, tokenizer=tokenizer, decoder=replace(cfg.decoder, drafts=8.0, naming_weight=1.0))
    model = build(cfg, template_vocabulary(data.categories))
    batch = model.collate(six_tasks(data))
    with torch.no_grad(): tokens = model.see(batch.pixels, [s.instruction.text for s in batch.samples])
    for i, s in enumerate(batch.samples):
        if s.instruction.is_text:
            assert model.draft(tokens, i, s.instruction) is None
            continue
        ids, asked = model.draft(tokens, i, s.instruction), s.instruction
        kind = {"segment": "outline", "pose": "pose"}.get(asked.task, "box")
        said, center = model.tokenizer.says(tokens, i, kind, asked.points_per_set), tokens.centers[i]
        assert (ids[:, 0] == -1).all() and ids.shape == (cfg.tokenizer.queries, 1 + 2 * asked.points_per_set)
        again = from_offsets(ids[:, 1:].unflatten(1, (-1, 2)) - model.vocabulary.location_id(0), center)
        torch.testing.assert_close(again, said.clamp(0, 1), atol=0.51 / 512, rtol=0)
    deaf = build(replace(cfg, tokenizer=replace(tokenizer, shape_weight=0.0)), model.vocabulary)
    drawn = {s.instruction.task: deaf.draft(tokens, 0, s.instruction) is not None for s in batch.samples if not s.instruction.is_text}
    assert drawn == {"detect": True, "ground": True, "segment": False, "pose": False}     # no head, no outline

    from visionllm_edu.train import freeze
    freeze(model.train(), ("backbone", "guidance", "tokenizer"))
    rested = model.losses(model.collate(six_tasks(data)))
    assert {"class", "coordinate", "word"} <= rested.keys() and not {"objectness", "center", "shape", "helper"} & rested.keys()
    sum(rested.values()).backward()
    assert {n.split(".")[0] for n, p in model.named_parameters() if p.grad is not None} == {"decoder"}


# nbs/33_v1_model.ipynb, cell f6e0aa43
def test_second_forward_equals_the_first():
    data = scenes()
    model, samples = shaken(tiny_model(data)), six_tasks(data)
    batch = model.collate(samples)
    pixels, prompts = batch.pixels.clone(), [list(p) for p in batch.prompts]
    first, second = (model.losses(batch) for _ in range(2))
    for name in first: torch.testing.assert_close(first[name], second[name], atol=1e-5, rtol=1e-5)
    assert torch.equal(batch.pixels, pixels) and batch.prompts == prompts


# nbs/33_v1_model.ipynb, cell 6b4d835e
def test_order_of_objects_does_not_matter():
    data = scenes()
    model, samples = untied_model(data), six_tasks(data, k=1)[:4]
    turn = lambda s: replace(s, labels=s.labels[::-1].copy(), points_px=s.points_px[::-1].copy(), centers=s.centers[::-1].copy(), boxes_xyxy_px=s.boxes_xyxy_px[::-1].copy())
    plain = model.losses(model.collate(samples))
    turned = model.losses(model.collate([turn(s) for s in samples]))
    for name in plain: torch.testing.assert_close(plain[name], turned[name], atol=1e-4, rtol=1e-4)


# nbs/33_v1_model.ipynb, cell aea73f75
def test_class_tokens_have_no_meaning_of_their_own():
    data = scenes()
    model = untied_model(data)
    ask = lambda *indices: make_task(data[1], Instruction("detect", ("ball", "block", "kite"), indices), data.categories)
    plain = model.losses(model.collate([ask(0, 1, 2)]))
    renamed = model.losses(model.collate([ask(2, 1, 0)]))
    assert renamed.keys() == plain.keys() and (renamed["class"] - plain["class"]).abs() > 1e-3    # another token is asked for
    a, b = model.vocabulary.class_id(0), model.vocabulary.class_id(2)
    tables = model.decoder.language_model.lm.get_input_embeddings(), model.guidance.encoder.bert.get_input_embeddings()
    with torch.no_grad():
        for table in tables: table.weight[[a, b]] = table.weight[[b, a]]
    renamed = model.losses(model.collate([ask(2, 1, 0)]))
    for name in plain: torch.testing.assert_close(renamed[name], plain[name], atol=1e-5, rtol=1e-5)


# nbs/33_v1_model.ipynb, cell 4fa90421
def test_box_alone_reaches_llm_and_backbone():
    data = scenes()
    model, samples = shaken(tiny_model(data)), six_tasks(data)
    losses = model.losses(model.collate(samples[:1]))
    (losses["class"] + losses["coordinate"]).backward()
    moved = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    untouched = {n for n, _ in model.named_parameters()} - moved
    assert all(n.startswith(("tokenizer.objectness", "tokenizer.extent", "tokenizer.center")) for n in untouched)
    assert any("q_proj" in n for n in moved) and "backbone.resnet.embedder.embedder.convolution.weight" in moved
    assert not any(n.startswith("tokenizer.center.1.4") for n in untouched)           # l_i is learned from offsets as well


# nbs/33_v1_model.ipynb, cell 50ff55ff
def test_every_parameter_learns():
    data = scenes()
    model = shaken(tiny_model(data))
    sum(model.losses(model.collate(six_tasks(data))).values()).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or p.grad.abs().max() == 0] == []


# nbs/33_v1_model.ipynb, cell 93b098cd
def test_round_trip_gives_identical_replies():
    data = scenes()
    model, ask = shaken(tiny_model(data)), [s.instruction for s in six_tasks(data)]
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        twin = VisionLLMv1.from_pretrained(folder)
        twin.save_pretrained(Path(folder, "again"))
        for name in ("config.json", "vocabulary.json"): assert Path(folder, name).read_text() == Path(folder, "again", name).read_text()
    assert twin.cfg == model.cfg and not twin.training and twin.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(x, y) for x, y in zip(twin.state_dict().values(), model.state_dict().values()))
    images = [data[4].image] * len(ask)
    texts = [[r.text for r in m.respond(images, ask, threshold=0.0)] for m in (model, twin)]
    assert texts[0] == texts[1] and sum(map(bool, texts[0])) >= 4


# nbs/33_v1_model.ipynb, cell 2668a8d0
def test_wrong_checkpoints_are_refused_by_name():
    data = scenes()
    with TemporaryDirectory() as folder:
        tiny_model(data).save_pretrained(folder)
        file = Path(folder, "config.json")
        plain = json.loads(file.read_text())
        def refused(match, **changes):
            file.write_text(json.dumps(plain | changes))
            with pytest.raises(ValueError, match=match) as error: VisionLLMv1.from_pretrained(folder)
            assert "\n" not in str(error.value)
        refused(r"'tokenizer.queries.(content|position).weight' has the size \(10, 32\), this model has \(12, 32\)", tokenizer=plain["tokenizer"] | {"queries": 12})
        refused("'decoder.language_model.lm.model.layers.2.* which this model needs", language_model=plain["language_model"] | {"layers": 3})
        refused("VisionLLMv1Config has no setting 'pixels'", pixels=3)
        file.unlink()
        with pytest.raises(ValueError, match="no config.json"): VisionLLMv1.from_pretrained(folder)
    with pytest.raises(ValueError, match="nowhere-at-all: no such folder"): VisionLLMv1.from_pretrained("nowhere-at-all")


# nbs/33_v1_model.ipynb, cell 849b622c
def test_parts_that_do_not_fit_are_refused():
    tiny, v = VisionLLMv1Config.tiny(), template_vocabulary()
    with pytest.raises(ValueError, match="unknown size 'huge'; accepted are tiny, mini, paper"): VisionLLMv1.build("huge")
    with pytest.raises(ValueError, match="backbone.d_model is 32, tokenizer.deformable.d_model is 64"):
        build(replace(tiny, tokenizer=replace(tiny.tokenizer, deformable=replace(tiny.tokenizer.deformable, d_model=64))), v)
    with pytest.raises(ValueError, match="decoder.boxes is True, tokenizer.box_references is False"):
        build(replace(tiny, decoder=replace(tiny.decoder, boxes=True)), v)


# nbs/33_v1_model.ipynb, cell 6d91eb17
def test_paper_size_on_the_meta_device():
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = build(without_downloads(VisionLLMv1Config.paper()), template_vocabulary())
    n = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    resnet = sum(p.numel() for p in model.backbone.resnet.parameters())
    assert all(p.is_meta for p in model.parameters()) and model.tokenizer.cfg.queries == 100
    assert abs(resnet / 23.5e6 - 1) < 0.01 and abs(n["decoder"] / 6.6e9 - 1) < 0.05        # ResNet-50, and a Llama of 7B
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) < 0.05 * sum(n.values())
    assert not any(p.requires_grad for name, p in model.named_parameters() if "q_proj.base_layer" in name)


# nbs/33_v1_model.ipynb, cell bc799018
def test_lightning_trains_it():
    data = scenes()
    model = tiny_model(data, lr=1e-3, lr_language_model=2e-4)
    optimizer = model.configure_optimizers()
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert len(held) == len(set(held)) and set(held) == {id(p) for p in model.parameters()}
    assert [group["lr"] for group in optimizer.param_groups] == [1e-3, 2e-4] == model.peak_rates()
    for part in ("", ".pytorch", ".fabric"): logging.getLogger(f"lightning{part}").setLevel(logging.ERROR)
    off = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer, before = Trainer(max_steps=2, accelerator="cpu", **off), model.tokenizer.queries.content.weight.clone()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(model, DataLoader(six_tasks(data), batch_size=6, collate_fn=model.collate))
    logged = {k: float(v) for k, v in trainer.callback_metrics.items()}
    assert logged.keys() == {f"train/{k}" for k in ("class", "coordinate", "word", "objectness", "center", "extent", "loss")}
    assert logged["train/loss"] == pytest.approx(sum(v for k, v in logged.items() if k != "train/loss"), rel=1e-4)
    assert not torch.equal(before, model.tokenizer.queries.content.weight)


# nbs/33_v1_model.ipynb, cell 09cdca8b
def margins(cost):
    "How much dearer the matching becomes if the pair of each object is forbidden, (n,)."
    q, n = hungarian(cost)
    total, grown = cost[q, n].sum(), torch.zeros(cost.shape[1])
    for i, j in zip(q, n):
        other = cost.clone()
        other[i, j] = torch.inf
        grown[j] = cost[hungarian(other)].sum() - total
    return grown


# nbs/33_v1_model.ipynb, cell 7309c8c3
def test_solutions():
    data = scenes()
    model = untied_model(data)
    full, none = six_tasks(data, k=1)[0], make_task(data[0], Instruction("detect", ("kite",)), data.categories)
    one, two = (model.losses(model.collate(s)) for s in ([full], [full, none]))
    assert two["objectness"] > one["objectness"]
    for name in ("class", "coordinate", "center", "extent"): torch.testing.assert_close(one[name], two[name], atol=1e-4, rtol=1e-4)
    model.backbone.requires_grad_(False)
    held = {id(p) for group in model.configure_optimizers().param_groups for p in group["params"]}
    assert not held & {id(p) for p in model.backbone.parameters()} and held
    torch.testing.assert_close(margins(torch.tensor([[1.0, 5.0], [2.0, 1.0], [4.0, 1.5]])), torch.tensor([1.5, 0.5]))
