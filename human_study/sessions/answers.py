"""Validation of submitted answers, for each kind of rating page.

There is one entry of CHECKS for each kind of answer (`design.methods.ANSWERS`). The browser is not trusted: all checks are made
here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..design.manifest import Study
from ..design.methods import METHODS, SLIDER_SCALE
from .errors import RequestRefused
from .leases import Lease


@dataclass(frozen=True)
class PageAnswer:
    """What a rater answered.

    Attributes:
        values: audio token -> value on the page's scale; empty on pages that ask for a choice.
        preferred: token of the chosen clip, "" for none of them; None on pages that ask for values.
        confidence: how sure the rater is of a match, None where the page does not ask.
    """

    values: Mapping[str, int]
    preferred: str | None
    confidence: int | None = None


def scale(study: Study, lease: Lease) -> tuple[int, int]:
    """Lowest and highest value of a page's answers. Practice pages and attention checks have sliders."""
    return study.question(lease.page.question).scale if lease.page.kind == "rating" else SLIDER_SCALE


def asks_confidence(study: Study, lease: Lease) -> bool:
    """Whether a page asks how sure the rater is."""
    return lease.page.kind == "rating" and study.question(lease.page.question).confidence


def check(study: Study, lease: Lease, answer: PageAnswer) -> None:
    """Check an answer against its page.

    Args:
        study: the study.
        lease: the lease on the page.
        answer: what was sent.

    Raises:
        RequestRefused: it is none to this page.
    """
    if (answer.confidence is not None) != asks_confidence(study, lease):
        raise RequestRefused(422, "bad_values", "this page asks how sure you are, or does not: reload it")
    CHECKS[METHODS[lease.page.method].answer](study, lease, answer)


def _check_values(study: Study, lease: Lease, answer: PageAnswer) -> None:
    labels = {stimulus.token: stimulus.label for stimulus in lease.stimuli if stimulus.slot > 0}
    if answer.preferred is not None:
        raise RequestRefused(422, "bad_values", "this page takes values, and a preference came")
    if not set(answer.values) <= set(labels):
        raise RequestRefused(422, "foreign_stimulus", "a rated clip is not on this page")
    lacking = [label for token, label in labels.items() if token not in answer.values]
    if lacking:
        raise RequestRefused(422, "unrated", f"not rated: {', '.join(lacking)}")
    low, high = scale(study, lease)
    for token, value in answer.values.items():
        if not low <= value <= high:
            raise RequestRefused(
                422, "bad_value", f"{labels[token]} is {value}: ratings are whole numbers from {low} to {high}"
            )


def _check_preference(_study: Study, lease: Lease, answer: PageAnswer) -> None:
    if answer.values:
        raise RequestRefused(422, "bad_values", "an A/B page takes a preference, and values came")
    clips = {stimulus.token for stimulus in lease.stimuli if stimulus.slot > 0}
    if answer.preferred is None or (answer.preferred and answer.preferred not in clips):
        raise RequestRefused(422, "foreign_stimulus", "the preferred clip is not on this page")


def _check_match(_study: Study, lease: Lease, answer: PageAnswer) -> None:
    if answer.values:
        raise RequestRefused(422, "bad_values", "an ABX page takes a choice, and values came")
    if answer.preferred not in {stimulus.token for stimulus in lease.stimuli if stimulus.label in {"A", "B"}}:
        raise RequestRefused(422, "foreign_stimulus", "X is a copy of A or of B: choose one of them")


CHECKS: Mapping[str, Callable[[Study, Lease, PageAnswer], None]] = {
    "slider": _check_values,
    "label": _check_values,
    "preference": _check_preference,
    "match": _check_match,
}
