"""Tests of visionllm_edu/vision/diffusion.py.

Generated from nbs/53_diffusion.ipynb by make export: do not edit, edit the notebook.
"""

import numpy as np

from visionllm_edu.vision.diffusion import (
    Denoiser, LatentMemory, Latents, Painter, PainterConfig, busy_windows, changes, cosines,
    heavier, make_unet, make_vae, noise_schedule, spread_times, to_pictures, to_pixels,
    velocity_weight,
)
from visionllm_edu.vision.layout import LayoutConfig, PLANNED, plan_of


# nbs/53_diffusion.ipynb, cell 210124a6
import pytest
import torch
from visionllm_edu.toybox.scene import render, split_scene
from visionllm_edu.vision.layout import PAD


def scenes(n, first=0): return [render(split_scene("train", first + i), 128).image for i in range(n)]


# nbs/53_diffusion.ipynb, cell 4f31be45
def test_pixels_and_back():
    pictures = [p.resize((64, 64)) for p in scenes(2)]
    pixels = to_pixels(pictures, 64)
    assert pixels.shape == (2, 3, 64, 64) and -1 <= pixels.min() and pixels.max() <= 1
    assert [p.tobytes() for p in to_pictures(pixels)] == [p.tobytes() for p in pictures]


# nbs/53_diffusion.ipynb, cell 03050661
def test_settings_must_fit():
    with pytest.raises(ValueError, match="size is 60; accepted are multiples of 8"): PainterConfig(size=60)
    with pytest.raises(ValueError, match="not a multiple of groups"): PainterConfig(channels=(98, 200))
    with pytest.raises(ValueError, match="edit_drop 0.5"): PainterConfig(edit_drop=0.5)
    with pytest.raises(ValueError, match="waves -1: accepted"): PainterConfig(waves=-1)
    with pytest.raises(ValueError, match="accepted is one for each"): PainterConfig(attention=(True,))
    with pytest.raises(ValueError, match="prediction 'noise'; accepted"): PainterConfig(prediction="noise")
    with pytest.raises(ValueError, match="window 40 is not a multiple of the 16 pixels of a cell"): PainterConfig(window=40, patch=8)


# nbs/53_diffusion.ipynb, cell dd06a412
def test_noise_is_one_line():
    schedule, t = noise_schedule(), torch.tensor([0, 400])
    x, noise = torch.randn(2, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    a = schedule.alphas_cumprod[t][:, None, None, None]
    torch.testing.assert_close(schedule.add_noise(x, noise, t), a.sqrt() * x + (1 - a).sqrt() * noise)


# nbs/53_diffusion.ipynb, cell 6c91fd1a
def test_windows_are_where_something_is():
    pixels = torch.zeros(64, 3, 32, 32)
    pixels[..., 17:22, 9:14] = 1.0                                    # all that there is to see
    torch.manual_seed(0)
    windows = busy_windows(pixels, 16)
    assert windows.shape == (64, 3, 16, 16) and windows.flatten(1).any(1).all()
    assert len({tuple(w.flatten().nonzero().flatten().tolist()) for w in windows}) > 1  # not always the same
    assert busy_windows(pixels, 32) is pixels
    places = torch.arange(32.0)[None, None, None].expand(200, 3, 32, 32).contiguous()   # alike everywhere
    assert set(busy_windows(places, 16)[:, 0, 0, 0].tolist()) == {0.0, 8.0, 16.0}


# nbs/53_diffusion.ipynb, cell d8adcaa7
def test_published_sizes():
    cfg = PainterConfig.paper()
    def count(module): return sum(p.numel() for p in module.parameters())
    with torch.device("meta"):
        vae, unet, editor = make_vae(cfg), make_unet(cfg), make_unet(cfg, edits=True)
    assert count(vae) == 83_653_863           # stable-diffusion-v1-5, vae
    assert count(unet) == 859_520_964           # unet
    assert count(editor) == 859_532_484         # instruct-pix2pix, unet: 4 more channels, 11,520 weights
    assert cfg.shrink == 8 and unet.config.sample_size == 64


# nbs/53_diffusion.ipynb, cell df3cabcd
def tiny(kind=None):
    torch.manual_seed(0)
    painter = (kind or Painter)(PainterConfig.tiny())
    torch.nn.init.normal_(painter.nothing)
    return painter


# nbs/53_diffusion.ipynb, cell 0c5e94a4
def test_losses_reach_their_parts():
    painter, pixels = tiny(Denoiser).train(), to_pixels(scenes(2), 16)
    tokens = torch.randn(2, 16, 32, requires_grad=True)
    def reached(loss):
        painter.zero_grad()
        loss.backward()
        return {n for n, p in painter.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    vae, unet, editor = ({n for n, _ in painter.named_parameters() if n.startswith(part)}
                         for part in ("vae", "unet", "editor"))
    coded = reached(sum(painter.vae_losses(pixels).values()))
    assert coded <= vae and len(coded) > 0.9 * len(vae)
    drawn = reached(painter.noise_loss(pixels, tokens))
    assert unet <= drawn and not drawn & (vae | editor)
    assert tokens.grad.abs().sum() > 0
    edited = reached(painter.noise_loss(pixels, tokens, pixels))
    assert len(edited & editor) == len(editor) and not edited & (vae | unet)


# nbs/53_diffusion.ipynb, cell cdea5ae4
def test_editor_begins_as_unet():
    for layout in (LayoutConfig.none(), LayoutConfig.tiny()):
        torch.manual_seed(0)
        painter = Denoiser(PainterConfig.tiny(layout=layout))
        z, tokens, seen = torch.randn(2, 4, 8, 8), torch.randn(2, 16, 32), torch.randn(2, 4, 8, 8)
        plan = torch.randn(2, PLANNED, 8, 8) if layout.objects else None
        painter.begin_editor()
        drawn = painter.predict(z, torch.tensor(9), tokens, plan=plan)
        torch.testing.assert_close(painter.predict(z, torch.tensor(9), tokens, seen, plan), drawn)
        assert bool(painter.begun)


# nbs/53_diffusion.ipynb, cell 5272d05a
def test_a_unet_is_told_where():
    painter, t, tokens = tiny(Denoiser), torch.tensor([9, 500]), torch.randn(2, 16, 32)
    z, seen = torch.randn(2, 2, 4, 8, 12)
    where = cosines(8, 12, 4)
    assert where.shape == (8, 8, 12)
    torch.testing.assert_close(cosines(4, 6, 4)[1, :, 0], torch.tensor([0.125, 0.375, 0.625, 0.875]).mul(2 * torch.pi).cos())
    torch.testing.assert_close(where[4:, :3], cosines(3, 12, 4)[4:])
    where = where.expand(2, -1, -1, -1)
    with torch.no_grad():
        drawn = painter.unet(torch.cat([z, where], 1), t, tokens).sample
        edited = painter.editor(torch.cat([z, seen, where], 1), t, tokens).sample
        torch.testing.assert_close(painter.predict(z, t, tokens), drawn)
        torch.testing.assert_close(painter.predict(z, t, tokens, seen), edited)
        assert painter.predict(z[..., :7, :11], t, tokens).shape == (2, 4, 7, 11)  # odd sides
        plain = Denoiser(PainterConfig.tiny(waves=0))
        torch.testing.assert_close(plain.predict(z, t, tokens), plain.unet(z, t, tokens).sample)


# nbs/53_diffusion.ipynb, cell 306c66f7
def test_patches_of_pixels_are_one_cell():
    torch.manual_seed(0)
    painter = Latents(PainterConfig.tiny(patch=2, vae_channels=(8, 16))).eval()
    assert painter.cfg.shrink == 4 and painter.vae.config.in_channels == 12
    with torch.no_grad():
        z = painter.encode(torch.zeros(2, 3, 16, 24))
        assert z.shape == (2, 4, 4, 6) and painter.decode(z).shape == (2, 3, 16, 24)
    with torch.device("meta"): mini = Latents(PainterConfig.mini())
    assert mini.encode(torch.empty(1, 3, 96, 96, device="meta")).shape == (1, 4, 24, 24)


# nbs/53_diffusion.ipynb, cell 2b0b675a
def test_frozen_latents_are_remembered():
    painter, pixels = tiny(Denoiser), to_pixels(scenes(3), 16)
    plain = painter.encode(pixels)
    calls, say = [], painter.likeliest
    painter.likeliest = lambda x: calls.append(len(x)) or say(x)
    painter.encode(pixels, recall=True)
    painter.encode(pixels, recall=True)
    assert calls == [3, 3] and not painter.memory.known               # it may still learn: asked each time
    painter.vae.requires_grad_(False)
    for part in (pixels[:2], pixels, pixels.flip(0)): again = painter.encode(part, recall=True)
    assert calls == [3, 3, 2, 1]                                      # new ones only
    torch.testing.assert_close(again.flip(0), plain, atol=1e-2, rtol=1e-2)
    torch.testing.assert_close(painter.encode(pixels[[1, 1]], recall=True), plain[[1, 1]], atol=1e-2, rtol=1e-2)
    painter.load_state_dict(painter.state_dict())                     # other weights, perhaps
    assert not painter.memory.known
    painter.memory = LatentMemory(0)                                  # no room, the same answers
    torch.testing.assert_close(painter.encode(pixels, recall=True), plain, atol=1e-2, rtol=1e-2)
    assert not painter.memory.known


# nbs/53_diffusion.ipynb, cell 036a2b69
def test_noise_loss_by_hand():
    # the loss again, in the open: same dice, same picture, nothing dropped
    painter, pixels, tokens = tiny(Denoiser).eval(), to_pixels(scenes(2), 16), torch.randn(2, 16, 32)
    for prediction in ("epsilon", "v_prediction"):
        painter.cfg.prediction, painter.cfg.drop = prediction, 0.0
        torch.manual_seed(5)
        loss = painter.noise_loss(pixels, tokens)
        torch.manual_seed(5)
        x = (painter.vae.encode(pixels).latent_dist.mode() - painter.mean) / painter.std
        torch.rand(2)  # the dice for dropping
        t, noise = spread_times(2, 1000), torch.randn_like(x)
        a = painter.schedule.alphas_cumprod[t][:, None, None, None]
        guess = painter.predict(a.sqrt() * x + (1 - a).sqrt() * noise, t, tokens)
        wanted = noise if prediction == "epsilon" else a.sqrt() * noise - (1 - a).sqrt() * x
        torch.testing.assert_close(loss, ((guess - wanted) ** 2).mean())


# nbs/53_diffusion.ipynb, cell ec3519e0
def test_pictures_are_drawn_by_layouts():
    painter = Denoiser(PainterConfig.tiny(layout=LayoutConfig.tiny(), drop=0.0, edit_drop=0.0)).eval()
    pixels, tokens = to_pixels(scenes(8), 16), torch.randn(8, 16, 32)
    layouts = torch.full((8, 3, 6), PAD)
    layouts[0, 0] = torch.tensor([7, 3, 0, 0, 8, 8])                       # all of the first is object, nothing of the others
    def learned(*source):
        torch.manual_seed(5)
        return painter.noise_loss(pixels, tokens, *source, layouts=layouts)
    def by_hand(heavy, seen=None):                                          # the loss again, in the open
        torch.manual_seed(5)
        x, plan = painter.encode(pixels), plan_of(painter.cfg.layout, layouts, (8, 8))
        torch.rand(8)                                                       # the dice for dropping
        t, noise = spread_times(8, 1000), torch.randn_like(x)
        guess = painter.predict(painter.schedule.add_noise(x, noise, t), t, tokens, seen, plan)
        return (heavy * velocity_weight(painter.schedule, t) * (guess - x) ** 2).mean()
    heavy = torch.tensor([5.0] + [1.0] * 7)[:, None, None, None] / 12 * 8
    torch.testing.assert_close(learned(), by_hand(heavy))
    source = pixels.flip(0)
    seen = painter.encode(source)
    torch.testing.assert_close(learned(source), by_hand(heavier(changes(seen, painter.encode(pixels)), 4.0), seen))
    torch.testing.assert_close(painter.losses(pixels, tokens, None, layouts)["layout"], 0.3 * painter.layouts.loss(layouts, tokens))
    assert painter.layout_loss(tokens, layouts, source) != painter.layout_loss(tokens, layouts)
    for source in ((), (pixels,)):
        with pytest.raises(ValueError, match="needs a layout: see `layout_of`"): painter.noise_loss(pixels, tokens, *source)


# nbs/53_diffusion.ipynb, cell 56d58e25
def test_velocity_is_weighted_noise():
    # an error in the velocity is the error in the noise that it implies, divided by alpha-bar
    schedule, t = noise_schedule(), torch.tensor([100, 900])
    x, noise, guess = torch.randn(3, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    a = schedule.alphas_cumprod[t][:, None, None, None]
    noisy, v = schedule.add_noise(x, noise, t), schedule.get_velocity(x, noise, t)
    implied = a.sqrt() * guess + (1 - a).sqrt() * noisy  # the noise, if this is the velocity
    torch.testing.assert_close((guess - v) ** 2, (implied - noise) ** 2 / a, rtol=1e-3, atol=1e-4)


# nbs/53_diffusion.ipynb, cell 0711d1c4
def test_clean_is_weighted_velocity():
    # an error in the clean latents is the error in the velocity that they imply, times the share of noise
    painter, pixels, tokens = tiny(Denoiser).eval(), to_pixels(scenes(2), 16), torch.randn(2, 16, 32)
    painter.cfg.drop, schedule = 0.0, painter.schedule
    assert painter.cfg.prediction == "sample"
    torch.manual_seed(5)
    loss = painter.noise_loss(pixels, tokens)
    torch.manual_seed(5)
    x = (painter.vae.encode(pixels).latent_dist.mode() - painter.mean) / painter.std
    torch.rand(2)
    t, noise = spread_times(2, 1000), torch.randn_like(x)
    a = schedule.alphas_cumprod[t][:, None, None, None]
    noisy = schedule.add_noise(x, noise, t)
    guess = painter.predict(noisy, t, tokens)
    implied = (a.sqrt() * noisy - guess) / (1 - a).sqrt()                    # the velocity, if this is clean
    error = (guess - x) ** 2
    torch.testing.assert_close(error / (1 - a), (implied - schedule.get_velocity(x, noise, t)) ** 2, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(loss, (error / (1 - a).clamp(min=0.2)).mean())  # five times, at most
    assert velocity_weight(schedule, torch.tensor([0, 999])).flatten().tolist() == pytest.approx([5.0, 1.0])


# nbs/53_diffusion.ipynb, cell f7f2c08c
def test_bad_requests():
    painter, tokens, pictures = tiny(), torch.zeros(1, 16, 32), scenes(1)
    for wrong, line in ((dict(num_inference_steps=0), "num_inference_steps is 0; accepted are whole numbers, 1 to 1000"),
                        (dict(num_inference_steps=2.5), "num_inference_steps is 2.5"),
                        (dict(guidance_scale=-1), "guidance_scale is -1; accepted are numbers from 0"),
                        (dict(image_guidance_scale=float("nan")), "image_guidance_scale is nan"),
                        (dict(guidance_scale="high"), "guidance_scale is 'high'"),
                        (dict(height=20), "height is 20; accepted are multiples of 8"),
                        (dict(width=0), "width is 0; accepted are multiples of 8"),
                        (dict(generator=[torch.Generator()] * 2), "2 generators for 1 pictures")):
        with pytest.raises(ValueError, match=line): painter.draw(tokens, **wrong)
        with pytest.raises(ValueError, match=line): painter.edit(tokens, pictures, **wrong)
    for none in (None, [], [None], pictures * 2):
        with pytest.raises(ValueError, match="an edit needs a picture to change: 1 edits, "): painter.edit(tokens, none)


# nbs/53_diffusion.ipynb, cell 8de7b903
def test_layouts_are_written_or_given():
    painter, tokens = Painter(PainterConfig.tiny(layout=LayoutConfig.tiny())).eval(), torch.randn(2, 16, 32)
    dice = lambda: [torch.Generator().manual_seed(k) for k in (0, 1)]
    few, given = dict(num_inference_steps=2), torch.full((2, 3, 6), PAD)
    own, empty = painter.draw(tokens, generator=dice(), **few), painter.draw(tokens, generator=dice(), layouts=given, **few)
    assert own[0].size == (16, 16) and own[0].tobytes() != empty[0].tobytes()
    given[1, 0] = torch.tensor([3, 4, 0, 0, 8, 8])
    one = painter.draw(tokens, generator=dice(), layouts=given, **few)
    assert one[0].tobytes() == empty[0].tobytes() and one[1].tobytes() != empty[1].tobytes()
    painter.begin_editor()
    assert painter.edit(tokens, scenes(2), generator=dice(), **few)[0].size == (128, 128)
    seen = torch.randn(2, 4, 8, 8)
    assert painter.lay_out(tokens, seen, dice()).shape == (2, 3, 6) and tiny().lay_out(tokens) is None
    given[1, 0] = torch.tensor([3, 4, 0, 0, 3, 8])                          # of the second picture the left may change
    pixels = lambda images: np.stack([np.asarray(i) for i in images]).astype(int)
    before, kept, free = pixels(scenes(2)), *(pixels(painter.edit(tokens, scenes(2), layouts=given, keep=k, generator=dice(), **few)) for k in (True, False))
    differs = (before != kept).any(-1)
    assert not differs[1, :, 80:].any() and differs[1, :, :48].mean() > 0.9   # three cells of eight, one around, half a cell of soft border
    assert differs[0].mean() > 0.9 and (before != free).any(-1)[1, :, 80:].mean() > 0.9  # the first names nothing
    paths = [painter.path(tokens, seen, given, generator=dice(), **few) for _ in range(2)]
    noise = torch.cat([torch.randn(1, 4, 8, 8, generator=d) for d in dice()])
    for (t, latents, _), later in zip(paths[0], (500 - 1, None)):
        still = seen if later is None else painter.schedule.add_noise(seen, noise, torch.tensor(later))
        torch.testing.assert_close(latents[1, :, :, 4:], still[1, :, :, 4:])
        assert not torch.isclose(latents[1, :, :, :4], still[1, :, :, :4]).all() and not torch.isclose(latents[0], still[0]).all()


# nbs/53_diffusion.ipynb, cell b5a67d39
def test_batched_is_single():
    painter, tokens, pictures = tiny(), torch.randn(2, 16, 32), scenes(2)
    dice = lambda *seeds: [torch.Generator().manual_seed(k) for k in seeds]
    few = dict(num_inference_steps=3, height=24, width=16)
    def near(a, b): return max((torch.tensor(list(x.tobytes())) - torch.tensor(list(y.tobytes()))).abs().max() for x, y in zip(a, b)) <= 1
    both = painter.draw(tokens, generator=dice(1, 2), **few)
    alone = [painter.draw(tokens[k:k + 1], generator=dice(k + 1), **few)[0] for k in (0, 1)]
    assert near(both, alone) and both[0].size == (16, 24)
    changed = painter.edit(tokens, pictures, generator=dice(1, 2), num_inference_steps=3)
    one = painter.edit(tokens[1:], pictures[1:], generator=dice(2), num_inference_steps=3)
    assert near(changed[1:], one) and changed[0].size == pictures[0].size


# nbs/53_diffusion.ipynb, cell e69e39bc
def test_guidance_scales():
    painter, t = tiny(), torch.tensor(500)
    z, seen, tokens = torch.randn(3, 2, 4, 8, 8)[:2].unbind(0) + (torch.randn(2, 16, 32),)
    nothing, blank = painter.nothing.expand_as(tokens), torch.zeros_like(seen)
    with torch.no_grad():
        full, none = painter.predict(z, t, tokens), painter.predict(z, t, nothing)
        for s, wanted in ((1, full), (0, none), (3, none + 3 * (full - none))):
            torch.testing.assert_close(painter.guided(z, t, tokens, None, s, 7.0), wanted)
        full, look, none = (painter.predict(z, t, *c) for c in ((tokens, seen), (nothing, seen), (nothing, blank)))
        for text, image, wanted in ((1, 1, full), (0, 1, look), (0, 0, none), (2, 3, none + 3 * (look - none) + 2 * (full - look))):
            torch.testing.assert_close(painter.guided(z, t, tokens, seen, text, image), wanted)
    planner = Painter(PainterConfig.tiny(layout=LayoutConfig.tiny(), drop=1.0, object_weight=0.0)).eval()
    plan, nothing = torch.randn(2, planner.cfg.planned, 8, 8), planner.nothing.expand_as(tokens)
    with torch.no_grad():  # a plan goes with its text
        full, none = planner.predict(z, t, tokens, None, plan), planner.predict(z, t, nothing, None, 0 * plan)
        torch.testing.assert_close(planner.guided(z, t, tokens, None, 3, 7.0, plan), none + 3 * (full - none))
        layouts, pixels = torch.tensor([[[1, 2, 0, 0, 4, 4]] * 3, [[3, 5, 2, 1, 8, 7]] * 3]), torch.rand(2, 3, 16, 16)
        def loss(layouts, drop):
            planner.cfg.drop = drop
            torch.manual_seed(0)
            return planner.noise_loss(pixels, tokens, None, layouts).item()
        assert loss(layouts, 1.0) == loss(layouts.flip(0), 1.0) and loss(layouts, 0.0) != loss(layouts.flip(0), 0.0)


# nbs/53_diffusion.ipynb, cell 98b1c471
def test_published_shapes():
    with torch.device("meta"):
        painter = Painter(PainterConfig.paper())
        z, text, t = torch.empty(2, 4, 64, 64), torch.empty(2, 77, 768), torch.empty(2, dtype=torch.long)
        assert painter.predict(z, t, text).shape == (2, 4, 64, 64)             # 512 pixels, to draw
        z = z[..., :32, :32]
        assert painter.predict(z, t, text, z).shape == (2, 4, 32, 32)          # 256 pixels, to edit
        assert painter.encode(torch.empty(1, 3, 512, 512)).shape == (1, 4, 64, 64)
        assert painter.decode(z).shape == (2, 3, 256, 256)
    assert painter.editor.conv_in.weight.shape == (320, 8, 3, 3)
    assert painter.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2.to_k.in_features == 768


# nbs/53_diffusion.ipynb, cell 5001c6e1
def test_mini_fits_its_budget():
    with torch.device("meta"): mini = Painter(PainterConfig.mini())
    assert sum(p.numel() for p in mini.parameters()) < 18.7e6  # 40 MB in half precision, with 1.25 million of the text encoder


# nbs/53_diffusion.ipynb, cell 43a99987
import os
from functools import cache
from PIL import Image, ImageDraw

VAE_STEPS, DRAW_STEPS = (40, 25) if "IN_TEST" in os.environ else (180, 160)


def box(colour, side):
    image, x = Image.new("RGB", (16, 16), "#f4efe4"), 1 if side == "left" else 8
    ImageDraw.Draw(image).rectangle((x, 5, x + 6, 11), fill=colour)
    return image


WORLD = [box(c, s) for c in ("red", "blue") for s in ("left", "right")]


def learn(part, loss, steps, lr):
    "Trains one part of a painter; returns the losses."
    optimizer, curve = torch.optim.Adam(part.parameters(), lr), []
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        value = loss()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        rate.step()
        curve.append(value.item())
    return curve


@cache
def learned(prediction="sample"):
    "A small painter of `WORLD`, the tokens of its pictures, and its losses."
    torch.manual_seed(0)
    cfg = PainterConfig.tiny(window=16, vae_channels=(16, 16), channels=(32,), attention=(True,), tokens=4, prediction=prediction)
    painter = Painter(cfg).train()
    pixels, tokens = to_pixels(WORLD, 16), torch.randn(4, 4, 32)
    vae_curve = learn(painter.vae, lambda: sum(painter.vae_losses(pixels).values()),
                   VAE_STEPS, 8e-3)
    loss = lambda: painter.noise_loss(pixels.repeat(4, 1, 1, 1), tokens.repeat(4, 1, 1))
    return painter.eval(), tokens, vae_curve, learn(painter.unet, loss, DRAW_STEPS, 6e-3)


# nbs/53_diffusion.ipynb, cell 18294c78
def test_losses_fall():
    painter, tokens, vae_curve, unet_curve = learned()
    first, last = (lambda curve: sum(curve[:5]) / 5), (lambda curve: sum(curve[-10:]) / 10)
    assert last(vae_curve) < 0.7 * first(vae_curve) and last(unet_curve) < 0.85 * first(unet_curve)
    assert painter.std != 1  # the spread of latents was noted
