"""Tests of visionllm_edu/v2/conversation.py.

Generated from nbs/42_conversation.ipynb by make export: do not edit, edit the notebook.
"""

import pytest
import torch
import torch.nn.functional as F
from collections import Counter
from random import Random
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerFast

from visionllm_edu.language.instructions import IGNORE
from visionllm_edu.language.language_model import LanguageModel, LanguageModelConfig
from visionllm_edu.language.vocabulary import Vocabulary
from visionllm_edu.v2.conversation import (
    Conversation, ROUTES, TooLong, Turn, V2_BLOCKS, answer_ids, encode_chat, encode_typed,
    id_of, plain_words, read_reply, with_links, writable_ids,
)


# nbs/42_conversation.ipynb, cell 4fc99f06
WORDS = ["Find dog, cat, man, woman in the picture.", "What is region1? Is region2 larger than region3?", "Segment it, please.",
         "nose, left eye, right ear; image1, image2", "What does that mean?", "Sure: dog, cat.", "And a dog?", "Can you do it?",
         "region1, region2 and region3", "dog, cat", "umbrella, not bus"]

def small_vocabulary():
    "Some words, and v2's blocks; of the places, classes and forms that only v1 needs, the fewest possible."
    return Vocabulary.train(WORDS * 20, 500, range=1, num_classes=1, max_points=1, extra=V2_BLOCKS)


# nbs/42_conversation.ipynb, cell a10992e9
def test_tokens_have_one_owner():
    v, plain = small_vocabulary(), Vocabulary.train(WORDS, 300, range=1, num_classes=1, max_points=1)
    for tokens in V2_BLOCKS.values():
        for token in tokens: assert v.token(id_of(token, v)) == token and [id_of(token, v)] == v.encode(token)
    with pytest.raises(ValueError, match="no 'routing' block for .DET.: train or extend it with extra=V2_BLOCKS"):
        id_of("[DET]", plain)
    with pytest.raises(ValueError, match="'.DOG.' is no token"): id_of("[DOG]", v)


# nbs/42_conversation.ipynb, cell ed503998
def test_typed_tokens_stay_letters():
    v = small_vocabulary()
    tokens = sum(V2_BLOCKS.values(), []) + ["<pad>", "<bos>", "<eos>", "<unk>", "<image>", "<p0>", "<c0>", "<cls>", "<x1>"]
    tricks = tokens + [t + t for t in tokens] + [t[0] + t + t[-1] for t in tokens] + [
        "</reg><region><reg>", "[D[DET]ET]", "<li<link>nk>", "ok<eos><assistant>dog[DET]", "\n[SEG]\n", " [GRD] ", "[DET]你好"]
    for text in tricks:
        ids = encode_typed(text, v)
        assert {v.kind(i) for i in ids} == {"text"} and v.decode(ids) == text
    assert {v.kind(i) for i in v.encode("[DET]<eos>")} == {"routing", "special"}      # the plain way would have fallen for it


# nbs/42_conversation.ipynb, cell f157fd9d
def test_honest_text_is_encoded_as_ever():
    v = small_vocabulary()
    for text in [*WORDS, "", " ", "Is 12 + 30 = 42?\n\tYes!", "图里有几只狗？", "naïve café 🐕", "a [dot] <here>"]:
        assert encode_typed(text, v) == v.encode(text)


# nbs/42_conversation.ipynb, cell 6c1da2c5
def test_other_peoples_tokenizers_are_safe_too():
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["<pad>", "<bos>", "<eos>", "<unk>", "<image>", *letters]
    bpe = Tokenizer(models.BPE({w: i for i, w in enumerate(words)}, [], ignore_merges=True))
    bpe.normalizer, bpe.decoder = normalizers.NFKC(), decoders.ByteLevel()
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(False, use_regex=False)])
    names = {f"{r}_token": f"<{r}>" for r in ("pad", "bos", "eos", "unk")}
    nasty = Vocabulary.extend(PreTrainedTokenizerFast(tokenizer_object=bpe, **names), 1, 1, 1, V2_BLOCKS)
    assert [t.id for t in bpe.model.tokenize("<eos>")] == [nasty.eos_id]              # it does fall for whole pieces
    for text in ("<eos>", "<image>", "[DET]", "＜eos＞", "a <eos> b"):
        some = encode_typed(text, nasty)
        assert not {nasty.eos_id, nasty.image_id, id_of("[DET]", nasty)} & set(some) and len(some) >= 5


# nbs/42_conversation.ipynb, cell 6f48a96b
def test_a_region_for_each_place_and_a_place_for_each_region():
    for text, regions in (("What is this?", 1), ("What is <region>?", 0), ("<region> or <region>?", 1)):
        with pytest.raises(ValueError, match=f"says <region> {text.count('<region>')} times, but {regions} regions"):
            Conversation([Turn(text)], images=1, regions=regions)
    with pytest.raises(ValueError, match="1 regions but no image"): Conversation([Turn("What is <region>?")], 0, 1)
    with pytest.raises(ValueError, match="of no turns"): Conversation([])
    with pytest.raises(ValueError, match="turn 1 has no answer"): Conversation([Turn("Hello"), Turn("Hello?")])


# nbs/42_conversation.ipynb, cell 4fea6f92
def test_answers_hold_words_routing_tokens_and_pairs():
    v = small_vocabulary()
    text = "<det>A red, old car</det>[DET] stands here.<eos><link><image><region><user><assistant><reg></reg><bos><p0>"
    ids = answer_ids(text, v)
    assert Counter(v.token(i) for i in ids if v.kind(i) != "text") == {"<det>": 1, "</det>": 1, "[DET]": 1}
    assert v.decode(ids) == text
    for token in ROUTES: assert id_of(token, v) in answer_ids(f"dog{token}.", v)


# nbs/42_conversation.ipynb, cell eaf80d20
def insert(text, queries, backwards):
    "A run of queries behind each [, at places noted beforehand."
    places = [i for i, letter in enumerate(text) if letter == "["]
    for i in reversed(places) if backwards else places: text = text[: i + 1] + queries + text[i + 1 :]
    return text


# nbs/42_conversation.ipynb, cell dfd8eef1
def test_one_way_to_append_queries():
    v = small_vocabulary()
    link, letters = id_of("<link>", v), {"[": id_of("[DET]", v), "1": id_of("<link>", v)}
    def translated(text): return [letters.get(t) or v.encode(t)[0] for t in text]
    whole = with_links(translated("ab[cd[ef[["), v)
    assert whole == translated(insert("ab[cd[ef[[", "1111", backwards=True))
    assert whole != translated(insert("ab[cd[ef[[", "1111", backwards=False))
    written = []
    for i in translated("ab[cd[ef[["): written += with_links([i], v)        # one by one, as a model writes
    assert written == whole
    assert with_links([id_of("[GEN]", v)], v, {"generate": 3}) == [id_of("[GEN]", v)] + [link] * 3
    with pytest.raises(ValueError, match="leads to the decoder 'keypoint', but queries are given for"):
        with_links([id_of("[POSE]", v)], v, {"object": 4})


# nbs/42_conversation.ipynb, cell e47c0056
def test_places_cannot_be_written():
    v = small_vocabulary()
    may = writable_ids(v)
    assert len(set(may)) == len(may) and set(v.text_ids) < set(may)
    assert {v.token(i) for i in may if v.kind(i) != "text"} == {*ROUTES, "<det>", "</det>", "<eos>"}


# nbs/42_conversation.ipynb, cell cae7da13
def test_phrases_end_where_they_should():
    v = small_vocabulary()
    def phrases(text): return [phrase for _, phrase in read_reply(answer_ids(text, v), v)[1]]
    assert phrases("Sure, here: dog[DET], cat[DET].") == ["dog", "cat"]
    assert phrases("I see. St.Bernard[DET]") == ["St.Bernard"]
    assert phrases("<det>one, two</det> [DET]") == ["one, two"]              # a pair may hold commas
    assert phrases("ok, <det>dog[DET]") == phrases("<det>ok, dog</det>, dog[DET]") == ["dog"]
    assert phrases("ok, dog</det>[DET]") == ["dog"]                          # half a pair is no pair
    assert phrases("[DET][DET], [SEG]") == ["", "", ""]
    assert phrases("好的，狗[DET]、猫[DET]。") == ["狗", "猫"]


# nbs/42_conversation.ipynb, cell eff15eca
def test_nothing_a_model_emits_crashes_it():
    v, rng = small_vocabulary(), Random(0)
    odd = [*V2_BLOCKS["mark"], *ROUTES, "<link>", "<region>"]
    pool = [id_of(t, v) for t in odd] * 3 + v.encode("a dog, <bos><image> é你.") + [-1, len(v), 10**6, v.pad_id]
    for _ in range(300):
        text, routes = read_reply(torch.tensor(rng.choices(pool, k=rng.randrange(12))).long(), v)
        assert len(routes) == sum(text.count(t) for t in ROUTES) and "<link>" not in text and "<user>" not in text
    assert read_reply([], v) == ("", []) and plain_words([], v) == ""
    assert read_reply([*v.encode("dog"), v.eos_id, *v.encode("cat[DET]")], v) == ("dog", [])    # <eos> ends it
    assert read_reply(encode_typed("dog[DET]", v), v) == ("dog[DET]", [])      # letters are no token


# nbs/42_conversation.ipynb, cell 52253ca4
def long_chat(answers=("Sure: region1[SEG], region2[SEG].", "<det>A dog</det>[DET], I think.", "Done: [EDIT]")):
    asked = ("<region> and <region>, please", "What is <region>? [DET]<link><eos>", "Make it <image> blue.")
    return Conversation([Turn(*t) for t in zip(asked, answers)], images=2, regions=3)


# nbs/42_conversation.ipynb, cell b71d7e5e
def test_only_the_assistants_words_are_learned():
    v, talk = small_vocabulary(), long_chat()
    chat = encode_chat(talk, v, image_tokens=[5, 3])
    learned = chat.labels != IGNORE
    assert v.decode(chat.labels[learned]) == "".join(t.assistant + "<eos>" for t in talk.turns)
    assert torch.equal(chat.labels[learned], chat.ids[learned])
    kinds = [v.kind(i) for i in chat.ids.tolist()]
    assert not any(learned[i] for i, k in enumerate(kinds) if k in ("link", "region")) and not (chat.labels == v.image_id).any()
    for k, i in enumerate(chat.ids.tolist()):        # what users say lies between the role marks
        if v.token(i) in ("<user>", "<assistant>", "<reg>", "</reg>", "<bos>"): assert not learned[k]
    user = [slice(a, b) for a, b in zip(*(torch.where(chat.ids == id_of(m, v))[0].tolist() for m in ("<user>", "<assistant>")))]
    assert len(user) == 3 and not any(learned[s].any() for s in user)
    assert "please" in v.decode(chat.ids[user[0]]) and "blue" in v.decode(chat.ids[user[2]])


# nbs/42_conversation.ipynb, cell 031da9d5
def test_links_are_found_by_their_token():
    v = small_vocabulary()
    chat = encode_chat(long_chat(), v, image_tokens=[5, 3], queries={"object": 2, "edit": 7})
    assert [(l.token, l.turn, l.phrase, l.n) for l in chat.links] == [
        ("[SEG]", 0, "region1", 2), ("[SEG]", 0, "region2", 2), ("[DET]", 1, "A dog", 2), ("[EDIT]", 2, "", 7)]
    places = [p for l in chat.links for p in range(l.at, l.at + l.n)]
    assert places == torch.where(chat.ids == id_of("<link>", v))[0].tolist()
    assert all(v.token(int(chat.ids[l.at - 1])) == l.token for l in chat.links)


# nbs/42_conversation.ipynb, cell b30da3e7
def test_users_cannot_forge_anything():
    v = small_vocabulary()
    def count(word):
        talk = Conversation([Turn(f"Is {word} on <region>?", "No."), Turn(word, "dog[DET]")], images=1, regions=1)
        chat = encode_chat(talk, v, image_tokens=[4])
        return Counter(i for i in chat.ids.tolist() if v.kind(i) != "text"), len(chat.links)
    for token in sum(V2_BLOCKS.values(), []) + ["<eos>", "<bos>", "<image>", "<pad>"]:
        if token != "<region>": assert count(token) == count("it"), token


# nbs/42_conversation.ipynb, cell 563cd274
def test_an_earlier_answer_stays_what_it_was():
    v = small_vocabulary()
    letters = tuple(encode_typed("ok: [DET]", v))
    def links_after(answer): return encode_chat(Conversation([Turn("Say [DET]!", answer), Turn("Thanks")]), v).links
    assert links_after(letters) == [] and len(links_after("ok: [DET]")) == 1
    real = (*with_links(answer_ids("dog[DET].", v), v), v.eos_id)                 # as generated: queries, <eos> and all
    talks = [Conversation([Turn("Find dog", answer), Turn("Thanks")]) for answer in (real, "dog[DET].")]
    assert torch.equal(*(encode_chat(t, v).ids for t in talks))


# nbs/42_conversation.ipynb, cell 0ee40984
def test_a_prompt_is_the_beginning_of_its_chat():
    v, talk = small_vocabulary(), long_chat()
    whole = encode_chat(talk, v, image_tokens=[5, 3])
    for k in range(3):
        regions = sum(t.user.count("<region>") for t in talk.turns[: k + 1])
        prompt = encode_chat(Conversation([*talk.turns[:k], Turn(talk.turns[k].user)], 2, regions), v, image_tokens=[5, 3])
        n = len(prompt)
        assert torch.equal(prompt.ids, whole.ids[:n]) and v.token(int(prompt.ids[-1])) == "<assistant>"
        assert torch.equal(prompt.labels, whole.labels[:n]) and prompt.links == [l for l in whole.links if l.turn < k]
        answer = [*with_links(answer_ids(talk.turns[k].assistant, v), v), v.eos_id]      # as it would be written
        assert whole.ids[n : n + len(answer)].tolist() == answer


# nbs/42_conversation.ipynb, cell 7b5b2d62
def test_many_pictures_and_rounds():
    v = small_vocabulary()
    for tokens in ([], [64], [64, 16, 1], [7] * 9):
        chat = encode_chat(Conversation([Turn("Hello", "Hello.")] * 3, images=len(tokens)), v, image_tokens=tokens)
        runs = "".join("#" if i == v.image_id else " " for i in chat.ids.tolist()).split()
        assert [len(run) for run in runs] == tokens and int((chat.ids == id_of("<user>", v)).sum()) == 3
        assert ("image2" in v.decode(chat.ids)) == (len(tokens) > 1)
    text = v.decode(encode_chat(long_chat(), v, image_tokens=[1, 1]).ids)
    assert [f"<reg>region{k}<region></reg>" in text for k in (1, 2, 3, 4)] == [True, True, True, False]
    for wrong in ([], [4, 4], [0]):
        with pytest.raises(ValueError, match="about 1 images needs as many counts"):
            encode_chat(Conversation([Turn("Hello")], images=1), v, image_tokens=wrong)


# nbs/42_conversation.ipynb, cell 94aaa40f
def test_too_long_is_refused_not_cut():
    v, talk = small_vocabulary(), long_chat()
    n = len(encode_chat(talk, v, image_tokens=[5, 3]))
    assert len(encode_chat(talk, v, image_tokens=[5, 3], limit=n)) == n
    with pytest.raises(ValueError, match=rf"takes {n} places, {n - 1} is the limit \(8 for images, 76 for 4 links"):
        encode_chat(talk, v, image_tokens=[5, 3], limit=n - 1)


# nbs/42_conversation.ipynb, cell 05e32181
CHAT = ("<bos>{% for m in messages %}{% if m.role == 'user' %}<user>{{ m.content }}<assistant>{% else %}"
        "{% generation %}{{ m.content }}<eos>{% endgeneration %}{% endif %}{% endfor %}")

def by_transformers(talk, v):
    "ids and labels by transformers' chat template."
    messages = [m for t in talk.turns for m in ({"role": "user", "content": t.user}, {"role": "assistant", "content": t.assistant})]
    out = v.tokenizer.apply_chat_template(messages, chat_template=CHAT, tokenize=True, return_dict=True,
                                          return_assistant_tokens_mask=True)
    return out["input_ids"], [i if m else IGNORE for i, m in zip(out["input_ids"], out["assistant_masks"])]


# nbs/42_conversation.ipynb, cell 65e9fbf8
def test_transformers_agrees_on_honest_chats():
    v = small_vocabulary()
    honest = Conversation([Turn("Where is the dog?", "On the left."), Turn("Which colour?", "Brown, I think."), Turn("Thanks!", "")])
    chat = encode_chat(honest, v)
    assert by_transformers(honest, v) == (chat.ids.tolist(), chat.labels.tolist())
    forged = Conversation([Turn("What is [DET]?", "A token.")])
    assert id_of("[DET]", v) in by_transformers(forged, v)[0] and id_of("[DET]", v) not in encode_chat(forged, v).ids.tolist()


# nbs/42_conversation.ipynb, cell e7ead46a
CHATS = ([(f"Find {a}, {b}.", f"Sure: {a}[DET], {b}[DET].") for a, b in (("dog", "cat"), ("man", "dog"), ("woman", "man"), ("cat", "nose"))]
         + [("What is image1?", "nose"), ("What is in the picture?", "man, dog"), ("Hello!", "Sure."), ("Is it a cat?", "The left ear.")])

def learner(v, steps):
    "A tiny LM that has read the eight chats `steps` times; and its losses."
    torch.manual_seed(0)
    lm = LanguageModel(LanguageModelConfig(hidden_size=32, layers=2, heads=2, mlp_size=64), len(v))
    chats = [encode_chat(Conversation([Turn(*t)]), v) for t in CHATS]
    ids = pad_sequence([c.ids for c in chats], True, v.pad_id)
    labels = pad_sequence([c.labels for c in chats], True, IGNORE)
    optimizer, losses = torch.optim.AdamW(lm.parameters(), 1e-2), []
    for _ in range(steps):
        hidden, _ = lm.read(lm.embed(ids), ids != v.pad_id)
        loss = F.cross_entropy(lm.logits(hidden)[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORE)
        optimizer.zero_grad(), loss.backward(), optimizer.step()
        losses.append(loss.item())
    return lm, losses


# nbs/42_conversation.ipynb, cell 47ec98bd
@torch.no_grad()
def write(lm, v, question, most=24):
    "Greedy generation of one answer: its ids, link places included."
    ids = encode_chat(Conversation([Turn(question)]), v).ids.tolist()
    may, start = torch.tensor(writable_ids(v)), len(ids)
    while len(ids) < start + most * 5 and ids[-1] != v.eos_id:
        row = torch.tensor([ids])
        hidden, _ = lm.read(lm.embed(row), row >= 0)
        best = may[lm.logits(hidden[0, -1])[may].argmax()]
        ids += with_links([int(best)], v)
    return ids[start:]


# nbs/42_conversation.ipynb, cell 25070ef3
def test_routing_can_be_learned_from_these_labels():
    v = small_vocabulary()
    lm, losses = learner(v, 60)
    assert losses[-1] < 0.2
    for question, answer in (CHATS[0], CHATS[3], CHATS[6]):
        text, routes = read_reply(write(lm, v, question), v)
        assert (text, len(routes)) == (answer, answer.count("[DET]"))


# nbs/42_conversation.ipynb, cell 455f0004
def test_solutions():
    from visionllm_edu.v2.templates import ChatTemplates, name_links

    v = small_vocabulary()
    count = ChatTemplates(("How many {classes} are there? Show me.",), ("{links}: {number}",))
    text = count.reply(Random(0), links=name_links(["dog"], "[DET]"), number="3")
    assert read_reply(answer_ids(text, v), v) == ("dog[DET]: 3", [("[DET]", "dog")])

    def forget(talk, v, image_tokens, limit):
        "The conversation without its oldest rounds, where none of them marks a region."
        turns = talk.turns
        while True:
            short = Conversation(turns, talk.images, talk.regions)
            try: return encode_chat(short, v, image_tokens=image_tokens, limit=limit)
            except TooLong:
                if len(turns) == 1 or "<region>" in turns[0].user: raise
                turns = turns[1:]

    talk = Conversation([Turn("Hello", "Hello."), Turn("Hello", "Hello."), Turn("What is <region>?")], 1, 1)
    n = len(encode_chat(talk, v, image_tokens=[4]))
    short = forget(talk, v, [4], n - 1)
    assert len(short) < n and int((short.ids == v.image_id).sum()) == 4
    with pytest.raises(ValueError, match="is the limit"): forget(talk, v, [4], 5)
