"""Ratings as the analysis sees them: who gave which value to which clip. From the database, or from anybody's CSV.

Values are on the study's scale (1 to 100, or what an imported study used). Nothing here judges or excludes.
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
    """heard: share of the clip that was played; seconds: time on the page; position: of the page, from 0; column: of the
    clip on it, from 1. Each is None where an import does not tell."""

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
    """An A/B page. preferred: one of the two systems, None where no difference was heard."""

    rater: str
    question: str
    item: str
    systems: tuple[str, str]
    preferred: str | None
    seconds: float | None = None


@dataclass(frozen=True)
class StudyData:
    """Everything that a study measured. failed_checks: rater -> attention checks not passed; marked: rater -> why somebody
    took them out by hand or at the headphone check."""

    ratings: tuple[Rating, ...]
    preferences: tuple[Preference, ...] = ()
    failed_checks: Mapping[str, int] = field(default_factory=dict)
    marked: Mapping[str, str] = field(default_factory=dict)

    @property
    def raters(self) -> list[str]:
        """Everybody who rated or preferred something, in order of name."""
        return sorted({r.rater for r in self.ratings} | {p.rater for p in self.preferences})

    def without(self, raters: Collection[str], single: Collection[Rating] = ()) -> StudyData:
        """The same without some raters and some single ratings."""
        dropped = set(single)
        return StudyData(
            tuple(r for r in self.ratings if r.rater not in raters and r not in dropped),
            tuple(p for p in self.preferences if p.rater not in raters),
            {rater: failed for rater, failed in self.failed_checks.items() if rater not in raters},
            {rater: reason for rater, reason in self.marked.items() if rater not in raters},
        )


def matrix(ratings: Iterable[Rating]) -> tuple[Matrix, list[str], list[str]]:
    """Ratings of one system as [raters, items] with NaN in the gaps; and both lists of names. A rater meets an item once
    in our studies; where an import has it twice, the mean counts."""
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
    """(system, role) of a question: systems first, then reference and anchors, each in order of name."""
    found = {(r.system, r.role) for r in ratings if r.question == question}
    return sorted(found, key=lambda entry: (ROLES.index(entry[1]), entry[0]))


def questions(data: StudyData) -> list[str]:
    """The questions of a study, in the paper's order where they are the paper's."""
    names = {r.question for r in data.ratings} | {p.question for p in data.preferences}
    order = ("OVL", "REL", "MEL")
    return sorted(names, key=lambda name: (order.index(name) if name in order else len(order), name))
