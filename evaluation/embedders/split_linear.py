"""Linear layers in two bfloat16 parts on a processor's bfloat16 tiles (AMX), at nearly float32's precision.

A float32 is split into two bfloat16 parts, x = h + l, and x W ≈ h W_h + l W_h + h W_l: the omitted term is 2⁻¹⁶ of a product,
and sums are float32. The GEMM is that of the oneMKL in PyTorch. Where the processor has no tiles, or PyTorch no oneMKL, layers
stay as they are.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
from torch import nn

ROW_MAJOR, PLAIN, TRANSPOSED = 101, 111, 112
"""Constants of CBLAS: CblasRowMajor, CblasNoTrans, CblasTrans."""
SMALLEST = 256
"""Input and output features from which the tiles are faster."""


class SplitLinear(nn.Module):
    """A linear layer [..., k] -> [..., n] in bfloat16 parts, for inference on the CPU. high: W_h twice, [n, 2 k]."""

    high: torch.Tensor
    low: torch.Tensor
    bias: torch.Tensor

    def __init__(self, plain: nn.Linear) -> None:
        super().__init__()
        with torch.no_grad():
            high = plain.weight.bfloat16()
            self.register_buffer("low", (plain.weight - high).bfloat16())
            self.register_buffer("high", torch.cat([high, high], dim=1))
            bias = torch.zeros(plain.out_features) if plain.bias is None else plain.bias.detach().clone()
            self.register_buffer("bias", bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        k, n = x.shape[-1], len(self.bias)
        rows = x.reshape(-1, k)
        parts = torch.empty(len(rows), 2 * k, dtype=torch.bfloat16)
        high = parts[:, :k].copy_(rows)
        rest = high.float()
        parts[:, k:].copy_(torch.sub(rows, rest, out=rest))
        out = torch.empty(len(rows), n).copy_(self.bias)
        _add_product(parts, self.high, out)
        _add_product(high, self.low, out)
        return out.reshape(*x.shape[:-1], n)


def split_large_layers(network: nn.Module) -> nn.Module:
    """Replace a network's large linear layers by `SplitLinear`, in place, if this processor has tiles."""
    if _gemm() is None:
        return network
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Linear and min(child.in_features, child.out_features) >= SMALLEST:
                setattr(module, name, SplitLinear(child))
    return network


def _add_product(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> None:
    """out += a bᵀ: bfloat16 [m, k] and [n, k], float32 [m, n]; rows may be strided."""
    (m, k), n = a.shape, len(b)
    gemm = _gemm()
    assert gemm is not None
    gemm(
        ROW_MAJOR, PLAIN, TRANSPOSED, m, n, k,
        1.0, a.data_ptr(), a.stride(0), b.data_ptr(), b.stride(0), 1.0, out.data_ptr(), out.stride(0),
    )  # fmt: skip


@lru_cache(maxsize=1)
def _gemm() -> Callable[..., None] | None:
    """oneMKL's cblas_gemm_bf16bf16f32; None without oneMKL or without tiles."""
    if not torch.cpu._is_amx_tile_supported():
        return None
    try:
        function = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so")).cblas_gemm_bf16bf16f32
    except (OSError, AttributeError):
        return None
    integer, pointer = ctypes.c_int, ctypes.c_void_p
    function.argtypes = [
        *[integer] * 6,
        ctypes.c_float,
        pointer,
        integer,
        pointer,
        integer,
        ctypes.c_float,
        pointer,
        integer,
    ]
    function.restype = None
    return function
