"""Ratings as the analysis sees them: who gave which value to which clip. From the database, or from anybody's CSV.

Values are on the study's scale (1 to 100, or what an imported study used). Nothing here judges or excludes.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from musicgen.errors import InputError

ROLES = ("system", "reference", "anchor")
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""What makes a spreadsheet run a cell (OWASP, "CSV injection")."""

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
class Data:
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

    def without(self, raters: Collection[str], single: Collection[Rating] = ()) -> Data:
        """The same without some raters and some single ratings."""
        dropped = set(single)
        return Data(
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


def questions(data: Data) -> list[str]:
    """The questions of a study, in the paper's order where they are the paper's."""
    names = {r.question for r in data.ratings} | {p.question for p in data.preferences}
    order = ("OVL", "REL", "MEL")
    return sorted(names, key=lambda name: (order.index(name) if name in order else len(order), name))


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV. A text that a spreadsheet would run as a formula gets an apostrophe in front."""
    out = io.StringIO()
    if rows:
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\r\n")
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return out.getvalue()


def rows_of(ratings: Iterable[Rating]) -> list[dict[str, Any]]:
    """Ratings as rows of a table that `read_csv` reads back."""
    return [{name: getattr(r, name) for name in Rating.__dataclass_fields__} for r in ratings]


def read_csv(path: str | Path) -> Data:
    """Read ratings from CSV: columns rater, item, system, value; and where there are such, question, role, heard, seconds,
    position, column."""
    path = Path(path)
    out = []
    for number, row in enumerate(read_rows(path), 2):
        where = f"{path}:{number}"
        lacking = [name for name in ("rater", "item", "system", "value") if not row.get(name)]
        if lacking:
            raise InputError(f"{where}: no {', '.join(lacking)}: columns rater, item, system and value are needed")
        role = row.get("role") or guess_role(row["system"])
        if role not in ROLES:
            raise InputError(f"{where}: role is {role!r}: one of {', '.join(ROLES)}")
        out.append(
            Rating(
                rater=row["rater"],
                question=row.get("question") or "OVL",
                item=row["item"],
                system=row["system"],
                role=role,
                value=number_in(row["value"], f"{where}: value"),
                heard=number_in(row["heard"], f"{where}: heard") if row.get("heard") else None,
                seconds=number_in(row["seconds"], f"{where}: seconds") if row.get("seconds") else None,
                position=int(number_in(row["position"], f"{where}: position")) if row.get("position") else None,
                column=int(number_in(row["column"], f"{where}: column")) if row.get("column") else None,
            )
        )
    if not out:
        raise InputError(f"{path}: holds no ratings")
    return Data(tuple(out))


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, the apostrophes of `to_csv` taken off."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8: save it as CSV UTF-8") from error
    first = text.splitlines()[0] if text.strip() else ""
    delimiter = max(",;\t", key=first.count)
    rows = csv.DictReader(io.StringIO(text), delimiter=delimiter)
    return [
        {name: _plain(value) for name, value in row.items() if name is not None and value is not None} for row in rows
    ]


def guess_role(system: str) -> str:
    """reference and anchor… are what their names say; anything else is a system."""
    lower = system.lower()
    return (
        "reference"
        if lower in {"reference", "hidden reference"}
        else "anchor"
        if lower.startswith("anchor")
        else "system"
    )


def number_in(text: str, what: str) -> float:
    """A finite number from a cell."""
    try:
        number = float(text)
    except ValueError as error:
        raise InputError(f"{what} is {text[:20]!r}: not a number") from error
    if not math.isfinite(number):
        raise InputError(f"{what} is {text}: a finite number is needed")
    return number


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return "'" + value
    return "" if value is None else value


def _plain(text: str) -> str:
    return text[1:] if text[:1] == "'" and text[1:].startswith(FORMULA_STARTS) else text
