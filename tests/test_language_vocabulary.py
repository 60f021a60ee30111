"""Tests of visionllm_edu/language/vocabulary.py.

Generated from nbs/11_vocabulary.ipynb by make export: do not edit, edit the notebook.
"""

from visionllm_edu.language.vocabulary import (
    ADDED, TokenBlocks, Vocabulary, block_tokens, train_bpe,
)


# nbs/11_vocabulary.ipynb, cell 560a52ed
def test_library_learns_the_same_merges():
    import json
    bpe = train_bpe(["a low lower lowest, slow slower, lowly lowland: now know knows"], 256 + 3)
    assert json.loads(bpe.to_str())["model"]["merges"] == [["o", "w"], ["l", "ow"], ["Ġ", "low"]]


# nbs/11_vocabulary.ipynb, cell 5e05b284
def test_block_sizes_are_the_papers():
    sizes = {name: len(tokens) for name, tokens in block_tokens().items()}
    assert sizes == {"location": 1025, "class": 512, "query": 49}
    assert all(ADDED.fullmatch(t) for tokens in block_tokens().values() for t in tokens)


# nbs/11_vocabulary.ipynb, cell e52c7102
def test_location_ids_on_ints_arrays_and_tensors():
    import numpy as np
    import torch
    toy = TokenBlocks({"special": range(5), "text": range(5, 8), "location": range(8, 15),
                       "class": range(15, 17), "query": range(17, 22)})
    offsets = [-3, 0, 2]
    loop = [toy.location_id(o) for o in offsets]
    assert toy.location_id(np.array(offsets)).tolist() == loop
    assert toy.location_id(torch.tensor([offsets])).tolist() == [loop]
    assert toy.offset(torch.tensor(loop)).tolist() == offsets
    assert toy.class_index(toy.class_id(np.arange(2))).tolist() == [0, 1]
    assert toy.location_id(torch.zeros(0, dtype=torch.long)).shape == (0,)


# nbs/11_vocabulary.ipynb, cell f2c9f0d9
def test_outside_its_block_is_an_error():
    import pytest
    import torch
    toy = TokenBlocks({"special": range(5), "text": range(5, 8), "location": range(8, 15),
                       "class": range(15, 17), "query": range(17, 22)})
    with pytest.raises(ValueError, match="offset 4 is outside -3 to 3"):
        toy.location_id(torch.tensor([0, 4]))
    with pytest.raises(ValueError, match="location id 15"): toy.offset(15)
    with pytest.raises(ValueError, match="class index -1"): toy.class_id(-1)
    with pytest.raises(ValueError, match="number of points 3"): toy.query_row(3)


# nbs/11_vocabulary.ipynb, cell 4da7fcc0
NAMES = [*("person bicycle car motorcycle airplane bus train truck boat bench bird cat dog horse "
           "sheep cow elephant bear zebra giraffe backpack umbrella").split(),
         "traffic light", "fire hydrant"]
DICTIONARY = "{" + ", ".join(f"'{name}':<c{i}>" for i, name in enumerate(NAMES)) + "}"
TEXTS = ["Find each " + DICTIONARY + " in the picture. <image>", "How many dogs are there?",
         "A dog sits on a bench next to a person with a red umbrella."]
vocabulary = Vocabulary.train(TEXTS, text_size=600)


# nbs/11_vocabulary.ipynb, cell 54ca2162
def test_blocks_tile_all_ids():
    every = [i for ids in vocabulary.blocks.values() for i in ids]
    assert every == list(range(len(vocabulary))) and len(vocabulary.tokenizer) == len(vocabulary)
    for name, ids in vocabulary.blocks.items(): assert vocabulary.kind(ids[-1]) == name
    assert vocabulary.kind(len(vocabulary)) == vocabulary.kind(-100) == "outside"
    assert vocabulary.token(vocabulary.image_id) == "<image>"


# nbs/11_vocabulary.ipynb, cell 966649c2
def test_any_text_comes_back():
    import random
    rng = random.Random(0)
    letters = "ab Z0'\",.:{}<>\n\té漢🐕\u200b\x00" + "".join(map(chr, range(0x370, 0x400)))
    for _ in range(300):
        text = "".join(rng.choices(letters, k=30)) + rng.choice(["", "<c3>", "<p-12> ", "<image>"])
        assert vocabulary.decode(vocabulary.encode(text)) == text


# nbs/11_vocabulary.ipynb, cell 1e4c267e
def test_any_ids_can_be_read():
    import random
    rng = random.Random(0)
    for _ in range(100):
        assert isinstance(vocabulary.decode(rng.choices(range(-200, len(vocabulary) + 200), k=20)), str)
    framed = [vocabulary.bos_id, *vocabulary.encode("a dog"), vocabulary.eos_id]
    assert vocabulary.decode(framed) == "<bos>a dog<eos>"
    assert vocabulary.decode(framed, skip_special=True) == "a dog"
    assert vocabulary.decode([-100, 10**9]) == "<unk><unk>"


# nbs/11_vocabulary.ipynb, cell ee1be242
def test_written_out_tokens_are_single_ids():
    assert vocabulary.encode("<c3>") == [vocabulary.class_id(3)]
    assert vocabulary.encode("(<p-512>,<p512>)")[1::2] == list(map(vocabulary.location_id, (-512, 512)))
    assert vocabulary.decode(vocabulary.query_row(2)) == "<cls><x1><y1><x2><y2>"
    assert {vocabulary.kind(i) for i in vocabulary.encode("<p513><c512>")} == {"text"}


# nbs/11_vocabulary.ipynb, cell 56a52df9
def test_prompts_weigh_as_much_as_texts():
    import random
    rng = random.Random(0)
    noise = [" ".join("".join(rng.choices("abcdefgh", k=5)) for _ in range(10)) for _ in range(1000)]
    cost = lambda v: len(v.encode(DICTIONARY)) / len(NAMES)
    assert cost(Vocabulary.train(noise, 600, prompts=[DICTIONARY])) < 4.5
    assert cost(Vocabulary.train([*noise, DICTIONARY], 600)) > 7


# nbs/11_vocabulary.ipynb, cell 96f5fca6
def test_save_and_load():
    import json
    import tempfile
    from pathlib import Path
    import pytest
    with tempfile.TemporaryDirectory() as folder:
        vocabulary.save_pretrained(folder)
        again = Vocabulary.from_pretrained(folder)
        assert again.blocks == vocabulary.blocks
        assert all(f.is_file() for f in Path(folder).iterdir())            # nothing unfinished is left
        assert again.encode(TEXTS[0]) == vocabulary.encode(TEXTS[0])
        table = Path(folder, "vocabulary.json")
        shifted = json.loads(table.read_text())
        shifted["location"] = [end + 1 for end in shifted["location"]]
        table.write_text(json.dumps(shifted))
        with pytest.raises(ValueError, match="location block should be <p-512> to <p512>"):
            Vocabulary.from_pretrained(folder)
    with pytest.raises(ValueError, match="no vocabulary.json"): Vocabulary.from_pretrained("nowhere")


# nbs/11_vocabulary.ipynb, cell 9f5b7cb8
def test_extending_another_tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast
    known = {"<s>": 0, "</s>": 1, "what": 2, "a": 3, "dog": 4, "?": 5}
    words = Tokenizer(models.WordLevel(known, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    llm = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>",
                                  unk_token="?")
    before = llm("what a dog").input_ids
    larger = Vocabulary.extend(llm, range=4, num_classes=2, max_points=2)
    assert larger.encode("what a dog") == before == [2, 3, 4]
    assert (larger.bos_id, larger.eos_id, larger.unk_id) == (0, 1, 5) and larger.pad_id >= 6
    assert larger.encode("dog <c1> <p-4>") == [4, larger.class_id(1), larger.location_id(-4)]


# nbs/11_vocabulary.ipynb, cell 4505da0b
def test_further_blocks_go_last():
    v2 = Vocabulary.train(TEXTS, 600, extra={"routing": ["[DET]", "[SEG]"], "region": ["<region>"]})
    assert v2.location_ids == vocabulary.location_ids and v2.query_ids == vocabulary.query_ids
    assert [v2.kind(i) for i in v2.encode("[DET]<region>")] == ["routing", "region"]
    assert len(v2) == len(vocabulary) + 3
