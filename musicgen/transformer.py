"""Transformer blocks: causal self-attention, cross-attention on a condition, feed-forward (paper section 2.4).

Pre-norm residual blocks (Xiong et al. 2020). Linear layers have no bias, layer norms have. Query, key and value projections are
one matrix. Shapes: B rows, S steps, D width, H heads, L condition vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional as F

STABLE_ROWS = 8
"""PyTorch sums a product with a multiple of this number of rows in the same order on any number of threads; with 5 or 9 rows,
two threads use another kernel for the last row than one thread does."""

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"gelu": F.gelu, "relu": F.relu}


def sinusoid(positions: torch.Tensor, dim: int) -> torch.Tensor:
    """Sinusoidal position embedding (Vaswani et al. 2017, section 3.5), in audiocraft's order.

    Args:
        positions: int64 [...].
        dim: D.

    Returns:
        float32 [..., dim]: cosines, then sines, of position / 10000^(i / (dim/2 - 1)).
    """
    half = dim // 2
    exponent = torch.arange(half, device=positions.device, dtype=torch.float32) / (half - 1)
    angle = positions[..., None].float() / 10_000**exponent
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


class KVCache:
    """A KV cache, preallocated for `capacity` positions (prefix included).

    Attributes:
        keys, values: One tensor [B, H, capacity, D / H] for each layer.
        cross: Keys and values of the condition for each layer, [B, H, L, D / H], computed once.
        mask: bool [B, capacity], False at padding inside a prefix.
        length: Positions filled.
    """

    def __init__(
        self, num_layers: int, batch: int, heads: int, head_dim: int, capacity: int, like: torch.Tensor
    ) -> None:
        shape = (batch, heads, capacity, head_dim)
        self.keys = [like.new_zeros(shape) for _ in range(num_layers)]
        self.values = [like.new_zeros(shape) for _ in range(num_layers)]
        self.cross: list[tuple[torch.Tensor, torch.Tensor] | None] = [None] * num_layers
        self.mask = torch.ones(batch, capacity, dtype=torch.bool, device=like.device)
        self.length = 0

    def update(self, layer: int, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Append keys and values [B, H, S, D / H] of new positions; returns those of all positions so far."""
        end = self.length + k.shape[2]
        self.keys[layer][:, :, self.length : end] = k
        self.values[layer][:, :, self.length : end] = v
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end]


class Cache(Protocol):
    """The interface of a KV cache, as blocks use it."""

    cross: Any

    def update(self, layer: int, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]: ...


class SelfAttention(nn.Module):
    """Causal multi-head self-attention."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None, cache: Cache | None, layer: int) -> torch.Tensor:
        """x: [B, S, D]; mask: bool [B or 1, 1, S, keys], None for causal attention within x. Returns [B, S, D]."""
        q, k, v = (_split(part, self.heads) for part in self.qkv(x).chunk(3, dim=-1))
        if cache is not None:
            k, v = cache.update(layer, k, v)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None and q.shape[2] > 1)
        return self.out(_merge(attended))


class CrossAttention(nn.Module):
    """Multi-head cross-attention on a condition."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim, bias=False)
        self.key_value = nn.Linear(dim, 2 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)

    def project(self, condition: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values [B, H, L, D / H] of a condition [B, L, D]."""
        k, v = self.key_value(condition).chunk(2, dim=-1)
        return _split(k, self.heads), _split(v, self.heads)

    def forward(self, x: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """x: [B, S, D]; k, v: of `project`; mask: bool [B, 1, 1, L]. Returns [B, S, D]."""
        attended = F.scaled_dot_product_attention(_split(self.query(x), self.heads), k, v, attn_mask=mask)
        return self.out(_merge(attended))


class Block(nn.Module):
    """One layer: self-attention, cross-attention where the model has it, feed-forward."""

    def __init__(self, dim: int, heads: int, ffn_dim: int, activation: str, cross_attention: bool) -> None:
        super().__init__()
        self.norm_self = nn.LayerNorm(dim)
        self.self_attention = SelfAttention(dim, heads)
        self.norm_cross = nn.LayerNorm(dim) if cross_attention else None
        self.cross_attention = CrossAttention(dim, heads) if cross_attention else None
        self.norm_ffn = nn.LayerNorm(dim)
        self.ffn_in = nn.Linear(dim, ffn_dim, bias=False)
        self.ffn_out = nn.Linear(ffn_dim, dim, bias=False)
        self.activation = ACTIVATIONS[activation]

    def forward(
        self,
        x: torch.Tensor,
        mask: torch.Tensor | None,
        condition: torch.Tensor | None,
        condition_mask: torch.Tensor | None,
        cache: Cache | None,
        layer: int,
    ) -> torch.Tensor:
        """x: [B, S, D]; condition: [B, L, D], None where the cache has its keys and values. Returns [B, S, D]."""
        x = x + self.self_attention(self.norm_self(x), mask, cache, layer)
        if self.cross_attention is not None and self.norm_cross is not None:
            known = cache.cross[layer] if cache is not None else None
            if known is None and condition is not None:
                known = self.cross_attention.project(condition)
                if cache is not None:
                    cache.cross[layer] = known
            if known is not None:
                x = x + self.cross_attention(self.norm_cross(x), *known, condition_mask)
        return x + self.ffn_out(self.activation(self.ffn_in(self.norm_ffn(x))))


def _split(x: torch.Tensor, heads: int) -> torch.Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _merge(x: torch.Tensor) -> torch.Tensor:
    return x.transpose(1, 2).flatten(-2)
