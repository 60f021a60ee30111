"""Tests of visionllm_edu/reply.py.

Generated from nbs/17_reply.ipynb by make export: do not edit, edit the notebook.
"""

import pytest
import torch
from PIL import Image

from visionllm_edu.plot import example_scene
from visionllm_edu.reply import Detections, Reply, answering_mode


# nbs/17_reply.ipynb, cell 65405a47
def test_rows_are_cut_together():
    found = Detections(**example_scene()[1])
    sure = found[found.scores > 0.9]
    assert len(sure) == 2 and sure.text_labels == ["tree", "ball"]
    for name in found:                                                  # x'_i = x_{r_i}, every column
        assert list(map(str, sure[name])) == list(map(str, found[name][:2]))
    by_size = found[(found.boxes[:, 2] - found.boxes[:, 0]).argsort()]
    assert by_size.text_labels == ["ball", "kite", "tree"]
    assert found[-1].text_labels == found[2:].text_labels == found[[2]].text_labels == ["kite"]
    assert len(found[[]]) == len(found[found.scores > 2]) == 0 and found[[]].boxes.shape == (0, 4)
    assert found[[False] * 3].polygons.shape == (0, 16, 2)              # even nothing keeps its shape


# nbs/17_reply.ipynb, cell d101302a
def test_choosing_twice_is_choosing_once():
    found = Detections(**example_scene()[1])
    order = torch.tensor([2, 0, 1])
    assert found[order] != found and found[order][order.argsort()] == found
    assert found[order][found.scores[order] > 0.9] == found[order[found.scores[order] > 0.9]]


# nbs/17_reply.ipynb, cell b6c87493
def test_works_as_a_mapping():
    found = Detections(**example_scene()[1])
    lines = [f"{score:.2f} {found['text_labels'][label]} {box.round().int().tolist()}"
             for score, label, box in zip(found["scores"], found["labels"], found["boxes"])]
    assert lines[1] == "0.94 ball [146, 174, 190, 218]"
    assert {name: len(values) for name, values in found.items()} == dict.fromkeys(found.keys(), 3)
    assert set(dict(found)) == {"scores", "labels", "text_labels", "boxes", "polygons"}
    assert "masks" not in found and found.get("masks") is None
    assert Detections(**found) == found                                 # ** asks for names and values
    with pytest.raises(KeyError, match="no column 'mask'; there are scores"):
        found["mask"]


# nbs/17_reply.ipynb, cell d1df6a00
def test_bad_tables_and_bad_rows_are_refused():
    two = dict(scores=[0.9, 0.8], labels=[0, 1], text_labels=["a", "b"])
    with pytest.raises(ValueError, match=r"boxes of 2 objects must have .* \(2, 4\), not \(1, 4\)"):
        Detections(**two, boxes=[[0, 0, 1, 1]])
    with pytest.raises(ValueError, match=r"keypoints of 2 objects must have the shape \(2, any, 3\)"):
        Detections(**two, boxes=torch.zeros(2, 4), keypoints=torch.zeros(2, 34))
    found = Detections(**two, boxes=torch.zeros(2, 4))
    for key, why in ((5, "no row 5"), ([0.5, 0.7], "not torch.float32"), ([True], "filter of shape")):
        with pytest.raises(IndexError, match=why):
            found[key]
    with pytest.raises(ValueError, match="kept no image"):
        found.draw()


# nbs/17_reply.ipynb, cell e43984d9
def test_a_reply_draws_everything_it_has():
    scene, objects = example_scene()
    found = Detections(**objects)
    w, h = scene.size
    made = scene.resize((200, 100))
    assert Reply(detections=found, image=scene).draw().size == (w, h)               # no words, no strip
    assert Reply("Three things.", detections=found, image=scene).draw().height > h
    assert Reply("Done.", images=[made], image=scene).draw().width == w + 8 + 200   # in a row
    assert Reply("Two.").draw().width == 480                                        # words alone
    assert len(Reply(images=[made]).pictures()) == 1
    kept = Reply(detections=Detections(**objects, image=scene))                     # the table kept it
    assert kept.pictures()[0].tobytes() == found.draw(scene).tobytes()


# nbs/17_reply.ipynb, cell f01a28c0
def test_html_is_escaped_and_complete():
    scene, objects = example_scene()
    nasty = '<script>alert("hi")</script> & more'
    reply = Reply(nasty, [("[DET]", "tree")], Detections(**objects), image=scene)
    page = reply.to_html()
    assert "<script>" not in page and "&lt;script&gt;" in page and "&amp; more" in page
    assert page.count("<img") == 1 and 'src="data:image/png;base64,' in page and "[DET] tree" in page
    assert 'alt="&lt;script&gt;' in page and "Found: tree, ball, kite." in page


# nbs/17_reply.ipynb, cell 58958ea5
def test_notebooks_get_one_picture_with_words_for_it():
    scene, objects = example_scene()
    reply = Reply("A tree.", detections=Detections(**objects), image=scene)
    contents, metadata = reply._repr_mimebundle_()
    assert set(contents) == {"text/plain", "image/png"}                 # not the same picture twice
    assert metadata["image/png"]["alt"] == "A tree. Found: tree, ball, kite."
    assert Reply("A tree.")._repr_png_().startswith(b"\x89PNG")
    assert Reply().alt == "An empty reply." and Reply().draw().width == 480


# nbs/17_reply.ipynb, cell 3db370ae
def test_answering_leaves_the_model_as_it_was():
    model = torch.nn.Dropout(0.5)
    with answering_mode(model): assert not model.training and not torch.is_grad_enabled()
    assert model.training and torch.is_grad_enabled()
    with pytest.raises(RuntimeError), answering_mode(model): raise RuntimeError("in the middle of an answer")
    assert model.training and torch.is_grad_enabled()
    frozen = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Dropout(0.5).eval())
    with answering_mode(frozen): pass
    assert [part.training for part in frozen] == [True, False]                       # each part, not all alike
