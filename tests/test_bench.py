"""Tests of visionllm_edu/bench.py.

Generated from nbs/92_bench.ipynb by make export: do not edit, edit the notebook.
"""

import torch

from visionllm_edu.bench import attention_pair, bench, bench_table, read_something, token_by_token
from visionllm_edu.v1.model import VisionLLMv1


# nbs/92_bench.ipynb, cell 8ec7edf2
def test_opponent_is_an_honest_reader():
    torch.manual_seed(0)
    model = VisionLLMv1.build("tiny").eval()
    v, row, decoder = model.vocabulary, model.vocabulary.query_row(2), model.decoder
    with torch.no_grad():
        context = read_something(model, sets=3)
        ids = token_by_token(decoder, context, row, 3)
        before = torch.tensor([[v.bos_id, *ids.flatten().tolist()[:-1]]])
        hidden, _ = decoder.language_model.answer(
            decoder.language_model.embed(before), context.cache,
            torch.cat([context.valid[:, None].expand(-1, 15, -1), torch.ones(1, 15, 15, dtype=torch.bool).tril()], 2),
            context.length[:, None] + torch.arange(15))
        logits = decoder.language_model.logits(hidden)[0]
    for k, token in enumerate(ids.flatten().tolist()):
        line = v.location_ids if k % 5 else v.class_ids
        assert token in line and logits[k, token] >= logits[k, line.start : line.stop].max() - 1e-4


# nbs/92_bench.ipynb, cell be8d3fc2
def test_attention_is_equal_before_it_is_raced():
    torch.manual_seed(0)
    for side in (64, 96):
        ours, other = attention_pair(side, d=32)
        torch.testing.assert_close(ours(), other(), rtol=1e-5, atol=1e-5)


# nbs/92_bench.ipynb, cell 38d61854
def test_bench_names_its_figures():
    figures = bench("tiny", (4, 12), (64,), 1)
    assert list(figures) == ["decoding", "deformable_attention", "setup"] and list(figures["decoding"]) == ["4", "12"]
    for part, at in (("decoding", "12"), ("deformable_attention", "64")):
        assert set(figures[part][at]) == {"ours_s", "other_s", "ratio"} and figures[part][at]["ratio"] > 0
    assert figures["decoding"]["12"]["ratio"] > 1 and "sets   12" in bench_table(figures)
