"""Tests of visionllm_edu/language/naming.py.

Generated from nbs/18b_naming.ipynb by make export: do not edit, edit the notebook.
"""

import torch
import torch.nn.functional as F

from visionllm_edu.language.naming import naming_loss, naming_targets
from visionllm_edu.language.vocabulary import Vocabulary


# nbs/18b_naming.ipynb, cell c3d31f0f
WORDS = "dog cat bird fish tree ball kite lake red blue big small".split()

def small_vocabulary():
    "Twelve words, with and without a space before them."
    return Vocabulary.train([*WORDS, "a " + " ".join(WORDS), ": a"] * 5, text_size=400, range=1, num_classes=1, max_points=1)


# nbs/18b_naming.ipynb, cell 3ae5cbe3
def test_tokens_are_named_by_their_words():
    torch.manual_seed(0)
    v, told = small_vocabulary(), ["dog: a big dog", "kite"]
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
    assert v.decode([near[0].argmax().item() + first]).strip() == "dog"
    loss = naming_loss(seen, told, table, v)
    loss.backward()
    assert table.grad is None                                            # the words stay what they are
