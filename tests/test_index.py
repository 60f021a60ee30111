"""Tests of nbs/index.ipynb.

Generated from nbs/index.ipynb by make export: do not edit, edit the notebook.
"""

# nbs/index.ipynb, cell 5ce1fe03
def test_readme_snippet():
    from visionllm_edu import VisionLLMv1
    from visionllm_edu.plot import example_scene

    image = example_scene()[0]                                # or a path, a PIL image, an array
    model = VisionLLMv1.build("tiny")                         # all the parts; random weights, so no sense yet
    reply = model(image, "Detect every tree, ball and kite")  # your words set task, classes and format
    trees = model.segment(image, ["tree"], points=16, threshold=0.0)
    assert trees["polygons"].shape == (len(trees), 16, 2) and reply.text == ""
