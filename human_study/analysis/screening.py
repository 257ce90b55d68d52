"""Post-screening: a protocol of named steps is applied to the data.

Each step applies one rule to the data that the previous steps left. Every exclusion is logged with step, rater and reason, and
the means are recorded after every step.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from musicgen.errors import InputError
from musicgen.suggestions import did_you_mean
from musicgen.text_format import counted

from .ratings import StudyData, questions, systems
from .screening_rules import RULES, Exclusion


def default_protocol(data: StudyData) -> tuple[Mapping[str, Any], ...]:
    """The paper's section 3.3, preceded by the checks of our own pages: what the page accepted counts as heard.

    Args:
        data: of the study.
    """
    return (
        {"step": "attention"},
        {"step": "full_listening", "minimum": data.minimum_heard},
        {"step": "hidden_reference"},
        {"step": "crowdmos_correlation"},
        {"step": "crowdmos_outliers"},
    )


@dataclass(frozen=True)
class ScreeningStep:
    """Outcome of one step.

    Attributes:
        name: of the rule.
        thresholds: all of them, defaults included.
        exclusions: made by this step.
        raters_left: number of raters after it.
        ratings_left: number of ratings after it.
        means: (question, system) -> mean after it.
    """

    name: str
    thresholds: Mapping[str, Any]
    exclusions: tuple[Exclusion, ...]
    raters_left: int
    ratings_left: int
    means: Mapping[tuple[str, str], float]


@dataclass(frozen=True)
class ScreeningResult:
    """Outcome of a protocol.

    Attributes:
        data: what is left.
        steps: the first is "all": the data before screening.
    """

    data: StudyData
    steps: tuple[ScreeningStep, ...]

    @property
    def exclusions(self) -> list[Exclusion]:
        """All exclusions in order."""
        return [exclusion for step in self.steps for exclusion in step.exclusions]


def screen(data: StudyData, protocol: Sequence[Mapping[str, Any]] | None = None) -> ScreeningResult:
    """Run a protocol. Raters excluded by hand are removed first.

    Args:
        data: of the study.
        protocol: mappings of "step" and thresholds; None for `default_protocol`.

    Raises:
        InputError: a step or a threshold is unknown.
    """
    steps = [ScreeningStep("all", {}, (), len(data.raters), len(data.ratings), means(data))]
    for entry in ({"step": "marked"}, *(default_protocol(data) if protocol is None else protocol)):
        name, thresholds = check_step(entry)
        exclusions = tuple(RULES[name](data, **thresholds))
        raters = {exclusion.rater for exclusion in exclusions if exclusion.rating is None}
        data = data.without(raters, [e.rating for e in exclusions if e.rating is not None])
        steps.append(ScreeningStep(name, thresholds, exclusions, len(data.raters), len(data.ratings), means(data)))
    return ScreeningResult(data, tuple(steps))


def check_step(entry: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Check one step of a protocol.

    Returns:
        The name of its rule, and all thresholds, defaults included.

    Raises:
        InputError: the rule or a threshold is unknown, or a value has the wrong type.
    """
    name = entry.get("step") if isinstance(entry, Mapping) else None
    if not isinstance(name, str) or name not in RULES:
        hint = did_you_mean(name if isinstance(name, str) else "", RULES)
        raise InputError(f"screening has no step {_shown(name)}: {hint}")
    parameters = inspect.signature(RULES[name]).parameters
    defaults = {key: p.default for key, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    given = {key: value for key, value in entry.items() if key != "step"}
    for key, value in given.items():
        if key not in defaults:
            raise InputError(
                f"screening step {name} has no threshold {str(key)[:40]!r}: {', '.join(defaults) or 'it has none'}"
            )
        if not _is_like(value, defaults[key]):
            raise InputError(
                f"screening step {name}: {key} is {_shown(value)}: expected something like {defaults[key]!r}"
            )
    return name, defaults | given


def require_raters(result: ScreeningResult) -> None:
    """Check that raters are left.

    Raises:
        InputError: a step excluded the last rater; the message names it.
    """
    for before, step in itertools.pairwise(result.steps):
        if before.raters_left and not step.raters_left:
            thresholds = ", ".join(f"{name} {value}" for name, value in step.thresholds.items())
            reasons = [exclusion.reason for exclusion in step.exclusions if exclusion.rating is None]
            raise InputError(
                f"nobody is left: screening step {step.name} ({thresholds or 'no thresholds'}) excluded the last "
                f"{before.raters_left} of {counted(result.steps[0].raters_left, 'rater')}{_earlier(result, step.name)}, "
                f"the first because of '{reasons[0]}': does the step suit these ratings and their scale? --no-screening "
                "shows the table of all raters"
                if reasons
                else f"nobody is left: screening step {step.name} excluded the last ratings"
            )


def _earlier(result: ScreeningResult, last: str) -> str:
    """How many raters the steps before the last one excluded, as text."""
    counts = []
    for before, step in itertools.pairwise(result.steps):
        if step.name == last:
            break
        if before.raters_left > step.raters_left:
            counts.append(f"{step.name} {before.raters_left - step.raters_left}")
    return f" (before it: {', '.join(counts)})" if counts else ""


def _is_like(value: Any, default: Any) -> bool:
    if isinstance(default, str):
        return isinstance(value, str)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > 1e9 or value != value:
        return False
    return isinstance(value, int) or isinstance(default, float) or value == int(value)


def _shown(value: Any) -> str:
    try:
        return repr(value)[:60]
    except (ValueError, RecursionError):  # a whole number of more than 4,300 digits
        return f"a long {type(value).__name__}"


def means(data: StudyData) -> dict[tuple[str, str], float]:
    """(question, system) -> mean of the ratings."""
    return {
        (question, system): float(
            np.mean([r.value for r in data.ratings if (r.question, r.system) == (question, system)])
        )
        for question in questions(data)
        for system, _ in systems(data.ratings, question)
    }
