"""The rule by which a clip counts as heard, shared by the page, the server and the screening.

Listening is counted in whole milliseconds, and the only tolerance is the share that a study requires (`minimum_heard`).
`web/static/coverage.js` counts in the same way, so what the page accepts is stored, and passes the default screening.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

MINIMUM_HEARD = 0.98
"""Share of a clip that must have been played, unless a study asks for another."""

Spans = Iterable[tuple[float, float]]


def union(spans: Spans, length: float) -> list[tuple[float, float]]:
    """Union of intervals, cut at the end of the clip. Intervals that are empty in whole milliseconds are left out.

    Args:
        spans: [start, end] in seconds.
        length: of the clip in seconds.

    Returns:
        Disjoint intervals in order, in seconds.
    """
    last = _milliseconds(length)
    out: list[tuple[int, int]] = []
    for start, end in sorted((_milliseconds(start), min(_milliseconds(end), last)) for start, end in spans):
        if end <= start:
            continue
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((start, end))
    return [(start / 1000, end / 1000) for start, end in out]


def seconds(spans: Spans) -> float:
    """Total seconds of disjoint intervals."""
    return sum(end - start for start, end in spans)


def share(spans: Spans, length: float) -> float:
    """Share of a clip that was heard. A last incomplete millisecond of the clip does not count.

    Args:
        spans: disjoint intervals in seconds.
        length: of the clip in seconds.

    Returns:
        From 0 to 1.
    """
    return min(1.0, round(1000 * seconds(spans)) / math.floor(1000 * length))


def _milliseconds(instant: float) -> int:
    # As JavaScript rounds: halves upwards.
    return math.floor(1000 * instant + 0.5)
