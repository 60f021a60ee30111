"""Tests of visionllm_edu/v1/open_ended_decoder.py.

Generated from nbs/32_open_ended_decoder.ipynb by make export: do not edit, edit the notebook.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dataclasses import replace
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from visionllm_edu.language.language_model import LanguageModel, LanguageModelConfig
from visionllm_edu.language.vocabulary import Vocabulary
from visionllm_edu.v1.open_ended_decoder import (
    Blocks, OpenEndedDecoder, OpenEndedDecoderConfig, _best, _middle, decoder_loss,
    expected_distance, soft_cross_entropy, splice,
)


# nbs/32_open_ended_decoder.ipynb, cell bc2c5cbe
WORDS = ["a red ball under the green tree", "two kites over a lake", "the ball is blue", "no one plays here", "detect ball, kite, tree"]
NAMES = ("ball", "kite", "tree")

def small_vocabulary():
    return Vocabulary.train(WORDS * 5, text_size=300, range=32, num_classes=8, max_points=8)


# nbs/32_open_ended_decoder.ipynb, cell 2ff426c2
def mask_loop(n, lengths):
    "Who sees whom, place by place: n places of the instruction, then blocks of these lengths."
    places = [(block, k) for block, length in enumerate(lengths) for k in range(length)]
    mask = torch.zeros(len(places), n + len(places), dtype=torch.bool)
    for i, (block, k) in enumerate(places):
        mask[i, :n] = True
        for j, (other, before) in enumerate(places):
            mask[i, n + j] = other == block and before <= k
    return mask

mask_loop(n=2, lengths=[3, 2]).int()


# nbs/32_open_ended_decoder.ipynb, cell 2af9dd41
def test_mask_is_the_rule():
    valid = torch.tensor([[True] * 4, [True, True, False, False]])      # instructions of 4 and 2 places
    blocks = Blocks.merge([Blocks.sets([[90, 91, 92]], [torch.tensor([4, 0])]), Blocks.texts([[1, 50, 51, 52]])])
    mask = blocks.mask(valid)
    assert mask.shape == (2, 6, 4 + 6)
    assert torch.equal(mask[0], mask_loop(4, [3, 3]))                   # two sets
    assert torch.equal(mask[1, :4, [0, 1, 4, 5, 6, 7]], mask_loop(2, [4]))   # words
    assert not mask[1, :4, [2, 3, 8, 9]].any()                          # no one sees padding


# nbs/32_open_ended_decoder.ipynb, cell 59f13ed2
def test_image_tokens_take_the_place_of_the_placeholder():
    words, image = torch.arange(4.0)[:, None], torch.tensor([[10.0], [11], [12]])      # word 0, word 1, <image>, word 3
    assert splice(words, image, at=2).flatten().tolist() == [0, 1, 10, 11, 12, 3]


# nbs/32_open_ended_decoder.ipynb, cell 618c928d
def small_decoder(d_token=16, **settings):
    "An untrained decoder with 2 layers of width 64."
    torch.manual_seed(0)
    vocabulary = small_vocabulary()
    lm = LanguageModel(LanguageModelConfig.tiny(), len(vocabulary), vocabulary.location_ids)
    return OpenEndedDecoder(OpenEndedDecoderConfig(max_words=12, **settings), lm, vocabulary, d_token).eval()

def shaken(decoder):
    "The decoder with large random weights: each connection matters."
    for p in decoder.parameters():
        if p.dim() > 1: nn.init.normal_(p, std=0.2)
    return decoder

def request(decoder, texts=("detect ball, kite, tree, lake, green <image>", "<image> the ball is", "<image>"), m=4):
    "Arguments of `read`: instructions of different lengths, with random image tokens."
    return [decoder.vocabulary.encode(t) for t in texts], torch.randn(len(texts), m, 16), torch.rand(len(texts), m, 2)


# nbs/32_open_ended_decoder.ipynb, cell 83806cfa
def test_an_echo_of_the_two_tokens_before():
    echoing = small_decoder(echo=True)
    rows, heard = echoing.language_model.embed(torch.arange(20, 24)), echoing.words(torch.arange(20, 24))
    torch.testing.assert_close(heard[0], rows[0])                        # nothing stands before the first
    torch.testing.assert_close(heard[3], rows[3] + 0.7 * (rows[2] + rows[1]))


# nbs/32_open_ended_decoder.ipynb, cell 9e59512b
def test_ties_start_as_the_tokens_themselves():
    decoder = small_decoder()
    prompts, e, centers = request(decoder)
    tokens = decoder.image_tokens(e, centers)
    seen, told = decoder.read(prompts, e, centers), decoder.read_tokens(prompts, tokens)
    assert torch.equal(seen.ties, told.ties) and torch.equal(seen.cache.layers[1].keys, told.cache.layers[1].keys)
    torch.testing.assert_close(seen.ties, tokens)                           # the identity
    assert (tokens - decoder.see(e)).flatten(0, 1).std(0).mean() < 0.04     # places are quiet


# nbs/32_open_ended_decoder.ipynb, cell 84d4b561
def test_with_boxes_a_token_says_how_large_it_is():
    decoder = small_decoder(boxes=True)
    prompts, e, centers = request(decoder)
    small, large = torch.full_like(centers, 0.1), torch.full_like(centers, 0.5)
    assert torch.equal(decoder.image_tokens(e, centers, small), decoder.image_tokens(e, centers, large))    # at first
    nn.init.normal_(decoder.size.weight, std=0.1)
    assert not torch.allclose(decoder.read(prompts, e, centers, small).ties, decoder.read(prompts, e, centers, large).ties)
    with pytest.raises(ValueError, match=r"boxes=True needs extents \(3, 4, 2\), got None"): decoder.read(prompts, e, centers)
    plain = small_decoder()
    assert torch.equal(plain.read(prompts, e, centers).ties, plain.read(prompts, e, centers, small).ties)   # not asked for


# nbs/32_open_ended_decoder.ipynb, cell 1c6121c8
def test_a_draft_stands_in_its_place_and_nowhere_else():
    quiet, loud = small_decoder(), small_decoder(drafts=8.0)
    v, row, which = loud.vocabulary, loud.vocabulary.query_row(2), [torch.tensor([2, 0])]
    ids = torch.tensor([[-1, *v.location_ids[3:7]], [-1, *v.location_ids[9:13]]])
    context = loud.read([v.encode("<image> the ball is")], torch.randn(1, 4, 16), torch.rand(1, 4, 2))
    bare, drafted = Blocks.sets([row], which), Blocks.sets([row], which, [ids])
    assert (bare.draft == -1).all() and torch.equal(drafted.draft.view(2, 5), ids)
    put = (loud.queries(context, drafted) - loud.queries(context, bare)).view(2, 5, -1)
    torch.testing.assert_close(put[:, 1:], 8 * loud.language_model.embed(ids[:, 1:]))
    assert not put[:, 0].any() and torch.equal(quiet.queries(context, drafted), quiet.queries(context, bare))
    mixed = Blocks.merge([drafted, Blocks.texts([[v.bos_id, *v.encode("the ball")]]), bare])
    assert torch.equal(mixed.draft[0], ids.flatten()) and (mixed.draft[1:] == -1).all()
    at_once = loud.fill(context, [row], which, [ids])[0]
    assert not torch.equal(at_once, loud.fill(context, [row], which)[0])
    one_by_one = [loud.fill(context, [row], [which[0][k : k + 1]], [ids[k : k + 1]])[0] for k in range(2)]
    with pytest.raises(ValueError, match=r"draft of shape \(2, 4\) for 2 sets of 5 places"): Blocks.sets([row], which, [ids[:, 1:]])
    loud.cfg.slots_per_pass = 5                                                   # one set fits at a time
    assert torch.equal(at_once, torch.cat(one_by_one)) and torch.equal(at_once, loud.fill(context, [row], which, [ids])[0])


# nbs/32_open_ended_decoder.ipynb, cell dfebe80c
def slot_by_slot(decoder, context, blocks):
    "Hidden states (1, s, d) of one block, in s passes."
    lm, cache, valid, out = decoder.language_model, context.cache, context.valid, []
    for k, query in enumerate(decoder.queries(context, blocks).split(1, 1)):    # (1, 1, d) each
        valid = F.pad(valid, (0, 1), value=True)
        hidden, cache = lm.answer(query, cache, valid[:, None], context.length[:, None] + k)
        out.append(hidden)
    return torch.cat(out, 1)


# nbs/32_open_ended_decoder.ipynb, cell 6d4da914
def test_parallel_equals_alone_equals_slot_by_slot():
    decoder = shaken(small_decoder())
    row, context = decoder.vocabulary.query_row(2), decoder.read(*request(decoder, m=6)).select([0])
    together = decoder.answer(context, Blocks.sets([row], [torch.arange(6)])).view(6, 5, -1)
    for i in range(6):
        alone = Blocks.sets([row], [torch.tensor([i])])
        torch.testing.assert_close(together[i], decoder.answer(context, alone)[0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(together[i], slot_by_slot(decoder, context, alone)[0], atol=1e-4, rtol=1e-4)
    assert (together[0] - together[1]).abs().max() > 0.1      # and the sets do say different things


# nbs/32_open_ended_decoder.ipynb, cell 829160b9
def passes(decoder, run):
    "How many times the LM runs while `run()` does."
    ran = []
    hook = decoder.language_model.lm.model.register_forward_hook(lambda *_: ran.append(1))
    run()
    hook.remove()
    return len(ran)


# nbs/32_open_ended_decoder.ipynb, cell d097188a
def test_slots_per_pass_changes_nothing():
    decoder = shaken(small_decoder())
    v, context = decoder.vocabulary, decoder.read(*request(decoder, m=9))
    rows, which = [v.query_row(n) for n in (2, 4, 3)], [torch.randperm(9), torch.tensor([5, 1]), torch.zeros(0, dtype=torch.long)]
    at_once = decoder.fill(context, rows, which)
    decoder.cfg = replace(decoder.cfg, slots_per_pass=7)
    assert passes(decoder, lambda: decoder.fill(context, rows, which)) == 9 + 2      # one set fits at a time
    for a, b in zip(at_once, decoder.fill(context, rows, which)): assert torch.equal(a, b)
    assert [tuple(x.shape) for x in at_once] == [(9, 5), (2, 9), (0, 7)]


# nbs/32_open_ended_decoder.ipynb, cell 7e69088d
def test_class_logits_are_the_first_slots():
    decoder = shaken(small_decoder())
    v, context = decoder.vocabulary, decoder.read(*request(decoder))
    classes = decoder.class_logits(context)
    assert classes.shape == (3, 4, len(v))
    for i, ids in enumerate(decoder.fill(context, [v.query_row(2)] * 3, [torch.arange(4)] * 3)):
        assert torch.equal(ids[:, 0], classes[i, :, v.class_ids.start : v.class_ids.stop].argmax(-1) + v.class_ids.start)
        assert all(v.kind(int(x)) == "location" for x in ids[:, 1:].flatten())


# nbs/32_open_ended_decoder.ipynb, cell bd294df9
def test_a_place_is_the_middle_of_the_guesses():
    decoder = small_decoder()
    v, context = decoder.vocabulary, decoder.read(*request(decoder)).select([0])
    guesses = torch.zeros(len(v)).index_fill(0, torch.tensor(v.location_id(np.array([4, 14]))), 50.0)   # two places, equally likely
    guesses[v.class_id(3)] = guesses[v.bos_id] = 60.0                                                 # and louder things
    decoder.language_model.logits = lambda hidden: guesses.expand(*hidden.shape[:-1], -1)
    ids = decoder.fill(context, [v.query_row(2)], [torch.arange(4)])[0]
    assert ids.tolist() == [[v.class_id(3)] + [v.location_id(9)] * 4] * 4


# nbs/32_open_ended_decoder.ipynb, cell f5f4f409
def test_without_a_tie_all_sets_answer_alike():
    decoder = shaken(small_decoder())
    context, sets = decoder.read(*request(decoder)), Blocks.sets([decoder.vocabulary.query_row(2)] * 3, [torch.arange(4)] * 3)
    untied = replace(context, ties=torch.zeros_like(context.ties))
    hidden = decoder.answer(untied, sets).view(3, 4, 5, -1)
    torch.testing.assert_close(hidden, hidden[:, :1].expand_as(hidden), atol=1e-5, rtol=1e-5)
    tied = decoder.answer(context, sets).view(3, 4, 5, -1)
    assert (tied[:, :1] - tied[:, 1:]).abs().amax((2, 3)).min() > 0.1


# nbs/32_open_ended_decoder.ipynb, cell 10027ee2
def test_a_form_is_tied_to_its_own_token():
    decoder = shaken(small_decoder())
    prompts, e, centers = request(decoder, m=4)
    context = decoder.read(prompts, e.requires_grad_(), centers)
    hidden = decoder.answer(context, Blocks.sets([decoder.vocabulary.query_row(2)] * 3, [torch.arange(4)] * 3)).view(3, 4, 5, -1)
    grads = [torch.autograd.grad(hidden[:, i].square().mean(), (context.ties, e), retain_graph=True) for i in range(4)]
    by_tie, by_token = (torch.stack(g).abs().sum((1, 3)) for g in zip(*grads))      # (4 forms, 4 tokens)
    assert torch.equal(by_tie > 0, torch.eye(4, dtype=torch.bool))
    assert (by_token > 0).all()
    of_tie = [torch.autograd.grad(context.ties[:, i].sum(), e, retain_graph=True)[0] for i in range(4)]
    assert torch.equal(torch.stack(of_tie).abs().sum((1, 3)) > 0, torch.eye(4, dtype=torch.bool))    # tie i is made of token i


# nbs/32_open_ended_decoder.ipynb, cell 1b69adbf
def plain(decoder, prompt, e, centers, embeds):
    "Logits (s, vocabulary) of transformers' causal LM over one instruction and an answer (1, s, d): no cache, no mask."
    at = prompt.index(decoder.vocabulary.image_id)
    words = decoder.language_model.embed(torch.tensor(prompt))
    start = splice(words, decoder.image_tokens(e[None], centers[None])[0], at)
    return decoder.language_model.lm(inputs_embeds=torch.cat([start[None], embeds], 1)).logits[0, len(start) :]


# nbs/32_open_ended_decoder.ipynb, cell c97f15f8
def test_cached_words_equal_the_plain_uncached_model():
    decoder = shaken(small_decoder())
    v, lm, (prompts, e, centers) = decoder.vocabulary, decoder.language_model, request(decoder)
    context = decoder.read(prompts, e, centers)
    for i, words in enumerate(decoder.write(context)):
        row, one = [v.bos_id, *words], context.select([i])
        uncached = plain(decoder, prompts[i], e[i], centers[i], lm.embed(torch.tensor([row])))
        for answer in (decoder.answer, lambda *x: slot_by_slot(decoder, *x)):      # teacher forcing; one by one
            torch.testing.assert_close(lm.logits(answer(one, Blocks.texts([row])))[0], uncached, atol=1e-3, rtol=1e-4)
        may_say = [v.eos_id, *v.text_ids]
        said = [may_say[k] for k in uncached[:, may_say].argmax(-1)]
        assert words and said[: len(words)] == words and (len(words) == 12 or said[-1] == v.eos_id)


# nbs/32_open_ended_decoder.ipynb, cell 9dc38767
def test_a_set_is_what_the_plain_model_says():
    decoder = shaken(small_decoder())
    row, (prompts, e, centers) = decoder.vocabulary.query_row(2), request(decoder)
    context = decoder.read(prompts, e, centers)
    sets = Blocks.sets([row] * 3, [torch.arange(4)] * 3)
    ours = decoder.language_model.logits(decoder.answer(context, sets)).view(3, 4, 5, -1)
    for i in range(3):
        queries = decoder.queries(context, sets)[i, 10:15]         # of set 2
        theirs = plain(decoder, prompts[i], e[i], centers[i], queries[None])
        torch.testing.assert_close(ours[i, 2], theirs, atol=1e-3, rtol=1e-4)


# nbs/32_open_ended_decoder.ipynb, cell b0c66ba5
def test_a_batch_equals_its_samples():
    decoder = shaken(small_decoder())
    v, (prompts, e, centers) = decoder.vocabulary, request(decoder)
    asked = [Blocks.sets([v.query_row(2)], [torch.tensor([3, 1])]), Blocks.texts([[v.bos_id, *v.encode("the ball")]]), Blocks.sets([v.query_row(4)], [torch.arange(4)])]
    context = decoder.read(prompts, e, centers)
    batch, said = decoder.answer(context, Blocks.merge(asked)), decoder.write(context)
    assert len({len(p) for p in prompts}) == 3
    for i, blocks in enumerate(asked):
        alone = decoder.read(prompts[i : i + 1], e[i : i + 1], centers[i : i + 1])
        torch.testing.assert_close(batch[i : i + 1, : blocks.ids.shape[1]], decoder.answer(alone, blocks), atol=1e-4, rtol=1e-4)
        assert decoder.write(alone) == said[i : i + 1] == decoder.write(context.select([i]))


# nbs/32_open_ended_decoder.ipynb, cell cd755222
def test_permuting_sets_permutes_answers():
    decoder = shaken(small_decoder())
    row, (prompts, e, centers), order = decoder.vocabulary.query_row(3), request(decoder, m=7), torch.randperm(7)
    context = decoder.read(prompts, e, centers)
    ask = lambda context, tokens: decoder.answer(context, Blocks.sets([row] * 3, [tokens] * 3)).view(3, 7, 7, -1)
    torch.testing.assert_close(ask(context, order), ask(context, torch.arange(7))[:, order], atol=1e-4, rtol=1e-4)
    shuffled = decoder.read(prompts, e[:, order], centers[:, order])
    assert (ask(shuffled, torch.arange(7)) - ask(context, order)).abs().max() > 0.1


# nbs/32_open_ended_decoder.ipynb, cell b2a5de60
def test_bad_requests_are_refused():
    decoder = small_decoder()
    v, (prompts, e, centers) = decoder.vocabulary, request(decoder)
    for text, count in (("detect ball", 0), ("<image> and <image>", 2)):
        with pytest.raises(ValueError, match=f"instruction 1 has {count} <image>, it needs exactly one"):
            decoder.read([prompts[0], v.encode(text), prompts[2]], e, centers)
    with pytest.raises(ValueError, match=r"need embeddings \(3, m, 16\).*got \(3, 4, 15\)"): decoder.read(prompts, e[..., 1:], centers)
    with pytest.raises(ValueError, match="2 instructions need"): decoder.read(prompts[:2], e, centers)
    context = decoder.read(prompts, e, centers)
    with pytest.raises(ValueError, match="image token 4, the context has 0 to 3"):
        decoder.fill(context, [v.query_row(2)] * 3, [torch.tensor([0, 4])] * 3)
    with pytest.raises(ValueError, match="blocks of 1 samples for a context of 3"): decoder.answer(context, Blocks.texts([[1]]))
    with pytest.raises(ValueError, match="blocks of 2 samples for a context of 3"): decoder.fill(context, [[90]] * 2, [torch.arange(2)] * 2)
    with pytest.raises(ValueError, match="2 formats but 1 lists"): Blocks.sets([[90]] * 2, [torch.arange(2)])


# nbs/32_open_ended_decoder.ipynb, cell dfce0b80
def test_nothing_asked_nothing_answered():
    decoder = small_decoder()
    row, context, none = decoder.vocabulary.query_row(2), decoder.read(*request(decoder)), torch.zeros(0, dtype=torch.long)
    assert decoder.answer(context, Blocks.sets([row] * 3, [none] * 3)).shape == (3, 0, 64)
    assert [x.shape for x in decoder.fill(context, [row] * 3, [none] * 3)] == [(0, 5)] * 3


# nbs/32_open_ended_decoder.ipynb, cell ad52bd4c
def test_smoothing_makes_a_near_miss_cheaper():
    line, target = range(10, 20), torch.tensor([14])
    sure = lambda id: 9.0 * F.one_hot(torch.tensor([id]), 30)                 # a model that is sure of one token
    cost = lambda id, std: soft_cross_entropy(sure(id), target, line, std)
    torch.testing.assert_close(cost(13, 0), cost(19, 0))                      # plain: all misses are alike
    assert cost(14, 1.0) < cost(13, 1.0) < cost(12, 1.0) < cost(19, 1.0)
    logits, targets = torch.randn(6, 30), torch.tensor([10, 11, 14, 17, 18, 19])
    plain_entropy = F.cross_entropy(logits, targets, reduction="none")
    for std in (0, 1e-3): torch.testing.assert_close(soft_cross_entropy(logits, targets, line, std), plain_entropy)
    unsure = soft_cross_entropy(torch.zeros(6, 30), targets, line, 2.0)
    torch.testing.assert_close(unsure, torch.full((6,), 30.0).log())          # the bell's weights sum to 1
    inside = torch.full((1, 30), -1e4).index_fill(1, torch.tensor(line), 0.0)  # and none of it leaves the line
    assert soft_cross_entropy(inside, torch.tensor([10]), line, 2.0) < 10 > soft_cross_entropy(inside, torch.tensor([19]), line, 2.0)


# nbs/32_open_ended_decoder.ipynb, cell ba1c5403
def test_expected_distance_is_measured_on_the_line():
    line = range(10, 75)                                                      # offsets -32 to 32
    sure = 99.0 * F.one_hot(torch.tensor([42, 46, 74]), 80)
    torch.testing.assert_close(expected_distance(sure, torch.tensor([42, 42, 42]), line), torch.tensor([0, 4, 32]) / 32)
    undecided = 99.0 * F.one_hot(torch.tensor([[10, 74]]), 80).sum(1)         # both ends: the mean is in the middle
    assert expected_distance(undecided, torch.tensor([42]), line) < 1e-5 < soft_cross_entropy(undecided, torch.tensor([42]), line, 2.0)
    logits = torch.zeros(1, 80, requires_grad=True)
    expected_distance(logits, torch.tensor([60]), line).sum().backward()
    assert (logits.grad[0, 43:75] < 0).all() and (logits.grad[0, 10:42] > 0).all()   # towards the target, from everywhere


# nbs/32_open_ended_decoder.ipynb, cell 1e930513
def test_each_kind_is_averaged_over_its_own_tokens():
    torch.manual_seed(0)
    v, cfg = small_vocabulary(), OpenEndedDecoderConfig(class_weight=3.0)
    targets = torch.tensor([v.class_id(1), v.location_id(-4), v.location_id(9), v.text_ids[7], v.eos_id, -100])
    logits = torch.randn(6, len(v))
    losses = decoder_loss(logits, targets, v, cfg)
    assert list(losses) == ["class", "coordinate", "word"]
    each = F.cross_entropy(logits, targets, reduction="none")         # 0 where the target is -100, "don't care"
    torch.testing.assert_close(losses["class"], 3 * each[0])
    torch.testing.assert_close(losses["coordinate"], each[1:3].mean())
    torch.testing.assert_close(losses["word"], each[3:5].mean())
    assert list(decoder_loss(logits[:1], targets[:1], v, cfg)) == ["class"]
    shares = torch.tensor([1, 1 / 4, 1 / 48, 1, 1, 1])                # a coordinate of a box, one of an outline
    heard = decoder_loss(logits, targets, v, cfg, shares)
    torch.testing.assert_close(heard["coordinate"], (12 * each[1] + each[2]) / 13)
    torch.testing.assert_close([heard["class"], heard["word"]], [losses["class"], losses["word"]])
    helped = decoder_loss(logits, targets, v, replace(cfg, smoothing=2.0, distance_weight=10.0))
    assert helped["coordinate"] != losses["coordinate"] and helped["word"] == losses["word"]
    torch.testing.assert_close(helped["distance"], 10 * expected_distance(logits[1:3], targets[1:3], v.location_ids).mean())


# nbs/32_open_ended_decoder.ipynb, cell 562a42b1
def test_gradients_reach_every_parameter_and_the_image_tokens():
    decoder = small_decoder()
    v, (prompts, e, centers) = decoder.vocabulary, request(decoder)
    context = decoder.read(prompts, e.requires_grad_(), centers.requires_grad_())
    hidden = decoder.answer(context, Blocks.sets([v.query_row(2)] * 3, [torch.arange(4)] * 3))
    targets = torch.tensor([v.class_id(1), *(v.location_id(o) for o in (-5, -7, 5, 7))]).repeat(12)
    losses = decoder_loss(decoder.language_model.logits(hidden.flatten(0, 1)), targets, v, decoder.cfg)
    sum(losses.values()).backward()
    missed = [name for name, p in decoder.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert missed == []
    assert (e.grad.abs().sum(-1) > 0).all() and (centers.grad.abs().sum(-1) > 0).all()


# nbs/32_open_ended_decoder.ipynb, cell add0c2d0
def by_heart(v):
    "Two questions about each of 4 pictures: arguments of `read`, the blocks, and targets (8, s) with -100 where there is none."
    torch.manual_seed(1)
    e, centers, row = torch.randn(4, 4, 16), torch.rand(4, 4, 2), v.query_row(2)
    prompts = [v.encode("detect ball <image>")] * 4 + [v.encode("<image> is")] * 4
    ids = torch.cat([v.class_ids[0] + torch.randint(8, (4, 4, 1)), v.location_ids[0] + torch.randint(65, (4, 4, 4))], 2)
    words = [v.encode(text) for text in WORDS[:4]]
    blocks = Blocks.merge([Blocks.sets([row] * 4, [torch.arange(4)] * 4), Blocks.texts([[v.bos_id, *w] for w in words])])
    targets = [*ids.flatten(1), *(torch.tensor([*w, v.eos_id]) for w in words)]
    return (prompts, e.repeat(2, 1, 1), centers.repeat(2, 1, 1)), blocks, pad_sequence(targets, True, -100), ids, words

def learn(decoder, asked, blocks, targets, steps, lr=6e-3):
    "Trains on one batch; returns the losses by name, one list each."
    optimizer, curves, known = torch.optim.AdamW(decoder.parameters(), lr=lr), {}, targets >= 0
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        hidden = decoder.answer(decoder.read(*asked), blocks)
        losses = decoder_loss(decoder.language_model.logits(hidden[known]), targets[known], decoder.vocabulary, decoder.cfg)
        optimizer.zero_grad(), sum(losses.values()).backward(), optimizer.step(), schedule.step()
        for name, loss in losses.items(): curves.setdefault(name, []).append(loss.item())
    return curves


# nbs/32_open_ended_decoder.ipynb, cell 2323be00
def test_learns_boxes_and_sentences_by_heart():
    decoder = small_decoder()
    asked, blocks, targets, ids, words = by_heart(decoder.vocabulary)
    curves = learn(decoder, asked, blocks, targets, steps=120)
    assert all(losses[0] > 1.5 and losses[-1] < 0.05 for losses in curves.values())
    context, row = decoder.read(*asked), decoder.vocabulary.query_row(2)
    filled = decoder.fill(context.select([0, 1, 2, 3]), [row] * 4, [torch.arange(4)] * 4)
    assert torch.equal(torch.stack(filled), ids)                       # free generation: every corner to the bin
    assert decoder.write(context.select([4, 5, 6, 7])) == words        # and every sentence word for word


# nbs/32_open_ended_decoder.ipynb, cell 7548f186
def test_solutions():
    decoder = shaken(small_decoder())
    v, context = decoder.vocabulary, decoder.read(*request(decoder)).select([0])
    forms = [Blocks.sets([v.query_row(n)], [torch.tensor([2])]) for n in (3, 8)]
    three, eight = (decoder.answer(context, form)[0] for form in forms)
    torch.testing.assert_close(three[:3], eight[:3], atol=1e-4, rtol=1e-4)
    assert (three[3] - eight[3]).abs().max() > 0.1
    sets = Blocks.sets([v.query_row(2)], [torch.arange(4)])
    mixed = replace(sets, block=torch.zeros_like(sets.block))
    alone = decoder.answer(context, Blocks.sets([v.query_row(2)], [torch.tensor([1])]))
    assert (decoder.answer(context, mixed)[:, 5:10] - alone).abs().max() > 0.1


# nbs/32_open_ended_decoder.ipynb, cell cdbd3670
def fill_in_order(decoder, context, row, tokens):
    "Ids (m, n) of the sets of one sample, a pass for each slot, which hears the answer of the slot before."
    lm, v, many, heard, out = decoder.language_model, decoder.vocabulary, context.select([0] * len(tokens)), 0, []
    cache, valid = many.cache, many.valid                     # a copy of the context for each set
    queries = decoder.queries(many, Blocks.sets([row] * len(tokens), list(tokens.split(1))))
    for k, query in enumerate(queries.split(1, 1)):           # (m, 1, d) each
        valid = F.pad(valid, (0, 1), value=True)
        hidden, cache = lm.answer(query + heard, cache, valid[:, None], many.length[:, None] + k)
        logits = lm.logits(hidden)
        out.append(_middle(logits, v.location_ids) if k else _best(logits, v.class_ids))
        heard = lm.embed(out[-1])
    return torch.cat(out, 1)


# nbs/32_open_ended_decoder.ipynb, cell c17c10af
def test_forms_filled_in_order():
    decoder = shaken(small_decoder())
    v, context = decoder.vocabulary, decoder.read(*request(decoder, m=6)).select([0])
    row, ask = v.query_row(2), lambda: fill_in_order(decoder, context, v.query_row(2), torch.arange(6))
    ids, parallel = ask(), decoder.fill(context, [row], [torch.arange(6)])[0]
    assert passes(decoder, ask) == 5 and ids.shape == parallel.shape
    assert torch.equal(ids[:, 0], parallel[:, 0]) and not torch.equal(ids, parallel)   # from the second slot on, it hears
