"""Tests of visionllm_edu/language/language_model.py.

Generated from nbs/18_language_model.ipynb by make export: do not edit, edit the notebook.
"""

import pytest
import torch

from visionllm_edu.language.language_model import (
    Echo, LanguageModel, LanguageModelConfig, ROW_STD, _causal_lm, cache_of, number_line,
    run_layers, start_for_copying,
)


# nbs/18_language_model.ipynb, cell 22b9cec1
def test_config_refuses_impossible_sizes():
    import pytest
    with pytest.raises(ValueError, match="hidden_size 60 is not a multiple of 2 x 4 heads"):
        LanguageModelConfig(hidden_size=60, heads=4)
    with pytest.raises(ValueError, match="dtype 'float8' is none of"):
        LanguageModelConfig(dtype="float8")


# nbs/18_language_model.ipynb, cell 805fe588
def test_number_line_is_even_and_smooth():
    import torch
    import torch.nn.functional as F
    rows = number_line(1025, 64)
    assert rows.shape == (1025, 64)
    torch.testing.assert_close(rows.norm(dim=1), torch.full((1025,), 0.02 * 64**0.5))
    alike = F.normalize(rows, dim=1) @ F.normalize(rows, dim=1).T          # (1025, 1025) cosines
    for distance in (1, 2, 50, 500):
        same = alike.diagonal(distance)
        torch.testing.assert_close(same, same.mean().expand_as(same), atol=1e-4, rtol=0)
    assert alike.diagonal(1).mean() > 0.96 and alike.diagonal(500).mean() < 0.1
    assert number_line(9, 5).shape == (9, 5)                              # an odd width works too


# nbs/18_language_model.ipynb, cell f4ccb631
def test_an_echo_of_two_words():
    one, two = torch.randn(2, 3, 8)
    torch.testing.assert_close(Echo(8)(one, two), 0.7 * (one + two))


# nbs/18_language_model.ipynb, cell 6766951e
def test_it_looks_for_what_stood_behind_the_same_words():
    import torch.nn.functional as F
    torch.manual_seed(0)
    lm = _causal_lm(LanguageModelConfig(hidden_size=192, layers=1, heads=6, mlp_size=64, lookup_start=True), vocab_size=40)
    echo = Echo(192, reach=3, turned=True)
    start_for_copying(lm, echo)
    said = torch.randperm(12).tolist()                     # words in an order of chance,
    ids = torch.tensor(said + [39] + said[:8])             # a stop, and then the first eight again
    rows = F.pad(lm.get_input_embeddings()(ids), (0, 0, 3, 0))
    x = rows[3:] + echo(rows[2:-1], rows[1:-2], rows[:-3])
    first, normed = lm.model.layers[0].self_attn, lm.model.layers[0].input_layernorm(x)
    scores = first.q_proj(normed) @ first.k_proj(normed).T
    assert scores[14:, :13].argmax(1).tolist() == [*range(2, 9)]   # having said the second, it looks at the third


# nbs/18_language_model.ipynb, cell e05d1498
def test_the_lookup_start_finds_and_copies_what_is_alike():
    from dataclasses import replace
    import torch
    torch.manual_seed(0)
    lm = _causal_lm(replace(LanguageModelConfig.tiny(), lookup_start=True), vocab_size=40)
    attention, x = lm.model.layers[1].self_attn, torch.randn(5, 64)
    score = attention.q_proj(x) @ attention.k_proj(x).T
    torch.testing.assert_close(score, x @ x.T, atol=1e-3, rtol=1e-3)                    # likeness itself
    torch.testing.assert_close(attention.o_proj(attention.v_proj(x)), x / 4, atol=1e-3, rtol=1e-3)


# nbs/18_language_model.ipynb, cell fdced35e
def test_one_pass_equals_the_lm_s_own():
    import torch
    from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM
    torch.manual_seed(0)
    llama = LlamaForCausalLM(LlamaConfig(vocab_size=40, hidden_size=32, intermediate_size=64,
                                         num_hidden_layers=2, num_attention_heads=2)).eval()
    ids, places = torch.randint(40, (3, 7)), torch.arange(7).expand(3, -1)
    causal = torch.ones(3, 7, 7, dtype=torch.bool).tril()
    hidden = run_layers(llama, llama.get_input_embeddings()(ids), causal, places, DynamicCache())
    torch.testing.assert_close(llama.lm_head(hidden), llama(ids).logits, atol=1e-5, rtol=1e-5)


# nbs/18_language_model.ipynb, cell d7b61461
def test_class_tokens_start_out_alike():
    import torch
    import torch.nn.functional as F
    torch.manual_seed(0)
    model = LanguageModel(LanguageModelConfig.tiny(), 200, line_ids=range(10, 31), kin_ids=range(100, 200))
    rows = model.embed(torch.arange(200)).detach()
    for part in (rows[:10], rows[10:31], rows[31:100], rows[100:]): assert abs(part.std() - ROW_STD) < 0.02
    kin, strangers = (F.normalize(part, dim=1) for part in (rows[100:], rows[31:100]))
    assert 0.35 < (kin @ kin.T)[~torch.eye(100, dtype=torch.bool)].mean() < 0.65
    assert (strangers @ strangers.T)[~torch.eye(69, dtype=torch.bool)].mean().abs() < 0.05


# nbs/18_language_model.ipynb, cell 4d905151
from dataclasses import replace

def small(vocab=40, **changes):
    "A tiny LM, always with the same weights."
    torch.manual_seed(0)
    return LanguageModel(replace(LanguageModelConfig.tiny(), **changes), vocab).eval()

def after(valid, m):
    "Mask (b, m, n + m) and positions (b, m) of a causal answer behind an instruction."
    causal = torch.ones(m, m, dtype=torch.bool).tril().expand(len(valid), -1, -1)
    seen = valid[:, None].expand(-1, m, -1)
    return torch.cat([seen, causal], 2), valid.sum(1)[:, None] + torch.arange(m)


# nbs/18_language_model.ipynb, cell b8aecb89
def test_cached_equals_uncached():
    model, ids = small(), torch.randint(40, (2, 9))
    valid = torch.ones(2, 6, dtype=torch.bool)
    with torch.no_grad():
        whole, _ = model.read(model.embed(ids), torch.ones(2, 9, dtype=torch.bool))
        start, cache = model.read(model.embed(ids[:, :6]), valid)
        allowed, places = after(valid, 3)
        end, longer = model.answer(model.embed(ids[:, 6:]), cache, allowed, places)
        again, _ = model.answer(model.embed(ids[:, 6:]), cache, allowed, places)
    torch.testing.assert_close(torch.cat([start, end], 1), whole, atol=1e-5, rtol=1e-5)
    assert torch.equal(end, again)
    assert (cache.get_seq_length(), longer.get_seq_length()) == (6, 9)


# nbs/18_language_model.ipynb, cell 4ef84aac
def test_some_samples_go_on_alone():
    model, ids = small(), torch.randint(40, (3, 9))
    valid = torch.ones(3, 6, dtype=torch.bool)
    with torch.no_grad():
        _, cache = model.read(model.embed(ids[:, :6]), valid)
        allowed, places = after(valid, 3)
        all_of_them, _ = model.answer(model.embed(ids[:, 6:]), cache, allowed, places)
        rows = torch.tensor([2, 0])
        some, _ = model.answer(model.embed(ids[rows, 6:]), cache_of(cache, rows), allowed[rows], places[rows])
    torch.testing.assert_close(some, all_of_them[rows], atol=1e-6, rtol=1e-6)
    assert len(cache.layers[0].keys) == 3                                  # it is left as it was


# nbs/18_language_model.ipynb, cell 2e244e20
def test_right_padding_changes_nothing():
    model, ids, said = small(), torch.randint(40, (2, 8)), torch.randint(40, (2, 3))
    valid = torch.arange(8) < torch.tensor([[8], [5]])
    with torch.no_grad():
        _, cache = model.read(model.embed(ids), valid)
        both, _ = model.answer(model.embed(said), cache, *after(valid, 3))
        _, cache = model.read(model.embed(ids[1:, :5]), valid[1:, :5])
        alone, _ = model.answer(model.embed(said[1:]), cache, *after(valid[1:, :5], 3))
    torch.testing.assert_close(both[1:], alone, atol=1e-5, rtol=1e-5)


# nbs/18_language_model.ipynb, cell 50ac4857
def test_answers_side_by_side_equal_answers_alone():
    model, ids, answers = small(), torch.randint(40, (1, 6)), torch.randint(40, (4, 3))
    valid = torch.ones(1, 6, dtype=torch.bool)
    block = torch.arange(12) // 3                                        # whose place it is
    own = (block[:, None] == block) & torch.ones(12, 12, dtype=torch.bool).tril()
    allowed = torch.cat([torch.ones(12, 6, dtype=torch.bool), own], 1)[None]
    with torch.no_grad():
        _, cache = model.read(model.embed(ids), valid)
        row, places = model.embed(answers.view(1, 12)), 6 + torch.arange(12)[None] % 3
        together, _ = model.answer(row, cache, allowed, places)
        alone = [model.answer(model.embed(a[None]), cache, *after(valid, 3))[0] for a in answers]
    torch.testing.assert_close(together.view(4, 3, -1), torch.cat(alone), atol=1e-5, rtol=1e-5)


# nbs/18_language_model.ipynb, cell 74a8fc9d
def test_long_batches_keep_fewer_large_tensors():
    from torch.autograd.graph import saved_tensors_hooks
    from torch.nn.attention import SDPBackend, sdpa_kernel
    def run(room):
        "Hidden states, and how many numbers the way back remembers."
        torch.manual_seed(0)
        kept, reader, embeds = [], LanguageModel(LanguageModelConfig.tiny(), 40), torch.randn(3, 60, 64)
        with pytest.MonkeyPatch.context() as patch, sdpa_kernel(SDPBackend.MATH):
            patch.setitem(run_layers.__globals__, "ROOM", room)
            with saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
                return reader.read(embeds, torch.ones(3, 60, dtype=torch.bool))[0], sum(n >= 3 * 2 * 60 * 60 for n in kept)
    (plain, scores), (roomy, none) = run(2**27), run(0)
    torch.testing.assert_close(plain, roomy, atol=1e-5, rtol=1e-5)
    assert scores > none


# nbs/18_language_model.ipynb, cell 9887fc3e
def test_only_differences_of_positions_count():
    from transformers import DynamicCache
    model, ids = small(), torch.randint(40, (1, 6))
    for p in model.lm.model.layers.parameters(): p.data *= 1 if p.ndim == 1 else 5        # fresh layers hardly speak up
    causal, places = torch.ones(1, 6, 6, dtype=torch.bool).tril(), torch.arange(6)[None]
    with torch.no_grad():
        here = run_layers(model.lm, model.embed(ids), causal, places, DynamicCache())
        there = run_layers(model.lm, model.embed(ids), causal, places + 100, DynamicCache())
        stretched = run_layers(model.lm, model.embed(ids), causal, places * 3, DynamicCache())
    torch.testing.assert_close(here, there, atol=1e-4, rtol=1e-4)
    assert (here - stretched).abs().max() > 0.01


# nbs/18_language_model.ipynb, cell 54beb57e
def test_gradients_run_through_the_cache():
    model, ids = small().train(), torch.randint(40, (1, 6))
    valid, seen = torch.ones(1, 6, dtype=torch.bool), torch.randn(1, 6, 64, requires_grad=True)
    _, cache = model.read(seen, valid)
    hidden, _ = model.answer(model.embed(ids[:, :2]), cache, *after(valid, 2))
    model.logits(hidden).logsumexp(-1).sum().backward()
    assert (seen.grad.abs().sum(-1) > 0).all()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


# nbs/18_language_model.ipynb, cell 71dcef25
def test_greedy_writing_equals_generate():
    model, ids = small(tied=False), torch.randint(40, (1, 6))
    for p in model.lm.model.layers.parameters(): p.data *= 1 if p.ndim == 1 else 5   # layers that speak up
    valid, written = torch.ones(1, 6, dtype=torch.bool), []
    with torch.no_grad():
        hidden, cache = model.read(model.embed(ids), valid)
        for step in range(8):
            written.append(int(model.logits(hidden[:, -1]).argmax()))
            valid = torch.ones(1, 7 + step, dtype=torch.bool)
            last = torch.tensor([[written[-1]]])
            at = torch.tensor([[6 + step]])
            hidden, cache = model.answer(model.embed(last), cache, valid[:, None], at)
        twin = model.lm.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8,
                                 do_sample=False)
    assert twin[0, 6:].tolist() == written and len(set(written)) > 1    # not one token again and again


# nbs/18_language_model.ipynb, cell a0c9b6c3
def test_half_precision_stays_close_and_finite():
    exact, half, ids = small(), small(dtype="bfloat16"), torch.randint(40, (2, 6))
    valid = torch.tensor([[True] * 6, [False] * 6])                       # one is nothing but padding
    with torch.no_grad():
        want = exact.logits(exact.read(exact.embed(ids), valid)[0])
        low = half.logits(half.read(exact.embed(ids), valid)[0])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden, cache = exact.read(exact.embed(ids), valid)
            auto = exact.logits(hidden)
            end, _ = exact.answer(exact.embed(ids[:, :2]), cache, *after(valid, 2))
    for got in (low, auto): assert (got - want).abs().max() < 0.05 * want.abs().max()
    assert low.dtype == auto.dtype == torch.float32 and end.isfinite().all()


# nbs/18_language_model.ipynb, cell 38818455
def test_wrong_mask_is_refused():
    import pytest
    model, ids = small(), torch.randint(40, (1, 6))
    _, cache = model.read(model.embed(ids), torch.ones(1, 6, dtype=torch.bool))
    short, places = torch.ones(1, 2, 2, dtype=torch.bool), torch.tensor([[6, 7]])
    with pytest.raises(ValueError, match=r"6 cached and 2 own places accepted is \(batch, 2, 8\)"):
        model.answer(model.embed(ids[:, :2]), cache, short, places)


# nbs/18_language_model.ipynb, cell eaec46d8
def test_lora_trains_its_matrices_and_the_token_rows():
    model = small(lora_rank=4)
    trains = [name for name, p in model.named_parameters() if p.requires_grad]
    assert all("lora_A" in n or "lora_B" in n or "embed_tokens" in n for n in trains)
    assert len(trains) == 2 * 4 * 2 + 1            # layers x projections x (A, B), and the table
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    adam = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-2)
    for _ in range(2):                             # B moves first, then A, as B was zero
        hidden, _ = model.read(model.embed(torch.arange(6)[None]), torch.ones(1, 6) > 0)
        adam.zero_grad(), model.logits(hidden).logsumexp(-1).sum().backward(), adam.step()
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == set(trains)


# nbs/18_language_model.ipynb, cell 3cc9d208
def test_lora_can_be_added_later():
    torch.manual_seed(0)
    model, ids = LanguageModel(LanguageModelConfig.tiny(), 40), torch.randint(40, (1, 6))
    read = lambda: model.read(model.embed(ids), torch.ones(1, 6, dtype=torch.bool))[0]
    before, rows = read(), model.embed(ids)
    model.add_lora(4)
    torch.testing.assert_close(read(), before)
    assert model.cfg.lora_rank == 4 and torch.equal(model.embed(ids), rows)
    read().sum().backward()
    assert model.lm.get_base_model().model.layers[0].mlp.up_proj.weight.grad is None


# nbs/18_language_model.ipynb, cell 5aedaf95
def test_lora_starts_as_the_identity_and_merges():
    model, ids = small(lora_rank=4), torch.randint(40, (1, 6))
    def read():
        with torch.no_grad(): return model.read(model.embed(ids), torch.ones(1, 6, dtype=torch.bool))[0]
    start = read()
    with model.lm.disable_adapter(): assert torch.equal(read(), start)
    for name, p in model.named_parameters():
        if "lora_B" in name: torch.nn.init.normal_(p, std=0.1)
    trained = read()
    assert (trained - start).abs().max() > 0.01
    model.lm.merge_adapter()
    torch.testing.assert_close(read(), trained, atol=1e-5, rtol=1e-5)
    model.lm.unmerge_adapter()
    torch.testing.assert_close(read(), trained, atol=1e-5, rtol=1e-5)


# nbs/18_language_model.ipynb, cell aa014bbc
from tempfile import TemporaryDirectory

from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

logging.set_verbosity_error()
logging.disable_progress_bar()

def published():
    "Two tiny LMs of 30 tokens, as somebody might have published them."
    torch.manual_seed(1)
    yield LlamaForCausalLM(LlamaConfig(
        vocab_size=30, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2)).eval()
    yield GPT2LMHeadModel(GPT2Config(vocab_size=30, n_embd=32, n_layer=2, n_head=2)).eval()


# nbs/18_language_model.ipynb, cell 586aa1a7
def test_a_published_lm_keeps_its_words():
    ids = torch.randint(30, (2, 6))
    for original in published():
        with TemporaryDirectory() as folder, torch.no_grad():
            original.save_pretrained(folder)
            model = LanguageModel(LanguageModelConfig(name_or_path=folder), 40, range(32, 40)).eval()
            logits = model.logits(model.read(model.embed(ids), torch.ones(2, 6, dtype=torch.bool))[0])
            assert model.width == 32 and logits.shape == (2, 6, 40)
            want = original(ids).logits
            torch.testing.assert_close(logits[..., :30], want, atol=1e-5, rtol=1e-5)
            shape = LanguageModel(LanguageModelConfig(name_or_path=folder, pretrained=False), 40)
            assert not torch.equal(shape.embed(ids), model.embed(ids))   # same sizes, other weights
            shape.load_state_dict(model.state_dict())


# nbs/18_language_model.ipynb, cell 66d21cfe
def test_a_folder_without_an_lm_is_refused():
    import pytest
    with TemporaryDirectory() as empty:
        with pytest.raises(ValueError, match="no causal LM that transformers can load"):
            LanguageModel(LanguageModelConfig(name_or_path=empty), 40)


# nbs/18_language_model.ipynb, cell ce0b15af
def test_paper_scale_is_llama_7b():
    cfg = replace(LanguageModelConfig.paper(), lora_rank=0)
    with torch.device("meta"): plain = LanguageModel(cfg, 32_000)
    assert sum(p.numel() for p in plain.parameters()) == 6_738_415_616
