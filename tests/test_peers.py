"""Tests of visionllm_edu/peers.py.

Generated from nbs/38_peers.ipynb by make export: do not edit, edit the notebook.
"""

import numpy as np
import pytest
import tempfile
import torch
from dataclasses import replace

from visionllm_edu.bench import read_something
from visionllm_edu.data.coco import load_data, write_shapes
from visionllm_edu.language.instructions import IGNORE, Instruction
from visionllm_edu.peers import (
    PLACES, SpecialistDETR, TokenByToken, allowed_tokens, build_detr, build_peer, noise_boxes,
    peer_recipe, read_boxes, sentence_of, train_peer, write_boxes, write_objects,
)
from visionllm_edu.train import mixture_for
from visionllm_edu.v1.model import VisionLLMv1Config, build, template_vocabulary, true_boxes
from visionllm_edu.v1.open_ended_decoder import Blocks


# nbs/38_peers.ipynb, cell b7c4a1e0
def small_world(n=2, folder=None):
    "n pictures of shapes, and a tiny config that knows their categories."
    data = load_data(write_shapes(folder or tempfile.mkdtemp(), n=n))
    return data, replace(VisionLLMv1Config.tiny(), categories=tuple(data.categories))


def batch_for(model, data, n=2):
    "n samples in which everything is asked for."
    mixture = mixture_for(data, peer_recipe(steps=1, batch_size=n), model.cfg.image_size)
    return model.collate([mixture[i] for i in range(n)])


# nbs/38_peers.ipynb, cell cdb55e89
def test_specialist_has_our_backbone():
    from visionllm_edu.vision.backbone import build_backbone
    data, cfg = small_world()
    detr, ours = build_detr(cfg), build_backbone(cfg.backbone)
    count = lambda *parts: sum(p.numel() for part in parts for p in part.parameters() if p.requires_grad)
    assert count(detr.model.backbone.model, detr.model.input_proj) == count(ours)
    ours.resnet.load_state_dict(detr.model.backbone.model.state_dict())
    ours.projections.load_state_dict(detr.model.input_proj.state_dict())
    pixels = torch.randn(2, 3, 64, 64)
    maps = detr.model.backbone(pixels, torch.ones(2, 64, 64))
    torch.testing.assert_close(detr.model.input_proj[1](maps[1][0]), ours(pixels)[1])


# nbs/38_peers.ipynb, cell ca38e7c1
def test_specialist_loss_is_the_library_s():
    torch.manual_seed(0)
    data, cfg = small_world()
    model = SpecialistDETR(cfg)
    batch = batch_for(model, data)
    terms = model.losses(batch)
    wanted = [{"class_labels": model.columns(s.instruction)[s.labels], "boxes": true_boxes(s)} for s in batch.samples]
    theirs = model.detr(batch.pixels, labels=wanted).loss
    torch.testing.assert_close(terms["label"] / 2 + terms["l1"] + terms["giou"], theirs)
    sum(terms.values()).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    assert model.detr.model.enc_output.weight.grad.abs().max() > 0


# nbs/38_peers.ipynb, cell 70ab7c21
def test_specialist_answers_only_what_it_learned():
    torch.manual_seed(0)
    data, cfg = small_world()
    model, (one, two) = SpecialistDETR(cfg), data.categories[:2]
    ask = lambda *names: model.respond([data.image(0)] * 2, [Instruction("detect", names)] * 2, 0.0, batch_size=1)[1]
    assert set(ask(one).detections.text_labels) == {one} and set(ask(two, one).detections.labels.tolist()) == {0, 1}
    for wrong in (Instruction("detect", ("unicorn",)), Instruction("segment", (one,))):
        with pytest.raises(ValueError, match="this specialist detects"): model.respond([data.image(0)], [wrong])
    sample = batch_for(model, data).samples[0]
    with pytest.raises(ValueError, match="all of them in training"):   # what is not listed may be there, unlabelled
        model.losses(model.collate([replace(sample, instruction=Instruction("detect", (one,)))]))


# nbs/38_peers.ipynb, cell 0e8d3b88
def test_boxes_survive_the_way_through_tokens():
    from visionllm_edu.v1.model import template_vocabulary
    torch.manual_seed(0)
    v, corners = template_vocabulary(), torch.rand(500, 4)
    ids = write_boxes(corners, torch.full((500,), v.class_id(7)), v)
    assert ids.shape == (500, PLACES) and (ids[:, 4] == v.class_id(7)).all()
    assert (read_boxes(ids, v) - corners).abs().max() <= 1 / (4 * v.range) + 1e-6      # half a step
    torch.testing.assert_close(write_boxes(read_boxes(ids, v), ids[:, 4], v), ids)     # tokens come back exactly
    outside = write_boxes(torch.tensor([[-0.2, 0, 1.0, 1.7]]), ids[:1, 4], v)
    assert read_boxes(outside, v).tolist() == [[0, 0, 1, 1]]


# nbs/38_peers.ipynb, cell 999ff6e6
def test_sentences_say_what_the_sample_holds():
    torch.manual_seed(0)
    data, cfg = small_world()
    v, sample = template_vocabulary(), mixture_for(data, peer_recipe(steps=1), 64)[0]
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


# nbs/38_peers.ipynb, cell 13043a62
def test_written_sentence_is_what_training_sees():
    torch.manual_seed(0)
    data, cfg = small_world()
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


# nbs/38_peers.ipynb, cell b5ec4e88
def test_batch_writes_as_one_alone():
    torch.manual_seed(1)
    data, cfg = small_world()
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


# nbs/38_peers.ipynb, cell c70c3869
def test_one_set_in_parallel_is_one_set_step_by_step():
    torch.manual_seed(0)
    data, cfg = small_world()
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


# nbs/38_peers.ipynb, cell 9f008d53
def learn_by_heart(model, batch, steps, lr=2e-3):
    "Steps on one batch; returns the losses."
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    curve = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = sum(model.losses(batch).values())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        curve.append(loss.item())
    return curve


# nbs/38_peers.ipynb, cell bd5fa10e
def test_each_peer_learns_two_pictures():
    data, cfg = small_world()
    for kind in ("detr", "token-by-token"):
        peer = build_peer(kind, data, cfg)
        curve = learn_by_heart(peer, batch_for(peer, data), 30)
        assert curve[-1] < 0.55 * curve[0], (kind, curve[0], curve[-1])


# nbs/38_peers.ipynb, cell 24c2351e
def test_a_stopped_comparison_goes_on():
    with tempfile.TemporaryDirectory() as folder:
        data, cfg = small_world(2, folder)
        recipe = peer_recipe(steps=4, batch_size=2)
        whole, halves = build_peer("detr", data, cfg), build_peer("detr", data, cfg)
        train_peer(whole, data, recipe, f"{folder}/whole", quiet=True, accelerator="cpu")

        class Cut(Exception): pass
        def trip(*args, count=[0]):
            count[0] += 1
            if count[0] == 3: raise Cut
            return SpecialistDETR.losses(halves, *args)
        halves.losses = trip
        import visionllm_edu.peers as peers
        keep, peers.Keep = peers.Keep, lambda out: keep(out, minutes=0)   # a checkpoint after each step
        try:
            with pytest.raises(Cut): train_peer(halves, data, recipe, f"{folder}/cut", quiet=True, accelerator="cpu")
        finally: peers.Keep = keep
        halves = build_peer("detr", data, cfg)
        assert train_peer(halves, data, recipe, f"{folder}/cut", quiet=True, accelerator="cpu") == 4
    for (name, a), b in zip(whole.state_dict().items(), halves.state_dict().values()):
        torch.testing.assert_close(a, b, msg=name)
    with pytest.raises(ValueError, match="unknown peer"): build_peer("yolo", data, cfg)
