"""Frozen networks that look at faces: detect, align, embed, pose, age, quality; the list of weights.

The names below are loaded when they are first asked for, so that a worker that only reads photographs does not pay for
torch and onnxruntime.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "adaface": ("AdaFaceNet",),
    "align": ("apply_matrix", "arcface_matrix", "compose", "ffhq_matrix", "inverse", "paste_back", "warp"),
    "attributes": ("AgeNetwork", "age_from_dates", "brightness", "hash_distance", "perceptual_hash", "sharpness"),
    "decoding": ("PhotoInfo",),
    "detect": ("Detection", "Detector"),
    "embed": ("Embedder", "OnnxEmbedder", "TorchEmbedder", "adaface_network", "embedder", "gradient_network"),
    "images": ("decode_jpeg", "encode_jpeg", "read_photo"),
    "pose": ("pose_from_landmarks",),
    "tensors": ("load_safetensors", "load_state"),
    "weights": ("WEIGHTS", "Survey", "Weight", "find", "survey", "weight"),
}

__all__ = sorted(name for names in _HOMES.values() for name in names)


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no name {name!r}")
