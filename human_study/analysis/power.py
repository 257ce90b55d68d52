"""Sample size: how many raters detect a difference of d points between two systems.

Both systems are rated by the same raters on the same items (one page holds both), so rater and item effects cancel. The
difference on one item by one rater has two residuals; its mean over raters varies with the interaction of item and system:

    Var(mean difference) = (σ_i² + 2 σ_u² / n) / M      M items, n raters an item, M - 1 degrees of freedom

σ_u: residual standard deviation of one rating; σ_i: standard deviation over items of the true difference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import stats

from musicgen.errors import InputError
from musicgen.text_format import counted

RESIDUAL_SD = 15.0
ITEM_SD = 6.0
"""Defaults in points of the sliders' scale from 1 to 100, for want of a pilot: residuals of crowds are between 12 and 20."""

MAX_RATERS = 1000
LARGEST_SHIFT = 30.0


@dataclass(frozen=True)
class SampleSize:
    """Raters that a study needs.

    Attributes:
        raters_per_item: n.
        raters: people, each with the same number of pages.
        power: reached with them.
    """

    raters_per_item: int
    raters: int
    power: float


def power(difference: float, items: int, raters: int, residual: float, item: float, alpha: float) -> float:
    """Power of a two-sided paired t test over items.

    Args:
        difference: true mean difference in points.
        items: number of items.
        raters: raters an item.
        residual: σ_u in points.
        item: σ_i in points.
        alpha: significance level.
    """
    spread = math.sqrt((item**2 + 2 * residual**2 / raters) / items)
    if spread == 0:
        return 1.0
    # SciPy's noncentral t is NaN for shifts from 37 on; at 30 even two items have a power of 0.98.
    shift, limit = min(difference / spread, LARGEST_SHIFT), stats.t.ppf(1 - alpha / 2, items - 1)
    return float(stats.nct.sf(limit, items - 1, shift) + stats.nct.cdf(-limit, items - 1, shift))


def sample_size(
    difference: float,
    items: int,
    trials: int,
    *,
    residual: float = RESIDUAL_SD,
    item: float = ITEM_SD,
    alpha: float = 0.05,
    wanted: float = 0.8,
    comparisons: int = 1,
    questions: int = 1,
) -> SampleSize:
    """The smallest number of raters an item that reaches the wanted power.

    Args:
        difference: to detect, in points.
        items: number of items.
        trials: pages a rater.
        residual: σ_u in points.
        item: σ_i in points.
        alpha: significance level, divided by `comparisons` as in the first step of Holm's correction.
        wanted: power.
        comparisons: pairs of systems.
        questions: asked about each item.

    Raises:
        InputError: an argument is out of range, or no number of raters suffices.
    """
    _check(difference, items, trials, residual, item, alpha, wanted)
    level = alpha / max(1, comparisons)
    for raters in range(1, MAX_RATERS + 1):
        reached = power(difference, items, raters, residual, item, level)
        if reached >= wanted:
            return SampleSize(raters, math.ceil(raters * items * questions / trials), reached)
    best = power(difference, items, 10**9, residual, item, level)
    raise InputError(
        f"{difference:g} points cannot be detected with {counted(items, 'item')}: an unlimited number of raters reaches "
        f"a power of {best:.2f}, because the difference varies between items; use more items"
    )


def _check(
    difference: float, items: int, trials: int, residual: float, item: float, alpha: float, wanted: float
) -> None:
    for name, value in (("difference", difference), ("residual", residual), ("item", item), ("alpha", alpha),
                        ("power", wanted)):  # fmt: skip
        if not abs(value) <= 1e6:
            raise InputError(f"{name} is {value:g}: a finite number up to a million is needed")
    if difference <= 0:
        raise InputError(f"difference is {difference:g}: it must be above 0 points")
    if not 2 <= items <= 10**6:
        raise InputError(f"items is {items}: at least 2, and at most a million")
    if not 1 <= trials <= 10**6:
        raise InputError(f"trials is {trials}: at least 1 page a rater, and at most a million")
    if residual < 0 or item < 0:
        raise InputError(f"standard deviations are {residual:g} and {item:g}: they cannot be negative")
    if not (0 < alpha < 1 and 0 < wanted < 1):
        raise InputError(f"alpha is {alpha:g} and power {wanted:g}: both lie between 0 and 1")
