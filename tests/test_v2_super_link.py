"""Tests of visionllm_edu/v2/super_link.py.

Generated from nbs/43_super_link.ipynb by make export: do not edit, edit the notebook.
"""

import pytest
import torch
import torch.nn.functional as F
from contextlib import contextmanager
from dataclasses import replace
from random import Random
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from visionllm_edu.language.instructions import IGNORE
from visionllm_edu.language.language_model import LanguageModel, LanguageModelConfig
from visionllm_edu.language.vocabulary import Vocabulary
from visionllm_edu.v2.conversation import (
    Conversation, ROUTES, Turn, V2_BLOCKS, answer_ids, encode_chat, with_links,
)
from visionllm_edu.v2.super_link import (
    LinkQueries, LinkReader, SuperLink, SuperLinkConfig, _put, _who_sees_whom, pad_ids,
)


# nbs/43_super_link.ipynb, cell 32846b3b
SAYINGS = ["find a dog, a cat and a red ball", "Sure, here it is: ", "what is there? a ball under the tree.", "and this?", "dog", "cat"]
QUERIES_HERE = {"object": 4, "keypoint": 3, "generate": 6, "edit": 6}

def small_vocabulary():
    return Vocabulary.train(SAYINGS * 5, text_size=300, range=1, num_classes=1, max_points=1, extra=V2_BLOCKS)

def chat(v, *turns, images=0, regions=0, queries=QUERIES_HERE):
    "A conversation as ids; every image has 4 tokens."
    return encode_chat(Conversation([Turn(*t) for t in turns], images, regions), v, queries, [4] * images)


# nbs/43_super_link.ipynb, cell ed5bcff5
def rows_loop(ids, v, queries, first):
    "Per place the row of the stack of tables that stands in it, -1 for none; ids of one sample."
    rows, waiting = [], []
    for i in ids.tolist():
        rows.append(waiting.pop(0) if waiting else -1)
        if v.kind(i) == "routing":
            decoder = ROUTES[v.token(i)]
            waiting = [first[decoder] + k for k in range(queries[decoder])]
    return rows


# nbs/43_super_link.ipynb, cell ce78d047
def test_sizes_of_links():
    for size in ("tiny", "mini", "paper"):
        queries = getattr(SuperLinkConfig, size)().queries
        assert set(queries) == set(ROUTES.values()) and queries["object"] == queries["keypoint"] == 4
    assert SuperLinkConfig.paper().queries["generate"] == 64
    for wrong in ({}, {"object": 0}, {"objects": 4}):
        with pytest.raises(ValueError, match="won't do: 1 or more for each of some of the decoders"): SuperLinkConfig(wrong)


# nbs/43_super_link.ipynb, cell ddd45ded
def test_tables_share_nothing():
    queries = LinkQueries({"object": 4, "generate": 6}, width=8)
    stack, first = queries(), queries.first()
    assert stack.shape == (10, 8) and len(queries.state_dict()) == 2
    for decoder, table in queries.tables.items():
        assert torch.equal(stack[first[decoder] : first[decoder] + len(table)], table)
    assert (torch.cdist(stack, stack) + 9 * torch.eye(10)).min() > 0.01         # random, and all different


# nbs/43_super_link.ipynb, cell 1ddc8b9d
def test_tokens_go_where_they_belong():
    embeds, places = torch.zeros(2, 4, 1), torch.tensor([[False, True, False, True], [True, False, False, False]])
    filled = _put(embeds, places, [torch.tensor([[1.0], [2]]), torch.tensor([[3.0]])], "image")
    assert filled[..., 0].tolist() == [[0, 1, 0, 2], [3, 0, 0, 0]] and not embeds.any()
    assert _put(embeds, places & False, None, "image") is embeds
    with pytest.raises(ValueError, match=r"have \[2, 1\] places for image tokens of width 1, got .* \[\(1, 1\), \(2, 1\)\]"):
        _put(embeds, places, [torch.ones(1, 1), torch.ones(2, 1)], "image")


# nbs/43_super_link.ipynb, cell 50286f64
def small_link(queries=QUERIES_HERE, kind=None, **settings):
    "An untrained super link on an LM with 2 layers of width 32."
    torch.manual_seed(0)
    v = small_vocabulary()
    lm = LanguageModel(LanguageModelConfig(hidden_size=32, layers=2, heads=2, mlp_size=64), len(v))
    cfg = SuperLinkConfig(dict(queries), **dict(max_new=12, echo=3) | settings)
    return (kind or SuperLink)(cfg, lm, v).eval()

def shaken(link):
    "The link with large random weights: each connection matters."
    for p in link.parameters():
        if p.dim() > 1: nn.init.normal_(p, std=0.3)
    return link

def tokens_for(ids, v):
    "Random image and region tokens for all their places: arguments 2 and 3 of `embed`."
    places = [(ids == v.image_id).sum(1), (ids == v.encode("<region>")[0]).sum(1)]
    return [[torch.randn(int(n), 32) for n in counts] for counts in places]


# nbs/43_super_link.ipynb, cell e2667537
def batch_of(v, queries=QUERIES_HERE):
    "Three finished conversations with 2, 0 and 4 links: chats, ids, valid, and tokens of images and regions."
    chats = [chat(v, ("find a dog and a cat", "dog[DET], cat[SEG]."), images=1, queries=queries),
             chat(v, ("what is there?", "a red ball under the tree."), queries=queries),
             chat(v, ("find <region>", "[GRD]"), ("and this?", "Sure[POSE], here: [POSE][GEN]"), images=1, regions=1, queries=queries)]
    ids, valid = pad_ids([c.ids for c in chats], v)
    return chats, ids, valid, *tokens_for(ids, v)


# nbs/43_super_link.ipynb, cell 49aff88d
def test_rows_equal_the_loop():
    link = small_link(kind=LinkReader)
    v, (chats, ids, valid, *_) = link.vocabulary, batch_of(link.vocabulary)
    assert link.link_rows(ids).tolist() == [rows_loop(row, v, QUERIES_HERE, link.queries.first()) for row in ids]
    object_table, keypoint_table = (range(link.queries.first()[d], link.queries.first()[d] + n) for d, n in (("object", 4), ("keypoint", 3)))
    rows = [r for r in link.link_rows(ids)[2].tolist() if r >= 0]
    assert rows[:4] == list(object_table) and rows[4:7] == rows[7:10] == list(keypoint_table)


# nbs/43_super_link.ipynb, cell f0723314
def test_links_are_gathered_by_their_token():
    link = shaken(small_link(kind=LinkReader))
    chats, ids, valid, images, regions = batch_of(link.vocabulary)
    hidden = link(link.embed(ids, images, regions), valid)
    for i, (found, told) in enumerate(zip(link.gather(hidden, ids), chats)):
        assert [(x.token, x.at, len(x.states)) for x in found] == [(x.token, x.at, x.n) for x in told.links]
        for x in found: assert torch.equal(x.states, hidden[i, x.at : x.at + len(x.states)])
    assert [len(found) for found in link.gather(hidden, ids)] == [2, 0, 4]


# nbs/43_super_link.ipynb, cell 2fffe2e2
def test_links_at_both_ends_and_nowhere():
    link = shaken(small_link(kind=LinkReader))
    v, queries, dog = link.vocabulary, link.cfg.queries, link.vocabulary.encode("a dog")
    rows = [with_links([*v.encode("[SEG]"), *dog], v, queries), with_links([*dog, *v.encode("[EDIT]")], v, queries)]
    ids, valid = pad_ids(rows, v)
    hidden = link(link.embed(ids), valid)
    (front,), (back,) = link.gather(hidden, ids)
    assert front.at == 1 and torch.equal(front.states, hidden[0, 1:5])
    assert back.at + 6 == len(rows[1]) and torch.equal(back.states, hidden[1, back.at : back.at + 6])
    ids, valid = pad_ids([dog, dog[:1]], v)
    assert link.gather(link(link.embed(ids), valid), ids) == [[], []]


# nbs/43_super_link.ipynb, cell b1ad0139
def test_a_batch_equals_the_plain_model_one_by_one():
    link = shaken(small_link(kind=LinkReader))
    chats, ids, valid, images, regions = batch_of(link.vocabulary)
    hidden = link(link.embed(ids, images, regions), valid)
    for i, one in enumerate(chats):
        embeds = link.embed(one.ids[None], images[i : i + 1], regions[i : i + 1])
        plain = link.language_model.lm.model(inputs_embeds=embeds, use_cache=False).last_hidden_state[0]
        torch.testing.assert_close(hidden[i, : len(one)], plain, atol=1e-4, rtol=1e-4)


# nbs/43_super_link.ipynb, cell d1515db9
def test_two_forwards_are_equal_and_inputs_stay():
    link = shaken(small_link(kind=LinkReader))
    chats, ids, valid, images, regions = batch_of(link.vocabulary)
    labels = pad_sequence([c.labels for c in chats], True, IGNORE)
    given = [ids, valid, labels, *images, *regions]
    before = [x.clone() for x in given]
    def run():
        hidden = link(link.embed(ids, images, regions), valid)
        return link.loss(hidden, labels), [x.states for links in link.gather(hidden, ids) for x in links]
    (loss, states), (loss_again, states_again) = run(), run()
    assert torch.equal(loss, loss_again) and all(map(torch.equal, states, states_again))
    assert all(map(torch.equal, given, before))


# nbs/43_super_link.ipynb, cell 719e192a
def test_an_echo_of_words_alone():
    link, quiet = small_link(kind=LinkReader), small_link(kind=LinkReader, echo=0)
    v = link.vocabulary
    (ids,), _ = pad_ids([chat(v, ("find a dog and a cat", "dog[DET], cat[SEG].")).ids], v)
    rows, heard = link.language_model.embed(ids), link.words(ids[None])[0]
    spoken = [k for k in range(len(ids)) if v.kind(ids[k]) not in ("link", "routing")]
    turns = link.echo.weight.split(32, 1)
    for k, at in enumerate(spoken):
        before = [rows[spoken[k - n]] if k >= n else torch.zeros(32) for n in (1, 2, 3)]
        there = rows[at] + sum(turn @ row for turn, row in zip(turns, before))
        torch.testing.assert_close(heard[at], there, atol=1e-5, rtol=1e-5)
    silent = [k for k in range(len(ids)) if k not in spoken]
    assert len(silent) == 2 + 8 and torch.equal(heard[silent], rows[silent])
    for cut in range(3, len(ids)):   # piece by piece it hears the same
        torch.testing.assert_close(link.words(ids[None, cut:], link.last_words(ids[None, :cut])), heard[None, cut:])
    assert torch.equal(quiet.words(ids[None]), quiet.language_model.embed(ids[None])) and not hasattr(quiet.echo, "weight")
    loud = small_link(kind=LinkReader, echo_routes=True)
    assert (loud.words(ids[None]) != loud.language_model.embed(ids[None])).any(-1).sum() == len(spoken) + 2 - 1   # the first word hears nothing


# nbs/43_super_link.ipynb, cell 848a1d3d
NAMES = [f"{side} {part}" for side in ("left", "right", "upper", "lower") for part in ("eye", "ear", "knee", "hand", "foot", "wing", "leaf", "door")]

def a_list(rng, v):
    "Three to eight names are asked for, after some idle words, and repeated."
    names, idle = rng.sample(NAMES, rng.randint(3, 8)), "well, " * rng.randint(0, 6)
    return chat(v, (f"{idle}find {', '.join(names)}.", ", ".join(f"{n}[POSE]" for n in names) + "."), queries={"keypoint": 3})

def repeat_lists(echo, steps=120):
    "(share of right words, loss of each step)."
    torch.manual_seed(0)
    v = Vocabulary.train([f"well, find {n}, {n}." for n in NAMES] * 20, 300, range=1, num_classes=1, max_points=1, extra=V2_BLOCKS)
    lm = LanguageModel(LanguageModelConfig(hidden_size=96, layers=2, heads=3, mlp_size=192, lookup_start=True), len(v))
    link, losses = LinkReader(SuperLinkConfig({"keypoint": 3}, echo=echo), lm, v), []
    optimizer, rng = torch.optim.AdamW(link.parameters(), 2e-3), Random(0)
    for step in range(steps + 1):
        chats = [a_list(rng, v) for _ in range(16 if step < steps else 64)]
        ids, valid = pad_ids([c.ids for c in chats], v)
        labels = pad_sequence([c.labels for c in chats], True, IGNORE)
        hidden = link(link.embed(ids), valid)
        if step == steps: break
        losses.append(link.loss(hidden, labels))
        optimizer.zero_grad(), losses[-1].backward(), optimizer.step()
    parts = {i for n in NAMES for i in v.encode(f", {n}")[1:]}
    asked = torch.isin(labels[:, 1:], torch.tensor(sorted(parts)))
    right = link.language_model.logits(hidden).argmax(-1)[:, :-1] == labels[:, 1:]
    return right[asked].float().mean().item(), [x.item() for x in losses]


# nbs/43_super_link.ipynb, cell ca4e1b5b
def test_lists_are_soon_repeated():
    assert repeat_lists(3, 40)[0] > repeat_lists(0, 40)[0] + 0.3


# nbs/43_super_link.ipynb, cell 4846cde9
def test_the_loss_is_on_words_alone():
    link = shaken(small_link(kind=LinkReader))
    v, (chats, ids, valid, images, regions) = link.vocabulary, batch_of(link.vocabulary)
    labels = pad_sequence([c.labels for c in chats], True, IGNORE)
    hidden = link(link.embed(ids, images, regions), valid)
    chances = link.language_model.logits(hidden).log_softmax(-1)
    each = [-chances[i, at - 1, labels[i, at]] for i in range(3) for at in range(1, ids.shape[1]) if labels[i, at] != IGNORE]
    torch.testing.assert_close(link.loss(hidden, labels), torch.stack(each).mean())
    comma = chats[0].links[0].at + 4                                            # right behind the first link
    assert v.token(labels[0, comma]) == "," and v.kind(ids[0, comma - 1]) == "link"
    nothing = link.loss(hidden, torch.full_like(labels, IGNORE))
    nothing.backward()
    assert nothing == 0 and all(p.grad is None or not p.grad.any() for p in link.parameters())


# nbs/43_super_link.ipynb, cell 25cfd3c0
def test_a_loss_on_a_link_moves_the_language_model():
    link = shaken(small_link(kind=LinkReader))
    chats, ids, valid, images, regions = batch_of(link.vocabulary)
    image = images[0].requires_grad_()
    first = link.gather(link(link.embed(ids, images, regions), valid), ids)[0][0]
    (first.states * torch.randn(4, 32)).sum().backward()                        # what some decoder wants
    for name, p in link.language_model.named_parameters(): assert p.grad is not None and p.grad.any(), name
    moved = {decoder for decoder, table in link.queries.tables.items() if table.grad.any()}
    assert moved == {"object"} and link.queries.tables["object"].grad.any(1).all() and image.grad.any(1).all()


# nbs/43_super_link.ipynb, cell da8dbe82
def test_padding_is_never_seen():
    seen, own = torch.tensor([[True, True, True], [True, False, True]]), torch.tensor([[True, True], [True, False]])
    assert _who_sees_whom(seen, own).int().tolist() == [[[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]], [[1, 0, 1, 1, 0], [1, 0, 1, 1, 0]]]


# nbs/43_super_link.ipynb, cell 299160a9
@contextmanager
def scripted(link, texts):
    "Within this block, sample i of a generated batch says `texts[i]`, whatever the LM thinks."
    v, plain, left = link.vocabulary, link._next, {}
    scripts = iter([[*answer_ids(text, v), v.eos_id] for text in texts])
    def say(answer, token, length):
        script = left.setdefault(id(answer), [])
        if not script: script += next(scripts)
        return plain(answer, script.pop(0), length)
    link._next = say
    yield
    del link._next


# nbs/43_super_link.ipynb, cell 8afac6bf
SCRIPT = ["a dog[DET], cat[SEG].", "a red ball under the tree", "[POSE][GEN]"]

def asked(v, queries=QUERIES_HERE):
    "Three questions: ids, valid, and tokens of images and regions. The third has a round, with a link, behind it."
    chats = [chat(v, ("find a dog and a cat",), images=1, queries=queries), chat(v, ("what is there?",), queries=queries),
             chat(v, ("find <region>", "[GRD]"), ("and this?",), images=1, regions=1, queries=queries)]
    ids, valid = pad_ids([c.ids for c in chats], v)
    return ids, valid, *tokens_for(ids, v)


# nbs/43_super_link.ipynb, cell 613296d8
def test_several_links_and_none_in_one_batch():
    link = shaken(small_link())
    with scripted(link, SCRIPT): answers = link.generate(*asked(link.vocabulary))
    assert [a.text for a in answers] == SCRIPT and all(a.finished for a in answers)
    assert [a.routes for a in answers] == [[("[DET]", "a dog"), ("[SEG]", "cat")], [], [("[POSE]", ""), ("[GEN]", "")]]
    assert [[(x.token, len(x.states)) for x in a.links] for a in answers] == [[("[DET]", 4), ("[SEG]", 4)], [], [("[POSE]", 3), ("[GEN]", 6)]]
    assert [[x.token for x in a.earlier] for a in answers] == [[], [], ["[GRD]"]]


# nbs/43_super_link.ipynb, cell a3b75334
def teacher_forced(link, request, answers):
    "The links of questions and answers together, in one pass over the finished conversations."
    ids, valid, images, regions = request
    rows = [row[real].tolist() + a.ids for row, real, a in zip(ids, valid, answers)]
    ids, valid = pad_ids(rows, link.vocabulary)
    return link.gather(link(link.embed(ids, images, regions), valid), ids)

def assert_same(some, others):
    "Fails unless two lists of links are alike in token, place and states."
    assert [(x.token, x.at) for x in some] == [(x.token, x.at) for x in others]
    for x, y in zip(some, others): torch.testing.assert_close(x.states, y.states, atol=1e-4, rtol=1e-4)


# nbs/43_super_link.ipynb, cell 94d4a766
def test_generated_states_equal_teacher_forced_ones():
    link = shaken(small_link())
    request = asked(link.vocabulary)
    with scripted(link, SCRIPT): answers = link.generate(*request)
    for a, links in zip(answers, teacher_forced(link, request, answers)): assert_same(a.earlier + a.links, links)
    states = torch.cat([x.states for a in answers for x in a.links])
    assert (torch.cdist(states, states) + 9 * torch.eye(len(states))).min() > 0.1        # and no two are alike


# nbs/43_super_link.ipynb, cell 9b0c0889
def sample(request, i):
    "Sample i of a request, as a batch of one without padding."
    ids, valid, *tokens = request
    return ids[i : i + 1, valid[i]], valid[i : i + 1, valid[i]], *(some[i : i + 1] for some in tokens)


# nbs/43_super_link.ipynb, cell 6167df7d
def test_a_generated_batch_equals_its_samples():
    link = shaken(small_link())
    request = asked(link.vocabulary)
    for i, a in enumerate(link.generate(*request)):
        (b,) = link.generate(*sample(request, i))
        assert (a.ids, a.finished) == (b.ids, b.finished) and (len(a.ids) >= 12 or a.finished)
    with scripted(link, SCRIPT): answers = link.generate(*request)
    for i, a in enumerate(answers):
        with scripted(link, SCRIPT[i : i + 1]): (b,) = link.generate(*sample(request, i))
        assert a.ids == b.ids
        assert_same(a.earlier + a.links, b.earlier + b.links)


# nbs/43_super_link.ipynb, cell 17b81746
def test_who_has_finished_leaves_the_batch():
    link = shaken(small_link())
    with scripted(link, SCRIPT):
        sizes, hook = [], link.language_model.lm.model.layers[0].register_forward_hook(lambda part, inputs, out: sizes.append(len(inputs[0])))
        answers = link.generate(*asked(link.vocabulary))
        hook.remove()
    assert sizes[0] == len(answers) and sizes == sorted(sizes, reverse=True) and sizes[-1] < sizes[0]
    steps = [sum(link.vocabulary.kind(i) != "link" for i in a.ids) for a in answers]
    assert sum(sizes) == len(answers) + sum(steps)                         # one row for each word that was written


# nbs/43_super_link.ipynb, cell b90f351e
def test_the_plain_model_chooses_alike():
    link = shaken(small_link())
    ids, valid, images, regions = request = asked(link.vocabulary)
    for i, a in enumerate(link.generate(*request)):
        row = torch.cat([ids[i, valid[i]], torch.tensor(a.ids)])[None]
        logits = link.language_model.lm(inputs_embeds=link.embed(row, images[i : i + 1], regions[i : i + 1])).logits[0]
        likeliest = link.writable[logits[:, link.writable].argmax(1)]
        said = [k for k in range(int(valid[i].sum()), row.shape[1]) if link.vocabulary.kind(row[0, k]) != "link"]
        assert row[0, said].tolist() == likeliest[[k - 1 for k in said]].tolist()
        assert likeliest[-1] == link.vocabulary.eos_id if a.finished else len(said) == 12


# nbs/43_super_link.ipynb, cell d2dff846
def test_any_number_of_queries_works():
    for queries in ({"object": 1, "keypoint": 1, "generate": 1, "edit": 1}, {"object": 7, "keypoint": 2, "generate": 20, "edit": 1}):
        link = shaken(small_link(queries))
        request = asked(link.vocabulary, queries)
        with scripted(link, SCRIPT): answers = link.generate(*request)
        assert [a.text for a in answers] == SCRIPT
        for a, links in zip(answers, teacher_forced(link, request, answers)): assert_same(a.earlier + a.links, links)


# nbs/43_super_link.ipynb, cell 333d890c
def test_answers_end_with_whole_links():
    link = shaken(small_link())
    request = asked(link.vocabulary)
    with scripted(link, SCRIPT): answers = link.generate(*request, max_new=3)            # the third token of sample 0 is [DET]
    assert [a.text for a in answers] == ["a dog[DET]", "a red ball", SCRIPT[2]] and [a.finished for a in answers] == [False, False, True]
    assert len(answers[0].links) == 1
    for a, links in zip(answers, teacher_forced(link, request, answers)): assert_same(a.earlier + a.links, links)


# nbs/43_super_link.ipynb, cell 8e3fbbf8
def test_a_link_without_room_is_not_begun():
    link = shaken(small_link())
    ids, valid, *tokens = (some[:2] for some in asked(link.vocabulary))
    link.cfg = replace(link.cfg, limit=int(valid[0].sum()) + 2 + 4)                # `a dog`, and 4 places more: [DET] takes 5
    with scripted(link, ["a dog[DET], cat", SCRIPT[1]]): short, other = link.generate(ids, valid, *tokens)
    assert (short.text, short.finished, short.links) == ("a dog", False, [])       # nor does it go on, while the other does
    assert (other.text, other.finished) == (SCRIPT[1], True)


# nbs/43_super_link.ipynb, cell b399262b
def test_tables_at_the_papers_size():
    v = small_vocabulary()
    with torch.device("meta"):
        link = SuperLink(SuperLinkConfig.paper(), LanguageModel(LanguageModelConfig(hidden_size=4096, layers=1, heads=32), len(v)), v)
    assert sum(p.numel() for p in link.queries.parameters()) == (4 + 4 + 64 + 64) * 4096
    assert [k for k in link.state_dict() if not k.startswith("language_model.")] == [f"queries.tables.{d}" for d in link.queries.first()]


# nbs/43_super_link.ipynb, cell af9f713d
def test_only_words_and_routes_can_be_written():
    link = shaken(small_link({"object": 4}))
    v = link.vocabulary
    may = [v.token(i) for i in link.writable]
    assert {"[DET]", "[SEG]", "[GRD]", "<det>", "</det>", "<eos>"} < set(may)
    assert not {"[POSE]", "[GEN]", "[EDIT]", "<link>", "<image>", "<region>", "<user>", "<assistant>", "<pad>", "<bos>", "<unk>", "<c0>"} & set(may)
    link.language_model.logits = lambda hidden: F.one_hot(torch.full(hidden.shape[:1], v.encode("<link>")[0]), len(v)).float()
    ids, valid = pad_ids([chat(v, ("find a dog",), queries={"object": 4}).ids], v)
    assert link.generate(ids, valid, max_new=2)[0].ids and v.encode("<link>")[0] not in link.generate(ids, valid, max_new=2)[0].ids


# nbs/43_super_link.ipynb, cell 5c26d292
def place_by_place(link, row, start):
    "Hidden states (n - start, d) of one sample (n,): each place from `start` on has a pass of its own."
    embeds, n = link.embed(row[None]), len(row)
    hidden, cache = link.language_model.read(embeds[:, :start], torch.ones(1, start, dtype=torch.bool))
    out = []
    for k in range(start, n):
        hidden, cache = link.language_model.answer(embeds[:, k : k + 1], cache, torch.ones(1, 1, k + 1, dtype=torch.bool), torch.tensor([[k]]))
        out.append(hidden[0])
    return torch.cat(out)

@contextmanager
def passes(link):
    "Within this block, a list that grows by one with every run of the LM."
    ran = []
    hook = link.language_model.lm.model.register_forward_hook(lambda *_: ran.append(1))
    yield ran
    hook.remove()


# nbs/43_super_link.ipynb, cell 8182a7e2
def test_queries_ride_along():
    link = shaken(small_link())
    v = link.vocabulary
    ids, valid = pad_ids([chat(v, ("find a dog and a cat",)).ids], v)
    for text, routes in (("a red ball", 0), ("a dog[DET]", 1), ("a dog[DET], cat[SEG].", 2), ("[GEN]", 1)):
        with passes(link) as ours, scripted(link, [text]): (answer,) = link.generate(ids, valid)
        with passes(link) as theirs: states = place_by_place(link, torch.cat([ids[0], torch.tensor(answer.ids)]), ids.shape[1])
        words, queries = len(answer_ids(text, v)) - routes, sum(len(x.states) for x in answer.links)
        assert len(ours) == 1 + words + routes and len(theirs) == 1 + words + routes + queries
        for x in answer.links: torch.testing.assert_close(x.states, states[x.at - ids.shape[1] :][: len(x.states)], atol=1e-4, rtol=1e-4)
        print(f"{text!r:26} {words} words, {routes} links of {queries // max(1, routes)}: {len(ours)} passes here, {len(theirs)} token by token")


# nbs/43_super_link.ipynb, cell 2877f385
def test_bad_requests_are_refused():
    link = small_link()
    v, link_id, (ids, valid, images, regions) = link.vocabulary, link.vocabulary.encode("<link>")[0], asked(link.vocabulary)
    det, whole = v.encode("[DET]")[0], with_links(v.encode("a dog[DET]"), v, QUERIES_HERE)
    for row in (whole[:-1], [det, *whole], [det, link_id, *whole], [link_id, *whole], [*whole, link_id], [*whole[:-2], 9, *whole[-2:]]):
        for batch in ([row], [whole, row], [row, whole + whole]):      # an end may be hidden by padding
            with pytest.raises(ValueError, match=rf"sample {batch.index(row)}: its routing tokens \[.*\] need \d <link>, unbroken"):
                link.embed(pad_ids(batch, v)[0])
    with pytest.raises(ValueError, match=r"\[4, 0, 4\] places for image tokens of width 32, got tokens of the shapes \[\(4, 32\), \(1, 32\)"):
        link.embed(ids, [images[0], torch.zeros(1, 32), images[2]], regions)
    with pytest.raises(ValueError, match="places for image tokens"): link.generate(ids, valid)
    with pytest.raises(ValueError, match="places for region tokens"): link.generate(ids, valid, images, regions[:2])
    with pytest.raises(ValueError, match="a batch of 0 samples without an id"): pad_ids([], v)
    with pytest.raises(ValueError, match="must be True on one place or more"): link.generate(ids, ~valid, images, regions)
    with pytest.raises(ValueError, match="must be True on one place or more"): link.generate(ids[:0], valid[:0], [], [])
    embeds = link.embed(ids, images, regions)
    with pytest.raises(ValueError, match=r"valid for \(samples, places\) \(2, "): link(embeds, valid[:2])
    with pytest.raises(ValueError, match=r"hidden states for \(samples, places\)"): link.gather(embeds[:, :-1], ids)
    with pytest.raises(ValueError, match=r"labels for \(samples, places\)"): link.loss(embeds, ids[:, :-1])
    link.cfg = replace(link.cfg, limit=ids.shape[1])
    with pytest.raises(ValueError, match=f"of {ids.shape[1]} places leaves no room for an answer: {ids.shape[1]} is the limit"):
        link.generate(ids, valid, images, regions)


# nbs/43_super_link.ipynb, cell 3548e90b
def route_chances(link, hidden, ids):
    "How likely each routing token was in its place, (links,), samples in order."
    chance = link.language_model.logits(hidden)[..., link.writable].softmax(-1)
    i, at = (link.count[ids] > 0).nonzero().T
    return chance[i, at - 1, (link.writable == ids[i, at][:, None]).int().argmax(1)]


# nbs/43_super_link.ipynb, cell 5ba05984
def test_solutions():
    link = shaken(small_link())
    v = link.vocabulary
    ids, valid = pad_ids([with_links(v.encode("dog[DET] and[POSE]"), v, QUERIES_HERE)], v)
    hidden = link(link.embed(ids), valid)
    states = link.gather(hidden, ids)[0][1].states
    (states * torch.randn(3, 32)).sum().backward()
    assert link.queries.tables["object"].grad.any() and link.queries.tables["keypoint"].grad.any() and not link.queries.tables["edit"].grad.any()
    link.language_model.logits = lambda hidden: torch.zeros(*hidden.shape[:2], len(v))        # an LM that is unsure
    torch.testing.assert_close(route_chances(link, hidden, ids), torch.full((2,), 1 / len(link.writable)))
