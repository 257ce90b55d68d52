"""Generation speed of each model on this machine: measured on its clips, and before its first clip estimated from another
model.

A step of the language model reads all of its weights once, which takes most of the time of a large model. The remaining time of
a measured model is assumed to be the same for all models. `docs/demo.md` gives the error of this estimate.
"""

from __future__ import annotations

import time
from collections.abc import Callable

FRAME_RATE = 50.0
"""Hz: steps for a second of audio, of all published and embedded models."""
SETTLING_SECONDS = 0.3


class StepClock:
    """Measures the speed of a generation from its progress reports, without the loading and compiling before the first."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._first: tuple[float, float] | None = None
        """Time and fraction of the first report."""
        self._last = 0.0

    def report(self, fraction: float) -> None:
        """Note that a fraction of the clip is done, 0 to 1; 0 means that it is still being loaded."""
        if fraction > 0:
            self._first = self._first or (time.monotonic(), fraction)
            self._last = fraction

    def seconds_per_clip(self) -> float | None:
        """Time of a whole clip by the speed so far, None before there have been steps for SETTLING_SECONDS."""
        if self._first is None or self._last <= self._first[1]:
            return None
        seconds = time.monotonic() - self._first[0]
        return seconds / (self._last - self._first[1]) if seconds > SETTLING_SECONDS else None

    def seconds_of_all(self) -> float | None:
        """Time of the whole clip, called at its end; None without a report. A short clip may have a single one, at its end."""
        if self._first is None:
            return None
        since, done = self._first if self._first[1] < 1 else (self._start, 0.0)
        return max(time.monotonic() - since, 1e-3) / (1 - done)


class Speeds:
    """Seconds of computing for each second of audio, by model and precision.

    Args:
        weight_bytes: bytes of the weights that a step of a model in a precision reads, None where that is not known or the
            model does not generate step by step.
    """

    def __init__(self, weight_bytes: Callable[[str, str], int | None]) -> None:
        self._weight_bytes = weight_bytes
        self._measured: dict[tuple[str, str], float] = {}
        self._at_once: dict[tuple[str, str, int], float] = {}
        """Of several clips at once: seconds for each second of one of them."""
        self._warm_up: dict[tuple[str, str], float] = {}
        self.bandwidth: float | None = None
        """Bytes a second that this machine reads, None while that is not known."""

    def measure(self, model: str, precision: str, ratio: float, clips: int = 1) -> None:
        """Keep the speed of a clip, or that of several that were generated at once."""
        if clips > 1:
            self._at_once[model, precision, clips] = ratio
        else:
            self._measured[model, precision] = ratio

    def calibrate(self, model: str, precision: str, ratio: float) -> None:
        """Keep the speed of a clip so short that it only tells roughly what others are going to take."""
        self._warm_up[model, precision] = ratio

    def measured(self, model: str, precision: str, clips: int = 1) -> float | None:
        """Of the model's last clip, or of its last ones at once, None before the first. For a number of clips that it has not
        generated at once yet, as if it made them one after the other."""
        ratio = self._measured.get((model, precision))
        return self._at_once.get((model, precision, clips), None if ratio is None else ratio * clips)

    def expected(self, model: str, precision: str) -> float | None:
        """Of the model, inferred from the measured one whose weights are nearest in size; None where nothing is known."""
        known = self._warm_up | self._measured
        if (model, precision) in known:
            return known[model, precision]
        size = self._weight_bytes(model, precision)
        if size is None or self.bandwidth is None:
            return None
        sizes = {key: self._weight_bytes(*key) for key in known}
        near = min(((abs(size - other), key) for key, other in sizes.items() if other is not None), default=None)
        if near is None:
            return None
        difference = size - (sizes[near[1]] or 0)
        # A smaller model takes less, by no more than its share of the weights.
        return known[near[1]] + FRAME_RATE * max(difference, 0) / self.bandwidth
