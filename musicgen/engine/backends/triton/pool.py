"""A slot pool on CUDA whose decoding steps are Triton kernels."""

from __future__ import annotations

import torch

from musicgen.engine.backends.torch.pool import TorchPool
from musicgen.engine.backends.triton.attention import Workspace, attention
from musicgen.engine.backends.triton.linear import linear
from musicgen.lm import Conditions, LanguageModel
from musicgen.transformer import Block, sinusoid


class TritonPool(TorchPool):
    """As `TorchPool`, but with one CUDA graph per number of rows: the kernels read the length of each row from memory,
    so the shape of a step does not depend on it. Prefill runs in PyTorch.

    Args:
        lm: The language model, on a CUDA device.
        rows: Number of rows.
        capacity: Positions per row, prefix included.
        text_capacity: Vectors per row of a cross-attention condition.
    """

    def __init__(self, lm: LanguageModel, rows: int, capacity: int, text_capacity: int) -> None:
        super().__init__(lm, rows, capacity, text_capacity)
        config, device = lm.config, lm.embedding.weight.device
        longest = max(capacity, self.text_capacity)
        self._workspace = Workspace.allocate(rows, config.num_heads, config.dim // config.num_heads, longest, device)
        widths = (config.dim, 3 * config.dim, config.ffn_dim)
        self._attended_values, self._projected, self._inner = (
            torch.empty(rows, width, device=device) for width in widths
        )

    def _copy_added(self, rows: slice, conditions: Conditions) -> None:  # noqa: ARG002
        if conditions.added is not None:
            raise ValueError("this back end cannot add conditions to the embeddings")

    def _attended(self) -> tuple[int, int]:
        return self.capacity, self.text_capacity

    def _forward(self, rows: int, end: int, text_end: int) -> torch.Tensor:  # noqa: ARG002 (each row has its own length)
        lm = self.lm
        positions = self._write_positions[:rows]
        self._mask[:rows].scatter_(1, positions[:, None], True)
        x = lm.embed(self._sequence[:rows])[:, 0].float()
        x += sinusoid(self._positions[:rows], lm.config.dim)
        for layer, block in enumerate(lm.blocks):
            assert isinstance(block, Block)
            self._block(x, block, layer, positions)
        logits = torch.empty(rows, lm.config.num_codebooks * lm.config.codebook_size, device=x.device)
        linear(x, lm.heads, logits, norm=lm.norm)
        return logits.unflatten(1, (lm.config.num_codebooks, lm.config.codebook_size))

    def _block(self, x: torch.Tensor, block: Block, layer: int, positions: torch.Tensor) -> None:
        """One layer on x [rows, D], in place."""
        rows = x.shape[0]
        attended, projected, inner = self._attended_values[:rows], self._projected[:rows], self._inner[:rows]
        linear(x, block.self_attention.qkv, projected, norm=block.norm_self)
        attention(
            projected, self._keys[layer], self._values[layer], self._mask, attended, self._workspace, positions
        )  # fmt: skip
        linear(attended, block.self_attention.out, x, residual=x)
        if block.cross_attention is not None:
            query = projected.view(-1)[: attended.numel()].view_as(attended)
            linear(x, block.cross_attention.query, query, norm=block.norm_cross)
            keys, values = self._cross_keys[layer], self._cross_values[layer]
            attention(query, keys, values, self._cross_mask, attended, self._workspace)
            linear(attended, block.cross_attention.out, x, residual=x)
        linear(x, block.ffn_in, inner, norm=block.norm_ffn, activation=self.lm.config.activation)
        linear(inner, block.ffn_out, x, residual=x)
