"""Selection of the frames that a pass of masked generation samples again: spans of adjacent frames (MAGNeT, Ziv et al.
2024)."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch

KEPT = -1e4
"""The score of what stays as it is."""
SCORES = ("max", "product")
"""How probabilities become the score of a span: one less the largest, or less the logarithm of their product."""
ARRANGEMENTS = ("separate", "overlapping")
"""How spans lie: one behind the other, or one from each frame on."""


class Spans(ABC):
    """The scores of a codebook's spans from pass to pass: the higher, the less certain.

    Args:
        batch: B.
        frames: T.
        span: Frames of a span.
        known: Frames at the beginning that are given.
        device: Of the codes.
    """

    @abstractmethod
    def __init__(self, batch: int, frames: int, span: int, known: int, device: torch.device) -> None: ...

    @abstractmethod
    def mask(self, share: torch.Tensor) -> torch.Tensor:
        """The frames of the least certain spans, which are a share of all: bool [B, T]. share: float32 []."""

    @abstractmethod
    def update(self, probabilities: torch.Tensor, drawn: torch.Tensor) -> None:
        """Score the spans anew.

        Args:
            probabilities: Of the codes, float32 [B, T].
            drawn: Which of them this pass drew, bool [B, T].
        """


class SeparateSpans(Spans):
    """Spans one behind the other; T is a multiple of their length. score: of `SCORES`."""

    def __init__(
        self, batch: int, frames: int, span: int, known: int, device: torch.device, score: str = SCORES[0]
    ) -> None:
        self._span, self._score = span, score
        self._scores = torch.zeros(batch, frames // span, device=device)
        self._scores[:, : known // span] = KEPT
        self._open = frames // span - known // span

    def mask(self, share: torch.Tensor) -> torch.Tensor:
        # In float32, as the reference counts: a product just below a whole number is the smaller one.
        count = max(int(share * self._open), 1)
        self._masked = torch.zeros_like(self._scores, dtype=torch.bool)
        self._masked.scatter_(1, self._scores.topk(count, dim=-1).indices, True)
        return self._masked.repeat_interleave(self._span, dim=1)

    def update(self, probabilities: torch.Tensor, drawn: torch.Tensor) -> None:  # noqa: ARG002
        each = probabilities.unflatten(1, (-1, self._span))
        scores = 1 - each.amax(dim=-1) if self._score == SCORES[0] else -each.log().sum(dim=-1)
        self._scores = scores.masked_fill(~self._masked, KEPT)


class OverlappingSpans(Spans):
    """A span from each frame on, scored by the product of its codes' probabilities."""

    def __init__(self, batch: int, frames: int, span: int, known: int, device: torch.device) -> None:
        self._span = span
        self._scores = torch.zeros(batch, frames, device=device)
        self._scores[:, :known] = KEPT
        self._open = frames - known

    def mask(self, share: torch.Tensor) -> torch.Tensor:
        count = max(int(share * self._open), self._span)
        return torch.stack([self._least_certain(scores, count) for scores in self._scores])

    def update(self, probabilities: torch.Tensor, drawn: torch.Tensor) -> None:
        self._scores = (-probabilities.log()).masked_fill(~drawn, KEPT)

    def _least_certain(self, scores: torch.Tensor, count: int) -> torch.Tensor:
        """The frames of the least certain spans; bisection chooses their number to cover about `count` frames: bool [T]."""
        starts = scores.unfold(0, self._span, 1).sum(dim=-1).argsort(descending=True, stable=True)
        few, many = count // self._span, count - self._span + 1
        chosen = round((few + many) / 2)
        mask = self._covered(starts[:chosen], len(scores))
        while few < chosen < many:
            mask = self._covered(starts[:chosen], len(scores))
            few, many = (few, chosen) if mask.sum() > count else (chosen, many)
            chosen = round((few + many) / 2)
        return mask

    def _covered(self, starts: torch.Tensor, frames: int) -> torch.Tensor:
        mask = torch.zeros(frames, dtype=torch.bool, device=starts.device)
        mask[(starts[:, None] + torch.arange(self._span, device=starts.device)).flatten()] = True
        return mask
