"""Who hears what: which page a rater gets next, in which order its clips stand, where the checks come.

Pure functions; every choice follows from a seed, so a study can be replayed. This file knows no database: `leases` counts
the free places and asks here.
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
    """A rating page: how many ratings of it count, how many are under way, and how many raters it still lacks."""

    page_id: int
    question: str
    item: str
    valid: int
    leased: int
    missing: int


def random_stream(*parts: object) -> random.Random:
    """The random stream named by `parts`."""
    return random.Random("\0".join(str(part) for part in parts))


def page_kinds(rng: random.Random, trials: int, checks: int, practice: bool) -> list[str]:
    """The kinds of a rater's pages in order: practice first, checks somewhere between the ratings, never first of them."""
    kinds = ["rating"] * trials
    for _ in range(checks):
        kinds.insert(rng.randint(min(1, len(kinds)), len(kinds)), "attention")
    return ["practice"] * practice + kinds


def choose_page(
    quotas: Iterable[PageQuota], seen_items: Collection[str], rated: Sequence[str], rng: random.Random
) -> PageQuota | None:
    """The next page: never an item twice; then the page that lacks most raters, then the question this rater met least
    (`rated` lists the questions so far), then chance. None where nothing is left for this rater."""
    met = Counter(rated)
    free = [quota for quota in quotas if quota.missing > 0 and quota.item not in seen_items]
    if not free:
        return None
    best = max((quota.missing, -met[quota.question]) for quota in free)
    return rng.choice([quota for quota in free if (quota.missing, -met[quota.question]) == best])


def presentation_order(stimuli: Sequence[T], rng: random.Random) -> list[T]:
    """The clips of a page from left to right."""
    return rng.sample(list(stimuli), len(stimuli))
