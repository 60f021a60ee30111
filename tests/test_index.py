"""Tests of nbs/index.ipynb.

Generated from nbs/index.ipynb by make export: do not edit, edit the notebook.
"""

# nbs/index.ipynb, cell 40719e94
def test_readme_snippet():
    from visionllm_edu import VisionLLMv1
    from visionllm_edu.data.coco import load_data

    image = load_data("toybox:test:8").image(4)            # or a path, a PIL image, an array
    model = VisionLLMv1.from_pretrained("v1-toybox")       # trained weights, in this repository
    reply = model(image, "Detect every house and child")   # your words set task, classes and format
    houses = model.segment(image, ["house"], points=16)    # boxes, polygons and masks, as tensors
    assert houses["polygons"].shape == (len(houses), 16, 2) and {"house", "child"} == set(reply.detections.text_labels)
    print(reply.detections, model.caption(image), sep="\n")  # it should say two children: it errs at times


# nbs/index.ipynb, cell 030e23a8
def test_readme_chat():
    from visionllm_edu import VisionLLMv2
    from visionllm_edu.data.coco import load_data
    from visionllm_edu.toybox.prompts import Point

    image = load_data("toybox:test:8").image(0)
    v2 = VisionLLMv2.from_pretrained("v2-toybox")
    reply = v2.chat(image, "Find ball and tree in the picture, if there are any.")  # its words call a decoder
    shape = v2.chat(image, "What is the exact shape of <region>?", regions=[Point(86, 114)])
    print(reply.text, v2.chat(image, "What colour is the ball?").text, sep="\n")
    assert reply.detections["boxes"].shape[1] == 4 and shape.detections["masks"].any()
