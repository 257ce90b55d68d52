"""The ratings for the analysis: which rater gave which value to which clip.

Values are on a declared scale, by default 0 to 100. Nothing is excluded here.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from musicgen.errors import InputError

from ..listening import MINIMUM_HEARD

DEFAULT_SCALE = (0.0, 100.0)
"""Of BS.1534-3. The sliders of our pages give 1 to 100 of it, the scale of the paper (section 3.3), so that a value is its
number of points."""

SMALL_SCALE = 10.0
"""Where no value of a file is above it, the file is taken for one of another scale: 1 to 5, 1 to 7, 0 to 10."""

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
        """The rated stimulus: question, item and system."""
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
class Match:
    """One ABX page.

    Attributes:
        rater: pseudonym.
        question: name of the question.
        item: id of the sample.
        systems: the two systems.
        x: the one that X was a copy of.
        answer: the one that the rater took X for.
        confidence: 1 (guessed) to 3 (certain), None where it was not asked.
        seconds: time on the page.
    """

    rater: str
    question: str
    item: str
    systems: tuple[str, str]
    x: str
    answer: str
    confidence: int | None = None
    seconds: float | None = None

    @property
    def correct(self) -> bool:
        """Whether the answer is right."""
        return self.answer == self.x


@dataclass(frozen=True)
class StudyData:
    """Everything that a study measured.

    Attributes:
        ratings: of the pages on which every clip gets a value.
        preferences: of the A/B pages.
        failed_checks: rater -> number of attention checks failed.
        marked: rater -> why they were excluded by hand or by the headphone check.
        scale: lower and upper end of the scale of questions that `scales` does not name. Thresholds are stated for a scale of
            0 to 100.
        scales: question -> lower and upper end of its declared scale.
        matches: of the ABX pages.
        minimum_heard: share of a clip that its page asked to be played.
    """

    ratings: tuple[Rating, ...]
    preferences: tuple[Preference, ...] = ()
    failed_checks: Mapping[str, int] = field(default_factory=dict)
    marked: Mapping[str, str] = field(default_factory=dict)
    scale: tuple[float, float] = DEFAULT_SCALE
    scales: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    matches: tuple[Match, ...] = ()
    minimum_heard: float = MINIMUM_HEARD

    def scale_of(self, question: str) -> tuple[float, float]:
        """Lower and upper end of a question's scale."""
        return self.scales.get(question, self.scale)

    def on_scale(self, points: float, question: str) -> float:
        """The value of a question's scale that stands where `points` stands on a scale of 0 to 100."""
        low, high = self.scale_of(question)
        return low + points / 100 * (high - low)

    def points(self, rating: Rating) -> float:
        """Where a rating stands on a scale of 0 to 100: ratings of several questions are comparable there."""
        low, high = self.scale_of(rating.question)
        return 100 * (rating.value - low) / (high - low)

    @property
    def raters(self) -> list[str]:
        """All raters, sorted."""
        answers: tuple[Rating | Preference | Match, ...] = (*self.ratings, *self.preferences, *self.matches)
        return sorted({answer.rater for answer in answers})

    def without(self, raters: Collection[str], single: Collection[Rating] = ()) -> StudyData:
        """The data without some raters and some single ratings.

        Args:
            raters: excluded with everything they gave.
            single: further ratings to drop.
        """
        dropped = set(single)
        return dataclasses.replace(
            self,
            ratings=tuple(r for r in self.ratings if r.rater not in raters and r not in dropped),
            preferences=tuple(p for p in self.preferences if p.rater not in raters),
            failed_checks={rater: failed for rater, failed in self.failed_checks.items() if rater not in raters},
            marked={rater: reason for rater, reason in self.marked.items() if rater not in raters},
            matches=tuple(m for m in self.matches if m.rater not in raters),
        )


def parse_scale(text: str) -> tuple[float, float]:
    """Read a scale.

    Args:
        text: lower and upper end, such as "1:5".

    Raises:
        InputError: the text is no scale.
    """
    match = re.fullmatch(r"(-?[0-9]{1,9}(?:\.[0-9]{1,9})?):(-?[0-9]{1,9}(?:\.[0-9]{1,9})?)", text.strip())
    if match is None or float(match[1]) >= float(match[2]):
        raise InputError(f"scale is {text[:20]!r}: LOW:HIGH is needed, such as 0:100 or 1:5")
    return float(match[1]), float(match[2])


def with_scale(data: StudyData, scale: tuple[float, float] | None, where: str) -> StudyData:
    """Declare the scale of ratings that were read from a file.

    Args:
        data: the ratings.
        scale: lower and upper end of questions whose scale the file does not state; None for DEFAULT_SCALE, unless the values
            look like another one.
        where: start of error messages.

    Raises:
        InputError: a value lies outside the scale, or no scale is declared and the values look like another one.
    """
    undeclared = [rating.value for rating in data.ratings if rating.question not in data.scales]
    if scale is not None and not undeclared and scale not in data.scales.values():
        stated = ", ".join(f"{low:g}:{high:g} for {question}" for question, (low, high) in data.scales.items())
        raise InputError(
            f"{where}: --scale is {scale[0]:g}:{scale[1]:g}, and the column scale says {stated}: leave --scale out, or correct "
            "the column"
        )
    for rating in data.ratings:
        low, high = data.scales.get(rating.question, scale or DEFAULT_SCALE)
        if not low <= rating.value <= high:
            raise InputError(
                f"{where}: {rating.rater} rated {rating.system} on {rating.item} with {rating.value:g}, outside the scale "
                f"from {low:g} to {high:g}: state the scale of the ratings with --scale LOW:HIGH"
            )
    highest = max(undeclared, default=DEFAULT_SCALE[1])
    if scale is None and highest <= SMALL_SCALE:
        ends = f"1:{max(2, math.ceil(highest))}" if min(undeclared) >= 1 else f"0:{max(1, math.ceil(highest))}"
        raise InputError(
            f"{where}: the highest of {len(undeclared)} ratings is {highest:g}, which looks like another scale than 0 to "
            f"100: state it with --scale, such as --scale {ends}, or --scale 0:100 if it is that one"
        )
    return dataclasses.replace(data, scale=scale or DEFAULT_SCALE)


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
    answers: tuple[Rating | Preference | Match, ...] = (*data.ratings, *data.preferences, *data.matches)
    names = {answer.question for answer in answers}
    order = ("OVL", "REL", "MEL")
    return sorted(names, key=lambda name: (order.index(name) if name in order else len(order), name))
