"""Decoding steps on a GPU: ten Triton kernels per layer, six without cross-attention.

A step of a few rows is memory-bound and launch-bound. So norm, linear layer, activation and residual are one kernel,
int8 and int4 weights are dequantised in registers, and attention is split over the positions of a row. Activations
between kernels are float32.
"""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

import torch

from musicgen.lm import LMConfig

HEAD_DIMS = (32, 64, 128)
"""Head sizes that the attention kernels support."""
MAX_BLOCK_K = 128
"""Largest tile of the GEMM along the inputs."""
BLOCK_N = 32
"""Outputs per tile of the GEMM; the inputs and outputs of every layer must be multiples of it."""


def supports(config: LMConfig) -> bool:
    """Whether the kernels support a model's shape, and Triton is installed (PyTorch's CUDA wheels depend on it)."""
    inputs = all(block_k(width) >= BLOCK_N for width in (config.dim, config.ffn_dim))
    outputs = config.num_codebooks * config.codebook_size % BLOCK_N == 0
    known = config.dim // config.num_heads in HEAD_DIMS and inputs and outputs
    return known and importlib.util.find_spec("triton") is not None


def block_k(inputs: int) -> int:
    """Returns the GEMM's tile size along the inputs: the largest power of two that divides them, at most MAX_BLOCK_K."""
    return min(MAX_BLOCK_K, inputs & -inputs)


@functools.cache
def pdl_options(device: torch.device) -> dict[str, Any]:
    """Returns launch options that enable programmatic dependent launch on Hopper and later GPUs.

    A kernel then starts, and prefetches its weights, before the previous kernel has finished.
    """
    pdl = device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device) >= (9, 0)
    return {"PDL": True, "launch_pdl": True} if pdl else {"PDL": False}
