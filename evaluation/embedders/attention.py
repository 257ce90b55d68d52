"""Multi-head self-attention by PyTorch's scaled_dot_product_attention, which replaces the attention of published networks:
equal up to rounding, and faster."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class FusedAttention(nn.Module):
    """x [b, n, d] -> [b, n, d].

    Args:
        plain: an attention of timm's form, with `qkv`, `proj` and `num_heads`.
        bias: added to the scores, [1 or a divisor of b, heads, n, n].
    """

    bias: torch.Tensor | None

    def __init__(self, plain: Any, bias: torch.Tensor | None = None) -> None:
        super().__init__()
        self.qkv, self.proj, self.heads = plain.qkv, plain.proj, int(plain.num_heads)
        self.register_buffer("bias", bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        bias = None if self.bias is None else self.bias.repeat(b // len(self.bias), 1, 1, 1)
        joined = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(joined.transpose(1, 2).reshape(b, n, d))
