"""From ratings to results: means with confidence intervals, paired tests, preferences, agreement.

The mean of a system is over all its ratings. Its interval is that of CrowdMOS; a plain and a bootstrap interval are computed
too. Tests between systems are paired over items: the study generalises to pieces of music, not to raters. Pure functions;
`tables`, `plots` and `report` present the results.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from musicgen import statistics
from musicgen.errors import InputError

from . import abx, crowdmos, krippendorff, screening, screening_rules
from .crowdmos import MeanOpinionScore
from .ratings import Rating, StudyData, matrix, questions, systems
from .screening import ScreeningResult

RESAMPLES = 4999
"""Of each bootstrap."""


@dataclass(frozen=True)
class SystemScore:
    """Score of one system on one question.

    Attributes:
        question: name of the question.
        system: name.
        role: "system", "reference" or "anchor".
        score: mean and interval by the CrowdMOS model.
        plain: half width of Student's interval, which takes all ratings for independent.
        bootstrap: studentised bootstrap over items, None with too few of them.
        values: the ratings, for the histogram.
    """

    question: str
    system: str
    role: str
    score: MeanOpinionScore
    plain: float | None
    bootstrap: statistics.Interval | None
    values: tuple[float, ...]


@dataclass(frozen=True)
class Comparison:
    """Paired comparison of two systems.

    Attributes:
        question: name of the question.
        first: one system.
        second: the other.
        items: number of items that both have.
        difference: first minus second, mean over items.
        interval: studentised bootstrap over items, None with too few of them.
        permutation: two-sided p value of the paired permutation test.
        wilcoxon: two-sided p value of the signed-rank test.
        adjusted: `permutation` after Holm's correction within the question.
    """

    question: str
    first: str
    second: str
    items: int
    difference: float
    interval: statistics.Interval | None
    permutation: float
    wilcoxon: float
    adjusted: float


@dataclass(frozen=True)
class PreferenceScore:
    """Result of an A/B pair.

    Attributes:
        question: name of the question.
        first: one system.
        second: the other.
        wins_first: pages that prefer the first.
        wins_second: pages that prefer the second.
        ties: pages without a preference.
        share: wins of the first among the pages with a preference, None without any.
        low: lower end of Wilson's interval.
        high: upper end.
        p: two-sided p value of the sign test.
        adjusted: `p` after Holm's correction within the question.
    """

    question: str
    first: str
    second: str
    wins_first: int
    wins_second: int
    ties: int
    share: float | None
    low: float | None
    high: float | None
    p: float
    adjusted: float


@dataclass(frozen=True)
class Agreement:
    """Inter-rater agreement on one question.

    Attributes:
        question: name of the question.
        alpha: Krippendorff's, interval data.
        correlation: median over raters of the correlation with the others; raters with little overlap do not count.
    """

    question: str
    alpha: float | None
    correlation: float | None


@dataclass(frozen=True)
class RuleVariant:
    """Means under another setting of one rule.

    Attributes:
        label: the setting.
        raters_out: raters that the rule excludes.
        means: (question, system) -> mean.
    """

    label: str
    raters_out: int
    means: Mapping[tuple[str, str], float]


@dataclass(frozen=True)
class StudyResults:
    """Everything that the report shows.

    Attributes:
        screened: outcome of the screening.
        scores: of each system and question.
        comparisons: of each pair of systems.
        preferences: of each A/B pair.
        matches: of each ABX pair, and of all pairs of a question.
        agreements: of each question.
        correlations: rater -> (r with the others before screening, shared clips).
        reference_variants: means under each reading of the hidden-reference rule.
        alone: rule -> raters that it alone would exclude from the unscreened data.
        scales: question -> lower and upper end of its scale.
    """

    screened: ScreeningResult
    scores: tuple[SystemScore, ...]
    comparisons: tuple[Comparison, ...]
    preferences: tuple[PreferenceScore, ...]
    matches: tuple[abx.MatchScore, ...]
    agreements: tuple[Agreement, ...]
    correlations: Mapping[str, tuple[float, int]]
    reference_variants: tuple[RuleVariant, ...]
    alone: Mapping[str, int]
    scales: Mapping[str, tuple[float, float]]


def analyse(
    data: StudyData, seed: int = 0, protocol: Sequence[Mapping[str, Any]] | None = None, ddof: int = 1
) -> StudyResults:
    """Screen the data, then compute all results.

    Args:
        data: of the study.
        seed: of bootstrap and permutations.
        protocol: of the screening, None for the default.
        ddof: of the CrowdMOS variances.

    Raises:
        InputError: the protocol or the seed is not allowed, or the screening leaves nobody.
    """
    if seed < 0:
        raise InputError(f"seed is {seed}: 0 or more")
    rng = np.random.default_rng(seed)
    screened = screening.screen(data, protocol)
    screening.require_raters(screened)
    kept = screened.data
    scores, comparisons = [], []
    for question in questions(kept):
        own = [r for r in kept.ratings if r.question == question]
        scores += [_score(question, system, role, own, rng, ddof) for system, role in systems(own, question)]
        comparisons += _compare(question, own, rng)
    return StudyResults(
        screened=screened,
        scores=tuple(scores),
        comparisons=tuple(comparisons),
        preferences=tuple(_preferences(kept)),
        matches=tuple(abx.scores(kept)),
        agreements=tuple(_agreement(kept, question) for question in questions(kept)),
        correlations=screening_rules.correlations(data),
        reference_variants=tuple(_reference_variants(data, protocol)),
        alone={
            name: len({e.rater for e in step(data) if e.rating is None}) for name, step in screening_rules.RULES.items()
        },
        scales={question: data.scale_of(question) for question in questions(data)},
    )


def _score(
    question: str, system: str, role: str, ratings: Sequence[Rating], rng: np.random.Generator, ddof: int
) -> SystemScore:
    z, _, _ = matrix(r for r in ratings if r.system == system)
    values = z[~np.isnan(z)]
    n = len(values)
    plain = float(stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / math.sqrt(n)) if n > 1 else None
    # Items are resampled with all their ratings: from sums and counts the statistic is the mean of all ratings.
    totals, sizes = np.nansum(z, axis=0), (~np.isnan(z)).sum(axis=0)
    bootstrap = statistics.ratio_interval(totals, sizes, rng, resamples=RESAMPLES)
    return SystemScore(question, system, role, crowdmos.score(z, ddof), plain, bootstrap, tuple(values))


def _compare(question: str, ratings: Sequence[Rating], rng: np.random.Generator) -> list[Comparison]:
    by_item: dict[str, dict[str, float]] = {}
    for system, _ in systems(ratings, question):
        z, _, items = matrix(r for r in ratings if r.system == system)
        by_item[system] = dict(zip(items, np.nanmean(z, axis=0), strict=True))
    names = [system for system, role in systems(ratings, question) if role == "system"]
    raw = []
    for first, second in itertools.combinations(names, 2):
        shared = sorted(by_item[first].keys() & by_item[second].keys())
        if not shared:
            continue
        a, b = (np.array([by_item[name][item] for item in shared]) for name in (first, second))
        interval = statistics.ratio_interval(a - b, np.ones(len(shared)), rng, resamples=RESAMPLES)
        p = statistics.paired_permutation(a, b, rng)
        raw.append((first, second, len(shared), float(np.mean(a - b)), interval, p, statistics.wilcoxon(a, b)))
    adjusted = statistics.holm([entry[5] for entry in raw])
    return [Comparison(question, *entry, adjusted=p) for entry, p in zip(raw, adjusted, strict=True)]


def _preferences(data: StudyData) -> list[PreferenceScore]:
    out = []
    for question in questions(data):
        own = [p for p in data.preferences if p.question == question]
        raw = []
        for first, second in sorted({p.systems for p in own}):
            chosen = [p.preferred for p in own if p.systems == (first, second)]
            wins, losses = chosen.count(first), chosen.count(second)
            decided = wins + losses
            test = stats.binomtest(wins, decided) if decided else None
            interval = test.proportion_ci(method="wilson") if test else None
            raw.append(
                (first, second, wins, losses, chosen.count(None), wins / decided if decided else None,
                 float(interval.low) if interval else None, float(interval.high) if interval else None,
                 float(test.pvalue) if test else 1.0)
            )  # fmt: skip
        adjusted = statistics.holm([entry[-1] for entry in raw])
        out += [PreferenceScore(question, *entry, adjusted=p) for entry, p in zip(raw, adjusted, strict=True)]
    return out


def _agreement(data: StudyData, question: str) -> Agreement:
    own = [r for r in data.ratings if r.question == question]
    if not own:
        return Agreement(question, None, None)
    raters = {rater: row for row, rater in enumerate(sorted({r.rater for r in own}))}
    samples = {sample: column for column, sample in enumerate(sorted({r.sample for r in own}))}
    cells: dict[tuple[int, int], list[float]] = {}
    for rating in own:
        cells.setdefault((raters[rating.rater], samples[rating.sample]), []).append(rating.value)
    z = np.full((len(raters), len(samples)), np.nan)
    for place, values in cells.items():
        z[place] = float(np.mean(values))
    found = [
        r
        for r, shared in screening_rules.correlations(StudyData(tuple(own))).values()
        if shared >= screening_rules.MIN_OVERLAP
    ]
    return Agreement(question, krippendorff.alpha(z), float(np.median(found)) if found else None)


def _reference_variants(data: StudyData, protocol: Sequence[Mapping[str, Any]] | None) -> list[RuleVariant]:
    """The paper does not say on how many items a reference below 85 excludes: all three readings, and no rule."""
    references = [r for r in data.ratings if r.role == "reference"]
    if not references:
        return []
    limit = screening_rules.shown(data, references, 85)
    steps = list(screening.default_protocol(data) if protocol is None else protocol)
    others = [step for step in steps if step.get("step") != "hidden_reference"]
    place = next((i for i, step in enumerate(steps) if step.get("step") == "hidden_reference"), len(others))
    out = [RuleVariant("not applied", 0, screening.screen(data, others).steps[-1].means)]
    for mode in screening_rules.REFERENCE_MODES:
        result = screening.screen(data, [*others[:place], {"step": "hidden_reference", "mode": mode}, *others[place:]])
        count = sum(e.step == "hidden_reference" for e in result.exclusions)
        out.append(RuleVariant(f"below {limit}, {mode}", count, result.steps[-1].means))
    return out
