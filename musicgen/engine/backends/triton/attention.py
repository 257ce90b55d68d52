"""Decoding attention: one query per row and head over the cached positions ("flash-decoding", Dao et al. 2023).

The positions are split among programs. Each program stores its partial result (the weighted sum of values, the largest
score, the sum of the softmax weights), and `combine_splits` merges the partial results of a head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from musicgen.engine.backends.triton import pdl_options
from musicgen.engine.backends.triton.epilogue import pdl_begin

SPLIT_SIZE = 64
"""Positions per program."""


@dataclass(frozen=True)
class Workspace:
    """Partial results of the splits.

    Attributes:
        sums: [rows, heads, splits, head_dim] float32, weighted sums of values.
        scores: [rows, heads, splits, 2] float32, the largest score (to base 2) and the sum of the weights.
    """

    sums: torch.Tensor
    scores: torch.Tensor

    @staticmethod
    def allocate(rows: int, heads: int, head_dim: int, positions: int, device: torch.device) -> Workspace:
        """Allocate a workspace for up to `positions` cached positions, and the new one."""
        splits = -(-positions // SPLIT_SIZE) + 1
        return Workspace(
            torch.empty(rows, heads, splits, head_dim, device=device),
            torch.empty(rows, heads, splits, 2, device=device),
        )


def attention(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor,
    out: torch.Tensor,
    workspace: Workspace,
    positions: torch.Tensor | None = None,
) -> torch.Tensor:
    """Self-attention of new tokens, which writes their keys and values into the cache, or cross-attention.

    Args:
        query: For self-attention [rows, 3 * heads * head_dim] float32, query, key and value; for cross-attention
            [rows, heads * head_dim].
        keys: [at least rows, heads, capacity, head_dim].
        values: The same shape.
        mask: [at least rows, capacity] bool, True where a position is attended.
        out: [rows, heads * head_dim] float32, overwritten.
        workspace: Memory for partial results.
        positions: [rows] int64, position of each row's new token, which attends to itself and to those before it; None for
            cross-attention, which attends to all positions.

    Returns:
        `out`.
    """
    rows = query.shape[0]
    _, heads, capacity, head_dim = keys.shape
    splits = -(-capacity // SPLIT_SIZE)
    stride = workspace.sums.shape[2]
    has_new_kv = positions is not None
    arguments = (
        query, keys, values, mask, query if positions is None else positions, workspace.sums, workspace.scores
    )  # fmt: skip
    sizes = {"HEADS": heads, "HEAD_DIM": head_dim, "SPLIT_SIZE": SPLIT_SIZE, "HAS_NEW_KV": has_new_kv}
    sizes |= pdl_options(query.device)
    attention_split[(splits + has_new_kv, heads, rows)](*arguments, capacity, stride, **sizes, num_warps=4)
    max_splits = triton.next_power_of_2(splits + 1)
    combine_splits[(heads, rows)](
        workspace.sums,
        workspace.scores,
        arguments[4],
        out,
        capacity,
        stride,
        **sizes,
        MAX_SPLITS=max_splits,
        num_warps=2,
    )
    return out


@triton.jit
def attention_split(
    query, keys, values, mask, positions, sums, scores, capacity, stride,
    HEADS: tl.constexpr, HEAD_DIM: tl.constexpr, SPLIT_SIZE: tl.constexpr, HAS_NEW_KV: tl.constexpr,
    PDL: tl.constexpr,
):  # fmt: skip
    """The partial result of one split, head and row. With new keys and values, the last split is the new position alone."""
    split, head, row = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    channel = tl.arange(0, HEAD_DIM)
    pdl_begin(PDL)
    width = 3 * HEADS * HEAD_DIM if HAS_NEW_KV else HEADS * HEAD_DIM
    query_row = query + row * width + head * HEAD_DIM + channel
    q = tl.load(query_row) * (1.4426950408889634 / HEAD_DIM**0.5)  # log2(e): scores are to base 2, for exp2
    cache_offset = (row.to(tl.int64) * HEADS + head) * capacity * HEAD_DIM
    partial = (row * HEADS + head) * stride + split
    end = capacity
    if HAS_NEW_KV:
        end = tl.load(positions + row).to(tl.int32)
        if split == tl.num_programs(0) - 1:
            dtype = keys.dtype.element_ty
            key = tl.load(query_row + HEADS * HEAD_DIM).to(dtype)
            value = tl.load(query_row + 2 * HEADS * HEAD_DIM).to(dtype)
            tl.store(keys + cache_offset + end * HEAD_DIM + channel, key)
            tl.store(values + cache_offset + end * HEAD_DIM + channel, value)
            tl.store(sums + partial * HEAD_DIM + channel, value.to(tl.float32))
            tl.store(scores + 2 * partial, tl.sum(q * key.to(tl.float32), 0))
            tl.store(scores + 2 * partial + 1, 1.0)
            return
    if split * SPLIT_SIZE >= end:
        return
    position = split * SPLIT_SIZE + tl.arange(0, SPLIT_SIZE)
    inside = position < end
    attended = tl.load(mask + row.to(tl.int64) * capacity + position, mask=inside, other=0) != 0
    offsets = cache_offset + position[:, None] * HEAD_DIM + channel[None, :]
    key = tl.load(keys + offsets, mask=inside[:, None], other=0.0).to(tl.float32)
    value = tl.load(values + offsets, mask=inside[:, None], other=0.0).to(tl.float32)
    score = tl.where(attended, tl.sum(key * q[None, :], 1), -1e30)
    largest = tl.max(score, 0)
    weight = tl.where(attended, tl.exp2(score - largest), 0.0)
    tl.store(sums + partial * HEAD_DIM + channel, tl.sum(value * weight[:, None], 0))
    tl.store(scores + 2 * partial, largest)
    tl.store(scores + 2 * partial + 1, tl.sum(weight, 0))


@triton.jit
def combine_splits(
    sums, scores, positions, out, capacity, stride,
    HEADS: tl.constexpr, HEAD_DIM: tl.constexpr, SPLIT_SIZE: tl.constexpr, HAS_NEW_KV: tl.constexpr,
    PDL: tl.constexpr, MAX_SPLITS: tl.constexpr,
):  # fmt: skip
    """The result of one head and row from the partial results of its splits."""
    head, row = tl.program_id(0), tl.program_id(1)
    split = tl.arange(0, MAX_SPLITS)
    pdl_begin(PDL)
    new_kv_split = (capacity + SPLIT_SIZE - 1) // SPLIT_SIZE
    if HAS_NEW_KV:
        valid = (split * SPLIT_SIZE < tl.load(positions + row)) | (split == new_kv_split)
    else:
        valid = split < new_kv_split
    partial = (row * HEADS + head) * stride + split
    score = tl.load(scores + 2 * partial, mask=valid, other=-1e30)
    total = tl.load(scores + 2 * partial + 1, mask=valid, other=0.0)
    weight = tl.exp2(score - tl.max(score, 0))
    channel = tl.arange(0, HEAD_DIM)
    partial_sums = tl.load(sums + partial[:, None] * HEAD_DIM + channel[None, :], mask=valid[:, None], other=0.0)
    result = tl.sum(partial_sums * weight[:, None], 0) / tl.sum(total * weight, 0)
    tl.store(out + row * HEADS * HEAD_DIM + head * HEAD_DIM + channel, result)
