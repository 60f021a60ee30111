"""Tests of visionllm_edu/pix2seq.py.

Generated from nbs/38_pix2seq.ipynb by make export: do not edit, edit the notebook.
"""

import numpy as np
import pytest
import tempfile
import torch
from dataclasses import replace

from visionllm_edu.bench import read_something
from visionllm_edu.data.coco import load_data, write_shapes
from visionllm_edu.data.tasks import TaskMixture
from visionllm_edu.language.instructions import IGNORE, Instruction
from visionllm_edu.pix2seq import (
    PLACES, TokenByToken, allowed_tokens, noise_boxes, read_boxes, sentence_of, write_boxes,
    write_objects,
)
from visionllm_edu.v1.model import VisionLLMv1Config, build, template_vocabulary
from visionllm_edu.v1.open_ended_decoder import Blocks


# nbs/38_pix2seq.ipynb, cell 579385cd
def small_world(n=2):
    "n pictures of shapes, samples in which everything is asked for, and a tiny config."
    data = load_data(write_shapes(tempfile.mkdtemp(), n=n))
    samples = TaskMixture(data, {"detect": 1.0}, full_list=1.0, random_classes=False)
    return data, samples, replace(VisionLLMv1Config.tiny(), categories=tuple(data.categories))


# nbs/38_pix2seq.ipynb, cell dd57b8c0
def test_boxes_survive_the_way_through_tokens():
    torch.manual_seed(0)
    v, corners = template_vocabulary(), torch.rand(500, 4)
    ids = write_boxes(corners, torch.full((500,), v.class_id(7)), v)
    assert ids.shape == (500, PLACES) and (ids[:, 4] == v.class_id(7)).all()
    assert (read_boxes(ids, v) - corners).abs().max() <= 1 / (4 * v.range) + 1e-6      # half a step
    torch.testing.assert_close(write_boxes(read_boxes(ids, v), ids[:, 4], v), ids)     # tokens come back exactly
    outside = write_boxes(torch.tensor([[-0.2, 0, 1.0, 1.7]]), ids[:1, 4], v)
    assert read_boxes(outside, v).tolist() == [[0, 0, 1, 1]]


# nbs/38_pix2seq.ipynb, cell 78812c61
def test_sentences_say_what_the_sample_holds():
    torch.manual_seed(0)
    data, samples, cfg = small_world()
    v, sample = template_vocabulary(), samples[0]
    n = len(sample.labels)
    read, say = sentence_of(sample, v)
    assert read[0] == v.bos_id and read[1:] == say[:-1].tolist() and say[-1] == v.eos_id and len(say) == 5 * n + 1
    found = {tuple(x) for x in read_boxes(say[:-1].view(n, 5), v).mul(1000).round().tolist()}
    true = write_boxes(torch.tensor(sample.boxes_xyxy_px / np.array([*sample.size] * 2)).float(), torch.zeros(n).long(), v)
    assert found == {tuple(x) for x in read_boxes(true, v).mul(1000).round().tolist()}
    orders = {tuple(sentence_of(sample, v)[1][4:-1:5].tolist()) + tuple(sentence_of(sample, v)[0][1:2]) for _ in range(20)}
    assert len(orders) > 1 or n < 2                                        # another order each time
    read, say = sentence_of(sample, v, room=12)
    assert len(say) == 60 and (say == IGNORE).sum() == 4 * (12 - n) and (say == v.class_ids[-1]).sum() == 12 - n
    boxes = noise_boxes(torch.rand(0, 4), 9)                               # a picture without objects
    assert (boxes[:, 2:] >= boxes[:, :2]).all() and boxes.min() >= 0 and boxes.max() <= 1


# nbs/38_pix2seq.ipynb, cell 8488e78d
def test_written_sentence_is_what_training_sees():
    torch.manual_seed(0)
    data, samples, cfg = small_world()
    model = TokenByToken.of(build(cfg, template_vocabulary())).eval()
    v, decoder = model.vocabulary, model.decoder
    context = read_something(model, 4)
    named = [[v.class_id(0), v.class_id(1)]]
    ids, scores = write_objects(decoder, context, named, most=3, noise=False)[0]
    with torch.no_grad(): hidden = decoder.answer(context, Blocks.texts([[v.bos_id, *ids.flatten().tolist()]]))
    logits, grammar = decoder.language_model.logits(hidden[0]), allowed_tokens(named, v, False)
    for k, token in enumerate(ids.flatten().tolist()):
        best = logits[k].masked_fill(~grammar[k % PLACES, 0], -torch.inf).max()
        torch.testing.assert_close(logits[k, token], best, rtol=1e-4, atol=1e-4)
    sure = logits[4 : PLACES * len(ids) : PLACES].softmax(-1).gather(1, ids[:, 4:])[:, 0]
    torch.testing.assert_close(sure, scores, rtol=1e-4, atol=1e-6)


# nbs/38_pix2seq.ipynb, cell 657eb2e4
def test_batch_writes_as_one_alone():
    torch.manual_seed(1)
    data, samples, cfg = small_world()
    model = TokenByToken.of(build(cfg, template_vocabulary()))
    asked = [Instruction("detect", tuple(data.categories)), Instruction("detect", ("red ball",), class_indices=(9,))]
    together = model.respond([data.image(0), data.image(1)], asked, 0.0)
    apart = [model.respond([data.image(i)], [asked[i]], 0.0)[0] for i in (0, 1)]
    for a, b in zip(together, apart):
        assert a.text == b.text and a.detections.text_labels == b.detections.text_labels
        torch.testing.assert_close(a.detections.scores, b.detections.scores, rtol=1e-4, atol=1e-5)
    assert all(name == "red ball" for name in together[1].detections.text_labels)
    with pytest.raises(ValueError, match="means noise"):
        model.respond([data.image(0)], [Instruction("detect", ("ball",), class_indices=(511,))])
    with pytest.raises(ValueError, match="writes boxes"): model.respond([data.image(0)], [Instruction("caption")])


# nbs/38_pix2seq.ipynb, cell b95ccdab
def test_one_set_in_parallel_is_one_set_step_by_step():
    torch.manual_seed(0)
    data, samples, cfg = small_world()
    decoder = (model := build(cfg, template_vocabulary()).eval()).decoder
    with torch.no_grad():
        context, row = read_something(model, 4), model.vocabulary.query_row(2)
        blocks = Blocks.sets([row], [torch.tensor([2])])
        at_once, places = decoder.answer(context, blocks)[0], decoder.queries(context, blocks)
        cache, valid, steps = context.cache, context.valid, []
        for k in range(len(row)):
            valid = torch.nn.functional.pad(valid, (0, 1), value=True)
            where = context.length[:, None] + k
            hidden, cache = decoder.language_model.answer(places[:, k : k + 1], cache, valid[:, None], where)
            steps.append(hidden[0, 0])
    torch.testing.assert_close(torch.stack(steps), at_once, rtol=1e-4, atol=1e-5)


# nbs/38_pix2seq.ipynb, cell fab6026e
def learn_by_heart(model, batch, steps, lr=2e-3):
    "Steps on one batch; returns the losses."
    optimizer, curve = torch.optim.AdamW(model.parameters(), lr=lr), []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = sum(model.losses(batch).values())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        curve.append(loss.item())
    return curve


# nbs/38_pix2seq.ipynb, cell b628eb88
def test_it_learns_two_pictures_and_every_part_learns():
    torch.manual_seed(0)
    data, samples, cfg = small_world()
    model = TokenByToken.of(build(cfg, template_vocabulary((), data.categories)))
    batch = model.collate([samples[0], samples[1]])
    sum(model.losses(batch).values()).backward()
    deaf = {n.split(".")[1] for n, p in model.named_parameters() if not p.grad.abs().sum() and n.startswith("decoder.")}
    assert deaf <= {"tie", "along", "shape"}                      # they belong to forms
    assert model.backbone.resnet.embedder.embedder.convolution.weight.grad.abs().sum() > 0
    curve = learn_by_heart(model, batch, 30)
    assert curve[-1] < 0.6 * curve[0]


# nbs/38_pix2seq.ipynb, cell 7fa9cf47
def test_weights_come_back_from_a_folder():
    torch.manual_seed(0)
    data, samples, cfg = small_world()
    model = TokenByToken.of(build(cfg, template_vocabulary()), noise=False)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        again = TokenByToken.from_pretrained(folder, noise=False)
    asked = [Instruction("detect", tuple(data.categories))]
    assert again.respond([data.image(0)], asked, 0.0)[0].text == model.respond([data.image(0)], asked, 0.0)[0].text
    assert type(again) is TokenByToken and not again.noise and TokenByToken.of(model).noise
