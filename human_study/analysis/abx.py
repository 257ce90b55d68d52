"""ABX: whether listeners can distinguish two systems. Exact binomial interval and test, and d'.

All answers to a pair are assumed to be independent. Pure functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from musicgen import statistics

from .ratings import Match, StudyData, questions

ALL = "all pairs"
LARGEST_D_PRIME = 20.0


@dataclass(frozen=True)
class MatchScore:
    """Result of one pair, or of all pairs of a question.

    Attributes:
        question: name of the question.
        first: one system; ALL for all pairs together.
        second: the other; "" for all pairs together.
        raters: number of raters.
        trials: number of answers.
        correct: right answers.
        share: of right answers; 0.5 is chance.
        low: lower end of its exact 95 % interval (Clopper and Pearson).
        high: upper end.
        p: one-sided p value of the exact binomial test against chance: as many right answers, or more.
        adjusted: `p` after Holm's correction over the pairs of the question; None for all pairs together.
        d_prime: sensitivity, None where all answers are right.
    """

    question: str
    first: str
    second: str
    raters: int
    trials: int
    correct: int
    share: float
    low: float
    high: float
    p: float
    adjusted: float | None
    d_prime: float | None


def scores(data: StudyData) -> list[MatchScore]:
    """The pairs of every question, and all of its pairs together where there are several."""
    out = []
    for question in questions(data):
        own = [match for match in data.matches if match.question == question]
        pairs = sorted({match.systems for match in own})
        by_pair = [[match for match in own if match.systems == pair] for pair in pairs]
        adjusted = statistics.holm([_p(matches) for matches in by_pair])
        out += [_score(question, *pair, matches, p) for pair, matches, p in zip(pairs, by_pair, adjusted, strict=True)]
        if len(pairs) > 1:
            out.append(_score(question, ALL, "", own, None))
    return out


def d_prime(share: float) -> float | None:
    """Sensitivity d' from the share of right answers, for an unbiased rater who judges A against B, and X by itself (Macmillan
    and Creelman 2005, chapter 9, independent observations):

        share = Φ(d'/√2) Φ(d'/2) + Φ(−d'/√2) Φ(−d'/2)

    Args:
        share: of right answers.

    Returns:
        d', 0 at chance and below; None where all answers are right, which no finite d' explains.
    """
    if share <= 0.5:
        return 0.0

    def excess(d: float) -> float:
        one, other = stats.norm.cdf([d / np.sqrt(2), d / 2])
        return float(one * other + (1 - one) * (1 - other) - share)

    return float(optimize.brentq(excess, 0.0, LARGEST_D_PRIME)) if excess(LARGEST_D_PRIME) > 0 else None


def _p(matches: Sequence[Match]) -> float:
    correct = sum(match.correct for match in matches)
    return float(stats.binomtest(correct, len(matches), 0.5, alternative="greater").pvalue)


def _score(question: str, first: str, second: str, matches: Sequence[Match], adjusted: float | None) -> MatchScore:
    correct, trials = sum(match.correct for match in matches), len(matches)
    interval = stats.binomtest(correct, trials, 0.5).proportion_ci(0.95, method="exact")
    return MatchScore(
        question=question,
        first=first,
        second=second,
        raters=len({match.rater for match in matches}),
        trials=trials,
        correct=correct,
        share=correct / trials,
        low=float(interval.low),
        high=float(interval.high),
        p=_p(matches),
        adjusted=adjusted,
        d_prime=d_prime(correct / trials),
    )
