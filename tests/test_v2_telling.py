"""Tests of visionllm_edu/v2/telling.py.

Generated from nbs/44_telling.ipynb by make export: do not edit, edit the notebook.
"""

import numpy as np
import torch

from visionllm_edu.v2.chats import ChatMixture
from visionllm_edu.v2.conversation import encode_chat
from visionllm_edu.v2.telling import Telling, ToldChats, covering, tell


# nbs/44_telling.ipynb, cell 3161c884
def test_patches_tell_what_covers_them():
    masks = np.zeros((2, 8, 8), bool)
    masks[0, :4, :4], masks[1, 4:, 2:5] = True, True
    assert covering(masks, (2, 2)).tolist() == [0, -1, 1, 1]             # most of the patch, or at least 15 %
    assert covering(masks, (2, 2), least=0.3).tolist() == [0, -1, 1, -1]
    assert covering(masks[:0], (2, 3)).tolist() == [-1] * 6
    fine = covering(masks, (8, 8)).reshape(8, 8)                         # a patch per pixel is the masks themselves
    assert (fine[masks[0]] == 0).all() and (fine[masks[1]] == 1).all() and (fine[~masks.any(0)] == -1).all()


# nbs/44_telling.ipynb, cell 7f843604
def test_prompts_mean_the_object_they_were_drawn_on():
    from visionllm_edu.data.coco import load_data
    from visionllm_edu.v2.chat_tasks import Page

    toys = load_data("toybox:train:30")
    mixture, named = ChatMixture(toys, {"interactive": 1.0, "region_name": 1.0, "in_context": 1.0}, seed=4), 0
    for i in range(60):
        chat = mixture.draw(i)
        told, page = tell(toys, chat, (8, 8)), Page(toys, chat.rows[0])
        names = [line.split(":")[0] for line in told.words]
        assert sorted(names[: len(page.real)]) == sorted(page.names[row] for row in page.real)
        if chat.task == "interactive": assert told.regions == told.targets[0]
        if chat.task == "in_context": assert {names[k] for k in told.regions} == {names[k] for k in told.targets[0]}
        if chat.task == "region_name":
            named += 1
            assert names[told.regions[0]] in chat.turns[0].assistant
    assert named > 9


# nbs/44_telling.ipynb, cell e974b07d
def test_any_data_can_be_told():
    import json
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from visionllm_edu.data.coco import write_shapes

    with TemporaryDirectory() as folder:
        spec = write_shapes(folder, n=4)                                  # 96 x 72: not square
        for outlines in (True, False):
            if not outlines:
                table = Path(folder, "annotations", "instances_train.json")
                records = json.loads(table.read_text())
                for one in records["annotations"]: del one["segmentation"]
                table.write_text(json.dumps(records))
            shapes = load_data(spec)
            mixture = ChatMixture(shapes, {"region_name": 1.0, "detect": 1.0, "ground": 1.0})
            for i in range(12):
                chat = mixture.draw(i)
                told = tell(shapes, chat, (6, 8))
                assert len(told.regions) == len(chat.regions) and told.patches[0].shape == (48,) and (told.patches[0] >= 0).any()
                if chat.task == "region_name": assert told.words[told.regions[0]] in chat.turns[0].assistant


# nbs/44_telling.ipynb, cell 5281d758
from visionllm_edu.language.vocabulary import Vocabulary
import pytest
from torch import nn
from visionllm_edu.data.coco import load_data
from visionllm_edu.language.language_model import LanguageModel, LanguageModelConfig
from visionllm_edu.v2.conversation import V2_BLOCKS
from visionllm_edu.v2.super_link import SuperLink, SuperLinkConfig

class Teller(Telling, nn.Module):
    "The part of a model that learns from told pictures."
    def __init__(self, texts):
        super().__init__()
        torch.manual_seed(0)
        self.vocabulary = Vocabulary.train(texts, 600, range=1, num_classes=1, max_points=1, extra=V2_BLOCKS)
        lm = LanguageModel(LanguageModelConfig.tiny(), len(self.vocabulary))
        self.link = SuperLink(SuperLinkConfig.tiny(), lm, self.vocabulary)
    device = property(lambda self: next(self.parameters()).device)

def teller_and_chats(n=6, tasks={"answer": 1.0, "region_name": 1.0}):
    "A teller, and n told chats."
    toys = load_data("toybox:train:12")
    chats = ToldChats(ChatMixture(toys, tasks, seed=1), (4, 4), "words")
    return Teller([c for i in range(12) for c in toys.sample(i, image=False).captions]), [chats[i] for i in range(n)]


# nbs/44_telling.ipynb, cell 8ffb3f2d
def test_places_hold_the_words_of_their_objects():
    teller, chats = teller_and_chats()
    images, regions = teller.told_tokens([c.told for c in chats])
    table, v = teller.link.language_model.embed, teller.vocabulary
    for chat, image, region in zip(chats, images, regions):
        assert image.shape == (16, 64) and len(region) == len(chat.regions)
        for token, k in zip(image, chat.told.patches[0]):
            ids = torch.tensor(v.encode(chat.told.words[k]) if k >= 0 else [v.pad_id])
            torch.testing.assert_close(token, table(ids).sum(0) / len(ids) ** 0.5, atol=1e-5, rtol=1e-5)


# nbs/44_telling.ipynb, cell 94e68e0c
def test_told_chats_are_the_same_chats():
    toys = load_data("toybox:train:12")
    plain, told = ChatMixture(toys, seed=3), ToldChats(ChatMixture(toys, seed=3), (4, 4), "words")
    for i in range(20):
        assert told[i].turns == plain.draw(i).turns and not told[i].images and told[i].purpose == "words"
    with pytest.raises(ValueError, match="purpose 'song': accepted are chat, words, eyes"): ToldChats(plain, (4, 4), "song")


# nbs/44_telling.ipynb, cell 2b9d3529
def test_links_are_named_by_what_they_mean():
    toys = load_data("toybox:train:12")
    teller, chats = teller_and_chats(30, {"detect": 1.0, "ground": 1.0, "interactive": 1.0, "pose": 1.0})
    batch = teller.collate_told(chats)
    hidden = teller.link(teller.link.embed(batch.ids, *teller.told_tokens(batch.told)), batch.valid)
    links = teller.link.gather(hidden, batch.ids)
    for chat, own, words in zip(chats, links, batch.links):
        assert len(own) == len(words) == sum(chat.turns[t.turn].assistant.count("[") for t in chat.targets)
        meant = [[chat.told.words[k] for k, label in zip(chat.told.targets[0], chat.targets[0].labels) if label == j] for j in range(len(own))]
        if chat.task in ("ground", "interactive"):                         # the answer says nothing: the object itself is told
            assert all(word in some for word, some in zip(words, meant))
        if chat.task == "pose": assert words == [link.phrase for link in encode_chat(chat.conversation, teller.vocabulary, teller.link.cfg.queries, [16]).links]
        if chat.task == "detect": assert all(f"{name}[DET]" in chat.turns[0].assistant for name in words)
    losses = teller.told_losses(batch)
    losses["link_naming"].backward()
    assert teller.link.queries.tables["object"].grad.abs().sum() > 0


# nbs/44_telling.ipynb, cell bd6866f7
def test_naming_teaches_the_eyes_not_the_words():
    teller, chats = teller_and_chats()
    told = [c.told for c in chats]
    patches = torch.randn(len(chats), 16, 64, requires_grad=True)
    regions = torch.randn(sum(len(t.regions) for t in told), 64, requires_grad=True)
    losses = teller.naming(patches, regions, told)
    sum(losses.values()).backward()
    covered = torch.from_numpy(np.stack([where for t in told for where in t.patches]) >= 0)
    assert set(losses) == {"naming", "region_naming"} and (patches.grad[covered].abs().sum(1) > 0).all()
    assert not patches.grad[~covered].any()                              # nothing is said of empty patches
    assert all(p.grad is None for p in teller.parameters())
    one = next(t for t in told if t.regions)                              # the words' own sums say it best
    best = teller.naming(teller.told_tokens(told)[0][0][None].detach(), teller.told_tokens([one])[1][0].detach(), [one])
    assert best["region_naming"] < losses["region_naming"] - 2
