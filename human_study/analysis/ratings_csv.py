"""Ratings as CSV files, read and written."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from musicgen.errors import InputError

from .ratings import ROLES, Rating, StudyData

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""First characters that make a spreadsheet evaluate a cell (OWASP, "CSV injection")."""


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write rows as CSV; text that a spreadsheet would evaluate as a formula gets an apostrophe in front.

    Args:
        rows: of the same columns.
    """
    out = io.StringIO()
    if rows:
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\r\n")
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return out.getvalue()


def rows_of(ratings: Iterable[Rating]) -> list[dict[str, Any]]:
    """Ratings as rows that `read_csv` reads back."""
    return [{name: getattr(r, name) for name in Rating.__dataclass_fields__} for r in ratings]


def read_csv(path: str | Path) -> StudyData:
    """Read ratings from CSV.

    Args:
        path: a file with the columns rater, item, system, value; optional: question, role, heard, seconds, position, column.

    Raises:
        InputError: the file is missing or empty, or a cell is not allowed.
    """
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
        raise InputError(f"{path}: contains no ratings")
    return StudyData(tuple(out))


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read the rows of a CSV file (comma, semicolon or tab; UTF-8), without the apostrophes of `to_csv`.

    Raises:
        InputError: the file is missing, or is not UTF-8.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8: save it as CSV UTF-8") from error
    first = text.splitlines()[0] if text.strip() else ""
    delimiter = max(",;\t", key=first.count)
    rows = csv.DictReader(io.StringIO(text), delimiter=delimiter)
    return [
        {name: _plain(value) for name, value in row.items() if name is not None and value is not None} for row in rows
    ]


def guess_role(system: str) -> str:
    """Role of a system by its name: "reference", "anchor" or "system"."""
    lower = system.lower()
    return (
        "reference"
        if lower in {"reference", "hidden reference"}
        else "anchor"
        if lower.startswith("anchor")
        else "system"
    )


def number_in(text: str, what: str) -> float:
    """A finite number in a cell.

    Args:
        text: the cell.
        what: start of the error message.

    Raises:
        InputError: the cell holds no finite number.
    """
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
