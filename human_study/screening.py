"""Who is left out, and why: the paper's rules, CrowdMOS's, and those of ITU-R BS.1534-3.

A protocol is a list of named steps, each a pure function from data and thresholds to exclusions. They run in order, each
on what the ones before left; every exclusion says who, which step and why, and the means are noted after every step.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from musicgen.errors import InputError

from .ratings import Data, Rating, questions, systems

REFERENCE_MODES = ("any", "mean", "fraction")
OVERLAP = 5
"""Fewer shared clips make a correlation of chance: with two it is always ±1."""

MIN_FOR_Z = 3
"""A deviation within a sample needs that many ratings; with n of them |z| cannot exceed (n - 1)/√n."""

PROTOCOL: tuple[Mapping[str, Any], ...] = (
    {"step": "attention"},
    {"step": "full_listening"},
    {"step": "hidden_reference"},
    {"step": "crowdmos_correlation"},
    {"step": "crowdmos_outliers"},
)
"""What a study that says nothing else does: the paper's section 3.3, with the checks of our own pages before it."""


@dataclass(frozen=True)
class Exclusion:
    """rating: the one that goes; None where the rater goes with everything."""

    step: str
    rater: str
    reason: str
    rating: Rating | None = None


@dataclass(frozen=True)
class Step:
    """What one step did. means: (question, system) -> mean after it."""

    name: str
    thresholds: Mapping[str, Any]
    exclusions: tuple[Exclusion, ...]
    raters_left: int
    ratings_left: int
    means: Mapping[tuple[str, str], float]


@dataclass(frozen=True)
class Screened:
    """The data that are left, and how they became so. The first step is "all": the data as they came."""

    data: Data
    steps: tuple[Step, ...]

    @property
    def exclusions(self) -> list[Exclusion]:
        """Every exclusion in order."""
        return [exclusion for step in self.steps for exclusion in step.exclusions]


def marked(data: Data) -> list[Exclusion]:
    """Raters taken out by hand or by the headphone check."""
    return [Exclusion("marked", rater, reason) for rater, reason in sorted(data.marked.items())]


def attention(data: Data, *, allowed_failures: int = 0) -> list[Exclusion]:
    """Raters who failed more than `allowed_failures` attention checks."""
    return [
        Exclusion("attention", rater, f"{failed} attention check failed, {allowed_failures} allowed")
        for rater, failed in sorted(data.failed_checks.items())
        if failed > allowed_failures
    ]


def full_listening(data: Data, *, minimum: float = 0.97) -> list[Exclusion]:
    """Raters who rated a clip without hearing `minimum` of it (the paper: the full clip)."""
    return [
        Exclusion("full_listening", rater, f"heard {least:.0%} of a clip: less than {minimum:.0%}")
        for rater, own in _by_rater(data)
        if (least := min((r.heard for r in own if r.heard is not None), default=1.0)) < minimum
    ]


def hidden_reference(data: Data, *, below: float = 85, mode: str = "mean", fraction: float = 0.15) -> list[Exclusion]:
    """Raters of the hidden reference below 85 (the paper, which does not say how often): on `any` item, on the `mean`
    over their items, or on more than a `fraction` of them."""
    if mode not in REFERENCE_MODES:
        raise InputError(f"hidden_reference: mode is {mode!r}: one of {', '.join(REFERENCE_MODES)}")
    return _reference_rule(data, "hidden_reference", below, mode, fraction)


def too_fast(data: Data, *, seconds: float = 5.0) -> list[Exclusion]:
    """Raters whose median page took under `seconds`."""
    out = []
    for rater, own in _by_rater(data):
        times = [r.seconds for r in own if r.seconds is not None]
        if times and (median := float(np.median(times))) < seconds:
            out.append(Exclusion("too_fast", rater, f"median page took {median:.1f} s: under {seconds:g} s"))
    return out


def crowdmos_correlation(data: Data, *, below: float = 0.25, overlap: int = OVERLAP) -> list[Exclusion]:
    """Raters whose correlation with the mean of the others is under `below`; who shares fewer than `overlap` clips with
    anybody is not judged."""
    out = []
    for rater, (r, shared) in correlations(data).items():
        if shared >= overlap and r < below:
            out.append(Exclusion("crowdmos_correlation", rater, f"r = {r:.2f} on {shared} clips: under {below:g}"))
    return out


def crowdmos_strict(data: Data, *, below: float = 0.7, overlap: int = OVERLAP, ratings: int = 5) -> list[Exclusion]:
    """CrowdMOS's second pass: r under 0.7, or fewer than `ratings` ratings. It costs honest raters where clips are alike."""
    few = [
        Exclusion("crowdmos_strict", rater, f"{len(own)} ratings: fewer than {ratings}")
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


def crowdmos_outliers(data: Data, *, z: float = 2.5, share: float = 0.05) -> list[Exclusion]:
    """Ratings more than `z` standard deviations from their clip's mean; and raters with more than a `share` of such."""
    outliers: dict[str, list[tuple[Rating, float]]] = {}
    for own in _by_sample(data).values():
        values = np.array([r.value for r in own])
        spread = values.std(ddof=1) if len(values) >= MIN_FOR_Z else 0.0
        if spread > 0:
            for rating, deviation in zip(own, (values - values.mean()) / spread, strict=True):
                if abs(deviation) > z:
                    outliers.setdefault(rating.rater, []).append((rating, float(deviation)))
    counts = {rater: len(own) for rater, own in _by_rater(data)}
    out = []
    for rater, found in sorted(outliers.items()):
        if len(found) > share * counts[rater]:
            reason = f"{len(found)} of {counts[rater]} ratings are outliers: more than {share:.0%}"
            out.append(Exclusion("crowdmos_outliers", rater, reason))
        else:
            out += [
                Exclusion("crowdmos_outliers", rater, f"z = {deviation:+.1f} within its clip: beyond {z:g}", rating)
                for rating, deviation in found
            ]
    return out


def bs1534_reference(data: Data, *, below: float = 90, fraction: float = 0.15) -> list[Exclusion]:
    """BS.1534-3 §4.1.2: the hidden reference under 90 on more than 15 % of the items."""
    return _reference_rule(data, "bs1534_reference", below, "fraction", fraction)


def bs1534_anchor(
    data: Data, *, above: float = 90, fraction: float = 0.15, anchor: str = "anchor 7000 Hz"
) -> list[Exclusion]:
    """BS.1534-3 §4.1.2: the mid-range anchor over 90 on more than 15 % of the items."""
    out = []
    for rater, own in _by_rater(data):
        values = [r.value for r in own if r.system == anchor]
        high = sum(value > above for value in values)
        if values and high > fraction * len(values):
            reason = f"{anchor} over {above:g} on {high} of {len(values)} items"
            out.append(Exclusion("bs1534_anchor", rater, reason))
    return out


STEPS: Mapping[str, Callable[..., list[Exclusion]]] = {
    step.__name__: step
    for step in (
        marked, attention, full_listening, hidden_reference, too_fast, crowdmos_correlation, crowdmos_strict,
        crowdmos_outliers, bs1534_reference, bs1534_anchor,
    )
}  # fmt: skip


def screen(data: Data, protocol: Sequence[Mapping[str, Any]] | None = None) -> Screened:
    """Run a protocol; raters taken out by hand go first. Thresholds that a step does not name are its defaults."""
    steps = [Step("all", {}, (), len(data.raters), len(data.ratings), means(data))]
    for entry in ({"step": "marked"}, *(PROTOCOL if protocol is None else protocol)):
        name, thresholds = check_step(entry)
        exclusions = tuple(STEPS[name](data, **thresholds))
        raters = {exclusion.rater for exclusion in exclusions if exclusion.rating is None}
        data = data.without(raters, [e.rating for e in exclusions if e.rating is not None])
        steps.append(Step(name, thresholds, exclusions, len(data.raters), len(data.ratings), means(data)))
    return Screened(data, tuple(steps))


def check_step(entry: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The name of a step and all of its thresholds."""
    name = entry.get("step") if isinstance(entry, Mapping) else None
    if not isinstance(name, str) or name not in STEPS:
        close = difflib.get_close_matches(str(name), STEPS, 1)
        hint = f"did you mean {close[0]}?" if close else f"one of {', '.join(STEPS)}"
        raise InputError(f"screening has no step {name!r}: {hint}")
    parameters = inspect.signature(STEPS[name]).parameters
    defaults = {key: p.default for key, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    given = {key: value for key, value in entry.items() if key != "step"}
    for key, value in given.items():
        if key not in defaults:
            raise InputError(f"screening step {name} has no threshold {key!r}: {', '.join(defaults) or 'it has none'}")
        if isinstance(value, str) != isinstance(defaults[key], str) or isinstance(value, bool):
            raise InputError(f"screening step {name}: {key} is {value!r}: expected something like {defaults[key]!r}")
    return name, defaults | given


def correlations(data: Data) -> dict[str, tuple[float, int]]:
    """rater -> Pearson's r with the mean of the others over shared clips, and how many these are. Somebody who rates
    everything alike has r = 0."""
    totals = {sample: (sum(r.value for r in own), len(own)) for sample, own in _by_sample(data).items()}
    out = {}
    for rater, own in _by_rater(data):
        mine, others = [], []
        for rating in own:
            total, n = totals[rating.sample]
            if n > 1:
                mine.append(rating.value)
                others.append((total - rating.value) / (n - 1))
        varied = len(mine) > 1 and np.std(mine) > 0 and np.std(others) > 0
        out[rater] = (float(np.corrcoef(mine, others)[0, 1]) if varied else 0.0, len(mine))
    return out


def means(data: Data) -> dict[tuple[str, str], float]:
    """(question, system) -> mean of the ratings."""
    return {
        (question, system): float(
            np.mean([r.value for r in data.ratings if (r.question, r.system) == (question, system)])
        )
        for question in questions(data)
        for system, _ in systems(data.ratings, question)
    }


def _reference_rule(data: Data, step: str, below: float, mode: str, fraction: float) -> list[Exclusion]:
    out = []
    for rater, own in _by_rater(data):
        values = [r.value for r in own if r.role == "reference"]
        if not values:
            continue
        low = sum(value < below for value in values)
        if mode == "mean" and (mean := float(np.mean(values))) < below:
            out.append(Exclusion(step, rater, f"hidden reference {mean:.0f} on average: below {below:g}"))
        elif (mode == "any" and low) or (mode == "fraction" and low > fraction * len(values)):
            out.append(Exclusion(step, rater, f"hidden reference below {below:g} on {low} of {len(values)} items"))
    return out


def _by_rater(data: Data) -> list[tuple[str, list[Rating]]]:
    grouped: dict[str, list[Rating]] = {}
    for rating in data.ratings:
        grouped.setdefault(rating.rater, []).append(rating)
    return sorted(grouped.items())


def _by_sample(data: Data) -> dict[tuple[str, str, str], list[Rating]]:
    grouped: dict[tuple[str, str, str], list[Rating]] = {}
    for rating in data.ratings:
        grouped.setdefault(rating.sample, []).append(rating)
    return grouped
