"""Tests of visionllm_edu/v2/model.py.

Generated from nbs/60_v2_model.ipynb by make export: do not edit, edit the notebook.
"""

import logging
import pytest
import torch
import warnings
from PIL import Image
from dataclasses import asdict, replace
from functools import cache
from lightning.pytorch import Trainer
from pathlib import Path
from random import Random
from safetensors.torch import load_file
from tempfile import TemporaryDirectory
from torch.utils.data import DataLoader

from visionllm_edu.data.coco import load_data, write_shapes
from visionllm_edu.geometry import box_iou
from visionllm_edu.language.instructions import IGNORE
from visionllm_edu.language.language_model import LanguageModel
from visionllm_edu.language.vocabulary import Vocabulary
from visionllm_edu.settings import without_downloads
from visionllm_edu.toybox.prompts import Box, Point
from visionllm_edu.v2.chat_tasks import ChatSample, Region
from visionllm_edu.v2.chats import ChatMixture
from visionllm_edu.v2.conversation import Turn, id_of
from visionllm_edu.v2.image_encoder import make_views
from visionllm_edu.v2.model import (
    DECODERS, SIZES, VisionLLMv2, VisionLLMv2Config, batch_counts, chat_vocabulary, counted_by,
)
from visionllm_edu.v2.telling import Told
from visionllm_edu.vision.drawing import DiffusionConfig, LatentDiffusion


# nbs/60_v2_model.ipynb, cell 120e0a74
def test_sizes_and_words():
    assert VisionLLMv2Config() == VisionLLMv2Config.mini() and SIZES == ("tiny", "mini", "paper")
    paper = VisionLLMv2Config.paper()
    assert (1 + paper.max_tiles) * paper.image_encoder.tokens < paper.link.limit  # room to talk beside a picture of 4 tiles
    assert paper.language_model.lora_rank == 32 and paper.weight_decay == 0
    v = chat_vocabulary(["a red ball under a tree"])
    assert [v.kind(id_of(t, v)) for t in ("[DET]", "<link>", "<region>", "<user>")] == ["routing", "link", "region", "mark"]
    assert len(v.encode(" region3")) == 2 == len(v.encode("image2")) and len(v.location_ids) == 3


# nbs/60_v2_model.ipynb, cell 197aa6eb
FOLDER = TemporaryDirectory()
TASKS = ("detect", "segment", "semantic", "ground", "pose", "interactive", "caption", "answer", "region_name",
         "multi_round", "in_context")

@cache
def shapes():
    "Chats about a few scenes with shapes."
    return ChatMixture(load_data(write_shapes(FOLDER.name, n=6)), {task: 1 for task in TASKS})

def make(task, row, seed=0):
    "A chat of a task about a scene, with its pictures; all classes are listed."
    chat = shapes().about(task, row, Random(seed), full=True)
    return replace(chat, images=[shapes().memory.image(r) for r in chat.rows])

def tiny_model(**changes):
    "A tiny model of random weights."
    torch.manual_seed(0)
    captions = [shapes().data.sample(k, image=False).captions[0] for k in range(6)]
    return VisionLLMv2.assemble(replace(VisionLLMv2Config.tiny(), **changes), chat_vocabulary(captions))

def shaken(model, seed=1):
    "The model with noise on all its weights, so that every connection matters."
    torch.manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters(): p.add_(0.05 * torch.randn_like(p))
    return model


# nbs/60_v2_model.ipynb, cell 2e95a757
def test_errands_take_the_right_links():
    model = tiny_model()
    chats, v = [make(task, 4) for task in TASKS], model.vocabulary
    batch = model.collate(chats)
    assert [(e.sample, e.target) for e in batch.errands] == [(i, t) for i, c in enumerate(chats) for t in c.targets]
    for e in batch.errands:
        said = lambda places: [v.token(int(batch.ids[e.sample, at - 1])) for at in places]
        assert set(said(e.objects)) <= {"[DET]", "[SEG]", "[GRD]"} and set(said(e.joints)) <= {"[POSE]"}
        assert all(v.token(int(batch.ids[e.sample, at + k])) == "<link>" for at in e.objects + e.joints for k in range(4))
        assert len(e.joints) == (0 if e.target.keypoints is None else e.target.keypoints.shape[1])
        assert not len(e.target.labels) or max(e.target.labels) < len(e.objects)


# nbs/60_v2_model.ipynb, cell 8ed11893
def test_any_pictures_in_one_batch():
    model = shaken(tiny_model(max_tiles=4)).eval()
    wide, high, small = (Image.new("RGB", size, colour) for size, colour in (((220, 60), "red"), ((50, 90), "green"), ((9, 9), "blue")))
    talk = lambda images, text, regions=(): ChatSample(images, [Turn(text, "Yes.")], list(regions))
    chats = [talk([], "Hello"), talk([wide, high], "Is <region> like <region>?", [Region(0, Point(3, 4)), Region(1, Box(9, 9, 40, 80))]),
             talk([small], "What is <region>?", [Region(0, Point(8, 8))])]
    batch = model.collate(chats)
    assert batch.pictures == [0, 2, 1] and batch.prompts == [0, 2, 1] and batch.marked == [0, 1, 2]
    views = [make_views(i, model.cfg.image_encoder, 4) for i in (wide, high, small)]
    assert batch.counts == [len(w) for w in views] == [model.views_of(i) for i in (wide, high, small)] and max(batch.counts) > 1
    images, regions = model.read(batch)
    assert [len(t) for t in images] == [0, 4 * sum(batch.counts[:2]), 4 * batch.counts[2]] and [len(t) for t in regions] == [0, 2, 1]
    for chat, seen, meant in zip(chats, images, regions):                       # as each alone
        alone = model.read(model.collate([chat]))
        torch.testing.assert_close(alone[0][0], seen), torch.testing.assert_close(alone[1][0], meant)


# nbs/60_v2_model.ipynb, cell 7e20675e
def test_conversations_that_will_not_do():
    model, picture = tiny_model(), Image.new("RGB", (40, 30))
    ask = lambda text, *regions: model.collate([ChatSample([picture], [Turn(text, "No.")], [Region(0, r) for r in regions])])
    many = ", ".join(f"thing{k}[DET]" for k in range(300))
    refused = {"a batch of no conversations": lambda: model.collate([]),
               "says <region> 1 times, but 0 regions": lambda: ask("What is <region>?"),
               "says <region> 0 times, but 1 regions": lambda: ask("What is it?", Point(1, 1)),
               "lies outside of the 40x30 image": lambda: ask("What is <region>?", Point(40, 1)),
               "covers no pixel of the 40x30 image": lambda: ask("What is <region>?", Box(90, 90, 99, 99)),
               "1024 is the limit": lambda: ask("word " * 2000),
               "4 for images, 1200 for 300 links": lambda: model.collate([ChatSample([picture], [Turn("Find all.", many)])])}
    for why, call in refused.items():
        with pytest.raises(ValueError, match=why): call()
    with pytest.raises(ValueError, match="unknown size 'huge'; accepted are tiny, mini, paper"): VisionLLMv2.build("huge")
    with pytest.raises(ValueError, match="need one width, got .*'objects.d': 64"):
        tiny_model(objects=replace(model.cfg.objects, d=64))


# nbs/60_v2_model.ipynb, cell c6eb862b
def units(chat, model):
    "How many units of each term a conversation has; 0 where it has none."
    labels = model.words(chat).labels
    object_targets = [t for t in chat.targets if t.keypoints is None]
    pose_targets = [t for t in chat.targets if t.keypoints is not None]
    seen = [torch.as_tensor(t.keypoints)[..., 2] > 0 for t in pose_targets]
    n = {"text": (labels != IGNORE).sum()}
    n |= dict.fromkeys(("class", "l1", "giou", "mask", "dice"), sum(len(t.labels) for t in object_targets))
    n |= dict.fromkeys(("pose_class", "pose_l1", "pose_giou"), sum(len(t.labels) for t in pose_targets))
    n |= dict.fromkeys(("pose_keypoint", "pose_oks"), sum(s.any(1).sum() for s in seen))
    return {k: float(x) for k, x in n.items()} | {"pose_visibility": float(sum(s.sum() for s in seen))}

def emptied(chat):
    "The same questions about a picture that shows nothing of what they ask for."
    rows = lambda x: x if x is None else x[:0]
    nothing = lambda t: replace(t, **{k: rows(getattr(t, k)) for k in ("boxes_xyxy_px", "labels", "masks", "keypoints", "areas")})
    return replace(chat, targets=[nothing(t) for t in chat.targets])


# nbs/60_v2_model.ipynb, cell 7fa23d84
def test_a_batch_is_its_conversations():
    model = shaken(tiny_model()).eval()
    chats = [*(make(task, 4) for task in TASKS), emptied(make("detect", 4)), emptied(make("pose", 4))]
    with torch.no_grad():
        together = model.losses(model.collate(chats))
        alone = [model.losses(model.collate([chat])) for chat in chats]
    assert together.keys() == set().union(*alone) == {
        "text", "class", "l1", "giou", "mask", "dice", *(f"pose_{k}" for k in ("class", "l1", "giou", "keypoint", "oks", "visibility"))}
    for name, value in together.items():
        pairs = [(own[name], units(chat, model)[name]) for own, chat in zip(alone, chats) if name in own]
        total = sum(x * max(1, n) for x, n in pairs) / sum(n for _, n in pairs)
        torch.testing.assert_close(value, total, rtol=1e-3, atol=1e-4)
    assert units(chats[-2], model)["class"] == 0 == units(chats[-1], model)["pose_class"]
    assert alone[-2]["class"] > 0 < alone[-1]["pose_class"]          # no units, and yet something to lose


# nbs/60_v2_model.ipynb, cell 440af79e
def test_asking_twice_gives_the_same():
    model = shaken(tiny_model()).train()
    batch = model.collate([make(task, 4) for task in ("detect", "segment", "pose", "caption")])
    before = batch.labels.clone(), [e.target.boxes_xyxy_px.copy() for e in batch.errands]
    torch.manual_seed(3); first = model.losses(batch)     # the seed is for denoising
    torch.manual_seed(3); second = model.losses(batch)
    assert first.keys() == second.keys() and "denoise_class" in first
    for name in first: assert torch.equal(first[name], second[name])
    assert torch.equal(before[0], batch.labels)
    assert all((e.target.boxes_xyxy_px == boxes).all() for e, boxes in zip(batch.errands, before[1]))
    with torch.no_grad(): assert "denoise_class" not in model.eval().losses(batch)


# nbs/60_v2_model.ipynb, cell da526732
def test_a_mixed_batch_reaches_every_parameter():
    model = shaken(tiny_model()).train()
    sum(model.losses(model.collate([make(task, 4) for task in TASKS])).values()).backward()
    idle = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert idle == {"link.queries.tables.generate", "link.queries.tables.edit"}
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


# nbs/60_v2_model.ipynb, cell 1067e14d
def test_a_box_alone_moves_the_language_model():
    for task, terms, table in (("detect", ("l1",), "object"), ("pose", ("pose_keypoint",), "keypoint")):
        model = shaken(tiny_model()).eval()
        losses = model.losses(model.collate([make(task, 4)]))
        sum(losses[k] for k in terms).backward()
        moved = lambda part: any(p.grad is not None and p.grad.any() for p in part.parameters())
        assert moved(model.language_model) and moved(model.image_encoder)
        tables = model.link.queries.tables
        assert {k for k in tables if tables[k].grad.any()} == {"object", table}
        assert not moved(model.region_encoder)                  # no prompt, no gradient


# nbs/60_v2_model.ipynb, cell 7ba2a32f
def test_conversations_without_links_cost_words_alone():
    model = shaken(tiny_model())
    losses = model.losses(model.collate([make("caption", 1), make("answer", 2)]))
    assert losses.keys() == {"text"} and losses["text"].requires_grad
    silent = ChatSample([], [Turn("Hello")])                    # nothing is labelled
    nothing = model.losses(model.collate([silent]))["text"]
    assert nothing == 0 and nothing.requires_grad


# nbs/60_v2_model.ipynb, cell 580c2698
def test_tables_never_used_stay_as_they_are():
    model = tiny_model().train()
    assert isinstance(model.language_model, LanguageModel) and model.language_model is model.link.language_model
    optimizer, tables = model.configure_optimizers(), model.link.queries.tables
    before = {name: table.detach().clone() for name, table in tables.items()}
    for _ in range(2):
        optimizer.zero_grad()
        sum(model.losses(model.collate([make("detect", 4)])).values()).backward()
        optimizer.step()
    assert {name for name in tables if torch.equal(before[name], tables[name])} == {"keypoint", "generate", "edit"}
    for task in ("pose", "detect"):         # used once, a table goes on moving with a gradient of zero: by momentum
        before = tables["keypoint"].detach().clone()
        optimizer.zero_grad()
        sum(model.losses(model.collate([make(task, 4)])).values()).backward()
        optimizer.step()
        assert not torch.equal(before, tables["keypoint"])
    assert not tables["keypoint"].grad.any()


# nbs/60_v2_model.ipynb, cell 305aa411
def test_lightning_trains_it():
    model = tiny_model(lr=2e-4, lr_decoders=1e-3)
    groups = model.configure_optimizers().param_groups
    held = [{id(p) for p in group["params"]} for group in groups]
    assert not held[0] & held[1] and held[0] | held[1] == {id(p) for p in model.parameters()}
    assert [g["lr"] for g in groups] == [1e-3, 2e-4] == model.peak_rates()
    assert {id(p) for name in DECODERS if name != "pictures" for p in getattr(model, name).parameters()} == held[0]
    assert {id(p) for part in (model.link, model.image_encoder, model.region_encoder) for p in part.parameters()} == held[1]
    for part in ("", ".pytorch", ".fabric"): logging.getLogger(f"lightning{part}").setLevel(logging.ERROR)
    off = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = Trainer(max_steps=2, accelerator="cpu", **off)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        chats = [make("detect", 4), make("pose", 4), make("caption", 4)]
        trainer.fit(model, DataLoader(chats, batch_size=3, collate_fn=model.collate))
    logged = {k: float(x) for k, x in trainer.callback_metrics.items()}
    assert logged["train/loss"] == pytest.approx(sum(x for k, x in logged.items() if k != "train/loss"), rel=1e-4)
    assert {"train/text", "train/class", "train/pose_oks"} <= logged.keys()


# nbs/60_v2_model.ipynb, cell ffeb4000
def test_saved_and_loaded_it_is_the_same():
    model = shaken(tiny_model(categories=("ball", "kite"), max_tiles=2)).eval()
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        again = VisionLLMv2.from_pretrained(folder)
    assert again.cfg == model.cfg and len(again.vocabulary) == len(model.vocabulary) and not again.training
    chats = [make("detect", 4), make("pose", 4), make("region_name", 1)]
    with torch.no_grad(): first, second = (m.losses(m.collate(chats)) for m in (model, again))
    assert all(torch.equal(first[k], second[k]) for k in first)


# nbs/60_v2_model.ipynb, cell f1910d1f
def test_pictures_are_added_and_lent_parts_stored_once():
    torch.manual_seed(2)
    words = Vocabulary.train(["A ball."] * 9, 280, range=1, num_classes=1, max_points=1)
    chats = [make("detect", 4), replace(make("generate", 1), images=[]), make("caption", 2)]
    with TemporaryDirectory() as folder:
        lender = LatentDiffusion(DiffusionConfig.tiny(), words)
        lender.save_pretrained(Path(folder, "painter"))
        plain = shaken(tiny_model()).eval()
        whole = plain.with_pictures(Path(folder, "painter")).eval()
        assert all(torch.equal(x, whole.state_dict()[k]) for k, x in plain.state_dict().items())
        assert torch.equal(whole.pictures.painter.unet.conv_in.weight, lender.painter.unet.conv_in.weight)
        with torch.no_grad(): one, two = (m.losses(m.collate(chats[::2])) for m in (plain, whole))
        assert all(torch.equal(one[k], two[k]) for k in one)
        assert not [k for k in plain.losses(plain.collate(chats)) if k.startswith("generate")]  # it can't, and goes on
        losses = whole.train().losses(whole.collate(chats))
        losses["generate_noise"].backward()
        tables = whole.link.queries.tables
        assert {k for k in tables if tables[k].grad is not None and tables[k].grad.any()} == {"generate"}
        assert whole.language_model.table.grad.any() and whole.pictures.painter.unet.conv_in.weight.grad is None
        whole.save_pretrained(Path(folder, "whole"))
        kept = load_file(Path(folder, "whole", "model.safetensors"))
        stored = {k.split(".")[2] for k in kept if k.startswith("pictures.painter.")}
        assert stored == {"editor", "begun"} and any(k.startswith("pictures.bridges.") for k in kept)
        again = VisionLLMv2.from_pretrained(Path(folder, "whole"))
        assert all(torch.equal(x, again.state_dict()[k]) for k, x in whole.state_dict().items())
        other = LatentDiffusion(DiffusionConfig.tiny(), words)              # another painter takes the first one's place
        other.save_pretrained(Path(folder, "other"))
        assert torch.equal(whole.with_pictures(Path(folder, "other")).pictures.painter.unet.conv_in.weight, other.painter.unet.conv_in.weight)
        told = [replace(chats[1], told=Told([], [], [], [[]]))]             # a batch without any picture to see
        assert "generate_noise" in whole.losses(whole.collate(told))


# nbs/60_v2_model.ipynb, cell db0d35bd
def test_paper_size_on_the_meta_device():
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = VisionLLMv2.assemble(without_downloads(VisionLLMv2Config.paper()), chat_vocabulary())
    n = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    assert all(p.is_meta for p in model.parameters()) and model.cfg.objects.queries == 900
    assert abs(n["link"] / 6.6e9 - 1) < 0.05 and abs(n["image_encoder"] / 310e6 - 1) < 0.1      # a Llama of 7B, CLIP-L
    assert not any(p.requires_grad for p in model.image_encoder.vit.parameters())
    learns = {name: sum(p.numel() for p in part.parameters() if p.requires_grad) for name, part in model.named_children()}
    assert learns["pictures"] - 859_532_484 < 50e6            # the UNet that edits, and two bridges
    assert sum(learns.values()) - learns["pictures"] < 0.06 * (sum(n.values()) - n["pictures"])  # LoRA, small decoders


# nbs/60_v2_model.ipynb, cell 06e585ba
def four_chats():
    "What the model is to learn by heart."
    return [make("detect", 1), make("ground", 2), make("caption", 4), make("region_name", 1)]

@cache
def learned(steps=120):
    "A tiny model that has learned `four_chats`, and the losses on the way."
    model, curves = tiny_model(lr=4e-3, lr_decoders=4e-3).train(), []
    batch, optimizer = model.collate(four_chats()), model.configure_optimizers()
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps, pct_start=0.1, cycle_momentum=False)
    for _ in range(steps):
        losses = model.losses(batch)
        optimizer.zero_grad(), sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step(), schedule.step()
        curves.append({name: float(x.detach()) for name, x in losses.items()})
    return model.eval(), curves


# nbs/60_v2_model.ipynb, cell ad637dab
def test_it_learns_to_talk_route_and_find():
    model, curves = learned()
    chats = four_chats()
    assert curves[0]["text"] > 5 and curves[-1]["text"] < 0.1 and curves[-1]["l1"] < 0.2 * curves[0]["l1"]
    replies = model.respond(chats, max_new=64)                           # free generation: answers are not looked at
    words = lambda text: text.replace("</s>", "").strip()
    assert [words(r.text) for r in replies] == [chat.turns[-1].assistant for chat in chats]
    assert [[token for token, _ in r.routes] for r in replies] == [["[DET]"] * 3, ["[GRD]"], [], []]
    for chat, reply in zip(chats[:2], replies):
        true, found = chat.targets[-1], reply.detections
        overlap = box_iou(torch.as_tensor(true.boxes_xyxy_px), found.boxes)
        assert (overlap.amax(1) > 0.5).all() and len(found) == len(true.labels)   # each object, and nothing else
        assert found.labels[overlap.argmax(1)].tolist() == true.labels.tolist()   # by the right link
    assert replies[2].detections is None and replies[3].detections is None


# nbs/60_v2_model.ipynb, cell 65837633
def test_told_chats_teach_what_they_should():
    from visionllm_edu.v2.chats import ChatMixture
    from visionllm_edu.v2.telling import ToldChats

    toys = load_data("toybox:train:12")
    torch.manual_seed(0)
    model = VisionLLMv2.build("tiny", [c for i in range(12) for c in toys.sample(i, image=False).captions]).train()
    grid, eyes = model.cfg.image_encoder.grid, ("image_encoder", "region_encoder")
    moved = lambda: {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    for purpose, terms, parts in (("words", {"text", "link_naming"}, {"link"}),
                                  ("eyes", {"naming", "region_naming"}, {*eyes}),
                                  ("chat", {"text", "naming", "region_naming", "link_naming", "class"}, {"link", *eyes, "objects"})):
        chats = ToldChats(ChatMixture(toys, {"interactive": 1.0}, seed=2), grid, purpose)
        model.zero_grad()
        losses = model.losses(model.collate([chats[i] for i in range(4)]))
        sum(losses.values()).backward()
        assert terms <= set(losses) and moved() >= parts, (purpose, set(losses))
        assert purpose == "chat" or moved() == parts
        assert purpose != "eyes" or set(losses) == terms


# nbs/60_v2_model.ipynb, cell 479002a7
def test_a_shared_question_is_read_once():
    from visionllm_edu.v2.searching import SEARCHES, Searches

    toys = load_data("toybox:train:12")
    torch.manual_seed(0)
    model = shaken(VisionLLMv2.build("tiny", [c for i in range(12) for c in toys.sample(i, image=False).captions])).eval()
    for task in SEARCHES:
        mixture = Searches(toys, {task: 1.0}, model.cfg.image_encoder.grid, seed=2, batch=3)
        samples = [mixture[i] for i in range(3)]
        batch = model.collate(samples)
        assert len(batch.ids) == (3 if task == "ground" else 1) and len(batch.errands) == len(batch.pixels) == 3
        model.zero_grad()
        losses = model.losses(batch)
        sum(losses.values()).backward()
        parts = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
        found = {"body", "joint", "keypoints"} if task == "pose" else {"category", "objects"}
        assert parts == {"link", "backbone"} | found and "text" not in losses  # nothing is looked at but by decoders
        assert model.link.queries.tables["object"].grad.any() and model.language_model.table.grad.any()
        with torch.no_grad(): alone = [(batch_counts(b), model.losses(b)) for b in (model.collate([s]) for s in samples)]
        counts = batch_counts(batch)
        for name, loss in losses.items():
            whole = sum(n[counted_by(name)] * one.get(name, 0) for n, one in alone) / counts[counted_by(name)]
            if name != "pose_visibility": torch.testing.assert_close(loss.detach(), torch.as_tensor(whole), rtol=2e-3, atol=1e-4)


# nbs/60_v2_model.ipynb, cell 91684b59
def test_solutions():
    def loss_by_task(model, chats):
        "{task: loss} of the conversations of each task."
        tasks = {chat.task: [c for c in chats if c.task == chat.task] for chat in chats}
        with torch.no_grad():
            return {t: float(sum(model.losses(model.collate(some)).values())) for t, some in tasks.items()}

    model = shaken(tiny_model())
    losses = model.losses(model.collate([make("detect", 4)]))
    sum(x for k, x in losses.items() if k != "text").backward()
    idle = {n.split(".")[0] for n, p in model.named_parameters() if p.grad is None}
    assert idle == {"region_encoder", "body", "joint", "keypoints"}
    by_task = loss_by_task(model.eval(), [make(task, row) for task in ("detect", "caption") for row in (1, 4)])
    assert by_task.keys() == {"detect", "caption"} and by_task["detect"] > by_task["caption"] > 0
