"""Power analysis from stored results: how many seeds, and at least how many steps, a plan's claims need.

A claim is decided if the interval of the difference over seeds (Student's t, `claims.py`) excludes 0. If the true difference is
the measured one, the probability of that with n seeds is the power of the paired t test. The standard deviation over a few
seeds is uncertain, so its upper 80 % confidence limit is used (Browne 1995, "On the use of a pilot sample for sample size
determination").
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from scipy.optimize import brentq

from experiments import claims
from experiments.plan import Claim, Plan
from human_study.analysis.power import power

ALPHA = 0.05
CONFIDENCE = 0.8
"""Of the upper limit of the standard deviation."""
MOST_SEEDS = 200
MOST_STEPS = 10_000_000
Rows = Mapping[str, Sequence[dict[str, Any]]]


@dataclass(frozen=True)
class ClaimPower:
    """What a claim needs.

    Attributes:
        claim: Of the plan.
        difference: Its mean over the stored seeds, `better` minus `than`, in the metric's units (nats for perplexity).
        deviation: Its standard deviation over them.
        cautious: The upper confidence limit of that.
        stored: Number of seeds stored.
        seeds: The smallest number with the wanted power; None where MOST_SEEDS do not suffice.
        detectable: The smallest true difference that the asked number of seeds decides with that power.
        minutes: Processor minutes of both rows with `seeds` seeds, as long as the stored ones took at best.
    """

    claim: Claim
    difference: float
    deviation: float
    cautious: float
    stored: int
    seeds: int | None
    detectable: float
    minutes: float | None


@dataclass(frozen=True)
class RowTime:
    """How long a row trains.

    Attributes:
        row: Its name.
        steps: Of the stored runs.
        seconds: A step at best, over the stored seeds.
        equal_time: Steps that take as long as the slowest row's.
        loss: Training loss at the end, the mean over seeds, in nats.
        to_lowest: Steps until it would be the lowest of all rows' by the power law of its last losses: a lower bound, because
            losses fall more slowly than a power law without an offset. None where they do not fall, or beyond MOST_STEPS.
    """

    row: str
    steps: int
    seconds: float
    equal_time: int
    loss: float
    to_lowest: int | None


def of_claims(plan: Plan, rows: Rows, seeds: int, wanted: float) -> list[ClaimPower]:
    """What each claim of a difference needs, where at least two seeds of both rows are stored.

    Args:
        plan: The experiment.
        rows: Row → its runs (`report.read`).
        seeds: For which the detectable difference is computed.
        wanted: The power.
    """
    found = []
    for claim in plan.claims:
        better, than = claims.matched(rows, claim)
        if claim.denied or len(better) < 2:
            continue
        each = [
            claims.evaluate_claim([one], [other], claim.metric).difference
            for one, other in zip(better, than, strict=True)
        ]
        deviation = statistics.stdev(each)
        cautious = upper_limit(deviation, len(each))
        needed = seeds_needed(statistics.fmean(each), cautious, wanted)
        seconds = _seconds(better) + _seconds(than)
        found.append(
            ClaimPower(
                claim, statistics.fmean(each), deviation, cautious, len(each), needed,
                detectable(cautious, seeds, wanted), None if needed is None else needed * seconds / 60,
            )
        )  # fmt: skip
    return found


def of_rows(rows: Rows) -> list[RowTime]:
    """How long each row trains, and what its losses say of more steps."""
    runs = {name: each for name, each in rows.items() if each and "losses" in each[0]}
    steps = {name: int(each[0]["recipe"]["optimisation"]["steps"]) for name, each in runs.items()}
    seconds = {name: min(one["train_seconds"] for one in each) / steps[name] for name, each in runs.items()}
    curves = {name: _mean_curve(each) for name, each in runs.items()}
    if not runs:
        return []
    longest = max(seconds[name] * steps[name] for name in runs)
    lowest = min(curve[-1][1] for curve in curves.values())
    return [
        RowTime(
            name, steps[name], seconds[name], round(longest / seconds[name]), curves[name][-1][1],
            steps_to(curves[name], lowest),
        )
        for name in runs
    ]  # fmt: skip


def upper_limit(deviation: float, count: int) -> float:
    """The upper CONFIDENCE limit of a standard deviation that `count` values have."""
    return deviation * math.sqrt((count - 1) / stats.chi2.ppf(1 - CONFIDENCE, count - 1))


def seeds_needed(difference: float, deviation: float, wanted: float) -> int | None:
    """The smallest number of seeds that decide a true difference with the wanted power; None beyond MOST_SEEDS."""
    return next((n for n in range(2, MOST_SEEDS + 1) if _power(difference, deviation, n) >= wanted), None)


def detectable(deviation: float, seeds: int, wanted: float) -> float:
    """The smallest true difference that this number of seeds decides with the wanted power."""
    if deviation == 0:
        return 0.0
    high = deviation
    while _power(high, deviation, seeds) < wanted:
        high *= 2
    return float(brentq(lambda difference: _power(difference, deviation, seeds) - wanted, 0.0, high))


def steps_to(curve: Sequence[tuple[float, float]], loss: float) -> int | None:
    """Steps until a curve of (step, loss) reaches a loss, by the power law through its second half; None where it does not."""
    if curve[-1][1] <= loss:
        return int(curve[-1][0])
    half = curve[len(curve) // 2 :] if len(curve) > 2 else curve
    if len(half) < 2:
        return None
    x, y = np.log(np.array(half)).T
    slope, offset = (float(value) for value in np.polyfit(x, y, 1))
    if slope >= 0:
        return None
    steps = math.exp(min((math.log(loss) - offset) / slope, 700.0))
    return math.ceil(steps) if steps <= MOST_STEPS else None


def _power(difference: float, deviation: float, seeds: int) -> float:
    # One rating without a residual for each seed: the paired t test over seeds.
    return power(abs(difference), seeds, 1, 0.0, deviation, ALPHA)


def _mean_curve(runs: Sequence[dict[str, Any]]) -> list[tuple[float, float]]:
    """(step, loss), the mean over the seeds."""
    return [
        (points[0][0], statistics.fmean(loss for _, loss in points))
        for points in zip(*(r["losses"] for r in runs), strict=True)
    ]


def _seconds(runs: Sequence[dict[str, Any]]) -> float:
    """Seconds of one run: of training and generation, each at best."""
    generated = [run["generate_seconds"] for run in runs if run.get("generate_seconds") is not None]
    return min(run["train_seconds"] for run in runs) + min(generated, default=0.0)
