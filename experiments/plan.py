"""Plans and scales: YAML files, validated by pydantic (unknown names are refused).

A plan, plans/NAME.yaml, is one table or figure of the paper:

    title, question, paper       the paper's finding, and its numbers
    steps                        factor on the scale's number of steps
    recipe                       fields that override the scale's recipe in all rows
    at.SCALE                     further fields to override at a scale
    references                   "through the tokeniser" (default) or "original" (references.py)
    rows.NAME.recipe             further fields to override: {shape.pattern: parallel}; with start.model the row continues
                                 training that model, in its shape
    rows.NAME.steps              factor on the plan's number of steps
    rows.NAME.trained_as         use the model of this row: only the test differs
    rows.NAME.melody             pass the reference as the melody in the test
    rows.NAME.mono               mix the clips down before scoring
    rows.NAME.tokenizer          train a tokeniser for the row: fields that differ from the recipe tokenizer/mini
    scale                        that the plan is meant for (default core)
    stereo                       the references have two channels
    reworded                     test on captions with another wording than the training captions (rewording.py)
    note, reading.SCALE          remarks on the table; interpretation of the results at a scale
    claims                       {better: ROW, than: ROW, metric: NAME, text: …}

A scale, scales/NAME.yaml, is the size of everything.
"""

from __future__ import annotations

from dataclasses import field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from musicgen import yaml_text
from musicgen.errors import InputError
from musicgen.training.schema import STRICT, Flag, NonNegativeInt, Number, PositiveInt, build

FOLDER = Path(__file__).parent
PLANS = FOLDER / "plans"
SCALES = FOLDER / "scales"

T = TypeVar("T")


@dataclass(frozen=True, config=STRICT)
class Row:
    """One line of the table."""

    recipe: dict[str, Any] = field(default_factory=dict)
    steps: Annotated[Number, Field(gt=0)] = 1.0
    trained_as: str = ""
    melody: Flag = False
    mono: Flag = False
    tokenizer: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, config=STRICT)
class Claim:
    """That the row `better` beats the row `than` by a metric.

    Attributes:
        metric: One of the plan's, or "exact N times": the share of examples planted N times that are continued exactly.
        denied: The paper found that there is no such difference.
    """

    text: str
    better: str
    than: str
    metric: str
    denied: Flag = False


@dataclass(frozen=True, config=STRICT)
class Planted:
    """Repeated training examples: `pieces` clips for each number of `times`, among `others` that occur once."""

    pieces: PositiveInt
    times: tuple[PositiveInt, ...]
    others: NonNegativeInt


@dataclass(frozen=True, config=STRICT)
class Plan:
    """One experiment. paper: row → column → the paper's number, as text; metrics: those shown, perplexity first."""

    title: str
    question: str
    rows: dict[str, Row]
    claims: tuple[Claim, ...]
    metrics: tuple[str, ...]
    paper: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    reading: dict[str, str] = field(default_factory=dict)
    steps: Annotated[Number, Field(gt=0)] = 1.0
    """Factor on the scale's number of steps."""
    recipe: dict[str, Any] = field(default_factory=dict)
    at: dict[str, dict[str, Any]] = field(default_factory=dict)
    references: Literal["through the tokeniser", "original"] = "through the tokeniser"
    stereo: Flag = False
    reworded: Flag = False
    scale: str = "core"
    """The scale that the report's command names while nothing is run: the one that the plan is meant for."""
    curves: Flag = False
    """Show the losses over steps too."""
    planted: Planted | None = None
    """Measure memorisation, on its own corpus, instead of the metrics."""


@dataclass(frozen=True, config=STRICT)
class Scale:
    """How large everything is. recipe: fields of the language model's recipe; corpus: pieces composed where no corpus is
    given, of `piece_seconds`; clips: held-out references generated against; batch: clips at once; seeds: runs of each row."""

    recipe: dict[str, Any]
    corpus: PositiveInt
    piece_seconds: tuple[Number, Number]
    clips: PositiveInt
    batch: PositiveInt
    seeds: PositiveInt
    clip_seconds: Number = 10.0
    tokenizer: dict[str, Any] = field(default_factory=dict)
    """Fields of tokenisers trained here that differ from the recipe tokenizer/mini."""
    planted: Planted | None = None
    """Instead of the plan's: fewer, for the tests."""
    note: str = ""
    name: str = ""
    """That of its file."""


def names() -> list[str]:
    """Names of the experiments."""
    return sorted(file.stem for file in PLANS.glob("*.yaml"))


def find(beginning: str) -> str:
    """The name of the one experiment whose name begins like this: "table-3" for table-3-stereo."""
    found = [beginning] if beginning in names() else [name for name in names() if name.startswith(beginning)]
    if len(found) != 1:
        which = ", ".join(found or names())
        raise InputError(
            f"{'several experiments begin with' if found else 'no experiment'} {beginning!r}: one of {which}"
        )
    return found[0]


def load(name: str) -> Plan:
    """An experiment by its name."""
    if name not in names():
        raise InputError(f"no experiment {name!r}: one of {', '.join(names())}")
    plan = _read(PLANS / f"{name}.yaml", Plan)
    for row in plan.rows.values():
        if row.trained_as and (row.trained_as not in plan.rows or row.recipe):
            raise InputError(f"{name}: trained_as names another row, and leaves no recipe of its own")
    for claim in plan.claims:
        unknown = {claim.better, claim.than} - set(plan.rows) | {claim.metric} - {
            *plan.metrics,
            *memorisation_metrics(plan),
        }
        if unknown:
            raise InputError(
                f"{name}: the claim {claim.text!r} names unknown rows or metrics: {', '.join(sorted(unknown))}"
            )
    if plan.scale not in scales():
        raise InputError(f"{name}: scale is {plan.scale!r}: one of {', '.join(scales())}")
    for section, given in (("at", plan.at), ("reading", plan.reading)):
        for unknown_scale in given.keys() - set(scales()):
            raise InputError(f"{name}: {section}.{unknown_scale} is not a scale: one of {', '.join(scales())}")
    return plan


def memorisation_metrics(plan: Plan) -> dict[str, str]:
    """Metrics of a plan with planted examples → how often those were planted."""
    return {f"exact {times} times": str(times) for times in (plan.planted.times if plan.planted else ())}


def scale(name: str) -> Scale:
    """A scale by its name."""
    if name not in scales():
        raise InputError(f"no scale {name!r}: one of {', '.join(scales())}")
    return replace(_read(SCALES / f"{name}.yaml", Scale), name=name)


def scales() -> list[str]:
    """Names of the scales."""
    return sorted(file.stem for file in SCALES.glob("*.yaml"))


def _read(file: Path, kind: type[T]) -> T:
    return build(kind, yaml_text.parse(file.read_text(encoding="utf-8")), file.stem)
