"""Tests of visionllm_edu/peers.py.

Generated from nbs/38b_peers.ipynb by make export: do not edit, edit the notebook.
"""

import pytest
import tempfile
import torch
from dataclasses import replace

from visionllm_edu.ablations import EYES
from visionllm_edu.data.coco import load_data, write_shapes
from visionllm_edu.language.instructions import Instruction
from visionllm_edu.peers import (
    SpecialistDETR, build_detr, build_peer, peer_config, peer_recipe, train_peer,
)
from visionllm_edu.v1.model import VisionLLMv1Config, true_boxes


# nbs/38b_peers.ipynb, cell 092e5300
def small_world(n=2, folder=None):
    "n pictures of shapes, and a tiny config that knows their categories."
    data = load_data(write_shapes(folder or tempfile.mkdtemp(), n=n))
    return data, replace(VisionLLMv1Config.tiny(), categories=tuple(data.categories))


from visionllm_edu.data.tasks import make_task

def batch_for(model, data, n=2):
    "The first n pictures, everything asked for."
    everything = Instruction("detect", tuple(data.categories))
    return model.collate([make_task(data.sample(i), everything, data.categories) for i in range(n)])


# nbs/38b_peers.ipynb, cell cdb55e89
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


# nbs/38b_peers.ipynb, cell ca38e7c1
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


# nbs/38b_peers.ipynb, cell 70ab7c21
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


# nbs/38b_peers.ipynb, cell 022907a3
def test_peers_begin_with_what_was_read():
    with tempfile.TemporaryDirectory() as folder:
        data, cfg = small_world(2, folder)
        reader = build_peer("visionllm", data, cfg, seed=1)
        reader.save_pretrained(f"{folder}/reader")
        kinds, start = ("visionllm", "token-by-token"), f"{folder}/reader"
        alone = {kind: build_peer(kind, data, cfg).state_dict() for kind in (*kinds, "detr")}
        read = {kind: build_peer(kind, data, cfg, start=start).state_dict() for kind in (*kinds, "detr")}
        for kind in kinds:
            names = [k for k in read[kind] if not k.startswith(EYES)]
            assert any(k.startswith("decoder.language_model") for k in names)
            assert all(torch.equal(read[kind][k], x) for k, x in reader.state_dict().items() if k in names)
            assert not all(torch.equal(alone[kind][k], read[kind][k]) for k in names)
            assert not all(torch.equal(read[kind][k], x) for k, x in reader.state_dict().items() if k.startswith(EYES))
        assert all(torch.equal(x, read["detr"][k]) for k, x in alone["detr"].items())
        one, other = (build_peer("detr", data, c).state_dict() for c in (VisionLLMv1Config.mini(), peer_config()))
        assert [*one] == [*other] and all(torch.equal(x, other[k]) for k, x in one.items())  # both have its eyes


# nbs/38b_peers.ipynb, cell 9f008d53
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


# nbs/38b_peers.ipynb, cell 98b957a2
def test_each_peer_learns_two_pictures():
    data, cfg = small_world()
    for kind in ("detr", "token-by-token"):
        peer = build_peer(kind, data, cfg)
        batch = batch_for(peer, data)
        assert len({s.image_id for s in batch.samples}) == 2
        curve = learn_by_heart(peer, batch, 30)
        assert curve[-1] < 0.7 * curve[0], (kind, curve[0], curve[-1])


# nbs/38b_peers.ipynb, cell 24c2351e
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
