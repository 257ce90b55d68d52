"""python -m benchmarks.coverage: how often the evaluation's 95 % intervals contain the true value, by simulation.

For means over clips, values are drawn from known distributions. For distances between sets, the windows of a clip share a
random vector, and two systems answer the same prompts; the true value is the mean distance over all simulated sets with this
number of clips. The plain percentile bootstrap is measured for comparison.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import store
from evaluation.metrics import fad, kad, kid, mmd, set_interval
from evaluation.metrics.set_interval import Replicates
from musicgen import statistics

Array = npt.NDArray[np.float64]

RESAMPLES = 300
VALUES: dict[str, tuple[Callable[[np.random.Generator, int], Array], float]] = {
    "normal": (lambda rng, n: rng.normal(0, 1, n), 0.0),
    "skewed (gamma, shape 2)": (lambda rng, n: rng.gamma(2, 1, n), 2.0),
    "shares (beta 0.8, 3)": (lambda rng, n: rng.beta(0.8, 3, n), 0.8 / 3.8),
}
"""Name of a distribution → (draws n values, its mean)."""
WINDOWS = 3
"""Of a clip."""
SHARED, GROWTH, SHIFT = 0.7, 1.1, 0.2
"""Weight of the prompt and of the clip's own vector; how much the second system spreads more; distance from the references."""
REFERENCES = 300
CASES = (
    ("FAD", 20, 8),
    ("FAD", 40, 8),
    ("FAD", 100, 8),
    ("FAD", 20, 64),
    ("KAD", 20, 8),
    ("KAD", 40, 8),
    ("KAD", 100, 8),
    ("KID", 20, 8),
    ("KID", 40, 8),
    ("KID", 100, 8),
)
"""Metric, clips, dimensions; 20 clips have fewer windows than 64 dimensions."""
SLOW_DIMENSIONS = 64
"""Dimensions from which a quarter of the studies is simulated."""


def means(n: int, studies: int) -> list[dict[str, Any]]:
    """Coverage of `statistics.ratio_interval` of means of n clips, and of percentiles."""
    rows = []
    for name, (draw, truth) in VALUES.items():
        rng = np.random.default_rng([n, len(name)])
        hits = plain = 0
        for _ in range(studies):
            values = draw(rng, n)
            interval = statistics.ratio_interval(values, np.ones(n), rng, resamples=RESAMPLES)
            if interval is None:
                raise ValueError(f"{n} clips have no interval")
            hits += interval.low <= truth <= interval.high
            samples = np.concatenate(list(statistics.counts(n, RESAMPLES, rng))) @ values / n
            low, high = np.quantile(samples, [0.025, 0.975])
            plain += low <= truth <= high
        rows.append({"values": name, "n": n, "coverage": hits / studies, "percentiles": plain / studies})
    return rows


def sets(metric: str, n: int, d: int, studies: int) -> list[dict[str, Any]]:
    """Coverage of `set_interval` of one distance and of the difference of two, n clips in d dimensions."""
    rng = np.random.default_rng(3)
    mix = rng.normal(size=(d, d))
    clips = [
        (2**0.5 * SHARED * rng.normal(size=(1, d)) + rng.normal(size=(WINDOWS, d))) @ mix for _ in range(REFERENCES)
    ]
    windows = np.concatenate(clips)
    resample: Callable[[list[Array]], Callable[[Array], Array]]
    if metric == "FAD":
        gaussian = fad.reference(fad.gaussian(windows))
        resample = lambda own: partial(fad.resampled, gaussian, own)  # noqa: E731
    else:
        side = mmd.reference(windows, kad.kernel(windows) if metric == "KAD" else kid.kernel)
        resample = lambda own: partial(mmd.resampled, side, mmd.sums(side, own))  # noqa: E731
    found: dict[str, list[Replicates]] = {"one system": [], "difference of two": []}
    for study in range(studies):
        rng = np.random.default_rng([study, n, d])
        prompts = rng.normal(size=(n, 1, d))
        pair = []
        for spread in (1.0, GROWTH):
            own = SHARED * (prompts + rng.normal(size=(n, 1, d))) + rng.normal(size=(n, WINDOWS, d))
            drawn = set_interval.replicate(
                resample(list(own @ mix * spread + SHIFT)), n, np.random.default_rng(study), RESAMPLES
            )
            if drawn is None:
                raise ValueError(f"{n} clips have no interval")
            pair.append(drawn)
        found["one system"].append(pair[0])
        found["difference of two"].append(pair[0] - pair[1])
    return [
        {"metric": metric, "of": of, "n": n, "dimensions": d, "studies": studies, **_summary(each)}
        for of, each in found.items()
    ]


def _summary(found: Sequence[Replicates]) -> dict[str, float]:
    values = np.array([each.value for each in found])
    ideal = 2 * 1.96 * values.std()
    intervals = [each.interval() for each in found]
    ends = np.array([[each.low, each.high] for each in intervals])
    plain = np.array(
        [each.value + np.quantile(each.bootstrap - each.bootstrap.mean(), [0.025, 0.975]) for each in found]
    )

    def covered(pairs: Array) -> float:
        return float(np.mean((pairs[:, 0] <= values.mean()) & (values.mean() <= pairs[:, 1])))

    return {
        "coverage": covered(ends),
        "width": float(np.mean(ends[:, 1] - ends[:, 0]) / ideal),
        "percentiles": covered(plain),
        "percentiles_width": float(np.mean(plain[:, 1] - plain[:, 0]) / ideal),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: prints the result as JSON, and writes it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__)
    parser.add_argument("--studies", type=int, default=400, help="simulated studies of each row (default 400)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result, too")
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    result = {
        "studies": options.studies,
        "resamples": RESAMPLES,
        "means": [row for n in (5, 8, 12, 20, 30, 100) for row in means(n, 2 * options.studies)],
        "sets": [
            row
            for metric, n, d in CASES
            for row in sets(metric, n, d, options.studies // (4 if d >= SLOW_DIMENSIONS else 1))
        ],
        "command": store.command("coverage"),
    }
    print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr)
    store.publish(result, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
