"""Reading text files written by people and other programs: encodings, JSON Lines, tables."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from musicgen.errors import InputError

MOST_BYTES = 1 << 29
"""What a file that is read as a whole may hold, and a packed one unpack to: ten megabytes of gzip can hold ten gigabytes, and a
file with holes any number on no disk at all."""
_GZIP = b"\x1f\x8b"
_DELIMITERS = ",;\t"
"""A comma, first choice; what spreadsheets write where the comma is in numbers; a tab."""


def contents(path: Path) -> bytes:
    """What a file holds that is read as a whole.

    Raises:
        InputError: it holds more than MOST_BYTES.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        # The size first: reading would take the memory. A device or a pipe has none.
        if os.fstat(file.fileno()).st_size > MOST_BYTES or len(data := file.read(MOST_BYTES + 1)) > MOST_BYTES:
            raise InputError(f"{path}: holds more than {MOST_BYTES / 1e6:.0f} MB: is it the right file?")
    return data


def read(path: Path) -> str:
    """The text of a file: UTF-8, with a byte order mark or without, or UTF-16 with one; gzip is unpacked.

    Never the locale's encoding: a file means the same on every machine.

    Raises:
        InputError: it cannot be read, holds or unpacks to more than MOST_BYTES, or is in another encoding.
    """
    try:
        data = contents(path)
        if data.startswith(_GZIP):
            with gzip.open(io.BytesIO(data)) as packed:
                data = packed.read(MOST_BYTES + 1)
            if len(data) > MOST_BYTES:
                raise InputError(f"{path}: unpacks to more than {MOST_BYTES / 1e6:.0f} MB: is it a list of clips?")
    except InputError:
        raise
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        shown = data[max(0, error.start - 10) : error.end + 10]
        raise InputError(
            f"{path}: no UTF-8 text at byte {error.start} ({shown!r}): save it as UTF-8 in an editor"
        ) from error


def json_value(path: Path) -> Any:
    """The contents of a JSON file. Raises InputError as `read`, and for invalid JSON."""
    return parsed(read(path), str(path))


def lines(path: Path) -> Iterator[tuple[str, str]]:
    """The lines of a file that are not blank, each with the place that an error names.

    A line ends with a newline alone: str.splitlines would also end it at U+2028 or U+0085, which JSON allows inside a text.

    Raises:
        InputError: as `read`.
    """
    for number, line in enumerate(read(path).split("\n"), 1):
        if line.strip():
            yield f"{path}:{number}", line


def json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    """The values of a file with one of JSON a line, each with the place that an error names.

    Raises:
        InputError: as `read`, and for a line that is no JSON.
    """
    for where, line in lines(path):
        yield where, parsed(line, where)


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file by its header; cells that a row lacks are empty, cells without a column are dropped.

    Raises:
        InputError: as `read`, and for what is no table.
    """
    return [cells for _, cells, _ in rows(path)]


def rows(path: Path) -> Iterator[tuple[str, dict[str, str], list[str]]]:
    """The rows of a CSV file as `table`, each with the place that an error names and the cells that have no column."""
    text = read(path)
    first = text.split("\n", 1)[0]
    reader = csv.DictReader(
        io.StringIO(text, newline=""), delimiter=max(_DELIMITERS, key=first.count), restkey="", restval=""
    )
    try:
        for row in reader:
            cells = {name.strip(): cell for name, cell in row.items() if name}
            yield f"{path}:{reader.line_num}", cells, list(row.get("") or [])
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: not a table ({error})") from error


def parsed(text: str, where: str) -> Any:
    """A value of JSON; `where` begins the error's line."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON ({error})") from error
