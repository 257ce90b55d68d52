"""Steps of a model on a GPU, ten Triton kernels a layer, six without a text.

A step of few rows reads every weight once and computes next to nothing: its time is that of reading, and of starting kernels.
So norm, product, activation and residual are one kernel, weights of 8 and 4 bits are unpacked where they are multiplied, and
attention splits a row's positions among many programs. Between kernels all is float32.
"""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

import torch

from musicgen.lm import LMConfig

HEADS = (32, 64, 128)
"""Numbers of a head that the attention has."""
PART = 128
"""At most as many inputs meet the tensor cores at a time."""
OUTS = 32
"""What a layer gives is a multiple, and what it takes."""


def fits(config: LMConfig) -> bool:
    """Whether the kernels have this shape, and Triton is installed (PyTorch's wheels for CUDA bring it)."""
    inputs = all(part(width) >= OUTS for width in (config.dim, config.ffn_dim))
    outputs = config.num_codebooks * config.codebook_size % OUTS == 0
    known = config.dim // config.num_heads in HEADS and inputs and outputs
    return known and importlib.util.find_spec("triton") is not None


def part(inputs: int) -> int:
    """The largest power of two that splits a layer's inputs, up to PART."""
    return min(PART, inputs & -inputs)


@functools.cache
def overlapping(device: torch.device) -> dict[str, Any]:
    """Launch options: from Hopper on, a kernel begins to read its weights while the one before it ends."""
    overlap = device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device) >= (9, 0)
    return {"OVERLAP": True, "launch_pdl": True} if overlap else {"OVERLAP": False}
