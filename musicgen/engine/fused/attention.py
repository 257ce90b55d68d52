"""One query a row and head over the positions so far, whose keys and values lie in a pool's buffers.

Positions are split among programs; each keeps what it saw (its weighted sum, its largest score, the sum of its weights), and
`join_splits` puts the splits of a head together ("flash-decoding", Dao et al. 2023).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from musicgen.engine.fused import overlapping
from musicgen.engine.fused.ends import begin

SPLIT = 64
"""Positions of a program."""


@dataclass(frozen=True)
class Scratch:
    """What the splits of `rows` rows leave behind, for up to `positions` positions and the one that enters."""

    sums: torch.Tensor
    """[rows, heads, splits, head] float32."""
    scores: torch.Tensor
    """[rows, heads, splits, 2] float32: the largest score, the sum of the weights."""

    @staticmethod
    def of(rows: int, heads: int, head: int, positions: int, device: torch.device) -> Scratch:
        splits = -(-positions // SPLIT) + 1
        return Scratch(
            torch.empty(rows, heads, splits, head, device=device), torch.empty(rows, heads, splits, 2, device=device)
        )


def attend(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    real: torch.Tensor,
    out: torch.Tensor,
    scratch: Scratch,
    at: torch.Tensor | None = None,
) -> torch.Tensor:
    """keys, values [rows or more, heads, capacity, head]; real [rows or more, capacity] bool; out [rows, heads * head] float32.

    With `at` [rows], query is [rows, 3 * heads * head], of query, key and value: key and value enter at position `at` of their
    row, which is attended with the `at` positions before it. Without, [rows, heads * head], and all positions are attended.
    """
    rows = query.shape[0]
    _, heads, capacity, head = keys.shape
    splits = -(-capacity // SPLIT)
    room = scratch.sums.shape[2]
    entering = at is not None
    arguments = (query, keys, values, real, query if at is None else at, scratch.sums, scratch.scores)
    sizes = {"HEADS": heads, "HEAD": head, "SPLIT": SPLIT, "ENTERING": entering}
    sizes |= overlapping(query.device)
    attend_split[(splits + entering, heads, rows)](*arguments, capacity, room, **sizes, num_warps=4)
    there = triton.next_power_of_2(splits + 1)
    join_splits[(heads, rows)](
        scratch.sums, scratch.scores, arguments[4], out, capacity, room, **sizes, THERE=there, num_warps=2
    )
    return out


@triton.jit
def attend_split(
    query, keys, values, real, at, sums, scores, capacity, room,
    HEADS: tl.constexpr, HEAD: tl.constexpr, SPLIT: tl.constexpr, ENTERING: tl.constexpr,
    OVERLAP: tl.constexpr,
):  # fmt: skip
    """A split of a head of a row. The last is the position that enters, where one does."""
    split, head, row = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    number = tl.arange(0, HEAD)
    begin(OVERLAP)
    width = 3 * HEADS * HEAD if ENTERING else HEADS * HEAD
    start = query + row * width + head * HEAD + number
    asked = tl.load(start) * (1.4426950408889634 / HEAD**0.5)  # scores are to the base of two
    store = (row.to(tl.int64) * HEADS + head) * capacity * HEAD
    place = (row * HEADS + head) * room + split
    end = capacity
    if ENTERING:
        end = tl.load(at + row).to(tl.int32)
        if split == tl.num_programs(0) - 1:
            kind = keys.dtype.element_ty
            key = tl.load(start + HEADS * HEAD).to(kind)
            value = tl.load(start + 2 * HEADS * HEAD).to(kind)
            tl.store(keys + store + end * HEAD + number, key)
            tl.store(values + store + end * HEAD + number, value)
            tl.store(sums + place * HEAD + number, value.to(tl.float32))
            tl.store(scores + 2 * place, tl.sum(asked * key.to(tl.float32), 0))
            tl.store(scores + 2 * place + 1, 1.0)
            return
    if split * SPLIT >= end:
        return
    position = split * SPLIT + tl.arange(0, SPLIT)
    inside = position < end
    attended = tl.load(real + row.to(tl.int64) * capacity + position, mask=inside, other=0) != 0
    places = store + position[:, None] * HEAD + number[None, :]
    key = tl.load(keys + places, mask=inside[:, None], other=0.0).to(tl.float32)
    value = tl.load(values + places, mask=inside[:, None], other=0.0).to(tl.float32)
    score = tl.where(attended, tl.sum(key * asked[None, :], 1), -1e30)
    largest = tl.max(score, 0)
    weight = tl.where(attended, tl.exp2(score - largest), 0.0)
    tl.store(sums + place * HEAD + number, tl.sum(value * weight[:, None], 0))
    tl.store(scores + 2 * place, largest)
    tl.store(scores + 2 * place + 1, tl.sum(weight, 0))


@triton.jit
def join_splits(
    sums, scores, at, out, capacity, room,
    HEADS: tl.constexpr, HEAD: tl.constexpr, SPLIT: tl.constexpr, ENTERING: tl.constexpr,
    OVERLAP: tl.constexpr, THERE: tl.constexpr,
):  # fmt: skip
    """A head of a row from its splits."""
    head, row = tl.program_id(0), tl.program_id(1)
    split = tl.arange(0, THERE)
    begin(OVERLAP)
    entering = (capacity + SPLIT - 1) // SPLIT
    if ENTERING:
        made = (split * SPLIT < tl.load(at + row)) | (split == entering)
    else:
        made = split < entering
    place = (row * HEADS + head) * room + split
    score = tl.load(scores + 2 * place, mask=made, other=-1e30)
    total = tl.load(scores + 2 * place + 1, mask=made, other=0.0)
    weight = tl.exp2(score - tl.max(score, 0))
    number = tl.arange(0, HEAD)
    seen = tl.load(sums + place[:, None] * HEAD + number[None, :], mask=made[:, None], other=0.0)
    mixed = tl.sum(seen * weight[:, None], 0) / tl.sum(total * weight, 0)
    tl.store(out + row * HEADS * HEAD + head * HEAD + number, mixed)
