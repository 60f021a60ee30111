"""Tests of visionllm_edu/plot.py.

Generated from nbs/16_plot.ipynb by make export: do not edit, edit the notebook.
"""

import numpy as np
import pytest
import torch
from PIL import Image

from visionllm_edu.plot import (
    MAP_BOXES, MAP_NAMES, MAP_SIZE, _placed, as_image, draw_boxes, draw_detections, draw_masks,
    example_scene, map_figure, model_map, plot_losses, plot_mask, running_mean, save_model_map,
    show_grid, show_trace, tint, to_png, token_strip,
)


# nbs/16_plot.ipynb, cell 8fc6c78f
def test_tint_mixes_with_white():
    assert tint("#0072b2", 1) == "#0072b2"
    assert tint("#0072b2", 0) == "#ffffff"
    assert tint("#000000", 0.5) == "#808080"


# nbs/16_plot.ipynb, cell 19da3064
def test_png_is_small_and_keeps_flat_colours():
    import io

    scene, _ = example_scene()
    plain = io.BytesIO()
    scene.save(plain, "PNG", optimize=True)
    data = to_png(scene, 64)
    assert len(data) < 0.6 * len(plain.getvalue())
    assert Image.open(io.BytesIO(data)).convert("RGB").getpixel((168, 196)) == (0xD1, 0x49, 0x5B)


# nbs/16_plot.ipynb, cell 1ac0656a
def test_as_image_takes_what_the_models_take():
    scene, _ = example_scene()
    array = np.array(scene)                                             # (h, w, 3) uint8
    tensor = torch.from_numpy(array).permute(2, 0, 1) / 255             # (3, h, w) float
    for same in (array, tensor, array / 255, (255 * tensor).to(torch.uint8), scene.convert("RGBA")):
        assert np.array_equal(as_image(same), array)
    assert as_image(array[..., 0]).mode == "RGB"                        # grey is welcome too
    with pytest.raises(ValueError, match="not \\(2, 3, 4, 5\\)"):
        as_image(np.zeros((2, 3, 4, 5)))


# nbs/16_plot.ipynb, cell d979cbb5
def test_boxes_are_drawn_where_they_are():
    white = Image.new("RGB", (100, 80), "white")
    drawn = np.array(draw_boxes(white, [[20, 10, 60, 50]]))
    blue = (np.abs(drawn.astype(int) - [0, 114, 178]).max(2) < 40)
    ys, xs = np.nonzero(blue)
    assert abs(xs.min() - 20) <= 1 and abs(xs.max() - 60) <= 1          # columns of the box
    assert abs(ys.min() - 10) <= 1 and abs(ys.max() - 50) <= 1          # its rows
    assert (drawn[20:40, 30:50] == 255).all()                           # nothing inside
    assert np.array(white).min() == 255                                 # the original is untouched


# nbs/16_plot.ipynb, cell 94580b7e
def test_a_mask_obeys_the_equation():
    image = np.full((8, 10, 3), 200, np.uint8)                          # p = 200
    mask = np.zeros((1, 8, 10), bool)
    mask[0, 2:5, 3:7] = True
    drawn = np.array(draw_masks(image, mask, alpha=0.5)).astype(int)
    expected = np.round(0.5 * np.array([0, 114, 178]) + 0.5 * 200)
    assert np.abs(drawn[mask[0]] - expected).max() <= 1                 # alpha c + (1 - alpha) p
    assert (drawn[~mask[0]] == 200).all()


# nbs/16_plot.ipynb, cell 413257b2
def test_detections_of_any_mixture_are_drawn():
    scene, objects = example_scene()
    for names in (["boxes"], ["polygons"], ["boxes", "labels", "text_labels"], list(objects)):
        drawn = draw_detections(scene, {name: objects[name] for name in names})
        assert drawn.size == scene.size and np.any(np.array(drawn) != np.array(scene))
    assert np.array_equal(draw_detections(scene, {}), scene)             # nothing found, nothing drawn
    assert draw_detections(Image.new("RGB", (64, 48)), {}).size == (320, 240)


# nbs/16_plot.ipynb, cell 5f7515c6
def test_running_mean_equals_the_loop():
    values = np.random.default_rng(0).normal(size=50)
    for w in (1, 7, 80):
        loop = [values[max(0, t + 1 - w) : t + 1].mean() for t in range(50)]
        assert running_mean(values, w).shape == (50,)
        np.testing.assert_allclose(running_mean(values, w), loop)


# nbs/16_plot.ipynb, cell 711e2551
def test_losses_stand_at_their_steps():
    at, held = _placed({"a": [3.0, float("nan"), 1.0], "b": []}, None)
    assert at["a"].tolist() == [1, 3] and held["a"].tolist() == [3.0, 1.0] and len(at["b"]) == 0
    assert _placed({"a": [3.0, 2.0]}, [10, 500])[0]["a"].tolist() == [10, 500]


# nbs/16_plot.ipynb, cell 2bcfb218
def test_ticks_lie_on_positions():
    from unittest.mock import patch

    drawn = []
    with patch.dict(plot_mask.__globals__, to_picture=lambda figure, *_, **__: drawn.append(figure)): plot_mask(np.eye(5, 3))
    (figure,) = drawn
    places = [*figure.axes[0].get_xticks(), *figure.axes[0].get_yticks()]
    assert len(places) > 5 and all(place == round(place) for place in places)


# nbs/16_plot.ipynb, cell 4da0b6a2
def test_a_trace_draws_every_sort_of_value():
    import io

    values = [Image.new("RGB", (8, 6)), "words with $ signs", ["<c0>", "<p-3>", " word"],
              torch.rand(5, 2), torch.rand(7), torch.rand(1, 16, 4, 4),
              [torch.rand(1, 16, side, side) for side in (8, 4)],
              torch.zeros(0, 5), 3.5, None, torch.ones(2, 3, dtype=torch.bool),
              torch.rand(4, 4).bfloat16()]
    strip = show_trace([(f"stage {i}", None, value) for i, value in enumerate(values)])
    assert Image.open(io.BytesIO(strip.data)).size == (4 * 250 + 2, 3 * 204 + 2)


# nbs/16_plot.ipynb, cell 57cfd9f2
def test_drawings_refuse_what_they_cannot_draw():
    for draw, *wrong in ((plot_losses, {"loss": []}), (show_grid, []), (show_trace, []),
                         (plot_mask, np.zeros(3)), (token_strip, ["a", "b"], ["text"])):
        with pytest.raises(ValueError, match="needs|has 2 axes"):
            draw(*wrong)


# nbs/16_plot.ipynb, cell 04828491
def test_boxes_of_the_map_do_not_overlap():
    at = np.array([box.at for box in MAP_BOXES])                         # (n, 4)
    low, high = at[:, :2], at[:, :2] + at[:, 2:]
    shared = np.minimum(high[:, None], high[None]) - np.maximum(low[:, None], low[None])   # (n, n, 2)
    assert ((shared > 0).all(2) == np.eye(len(at), dtype=bool)).all()    # a box meets only itself
    assert (low >= 0).all() and (high <= MAP_SIZE).all()
    assert len(set(MAP_NAMES)) == len(MAP_NAMES)


# nbs/16_plot.ipynb, cell c07e216c
def test_texts_of_the_map_fit_their_boxes():
    figure = map_figure()
    figure.canvas.draw()
    ax = figure.axes[0]
    pixels = ax.transData.inverted()
    low = np.array([box.at[:2] for box in MAP_BOXES])                    # (n, 2)
    high = low + [box.at[2:] for box in MAP_BOXES]
    spans = []                                                           # (2, 2) each: upper left, lower right
    for text in (text for text in ax.texts if text.get_text()):
        start, end = text.get_window_extent().transformed(pixels).get_points()
        start, end = np.minimum(start, end), np.maximum(start, end)
        spans.append((start, end))
        home = ((low <= start) & (start < high)).all(1)                  # the box it starts in, if any
        assert (end <= high[home] + 2).all(), f"{text.get_text()!r} leaves its box"
    start, end = map(np.array, zip(*spans))
    shared = np.minimum(end[:, None], end) - np.maximum(start[:, None], start)              # (n, n, 2)
    assert ((shared > 1).all(2) == np.eye(len(spans), dtype=bool)).all(), "two texts on top of each other"


# nbs/16_plot.ipynb, cell b6d1abe4
def test_the_map_highlights_and_refuses():
    plain, lit = model_map(), model_map("vision/backbone")
    assert plain.data != lit.data
    assert lit.data == model_map("vision/backbone.py").data              # same call, same bytes
    assert len(lit.data) < 45_000
    assert "Highlighted: vision/backbone.py" in lit.alt
    assert model_map("v1/answering").data != model_map("v1/model").data  # one frame, two names in it
    with pytest.raises(ValueError, match="no file 'vision/yolo'; it has v1/model, v1/answering, "):
        model_map("vision/yolo")


# nbs/16_plot.ipynb, cell e06a4713
def test_the_map_can_be_saved():
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        png, svg = (save_model_map(Path(folder) / name) for name in ("map.png", "map.svg"))
        assert Image.open(png).size == (1600, 988) and png.stat().st_size < 120_000
        assert "<svg" in svg.read_text() and "png" not in svg.suffix
        with pytest.raises(ValueError, match="not as 'map.jpg'"):
            save_model_map(Path(folder) / "map.jpg")
