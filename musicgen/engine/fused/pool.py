"""A pool whose steps are Triton kernels."""

from __future__ import annotations

import torch

from musicgen.engine.fused.attention import Scratch, attend
from musicgen.engine.fused.products import product
from musicgen.engine.pool import TorchPool
from musicgen.lm import LanguageModel
from musicgen.transformer import Block, sinusoid


class FusedPool(TorchPool):
    """As TorchPool; a step has one shape for each number of rows, since the kernels read a row no further than it is long."""

    def __init__(self, lm: LanguageModel, rows: int, capacity: int, text_capacity: int) -> None:
        super().__init__(lm, rows, capacity, text_capacity)
        config, device = lm.config, lm.embedding.weight.device
        longest = max(capacity, self.text_capacity)
        self._scratch = Scratch.of(rows, config.num_heads, config.dim // config.num_heads, longest, device)
        widths = (config.dim, 3 * config.dim, config.ffn_dim)
        self._mixed, self._projected, self._inner = (torch.empty(rows, width, device=device) for width in widths)

    def _extent(self) -> tuple[int, int]:
        return self.capacity, self.text_capacity

    def _forward(self, rows: int, end: int, texts: int) -> torch.Tensor:  # noqa: ARG002 (each row's length says it)
        lm = self.lm
        at = self._at[:rows]
        self._real[:rows].scatter_(1, at[:, None], True)
        x = lm.embed(self._sequence[:rows])[:, 0].float()
        x += sinusoid(self._positions[:rows], lm.config.dim)
        for layer, block in enumerate(lm.blocks):
            assert isinstance(block, Block)
            self._block(x, block, layer, at)
        logits = torch.empty(rows, lm.config.num_codebooks * lm.config.codebook_size, device=x.device)
        product(x, lm.heads, logits, norm=lm.norm)
        return logits.unflatten(1, (lm.config.num_codebooks, lm.config.codebook_size))

    def _block(self, x: torch.Tensor, block: Block, layer: int, at: torch.Tensor) -> None:
        """x [rows, D], in place."""
        rows = x.shape[0]
        mixed, projected, inner = self._mixed[:rows], self._projected[:rows], self._inner[:rows]
        product(x, block.self_attention.qkv, projected, norm=block.norm_self)
        attend(projected, self._keys[layer], self._values[layer], self._real, mixed, self._scratch, at)
        product(mixed, block.self_attention.out, x, residual=x)
        if block.cross_attention is not None:
            query = projected.view(-1)[: mixed.numel()].view_as(mixed)
            product(x, block.cross_attention.query, query, norm=block.norm_cross)
            keys, values = self._cross_keys[layer], self._cross_values[layer]
            attend(query, keys, values, self._cross_real, mixed, self._scratch)
            product(mixed, block.cross_attention.out, x, residual=x)
        product(x, block.ffn_in, inner, norm=block.norm_ffn, activation=self.lm.config.activation)
        product(inner, block.ffn_out, x, residual=x)
