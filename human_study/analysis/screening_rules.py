"""Rules of post-screening: those of the paper, of CrowdMOS (Ribeiro et al. 2011) and of ITU-R BS.1534-3.

A rule is a pure function from data and thresholds to exclusions. Thresholds on ratings are points of a scale from 0 to 100; on
another scale they are mapped linearly.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np

from musicgen.errors import InputError
from musicgen.text_format import counted

from ..listening import MINIMUM_HEARD
from .ratings import Rating, StudyData

REFERENCE_MODES = ("any", "mean", "fraction")
"""How often a hidden reference below the threshold excludes; the paper does not say."""

MIN_OVERLAP = 5
"""Shared clips below which a correlation is chance: with two clips it is always ±1."""

_MOST_DIGITS = 12
"""Behind the point, of a value beside its limit."""

MIN_RATINGS_FOR_Z = 3
"""Ratings of a clip that a z score needs; with n ratings |z| cannot exceed (n - 1)/√n."""


@dataclass(frozen=True)
class Exclusion:
    """An excluded rater or rating.

    Attributes:
        step: name of the rule.
        rater: pseudonym.
        reason: one line.
        rating: the excluded rating; None where the rater is excluded with all ratings.
    """

    step: str
    rater: str
    reason: str
    rating: Rating | None = None


def marked(data: StudyData) -> list[Exclusion]:
    """Raters excluded by hand or by the headphone check."""
    return [Exclusion("marked", rater, reason) for rater, reason in sorted(data.marked.items())]


def attention(data: StudyData, *, allowed_failures: int = 0) -> list[Exclusion]:
    """Raters who failed more than `allowed_failures` attention checks."""
    return [
        Exclusion("attention", rater, f"{counted(failed, 'attention check')} failed, {allowed_failures} allowed")
        for rater, failed in sorted(data.failed_checks.items())
        if failed > allowed_failures
    ]


def full_listening(data: StudyData, *, minimum: float = MINIMUM_HEARD) -> list[Exclusion]:
    """Raters who rated a clip after hearing less than `minimum` of it (the paper, section 3.3: the full clip)."""
    return [
        Exclusion(
            "full_listening", rater, f"heard {apart(least, minimum, 0, '%')} of a clip: less than {100 * minimum:g}%"
        )
        for rater, own in _by_rater(data)
        if (least := min((r.heard for r in own if r.heard is not None), default=1.0)) < minimum
    ]


def hidden_reference(
    data: StudyData, *, below: float = 85, mode: str = "mean", fraction: float = 0.15
) -> list[Exclusion]:
    """Raters who rated the hidden reference below 85 (the paper, section 3.3).

    The paper does not say how often that is allowed.

    Args:
        data: of the study.
        below: threshold in points of 100.
        mode: "any" item; the "mean" over the rater's items; more than a "fraction" of the items.
        fraction: for the mode "fraction".

    Raises:
        InputError: the mode is unknown.
    """
    if mode not in REFERENCE_MODES:
        raise InputError(f"hidden_reference: mode is {mode!r}: one of {', '.join(REFERENCE_MODES)}")
    return _reference_rule(data, "hidden_reference", below, mode, fraction)


def too_fast(data: StudyData, *, seconds: float = 5.0) -> list[Exclusion]:
    """Raters whose median page took less than `seconds`."""
    out = []
    for rater, own in _by_rater(data):
        times = [r.seconds for r in own if r.seconds is not None]
        if times and (median := float(np.median(times))) < seconds:
            out.append(
                Exclusion("too_fast", rater, f"median page took {apart(median, seconds, 1)} s: under {seconds:g} s")
            )
    return out


def crowdmos_correlation(data: StudyData, *, below: float = 0.25, overlap: int = MIN_OVERLAP) -> list[Exclusion]:
    """Raters whose correlation with the mean of the other raters is below `below`, leaving the rater out.

    Args:
        data: of the study.
        below: threshold of Pearson's r.
        overlap: raters who share fewer clips with others are not judged.
    """
    out = []
    for rater, (r, shared) in correlations(data).items():
        if shared >= overlap and r < below:
            reason = f"r = {apart(r, below, 2)} on {counted(shared, 'clip')}: under {below:g}"
            out.append(Exclusion("crowdmos_correlation", rater, reason))
    return out


def crowdmos_strict(
    data: StudyData, *, below: float = 0.7, overlap: int = MIN_OVERLAP, ratings: int = 5
) -> list[Exclusion]:
    """CrowdMOS's second pass: r below 0.7, or fewer than `ratings` ratings.

    Where clips are alike in quality it excludes attentive raters too.
    """
    few = [
        Exclusion("crowdmos_strict", rater, f"{counted(len(own), 'rating')}: fewer than {ratings}")
        for rater, own in _by_rater(data)
        if len(own) < ratings
    ]
    gone = {exclusion.rater for exclusion in few}
    weak = [
        Exclusion("crowdmos_strict", exclusion.rater, exclusion.reason)
        for exclusion in crowdmos_correlation(data, below=below, overlap=overlap)
        if exclusion.rater not in gone
    ]
    return few + weak


def crowdmos_outliers(data: StudyData, *, z: float = 2.5, share: float = 0.05) -> list[Exclusion]:
    """Ratings more than `z` standard deviations from the mean of their clip, and raters with too many of them.

    Args:
        data: of the study.
        z: threshold of the standardised deviation.
        share: raters with a larger share of outliers are excluded.
    """
    outliers: dict[str, list[tuple[Rating, float]]] = {}
    for own in _by_sample(data).values():
        values = np.array([r.value for r in own])
        spread = values.std(ddof=1) if len(values) >= MIN_RATINGS_FOR_Z else 0.0
        if spread > 0:
            for rating, deviation in zip(own, (values - values.mean()) / spread, strict=True):
                if abs(deviation) > z:
                    outliers.setdefault(rating.rater, []).append((rating, float(deviation)))
    counts = {rater: len(own) for rater, own in _by_rater(data)}
    out = []
    for rater, found in sorted(outliers.items()):
        if len(found) > share * counts[rater]:
            reason = f"outliers: {len(found)} of {counted(counts[rater], 'rating')}, more than {share:.0%}"
            out.append(Exclusion("crowdmos_outliers", rater, reason))
        else:
            out += [
                Exclusion("crowdmos_outliers", rater, f"z = {deviation:+.1f} within its clip: beyond {z:g}", rating)
                for rating, deviation in found
            ]
    return out


def bs1534_reference(data: StudyData, *, below: float = 90, fraction: float = 0.15) -> list[Exclusion]:
    """Raters who rated the hidden reference below 90 on more than 15 % of the items (BS.1534-3 §4.1.2)."""
    return _reference_rule(data, "bs1534_reference", below, "fraction", fraction)


def bs1534_anchor(
    data: StudyData,
    *,
    above: float = 90,
    fraction: float = 0.15,
    anchor: str = "anchor 7000 Hz",
    undegraded: float = 0.25,
) -> list[Exclusion]:
    """Raters who rated the mid anchor above 90 on more than 15 % of the items (BS.1534-3 §4.1.2).

    Where more than a quarter of the raters did so, the item was hardly degraded by the filter: nobody is excluded for it, and
    it does not count among the items.

    Args:
        data: of the study.
        above: threshold in points of 100.
        fraction: share of a rater's items that may be above it.
        anchor: name of the mid anchor.
        undegraded: share of an item's raters beyond which the item is left out.
    """
    anchors = [r for r in data.ratings if r.system == anchor]
    votes: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    for rating in anchors:
        votes.setdefault(rating.sample, {}).setdefault(rating.rater, []).append(data.points(rating))
    left_out = {
        sample
        for sample, by_rater in votes.items()
        if sum(float(np.mean(values)) > above for values in by_rater.values()) > undegraded * len(by_rater)
    }
    out = []
    for rater, own in _by_rater(data):
        rated = [r for r in own if r.system == anchor and r.sample not in left_out]
        high = sum(data.points(r) > above for r in rated)
        if rated and high > fraction * len(rated):
            reason = f"{anchor} over {shown(data, rated, above)} on {high} of {counted(len(rated), 'item')}"
            out.append(Exclusion("bs1534_anchor", rater, reason))
    return out


RULES: Mapping[str, Callable[..., list[Exclusion]]] = {
    rule.__name__: rule
    for rule in (
        marked, attention, full_listening, hidden_reference, too_fast, crowdmos_correlation, crowdmos_strict,
        crowdmos_outliers, bs1534_reference, bs1534_anchor,
    )
}  # fmt: skip


def shown(data: StudyData, ratings: Collection[Rating], points: float, digits: int | None = None) -> str:
    """A threshold or mean in points of 100 as text: on the scale of the ratings where they have one, otherwise "85 of 100".

    Args:
        data: of the study.
        ratings: those that it is about.
        points: on a scale of 0 to 100.
        digits: behind the point; None for as many as are needed.
    """
    scales = {data.scale_of(r.question) for r in ratings}
    value, of = points, " of 100"
    if len(scales) == 1:
        ((low, high),) = scales
        value, of = low + points / 100 * (high - low), ""
        digits = 2 if digits == 0 and high - low < 50 else digits
    return (f"{value:g}" if digits is None else f"{value:.{digits}f}") + of


def apart(value: float, limit: float, digits: int, form: str = "f") -> str:
    """A value as text, with enough digits that it does not look equal to its limit.

    Args:
        value: beyond the limit.
        limit: the threshold.
        digits: behind the point, at least.
        form: "f", or "%" for shares.
    """
    while digits < _MOST_DIGITS and f"{value:.{digits}{form}}" == f"{limit:.{digits}{form}}":
        digits += 1
    return f"{value:.{digits}{form}}"


def correlations(data: StudyData) -> dict[str, tuple[float, int]]:
    """Pearson's r of each rater with the mean of the other raters, over the clips that they share.

    Returns:
        Rater -> (r, number of shared clips). A rater whose ratings are all equal has r = 0.
    """
    totals = {sample: (sum(map(data.points, own)), len(own)) for sample, own in _by_sample(data).items()}
    out = {}
    for rater, own in _by_rater(data):
        mine, others = [], []
        # A rater who rated a clip twice is no other rater: all of their ratings are left out of the others' mean.
        by_sample: dict[tuple[str, str, str], list[float]] = {}
        for rating in own:
            by_sample.setdefault(rating.sample, []).append(data.points(rating))
        for sample, values in by_sample.items():
            total, n = totals[sample]
            if n > len(values):
                mine.append(float(np.mean(values)))
                others.append((total - sum(values)) / (n - len(values)))
        varied = len(mine) > 1 and np.std(mine) > 0 and np.std(others) > 0
        out[rater] = (float(np.corrcoef(mine, others)[0, 1]) if varied else 0.0, len(mine))
    return out


def _reference_rule(data: StudyData, step: str, below: float, mode: str, fraction: float) -> list[Exclusion]:
    out = []
    for rater, own in _by_rater(data):
        rated = [r for r in own if r.role == "reference"]
        if not rated:
            continue
        values = [data.points(r) for r in rated]
        limit = shown(data, rated, below)
        low = sum(value < below for value in values)
        if mode == "mean" and (mean := float(np.mean(values))) < below:
            digits = 0
            while digits < _MOST_DIGITS and shown(data, rated, mean, digits) == shown(data, rated, below, digits):
                digits += 1
            average = shown(data, rated, mean, digits)
            out.append(Exclusion(step, rater, f"hidden reference {average} on average: below {limit}"))
        elif (mode == "any" and low) or (mode == "fraction" and low > fraction * len(values)):
            out.append(
                Exclusion(step, rater, f"hidden reference below {limit} on {low} of {counted(len(values), 'item')}")
            )
    return out


def _by_rater(data: StudyData) -> list[tuple[str, list[Rating]]]:
    grouped: dict[str, list[Rating]] = {}
    for rating in data.ratings:
        grouped.setdefault(rating.rater, []).append(rating)
    return sorted(grouped.items())


def _by_sample(data: StudyData) -> dict[tuple[str, str, str], list[Rating]]:
    grouped: dict[tuple[str, str, str], list[Rating]] = {}
    for rating in data.ratings:
        grouped.setdefault(rating.sample, []).append(rating)
    return grouped
