"""Tests of nbs/index.ipynb.

Generated from nbs/index.ipynb by make export: do not edit, edit the notebook.
"""

# nbs/index.ipynb, cell 40719e94
def test_readme_snippet():
    from visionllm_edu import VisionLLMv1
    from visionllm_edu.data.coco import load_data

    image = load_data("toybox:test:8").image(0)               # or a path, a PIL image, an array
    model = VisionLLMv1.from_pretrained("v1-toybox")          # trained weights, in this repository
    reply = model(image, "Detect every car, tree and child")  # your words set task, classes and format
    trees = model.segment(image, ["tree"], points=16)         # boxes, polygons and masks, as tensors
    assert trees["polygons"].shape == (len(trees), 16, 2) and reply.detections is not None
    print(model.caption(image))
