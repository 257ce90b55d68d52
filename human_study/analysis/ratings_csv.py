"""Ratings as CSV files, read and written."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from musicgen.errors import InputError
from musicgen.table_text import NUMBER, plain_cell, write_csv

from .ratings import ROLES, Rating, StudyData, parse_scale

MAX_BYTES = 256 * 2**20
MAX_CELL = 100_000
"""Characters of a cell."""


def to_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Write mappings as CSV, see `musicgen.table_text.write_csv`.

    Args:
        rows: of the same columns.
        columns: their names; None for those of the first row.
    """
    names = list(columns) if columns is not None else list(rows[0]) if rows else []
    return write_csv(names, ([row[name] for name in names] for row in rows)) if names else ""


COLUMNS = (*Rating.__dataclass_fields__, "scale")
"""Of `rows_of`."""


def rows_of(data: StudyData) -> list[dict[str, Any]]:
    """Ratings as rows that `read_csv` reads back, each with the declared scale of its question."""
    scales = {question: f"{low:g}:{high:g}" for question, (low, high) in data.scales.items()}
    return [
        {name: getattr(r, name) for name in Rating.__dataclass_fields__} | {"scale": scales.get(r.question)}
        for r in data.ratings
    ]


def read_csv(path: str | Path) -> StudyData:
    """Read ratings from CSV.

    Args:
        path: a file with the columns rater, item, system, value; optional: question, role, heard, seconds, position, column,
            scale (such as 1:5; one for each question).

    Raises:
        InputError: the file is missing or empty, a cell is not allowed, or a rater has rated a clip twice.
    """
    path = Path(path)
    out = []
    scales: dict[str, tuple[float, float]] = {}
    seen: dict[tuple[str, ...], int] = {}
    for number, row in read_rows(path):
        where = f"{path}:{number}"
        lacking = [name for name in ("rater", "item", "system", "value") if not row.get(name)]
        if lacking:
            raise InputError(f"{where}: no {', '.join(lacking)}: columns rater, item, system and value are needed")
        for name in ("question", "role"):
            # A column that is missing has one meaning for the whole file; a cell that is empty is a mistake in a row.
            if row.get(name) == "":
                raise InputError(f"{where}: {name} is empty: fill the cell in, or leave the whole column out")
        role = row["role"] if "role" in row else guess_role(row["system"])
        if role not in ROLES:
            raise InputError(f"{where}: role is {role[:20]!r}: one of {', '.join(ROLES)}")
        question = row.get("question", "OVL")
        key = (row["rater"], question, row["item"], row["system"])
        if key in seen:
            raise InputError(
                f"{where}: rater {key[0][:40]} has rated {key[3][:40]} of item {key[2][:40]} in line {seen[key]} (question "
                f"{key[1][:40]}): two people under one name, or one who rated twice? Give each a name of their own in the "
                "column rater, or keep one of the two lines"
            )
        seen[key] = number
        if row.get("scale"):
            scale = _scale(row["scale"], where)
            if scales.setdefault(question, scale) != scale:
                raise InputError(
                    f"{where}: scale is {row['scale']}, and rows before it have another for question {question}"
                )
        out.append(
            Rating(
                rater=row["rater"],
                question=question,
                item=row["item"],
                system=row["system"],
                role=role,
                value=number_in(row["value"], f"{where}: value"),
                heard=_optional(row, "heard", where, high=1),
                seconds=_optional(row, "seconds", where),
                position=_whole(row, "position", where),
                column=_whole(row, "column", where),
            )
        )
    if not out:
        raise InputError(f"{path}: contains no ratings")
    return StudyData(tuple(out), scales=scales)


def read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Read the rows of a CSV file (comma, semicolon or tab; UTF-8), without the apostrophes of `write_csv`.

    Args:
        path: the file.

    Returns:
        The number of each row's last line in the file, and column -> cell.

    Raises:
        InputError: the file is missing, is not UTF-8 or no CSV, or a row has more or fewer cells than the header.
    """
    try:
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: has more than {MAX_BYTES} bytes: is it a file of ratings?")
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8: save it as CSV UTF-8") from error
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{str(path)[:200]!r}: cannot be read: {error}") from error
    if "\0" in text:
        raise InputError(f"{path}: holds zero bytes: is it a CSV file?")
    first = text.splitlines()[0] if text.strip() else ""
    delimiter = max(",;\t", key=first.count)
    out = []
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        header = [plain_cell(name).strip() for name in next(lines, [])]
        twice = [name for name in header if name and header.count(name) > 1]
        if twice:
            raise InputError(f"{path}: the column {twice[0][:40]!r} is there twice")
        for row in lines:
            if not row:
                continue
            if len(row) != len(header):
                raise InputError(
                    f"{path}:{lines.line_num}: has {len(row)} cells, and the header has {len(header)} columns: is a cell with "
                    f"a {delimiter!r} in it without quotation marks?"
                )
            if max(map(len, row)) > MAX_CELL:
                raise InputError(f"{path}:{lines.line_num}: a cell has more than {MAX_CELL} characters")
            out.append((lines.line_num, dict(zip(header, map(plain_cell, row), strict=True))))
    except csv.Error as error:
        raise InputError(f"{path}:{lines.line_num}: is not CSV: {error}") from error
    return out


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
    if text.strip().lower() in {"nan", "inf", "-inf", "+inf", "infinity", "-infinity"}:
        raise InputError(f"{what} is {text[:20]}: a finite number is needed")
    # `float` would take 1_000 and the digits of all scripts.
    if not NUMBER.fullmatch(text.strip()):
        raise InputError(f"{what} is {text[:20]!r}: not a number")
    number = float(text)
    if not math.isfinite(number):
        raise InputError(f"{what} is {text[:20]}: a finite number is needed")
    return number


def _scale(text: str, where: str) -> tuple[float, float]:
    try:
        return parse_scale(text)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _optional(row: Mapping[str, str], name: str, where: str, high: float = 1e9) -> float | None:
    if not row.get(name):
        return None
    number = number_in(row[name], f"{where}: {name}")
    if not 0 <= number <= high:
        raise InputError(f"{where}: {name} is {row[name][:20]}: from 0 to {high:g}")
    return number


def _whole(row: Mapping[str, str], name: str, where: str) -> int | None:
    number = _optional(row, name, where)
    if number is not None and number != int(number):
        raise InputError(f"{where}: {name} is {row[name][:20]}: a whole number is needed")
    return None if number is None else int(number)
