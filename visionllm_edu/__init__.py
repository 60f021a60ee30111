"VisionLLM v1 and v2, built step by step in notebooks."
__version__ = "0.1.0"

_HOME = {  # imported on first use, so that light parts stay light
    "VisionLLMv1": "visionllm_edu.v1.model", "VisionLLMv2": "visionllm_edu.v2.model"}


def __getattr__(name: str):
    if name not in _HOME: raise AttributeError(f"module 'visionllm_edu' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
