"""Page assignment: which page a rater gets next, the order of its clips, the positions of the attention checks.

Pure functions; every choice is determined by a seed, so an assignment can be reproduced. This module does not use the database:
`leases` counts the raters of each page.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class PageQuota:
    """A rating page and its raters.

    Attributes:
        page_id: id of its row.
        question: name of the question.
        item: id of the sample.
        valid: raters who submitted it and are not excluded.
        leased: raters who hold a lease on it and have shown a sign of life.
        missing: raters that it still needs, below 1 where it needs none.
    """

    page_id: int
    question: str
    item: str
    valid: int
    leased: int
    missing: int


def random_stream(*parts: object) -> random.Random:
    """The random number generator that `parts` seed."""
    return random.Random("\0".join(str(part) for part in parts))


def page_kinds(rng: random.Random, trials: int, checks: int, practice: bool) -> list[str]:
    """The kinds of a rater's pages in order.

    Args:
        rng: a stream of this rater.
        trials: number of rating pages.
        checks: number of attention checks; each stands after the first rating page.
        practice: a practice page comes first.

    Returns:
        "practice", "rating" and "attention".
    """
    kinds = ["rating"] * trials
    for _ in range(checks):
        kinds.insert(rng.randint(min(1, len(kinds)), len(kinds)), "attention")
    return ["practice"] * practice + kinds


def choose_page(
    quotas: Iterable[PageQuota], seen_items: Collection[str], rated: Sequence[str], rng: random.Random
) -> PageQuota | None:
    """Choose the next rating page.

    The page that lacks most raters comes first; among equals the question that this rater answered least; then chance.

    Args:
        quotas: all rating pages.
        seen_items: items that the rater has rated: none is repeated.
        rated: questions of the pages that the rater has submitted.
        rng: a stream of this rater and position.

    Returns:
        The page, None where none is left for this rater.
    """
    met = Counter(rated)
    free = [quota for quota in quotas if quota.missing > 0 and quota.item not in seen_items]
    if not free:
        return None
    best = max((quota.missing, -met[quota.question]) for quota in free)
    return rng.choice([quota for quota in free if (quota.missing, -met[quota.question]) == best])


def presentation_order(stimuli: Sequence[T], rng: random.Random) -> list[T]:
    """The clips of a page in random order, from left to right."""
    return rng.sample(list(stimuli), len(stimuli))
