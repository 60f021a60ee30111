"""Tests of visionllm_edu/language/naming.py.

Generated from nbs/18b_naming.ipynb by make export: do not edit, edit the notebook.
"""

import torch
import torch.nn.functional as F

from visionllm_edu.language.naming import NAMING_TEMPERATURE, naming_loss, naming_targets
from visionllm_edu.language.vocabulary import Vocabulary


# nbs/18b_naming.ipynb, cell 3608b1e0
import math

WORDS = "dog cat bird fish tree ball kite lake red blue big small".split()

def small_vocabulary():
    "Twelve words, with and without a space before them."
    return Vocabulary.train([*WORDS, "a " + " ".join(WORDS), ": a"] * 5, text_size=400, range=1, num_classes=1, max_points=1)


# nbs/18b_naming.ipynb, cell 3e8bfea5
def test_tokens_are_named_by_their_words():
    torch.manual_seed(0)
    v, told = small_vocabulary(), ["dog: a big dog", "kite"]
    twice, _ = naming_targets([*told, told[0]], v)
    assert twice[0].equal(twice[2]) and not twice[0].equal(twice[1])
    table, (described, target) = torch.randn(len(v), 64, requires_grad=True), naming_targets(told, v)
    torch.testing.assert_close(target.sum(1), torch.ones(2))
    (name,), (big,), first = v.encode("dog"), v.encode(" big"), v.text_ids.start
    (spaced,), (a,) = v.encode(" dog"), v.encode(" a")
    assert target[0, name - first] == target[0, spaced - first] == 0.25      # half of it is the class, however it is spelled
    assert target[0, big - first] == 0.5 and not (target > 0)[~described].any()
    assert described[0, a - first] and target[0, a - first] == 0             # said, but it tells nothing
    seen = torch.randn(2, 64, requires_grad=True)
    for _ in range(200):
        loss = naming_loss(seen, told, table, v)
        (step,) = torch.autograd.grad(loss, seen)
        seen = (seen - 0.5 * step / step.norm()).detach().requires_grad_()
    near = F.cosine_similarity(seen[:, None], table[list(v.text_ids)], dim=-1)
    assert v.decode([near[1].argmax().item() + first]).strip() == "kite"
    assert v.decode([near[0].argmax().item() + first]).strip() in ("dog", "big")
    loss = naming_loss(seen, told, table, v)
    loss.backward()
    assert table.grad is None                                            # the words stay what they are


# nbs/18b_naming.ipynb, cell 804a6eaa
def test_the_loss_is_the_formula():
    torch.manual_seed(0)
    v, text = small_vocabulary(), "dog: a big dog"
    table, seen, first = torch.randn(len(v), 64), torch.randn(1, 64), v.text_ids.start
    (said,), (q,) = naming_targets([text], v)
    c = [F.cosine_similarity(seen[0], table[first + w], dim=0).item() / NAMING_TEMPERATURE for w in range(len(v.text_ids))]
    strangers = [x for x, own in zip(c, said) if not own]
    by_hand = sum(share.item() * math.log1p(sum(math.exp(x - c[w]) for x in strangers)) for w, share in enumerate(q) if share)
    assert abs(naming_loss(seen, [text], table, v).item() - by_hand) < 1e-3
    assert naming_loss(seen, [text], table, v) == naming_loss(2 * seen, [text], table, v)      # its length is free
