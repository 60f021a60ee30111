"""Tests of visionllm_edu/v2/image_encoder.py.

Generated from nbs/40_image_encoder.ipynb by make export: do not edit, edit the notebook.
"""

import numpy as np
import pytest
import tempfile
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from transformers import BertConfig, CLIPVisionConfig, CLIPVisionModel
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from visionllm_edu.data.coco import IMAGE_MEAN, IMAGE_STD, image_to_tensor, load_image
from visionllm_edu.v2.image_encoder import (
    EncodedViews, ImageEncoder, ImageEncoderConfig, best_grid, make_views, published_config,
)


# nbs/40_image_encoder.ipynb, cell 0a42ad16
def test_sizes_are_the_papers_and_bad_ones_are_refused():
    assert ImageEncoderConfig.paper().tokens == 576 and ImageEncoderConfig.mini().tokens == 64
    with pytest.raises(ValueError, match="image_size 100 is not a multiple of patch_size 14"):
        ImageEncoderConfig(image_size=100)
    with pytest.raises(ValueError, match="hidden_size 192 is not a multiple of heads 5"):
        ImageEncoderConfig(heads=5)
    with pytest.raises(ValueError, match="layer -2 of 2 with 3 levels"):
        ImageEncoderConfig(layers=2)
    with pytest.raises(ValueError, match="hidden_size 30 is not a multiple of 4"):
        ImageEncoderConfig(hidden_size=30, heads=2)
    with pytest.raises(ValueError, match="layer 4"):
        ImageEncoderConfig(layer=4)


# nbs/40_image_encoder.ipynb, cell 92a3bcc2
def shaken(module):
    "The module with every weight moved far from where it started."
    with torch.no_grad():
        for p in module.parameters(): p.add_(torch.randn_like(p) * 0.2)
    return module.eval()

def save_clip(folder, **changes):
    "A random CLIP in a folder, as the hub would give it."
    sizes = dict(image_size=28, patch_size=14, hidden_size=32, num_hidden_layers=4, num_attention_heads=2,
                 intermediate_size=64, hidden_act="gelu")
    clip = shaken(CLIPVisionModel(CLIPVisionConfig(**{**sizes, **changes})))
    clip.save_pretrained(folder)
    return clip


# nbs/40_image_encoder.ipynb, cell 72267e8a
def test_levels_equal_transformers_clip():
    torch.manual_seed(0)
    pixels = torch.randn(2, 3, 28, 28)
    with tempfile.TemporaryDirectory() as folder:
        clip = save_clip(folder)
        ours = ImageEncoder(published_config(folder), d_llm=48).eval()
    assert len(ours.vit.encoder.layers) == 3 and len(clip.encoder.layers) == 4
    states = clip(pixels, output_hidden_states=True).hidden_states
    assert len(states) == 5                                      # what goes into the first layer, and four that come out
    views = ours(pixels)
    for level, state in zip(views.levels, states[1:4], strict=True):
        torch.testing.assert_close(level, state[:, 1:])
    W_1, _, W_2 = ours.projector
    torch.testing.assert_close(views.tokens, W_2(F.gelu(W_1(views.levels[-1]))))


# nbs/40_image_encoder.ipynb, cell 76dcf25c
def test_published_sizes_are_checked():
    with tempfile.TemporaryDirectory() as folder:
        save_clip(folder)
        with pytest.raises(ValueError, match="has hidden_size 32, the config 1024"):
            ImageEncoder(ImageEncoderConfig.paper(name_or_path=folder, image_size=28, layers=4), 48)
        cfg = published_config(folder, pretrained=False)
        assert (cfg.layers, cfg.activation, cfg.frozen) == (4, "gelu", True)
        assert len(ImageEncoder(cfg, 48).vit.encoder.layers) == 3
        BertConfig(hidden_size=32).save_pretrained(folder)
        with pytest.raises(ValueError, match="holds a 'bert' model, accepted is a CLIP"):
            published_config(folder)


# nbs/40_image_encoder.ipynb, cell e248545f
def felt(encoder, pixels, layer, place):
    "(s, s): how strongly each pixel moves the token of a place, after so many layers."
    pixels = pixels.clone().requires_grad_()
    states = encoder.vit(pixels, output_hidden_states=True).hidden_states
    states[layer][0, 1 + place].square().sum().backward()
    return pixels.grad[0].abs().sum(0)


# nbs/40_image_encoder.ipynb, cell 0f01fbd0
def test_from_the_first_layer_on_a_token_feels_every_patch():
    torch.manual_seed(0)
    encoder = ImageEncoder(ImageEncoderConfig.tiny(), d_llm=48).eval()
    reach = [felt(encoder, torch.randn(1, 3, 28, 28), layer, place=2) > 0 for layer in (0, 1)]
    own = torch.zeros(28, 28, dtype=torch.bool)
    own[14:, :14] = True                          # place 2 of a 2 x 2 grid: second row, first column
    assert torch.equal(reach[0], own) and reach[1].all()


# nbs/40_image_encoder.ipynb, cell 510f23c0
def test_without_positions_a_picture_is_a_bag_of_patches():
    torch.manual_seed(0)
    encoder = shaken(ImageEncoder(ImageEncoderConfig.tiny(), d_llm=48))
    picture = torch.randn(1, 3, 28, 28)
    jigsaw = torch.cat([picture[:, :, 14:], picture[:, :, :14]], 2)          # the two rows of patches swapped
    swapped = lambda tokens: torch.cat([tokens[:, 2:], tokens[:, :2]], 1)
    assert (encoder(jigsaw).tokens - swapped(encoder(picture).tokens)).abs().max() > 0.1
    encoder.vit.embeddings.position_embedding.weight.data.zero_()
    torch.testing.assert_close(encoder(jigsaw).tokens, swapped(encoder(picture).tokens), atol=1e-4, rtol=1e-4)


# nbs/40_image_encoder.ipynb, cell 75bf6f8f
def test_the_best_grid_fits():
    for size in ((128, 90), (640, 480), (30, 300), (1000, 999)):
        c, r = best_grid(size, 6, 112)
        assert c * r <= 6 and best_grid(size[::-1], 6, 112) == (r, c)       # a turned picture, a turned grid
        assert best_grid(size, 1, 112) == (1, 1)
    assert best_grid((448, 448), 4, 112) == (2, 2) and best_grid((128, 128), 4, 112) == (1, 1)
    assert best_grid((140, 100), 2, 112) == best_grid((100, 140), 2, 112) == (1, 1)     # plain ratios would differ
    assert best_grid((448, 448), 9, 112) == (3, 3) and best_grid((300, 100), 4, 112) == (3, 1)
    with pytest.raises(ValueError, match="max_tiles is 0"):
        best_grid((10, 10), 0, 112)


# nbs/40_image_encoder.ipynb, cell a3d10949
def visible(view):  # (3, s, s) normalised
    "(s, s, 3) uint8: a view as one can look at it."
    pixels = view * torch.tensor(IMAGE_STD)[:, None, None] + torch.tensor(IMAGE_MEAN)[:, None, None]
    return (pixels.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


# nbs/40_image_encoder.ipynb, cell 1956ff5d
def test_tiles_together_are_the_picture_and_the_global_view_is_last():
    cfg, noise = ImageEncoderConfig.tiny(), np.random.default_rng(0).integers(0, 256, (60, 100, 3), np.uint8)
    columns, rows = best_grid((100, 60), 6, cfg.image_size)
    views = make_views(noise, cfg, max_tiles=6)
    assert (columns, rows) == (3, 2) and views.shape == (7, 3, 28, 28)
    together = torch.cat([torch.cat(list(views[r * 3:r * 3 + 3]), 2) for r in range(2)], 1)     # (3, 56, 84)
    resized = Image.fromarray(noise).resize((84, 56), Image.Resampling.BILINEAR)
    mean, std = torch.tensor(IMAGE_MEAN)[:, None, None], torch.tensor(IMAGE_STD)[:, None, None]
    exact = (torch.from_numpy(np.array(resized)).permute(2, 0, 1) / 255 - mean) / std
    torch.testing.assert_close(together, exact)
    assert torch.equal(views[-1], image_to_tensor(noise, 28))
    assert torch.equal(make_views(noise, cfg), views[-1:])      # one tile would repeat the global view


# nbs/40_image_encoder.ipynb, cell 0576f264
def test_nothing_is_cropped_away():
    cfg, plain = ImageEncoderConfig.tiny(), np.full((60, 120, 3), 90, np.uint8)
    before = make_views(plain, cfg, max_tiles=4)
    for y, x in ((0, 0), (0, 119), (59, 0), (59, 119)):
        marked = plain.copy()
        marked[y, x] = 255
        changed = (make_views(marked, cfg, max_tiles=4) != before).flatten(1).any(1)
        assert changed[-1] and changed[:-1].sum() == 1          # the global view and one tile
    with pytest.raises(ValueError, match="0x5"):
        make_views(Image.new("RGB", (0, 5)), cfg)


# nbs/40_image_encoder.ipynb, cell 465372f4
def test_pixels_are_normalised_for_the_encoder_that_reads_them():
    grey = np.full((28, 28, 3), 128, np.uint8)
    cfg = ImageEncoderConfig.tiny(mean=tuple(OPENAI_CLIP_MEAN), std=tuple(OPENAI_CLIP_STD))
    expected = (128 / 255 - torch.tensor(OPENAI_CLIP_MEAN)) / torch.tensor(OPENAI_CLIP_STD)
    torch.testing.assert_close(make_views(grey, cfg)[0, :, 5, 5], expected)
    assert ImageEncoderConfig.paper().mean == tuple(OPENAI_CLIP_MEAN)


# nbs/40_image_encoder.ipynb, cell 4f1fb03e
def test_tokens_go_back_to_their_picture():
    tokens = torch.arange(6.0)[:, None, None].expand(6, 4, 2)              # six views: every token says which
    views = EncodedViews(tokens, [tokens * 10, tokens * 20], (2, 2))
    whose = [own[:, 0].unique().tolist() for own in views.per_image([3, 1, 2])]
    assert whose == [[0, 1, 2], [3], [4, 5]]
    assert [level[:, 0, 0].tolist() for level in views.of_global([3, 1, 2], [2, 0, 2])] == [[50, 20, 50], [100, 40, 100]]
    with pytest.raises(ValueError, match=r"images of \[3, 1\] views are 4 views together, but 6 were encoded"):
        views.per_image([3, 1])


# nbs/40_image_encoder.ipynb, cell e02ab06c
def test_batched_equals_single():
    torch.manual_seed(0)
    encoder, pixels = shaken(ImageEncoder(ImageEncoderConfig.tiny(), 48)), torch.randn(3, 3, 28, 28)
    together = encoder(pixels)
    for i in range(3):
        alone = encoder(pixels[i:i + 1])
        torch.testing.assert_close(together.tokens[i:i + 1], alone.tokens, atol=1e-4, rtol=1e-4)
        for level, own in zip(together.levels, alone.levels, strict=True):
            torch.testing.assert_close(level[i:i + 1], own, atol=1e-4, rtol=1e-4)


# nbs/40_image_encoder.ipynb, cell cb9cada0
def test_a_token_changes_only_when_its_picture_does():
    torch.manual_seed(0)
    encoder, pixels = shaken(ImageEncoder(ImageEncoderConfig.tiny(), 48)), torch.randn(3, 3, 28, 28)
    changed = pixels.clone()
    changed[1, :, 0, 0] += 5                       # one pixel of the second picture
    moved = (encoder(changed).tokens - encoder(pixels).tokens).abs().amax(-1)      # (n, t)
    assert moved[[0, 2]].max() < 1e-4 and moved[1].min() > 1e-3


# nbs/40_image_encoder.ipynb, cell cd1679db
def test_gradients_reach_every_parameter():
    torch.manual_seed(0)
    for frozen in (False, True):
        encoder = ImageEncoder(ImageEncoderConfig.tiny(frozen=frozen), d_llm=48)
        encoder(torch.randn(2, 3, 28, 28)).tokens.square().sum().backward()
        reached = {n.split(".")[0] for n, p in encoder.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        missed = {n for n, p in encoder.named_parameters() if p.grad is None or p.grad.abs().sum() == 0}
        assert "projector" in reached and ("vit" in reached) != frozen
        assert all(n.startswith("vit.") for n in missed) if frozen else missed <= {
            n for n in missed if n.endswith("k_proj.bias")}      # attention ignores a constant added to all keys


# nbs/40_image_encoder.ipynb, cell f73b50ad
def test_views_of_other_sizes_are_refused():
    encoder = ImageEncoder(ImageEncoderConfig.tiny(), d_llm=48)
    for shape in ((1, 3, 56, 28), (3, 28, 28), (1, 1, 28, 28)):
        with pytest.raises(ValueError, match=r"accepted is \(n, 3, 28, 28\)"):
            encoder(torch.zeros(shape))
    none = encoder(torch.zeros(0, 3, 28, 28))
    assert none.tokens.shape == (0, 4, 48) and [level.shape for level in none.levels] == [(0, 4, 32)] * 3


# nbs/40_image_encoder.ipynb, cell 38faa41a
def test_paper_scale_gives_576_tokens_a_view():
    with torch.device("meta"):
        encoder = ImageEncoder(ImageEncoderConfig.paper(pretrained=False), d_llm=4096)
        views = encoder(torch.empty(5, 3, 336, 336))
    assert views.tokens.shape == (5, 576, 4096) and views.grid == (24, 24)
    assert [tuple(level.shape) for level in views.levels] == [(5, 576, 1024)] * 3
    assert [tuple(tokens.shape) for tokens in views.per_image([5])] == [(2880, 4096)]
    millions = [round(sum(p.numel() for p in part.parameters()) / 1e6) for part in (encoder.vit, encoder.projector)]
    assert millions == [291, 21] and not any(p.requires_grad for p in encoder.vit.parameters())


# nbs/40_image_encoder.ipynb, cell d30d7f56
def two_balls(n, seed, side=28):
    "Pictures (n, 3, side, side) with a red and a blue ball, and the places (n, 2, 2) of both: y and x in [0, 1]."
    generator, d = torch.Generator().manual_seed(seed), side // 6 + 1
    pixels = torch.randn(n, 3, 1, 1, generator=generator) * 0.5 + torch.randn(n, 3, side, side, generator=generator) * 0.2
    corners = torch.randint(0, side - d, (n, 2, 2), generator=generator)
    for picture, places in zip(pixels, corners.tolist()):
        for channel, (y, x) in zip((0, 2), places):
            picture[:, y:y + d, x:x + d] = torch.eye(3)[channel][:, None, None] * 2 - 0.5
    return pixels, corners / (side - d)

def train(model, batches, loss_of, lr):
    "Losses of an encoder and a linear layer, (encoder, layer), that learn these batches."
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=lr), []
    for pixels, target in batches:
        loss = loss_of(model[1](model[0](pixels).tokens.mean(1)), target)
        optimizer.zero_grad(), loss.backward(), optimizer.step()
        losses.append(loss.item())
    return losses


# nbs/40_image_encoder.ipynb, cell 477b1e9a
def test_overfits_eight_pictures():
    torch.manual_seed(0)
    pixels, places = two_balls(8, seed=1)
    red_is_left = (places[:, 0, 1] < places[:, 1, 1]).long()
    assert 2 <= red_is_left.sum() <= 6
    model = nn.ModuleList([ImageEncoder(ImageEncoderConfig.tiny(), 48), nn.Linear(48, 2)])
    losses = train(model, [(pixels, red_is_left)] * 80, F.cross_entropy, lr=2e-3)
    assert losses[0] > 0.4 and losses[-1] < 0.05


# nbs/40_image_encoder.ipynb, cell a6aa9772
def test_an_encoder_of_our_own_starts_with_positions_that_can_be_heard():
    torch.manual_seed(0)
    for cfg in (ImageEncoderConfig.tiny(), ImageEncoderConfig.mini()):
        parts = ImageEncoder(cfg, d_llm=48).vit.embeddings
        patches = parts.patch_embedding(torch.randn(8, 3, 1, 1).expand(-1, -1, cfg.image_size, cfg.image_size))
        assert 0.4 < parts.position_embedding.weight[1:].std() / patches.std() < 2
        assert parts.position_embedding.weight.requires_grad           # a start, not a rule


# nbs/40_image_encoder.ipynb, cell 60ef61b3
def test_solutions():
    def overlapping(image, cfg, columns, rows, share=0.25):
        s = cfg.image_size
        step = round(s * (1 - share))
        large = load_image(image).resize((s + step * (columns - 1), s + step * (rows - 1)))
        corners = [(x * step, y * step) for y in range(rows) for x in range(columns)]
        return torch.cat([make_views(large.crop((x, y, x + s, y + s)), cfg) for x, y in corners])

    noise = np.random.default_rng(0).integers(0, 256, (60, 100, 3), np.uint8)
    tiles = overlapping(noise, ImageEncoderConfig.tiny(), 3, 2)
    assert tiles.shape == (6, 3, 28, 28)
    assert torch.equal(tiles[0][:, :, 21:], tiles[1][:, :, :7])         # a quarter is seen twice
    encoder = ImageEncoder(ImageEncoderConfig.tiny(layer=-1), d_llm=48)
    assert len(encoder.vit.encoder.layers) == 3
