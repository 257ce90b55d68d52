"""Codebook interleaving patterns: codes [B, K, T] <-> pattern steps [B, K, S + 1] (paper section 2.2, figures 1 and A.1).

A pattern partitions all positions (t, k) into steps P_1 ... P_S, with at most one code of each codebook in a step.
The codes of a step are predicted in parallel from the steps before it; step 0 is empty. So a pattern is one table,
`steps[k, t] = s`, the step in which code (t, k) is predicted, and everything else here is computed from that table.

Four codebooks, five frames; a column is a step, a row a codebook, a number the frame whose code is there, `.` nothing:

    parallel       . 0 1 2 3 4              delay          . 0 1 2 3 4 . . .
                   . 0 1 2 3 4                             . . 0 1 2 3 4 . .
                   . 0 1 2 3 4                             . . . 0 1 2 3 4 .
                   . 0 1 2 3 4                             . . . . 0 1 2 3 4

    partial delay  . 0 1 2 3 4 .            partial        . 0 . 1 . 2 . 3 . 4 .
                   . . 0 1 2 3 4            flattening     . . 0 . 1 . 2 . 3 . 4
                   . . 0 1 2 3 4                           . . 0 . 1 . 2 . 3 . 4
                   . . 0 1 2 3 4                           . . 0 . 1 . 2 . 3 . 4

    coarse first   . 0 1 2 3 4 . . . . .    flattening     . 0 . . . 1 . . . 2 . . . 3 ...
                   . . . . . . 0 1 2 3 4                   . . 0 . . . 1 . . . 2 . . . ...
                   . . . . . . 0 1 2 3 4                   . . . 0 . . . 1 . . . 2 . . ...
                   . . . . . . 0 1 2 3 4                   . . . . 0 . . . 1 . . . 2 . ...

Stereo has twice the codebooks, left and right in turn [1L, 1R, 2L, 2R, ...]: "stereo partial delay" gives both channels of a
level the same delay [0, 0, 1, 1, ...], "stereo delay" one step each [0, 1, 2, 3, ...].

Shapes: B clips, K codebooks, T frames, S steps, N entries of a codebook. t and k count from 0, steps from 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from musicgen.errors import InputError

KINDS = ("delay", "unroll", "coarse_first", "grouped")


@dataclass(frozen=True)
class Layout:
    """A pattern applied to a number of frames.

    Attributes:
        steps: int64 [K, T], the step (1 ... S) in which each code is predicted.
        num_steps: S, without the empty step 0; trailing steps may be empty.
        num_valid_steps: Steps before the tail that the delays cause.
    """

    steps: torch.Tensor
    num_steps: int
    num_valid_steps: int

    def build(self, codes: torch.Tensor, special: int) -> torch.Tensor:
        """Codes [B, K, T] -> sequence [B, K, S + 1], `special` where a step has no code of a codebook, as in all of step 0."""
        sequence = codes.new_full((codes.shape[0], codes.shape[1], self.num_steps + 1), special)
        steps = self.steps.to(codes.device).expand(codes.shape[0], -1, -1)
        return sequence.scatter_(2, steps, codes)

    def revert(self, sequence: torch.Tensor, special: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The inverse of `build`.

        Args:
            sequence: [B, K, S'], S' <= S + 1 steps.
            special: Fills codes whose steps are missing.

        Returns:
            Codes [B, K, T], and a mask, bool [K, T], of those that are not missing.
        """
        steps = self.steps.to(sequence.device)
        mask = steps < sequence.shape[2]
        index = steps.clamp(max=sequence.shape[2] - 1).expand(sequence.shape[0], -1, -1)
        codes = sequence.gather(2, index)
        return codes.masked_fill(~mask, special), mask

    def revert_logits(self, logits: torch.Tensor, fill: float = float("nan")) -> tuple[torch.Tensor, torch.Tensor]:
        """Reorder logits from steps to frames.

        Args:
            logits: [B, K, S', N]; index s predicts step s + 1.
            fill: Fills logits of codes whose steps are missing.

        Returns:
            [B, K, T, N], and a mask, bool [K, T], of codes that are not missing.
        """
        steps = self.steps.to(logits.device) - 1
        mask = steps < logits.shape[2]
        index = steps.clamp(max=logits.shape[2] - 1)[None, :, :, None].expand(logits.shape[0], -1, -1, logits.shape[3])
        return logits.gather(2, index).masked_fill(~mask[None, :, :, None], fill), mask

    def occupied(self) -> torch.Tensor:
        """bool [K, S + 1]: which codebooks each step predicts."""
        marks = torch.zeros(self.steps.shape[0], self.num_steps + 1, dtype=torch.bool)
        return marks.scatter_(1, self.steps, True)

    def first_step_of_frame(self, frame: int) -> int:
        """The first step with a code of `frame`."""
        return int(self.steps[:, frame].min())


@dataclass(frozen=True)
class Pattern:
    """A codebook interleaving pattern for K codebooks.

    Attributes:
        kind: "delay": code (t, k) is predicted `delays[k]` steps after step t + 1.
            "unroll": a frame has one step for each level in `flattening` (codebooks of a level in parallel), and codebook k is
            `delays[k]` of these inner steps later.
            "coarse_first": codebook 0 of all frames, then the others in parallel, with their K - 1 `delays`.
            "grouped": groups of `group` codebooks, each flattened, one group after the other (MusicLM's order).
        num_codebooks: K.
        delays: Steps, not decreasing.
        flattening: Level of each codebook ("unroll").
        group: Codebooks of a group ("grouped").
        flatten_first: How many first frames are flattened ("delay").
        empty_initial: Empty steps before the first frame ("delay").

    Raises:
        InputError: The fields do not fit the kind or each other.
    """

    kind: str
    num_codebooks: int
    delays: tuple[int, ...] = ()
    flattening: tuple[int, ...] = ()
    group: int = 0
    flatten_first: int = 0
    empty_initial: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"unknown pattern kind {self.kind!r}: one of {', '.join(KINDS)}")
        num = self.num_codebooks - 1 if self.kind == "coarse_first" else self.num_codebooks
        if self.kind != "grouped" and len(self.delays) != num:
            raise InputError(f"{self.kind} pattern: {len(self.delays)} delays for {num} codebooks")
        if self.empty_initial < 0 or self.flatten_first < 0:
            raise InputError(
                f"{self.kind} pattern: empty_initial {self.empty_initial} and "
                f"flatten_first {self.flatten_first} must not be negative"
            )
        if any(delay < 0 for delay in self.delays) or (self.delays and list(self.delays) != sorted(self.delays)):
            raise InputError(f"{self.kind} pattern: delays {list(self.delays)} must not be negative nor decrease")
        if self.kind == "unroll" and len(self.flattening) != self.num_codebooks:
            raise InputError(f"unroll pattern: {len(self.flattening)} levels for {self.num_codebooks} codebooks")
        if self.kind == "grouped" and (self.group < 1 or self.num_codebooks % self.group):
            raise InputError(f"grouped pattern: groups of {self.group} do not divide {self.num_codebooks} codebooks")

    @property
    def max_delay(self) -> int:
        return max(self.delays, default=0)

    def layout(self, num_frames: int) -> Layout:
        """The pattern of T = `num_frames` frames, at least 1."""
        if num_frames < 1:
            raise InputError(f"a pattern needs at least 1 frame, not {num_frames}")
        return _layout(self, num_frames)

    def as_dict(self) -> dict[str, Any]:
        """The fields that a checkpoint's config.json stores."""
        values = {"kind": self.kind, "num_codebooks": self.num_codebooks, "delays": list(self.delays)}
        if self.kind == "unroll":
            values["flattening"] = list(self.flattening)
        if self.kind == "grouped":
            values["group"] = self.group
        if self.kind == "delay":
            values |= {"flatten_first": self.flatten_first, "empty_initial": self.empty_initial}
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Pattern:
        arguments: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**arguments)


@lru_cache(maxsize=256)
def _layout(pattern: Pattern, num_frames: int) -> Layout:
    steps, num_steps = _STEPS[pattern.kind](pattern, num_frames)
    return Layout(steps, num_steps, num_steps - pattern.max_delay)


def _delay_steps(pattern: Pattern, num_frames: int) -> tuple[torch.Tensor, int]:
    time = torch.arange(num_frames)
    codebook = torch.arange(pattern.num_codebooks)[:, None]
    delays = torch.tensor(pattern.delays)[:, None]
    flat = min(pattern.flatten_first, num_frames)
    flattened = time * pattern.num_codebooks + codebook
    delayed = flat * pattern.num_codebooks + (time - flat) + delays
    start = pattern.empty_initial + 1
    steps = torch.where(time < flat, flattened, delayed) + start
    tail = max(0, num_frames - pattern.flatten_first + pattern.max_delay)
    return steps, pattern.empty_initial + flat * pattern.num_codebooks + tail


def _unroll_steps(pattern: Pattern, num_frames: int) -> tuple[torch.Tensor, int]:
    # Steps are sorted by time; of two at the same time the lower level is first. Levels with smaller delays have empty steps
    # after the last frame, until those with larger delays are complete.
    delay_of: dict[int, int] = {}
    for level, delay in zip(pattern.flattening, pattern.delays, strict=True):
        if delay_of.setdefault(level, delay) != delay:
            raise InputError(f"unroll pattern: codebooks of level {level} have different delays")
    num_levels = max(delay_of) + 1
    due = sorted(
        (time * num_levels + level + delay, level, time)
        for level, delay in delay_of.items()
        for time in range(num_frames + pattern.max_delay - delay)
    )
    rank = {(level, time): step for step, (_, level, time) in enumerate(due, start=1)}
    rows = [[rank[level, time] for time in range(num_frames)] for level in pattern.flattening]
    return torch.tensor(rows), len(due)


def _coarse_first_steps(pattern: Pattern, num_frames: int) -> tuple[torch.Tensor, int]:
    time = torch.arange(num_frames)
    fine = num_frames + time + torch.tensor(pattern.delays, dtype=torch.int64)[:, None] + 1
    return torch.cat([time[None] + 1, fine]), 2 * num_frames + pattern.max_delay


def _grouped_steps(pattern: Pattern, num_frames: int) -> tuple[torch.Tensor, int]:
    time = torch.arange(num_frames)
    codebook = torch.arange(pattern.num_codebooks)[:, None]
    group, inner = codebook // pattern.group, codebook % pattern.group
    return (group * num_frames + time) * pattern.group + inner + 1, pattern.num_codebooks * num_frames


_STEPS = {
    "delay": _delay_steps,
    "unroll": _unroll_steps,
    "coarse_first": _coarse_first_steps,
    "grouped": _grouped_steps,
}


def parallel(num_codebooks: int) -> Pattern:
    """All codebooks of a frame in one step: S = T."""
    return Pattern("delay", num_codebooks, delays=(0,) * num_codebooks)


def delay(num_codebooks: int) -> Pattern:
    """Codebook k is delayed by k steps: S = T + K - 1. The pattern of the published models (equation 6)."""
    return Pattern("delay", num_codebooks, delays=tuple(range(num_codebooks)))


def partial_delay(num_codebooks: int) -> Pattern:
    """All codebooks but the first are delayed by one step: S = T + 1."""
    return Pattern("delay", num_codebooks, delays=(0,) + (1,) * (num_codebooks - 1))


def flattening(num_codebooks: int) -> Pattern:
    """One code a step: S = K T, the exact factorisation."""
    return Pattern("unroll", num_codebooks, delays=(0,) * num_codebooks, flattening=tuple(range(num_codebooks)))


def partial_flattening(num_codebooks: int) -> Pattern:
    """Codebook 0 of a frame, then the others in parallel: S = 2 T."""
    return Pattern("unroll", num_codebooks, (0,) * num_codebooks, flattening=(0,) + (1,) * (num_codebooks - 1))


def coarse_first(num_codebooks: int) -> Pattern:
    """Codebook 0 for all frames, then the others in parallel for all frames: S = 2 T."""
    return Pattern("coarse_first", num_codebooks, delays=(0,) * (num_codebooks - 1))


def stereo_delay(num_codebooks: int) -> Pattern:
    """Left and right of a level one step apart: S = T + K - 1, K counting both channels."""
    return delay(num_codebooks)


def stereo_partial_delay(num_codebooks: int) -> Pattern:
    """Left and right of a level in the same step: S = T + K / 2 - 1. The published stereo models' pattern."""
    return Pattern("delay", num_codebooks, delays=tuple(k // 2 for k in range(num_codebooks)))


BY_NAME = {
    "parallel": parallel,
    "delay": delay,
    "partial delay": partial_delay,
    "flattening": flattening,
    "partial flattening": partial_flattening,
    "coarse first": coarse_first,
    "stereo delay": stereo_delay,
    "stereo partial delay": stereo_partial_delay,
}
"""The paper's names."""


def named(name: str, num_codebooks: int) -> Pattern:
    """The pattern with the paper's `name`, for K = `num_codebooks`; raises InputError if there is none."""
    if name not in BY_NAME:
        raise InputError(f"unknown pattern {name!r}: one of {', '.join(BY_NAME)}")
    return BY_NAME[name](num_codebooks)


def from_delays(delays: Sequence[int]) -> Pattern:
    """A delay pattern from a list of delays, one for each codebook."""
    return Pattern("delay", len(delays), delays=tuple(int(d) for d in delays))
