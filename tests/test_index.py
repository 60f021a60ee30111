"""Tests of nbs/index.ipynb.

Generated from nbs/index.ipynb by make export: do not edit, edit the notebook.
"""

# nbs/index.ipynb, cell d88b6025
def test_readme_snippet():
    from visionllm_edu.language.vocabulary import Vocabulary
    from visionllm_edu.plot import example_scene
    from visionllm_edu.v1.model import VisionLLMv1Config, build

    vocabulary = Vocabulary.train(["find every tree, ball and kite"], text_size=300)
    model = build(VisionLLMv1Config.tiny(), vocabulary).eval()  # untrained: real mechanisms, no sense yet
    found = model.detect(example_scene()[0], ["tree", "ball", "kite"], threshold=0.0)
    assert found["boxes"].shape == (len(found), 4)
