"""Detection of weight files in formats that are not supported, so that the error can say how to get a supported folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

_TRAINING = "a checkpoint of a training: export the model with the program that trained it"
_KINDS = {
    ".th": f"{_TRAINING} (audiocraft.utils.export)",
    ".ckpt": _TRAINING,
    ".gguf": "weights in llama.cpp's format: load the model that they were converted from",
    ".onnx": "a graph for ONNX Runtime: load the model that it was converted from",
    ".h5": "weights for TensorFlow: load the model's PyTorch weights",
    ".msgpack": "weights for Flax: load the model's PyTorch weights",
    ".safetensors": "weights without a config.json that tells their shape",
    ".bin": "weights without a config.json that tells their shape",
    ".pt": "weights without a config.json that tells their shape",
    ".pth": "weights without a config.json that tells their shape",
}
"""The most telling first."""


def describe(names: Sequence[str]) -> str:
    """What the most telling of a folder's files is: "last.ckpt is a checkpoint of …"; "" where none is known."""
    for suffix, kind in _KINDS.items():
        for name in sorted(names):
            if PurePath(name).suffix.lower() == suffix:
                return f"{name} is {kind}"
    return ""
