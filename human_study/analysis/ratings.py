"""Ratings as the analysis uses them: who gave which value to which clip.

Values are on the study's scale (1 to 100, or the scale of an imported study). Nothing is excluded here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

ROLES = ("system", "reference", "anchor")

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rating:
    """One rating of one clip. Attributes that default to None are unknown in some imports.

    Attributes:
        rater: pseudonym.
        question: name of the question.
        item: id of the sample.
        system: system under test, reference or anchor.
        role: one of ROLES.
        value: on the scale.
        heard: share of the clip that was played.
        seconds: time on the page.
        position: of the page in the session, from 0.
        column: of the clip on the page, from 1.
    """

    rater: str
    question: str
    item: str
    system: str
    role: str
    value: float
    heard: float | None = None
    seconds: float | None = None
    position: int | None = None
    column: int | None = None

    @property
    def sample(self) -> tuple[str, str, str]:
        """What was rated: question, item and system."""
        return self.question, self.item, self.system


@dataclass(frozen=True)
class Preference:
    """One A/B page.

    Attributes:
        rater: pseudonym.
        question: name of the question.
        item: id of the sample.
        systems: the two systems.
        preferred: one of them, None for no difference.
        seconds: time on the page.
    """

    rater: str
    question: str
    item: str
    systems: tuple[str, str]
    preferred: str | None
    seconds: float | None = None


@dataclass(frozen=True)
class StudyData:
    """Everything that a study measured.

    Attributes:
        ratings: of the pages with sliders.
        preferences: of the A/B pages.
        failed_checks: rater -> number of attention checks failed.
        marked: rater -> why they were excluded by hand or by the headphone check.
    """

    ratings: tuple[Rating, ...]
    preferences: tuple[Preference, ...] = ()
    failed_checks: Mapping[str, int] = field(default_factory=dict)
    marked: Mapping[str, str] = field(default_factory=dict)

    @property
    def raters(self) -> list[str]:
        """All raters, sorted."""
        return sorted({r.rater for r in self.ratings} | {p.rater for p in self.preferences})

    def without(self, raters: Collection[str], single: Collection[Rating] = ()) -> StudyData:
        """The data without some raters and some single ratings.

        Args:
            raters: excluded with everything they gave.
            single: further ratings to drop.
        """
        dropped = set(single)
        return StudyData(
            tuple(r for r in self.ratings if r.rater not in raters and r not in dropped),
            tuple(p for p in self.preferences if p.rater not in raters),
            {rater: failed for rater, failed in self.failed_checks.items() if rater not in raters},
            {rater: reason for rater, reason in self.marked.items() if rater not in raters},
        )


def matrix(ratings: Iterable[Rating]) -> tuple[Matrix, list[str], list[str]]:
    """Arrange the ratings of one system by rater and item.

    Args:
        ratings: where a rater rated an item more than once, the mean counts.

    Returns:
        [raters, items] with NaN for missing ratings; the names of the rows; the names of the columns.
    """
    cells: dict[tuple[str, str], list[float]] = {}
    for rating in ratings:
        cells.setdefault((rating.rater, rating.item), []).append(rating.value)
    raters = sorted({rater for rater, _ in cells})
    items = sorted({item for _, item in cells})
    out = np.full((len(raters), len(items)), np.nan)
    rows, columns = {name: i for i, name in enumerate(raters)}, {name: i for i, name in enumerate(items)}
    for (rater, item), values in cells.items():
        out[rows[rater], columns[item]] = float(np.mean(values))
    return out, raters, items


def systems(ratings: Iterable[Rating], question: str) -> list[tuple[str, str]]:
    """(system, role) of a question: systems first, then reference and anchors, each sorted."""
    found = {(r.system, r.role) for r in ratings if r.question == question}
    return sorted(found, key=lambda entry: (ROLES.index(entry[1]), entry[0]))


def questions(data: StudyData) -> list[str]:
    """The questions of a study: OVL, REL, MEL first, as in the paper."""
    names = {r.question for r in data.ratings} | {p.question for p in data.preferences}
    order = ("OVL", "REL", "MEL")
    return sorted(names, key=lambda name: (order.index(name) if name in order else len(order), name))
