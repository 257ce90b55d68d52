"""The progress of a job over all of its variations, as the page shows it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from musicgen.serving.speeds import StepClock


@dataclass(frozen=True)
class Progress:
    """Progress of a job.

    Attributes:
        message: what is being done.
        fraction: of all variations, 0 to 1.
        seconds_left: an estimate, None while there is none.
    """

    message: str
    fraction: float
    seconds_left: float | None = None


class VariationsProgress:
    """Makes the progress of a job of that of its variations. Thread-safe.

    Args:
        report: takes the progress of the job.
        count: number of variations.
        at_once: whether they are generated at the same time, and not one after the other.
    """

    def __init__(self, report: Callable[[Progress], object], count: int, *, at_once: bool) -> None:
        self._report, self._at_once = report, at_once
        self.at_once = count if at_once else 1
        """Clips that are generated at the same time."""
        self.clocks = [StepClock() for _ in range(count)]
        self._fractions = [0.0] * count
        self._lock = threading.Lock()

    def report(self, index: int, fraction: float, message: str) -> None:
        """Report how far a variation is.

        Args:
            index: of the variation.
            fraction: of it, 0 to 1.
            message: what is being done.
        """
        count = len(self._fractions)
        with self._lock:
            self.clocks[index].report(fraction)
            self._fractions[index] = max(fraction, self._fractions[index])
            done = sum(self._fractions)
            left = self._seconds_left(index)
        if count > 1:
            message = (
                f"{count} variations, {message}" if self._at_once else f"variation {index + 1} of {count}, {message}"
            )
        self._report(Progress(message, done / count, left))

    def _seconds_left(self, index: int) -> float | None:
        """By the speed of the variation that reports: of the one that is least far, or of all that are left."""
        per_clip = self.clocks[index].seconds_per_clip()
        if per_clip is None:
            return None
        if self._at_once:
            return per_clip * (1 - min(self._fractions))
        return per_clip * (len(self._fractions) - sum(self._fractions))
