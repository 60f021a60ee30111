"""Tests of visionllm_edu/v2_map.py.

Generated from nbs/40_0_v2_map.ipynb by make export: do not edit, edit the notebook.
"""

import numpy as np
import pytest
from PIL import Image
from pathlib import Path

from visionllm_edu.v2_map import (
    V2_MAP_BOXES, V2_MAP_NAMES, V2_MAP_SIZE, save_v2_map, v2_map, v2_map_figure,
)


# nbs/40_0_v2_map.ipynb, cell 32d4df01
def test_boxes_do_not_overlap():
    at = np.array([box.at for box in V2_MAP_BOXES])          # (n, 4)
    low, high = at[:, :2], at[:, :2] + at[:, 2:]
    shared = np.minimum(high[:, None], high[None]) - np.maximum(low[:, None], low[None])   # (n, n, 2)
    assert ((shared > 0).all(2) == np.eye(len(at), dtype=bool)).all()    # a box meets only itself
    assert (low >= 0).all() and (high <= V2_MAP_SIZE).all()
    assert len(set(V2_MAP_NAMES)) == len(V2_MAP_NAMES)


# nbs/40_0_v2_map.ipynb, cell dd7beea8
def test_every_file_of_v2_is_on_the_map():
    import visionllm_edu.v2

    files = Path(visionllm_edu.v2.__path__[0]).glob("[!_]*.py")
    missing = {f"v2/{file.stem}" for file in files} - set(V2_MAP_NAMES)
    assert not missing, f"give {', '.join(sorted(missing))} a place on the map"
    package = Path(visionllm_edu.v2.__path__[0]).parent
    gone = {name for name in V2_MAP_NAMES if not (package / f"{name}.py").exists()}
    assert not gone, f"{', '.join(sorted(gone))} left the package, not the map"


# nbs/40_0_v2_map.ipynb, cell 6db3b823
def test_texts_have_room():
    figure = v2_map_figure()
    figure.canvas.draw()
    ax = figure.axes[0]
    spans = np.array([text.get_window_extent().transformed(ax.transData.inverted()).get_points()
                      for text in ax.texts if text.get_text()])          # (n, 2, 2)
    start, end = spans.min(1), spans.max(1)                              # (n, 2) corners
    boxes = np.array([box.at for box in V2_MAP_BOXES])
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    home = ((low <= start[:, None]) & (start[:, None] < high)).all(2)    # (n, boxes) starts in it
    assert (end[:, None] <= high + 2)[home].all() and (start >= 0).all() and (end <= V2_MAP_SIZE).all()
    shared = np.minimum(end[:, None], end) - np.maximum(start[:, None], start)             # (n, n, 2)
    assert ((shared > 1).all(2) == np.eye(len(spans), dtype=bool)).all()


# nbs/40_0_v2_map.ipynb, cell 0d3198bf
def test_arrows_go_round_boxes():
    boxes = np.array([box.at for box in V2_MAP_BOXES])
    low, high = boxes[:, :2] + 2, boxes[:, :2] + boxes[:, 2:] - 2
    arrows = [line.get_xydata() for line in v2_map_figure().axes[0].lines if line.get_lw() == 1.5]
    for corners in arrows:
        way = np.concatenate([np.linspace(a, b, 40) for a, b in zip(corners, corners[1:])])
        inside = ((low < way[:, None]) & (way[:, None] < high)).all(2)   # (points, boxes)
        assert (inside.all(0) | ~inside.any(0)).all(), f"an arrow crosses a box: {corners.tolist()}"
    assert len(arrows) > 30


# nbs/40_0_v2_map.ipynb, cell a8ff1b56
def test_highlights_and_refuses():
    plain, lit = v2_map(), v2_map("v2/super_link")
    assert plain.data != lit.data
    assert lit.data == v2_map("v2/super_link.py").data                   # same call, same bytes
    assert len(lit.data) < 50_000
    assert "Highlighted: v2/super_link.py" in lit.alt and "Highlighted" not in plain.alt
    assert v2_map("v2/model").data not in (plain.data, lit.data)         # the frame lights up too
    for wrong in ("v2/yolo", "v1/model", "super_link"):
        with pytest.raises(ValueError, match=f"no file '{wrong}'; it has v2/model, v2/painting, v2/image_encoder, "):
            v2_map(wrong)


# nbs/40_0_v2_map.ipynb, cell 1a83ed3f
def test_can_be_saved():
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        png, svg = (save_v2_map(Path(folder) / name) for name in ("map.png", "map.svg"))
        assert Image.open(png).size == (1600, 1113) and png.stat().st_size < 130_000
        assert "<svg" in svg.read_text()
        with pytest.raises(ValueError, match="not as 'map.jpg'"):
            save_v2_map(Path(folder) / "map.jpg")
