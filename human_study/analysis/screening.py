"""Who is left out, and why: the paper's rules, CrowdMOS's, and those of ITU-R BS.1534-3.

A protocol is a list of named steps, each a pure function from data and thresholds to exclusions. They run in order, each
on what the ones before left; every exclusion says who, which step and why, and the means are noted after every step.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from musicgen.errors import InputError

from .ratings import StudyData, questions, systems
from .screening_rules import RULES, Exclusion

DEFAULT_PROTOCOL: tuple[Mapping[str, Any], ...] = (
    {"step": "attention"},
    {"step": "full_listening"},
    {"step": "hidden_reference"},
    {"step": "crowdmos_correlation"},
    {"step": "crowdmos_outliers"},
)
"""What a study that says nothing else does: the paper's section 3.3, with the checks of our own pages before it."""


@dataclass(frozen=True)
class ScreeningStep:
    """What one step did. means: (question, system) -> mean after it."""

    name: str
    thresholds: Mapping[str, Any]
    exclusions: tuple[Exclusion, ...]
    raters_left: int
    ratings_left: int
    means: Mapping[tuple[str, str], float]


@dataclass(frozen=True)
class ScreeningResult:
    """The data that are left, and how they became so. The first step is "all": the data as they came."""

    data: StudyData
    steps: tuple[ScreeningStep, ...]

    @property
    def exclusions(self) -> list[Exclusion]:
        """Every exclusion in order."""
        return [exclusion for step in self.steps for exclusion in step.exclusions]


def screen(data: StudyData, protocol: Sequence[Mapping[str, Any]] | None = None) -> ScreeningResult:
    """Run a protocol; raters taken out by hand go first. Thresholds that a step does not name are its defaults."""
    steps = [ScreeningStep("all", {}, (), len(data.raters), len(data.ratings), means(data))]
    for entry in ({"step": "marked"}, *(DEFAULT_PROTOCOL if protocol is None else protocol)):
        name, thresholds = check_step(entry)
        exclusions = tuple(RULES[name](data, **thresholds))
        raters = {exclusion.rater for exclusion in exclusions if exclusion.rating is None}
        data = data.without(raters, [e.rating for e in exclusions if e.rating is not None])
        steps.append(ScreeningStep(name, thresholds, exclusions, len(data.raters), len(data.ratings), means(data)))
    return ScreeningResult(data, tuple(steps))


def check_step(entry: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The name of a step and all of its thresholds."""
    name = entry.get("step") if isinstance(entry, Mapping) else None
    if not isinstance(name, str) or name not in RULES:
        close = difflib.get_close_matches(str(name), RULES, 1)
        hint = f"did you mean {close[0]}?" if close else f"one of {', '.join(RULES)}"
        raise InputError(f"screening has no step {name!r}: {hint}")
    parameters = inspect.signature(RULES[name]).parameters
    defaults = {key: p.default for key, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    given = {key: value for key, value in entry.items() if key != "step"}
    for key, value in given.items():
        if key not in defaults:
            raise InputError(f"screening step {name} has no threshold {key!r}: {', '.join(defaults) or 'it has none'}")
        if isinstance(value, str) != isinstance(defaults[key], str) or isinstance(value, bool):
            raise InputError(f"screening step {name}: {key} is {value!r}: expected something like {defaults[key]!r}")
    return name, defaults | given


def means(data: StudyData) -> dict[tuple[str, str], float]:
    """(question, system) -> mean of the ratings."""
    return {
        (question, system): float(
            np.mean([r.value for r in data.ratings if (r.question, r.system) == (question, system)])
        )
        for question in questions(data)
        for system, _ in systems(data.ratings, question)
    }
