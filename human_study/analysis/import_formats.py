"""Importing ratings from other programs, and from CSV files of `ratings_csv`: one entry of FORMATS for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from musicgen.errors import InputError

from . import pymushra, webmushra
from .imported_ratings import ImportedRatings
from .ratings_csv import read_csv


def read(path: str | Path, form: str, rater_column: str | None = None, test: str | None = None) -> ImportedRatings:
    """Read a file of ratings.

    Args:
        path: the file.
        form: one of FORMATS.
        rater_column: what tells raters apart, where the format has nothing or not always something.
        test: name of the test, where a file holds several.

    Raises:
        InputError: the format is unknown, the file does not have it, or nothing in it tells raters apart.
    """
    if form not in FORMATS:
        raise InputError(f"format is {form!r}: one of {', '.join(FORMATS)}")
    if test is not None and form != "pymushra":
        raise InputError(f"--test is {test[:40]!r}: a file of the format {form} holds one test")
    return FORMATS[form](Path(path), rater_column, test)


def _csv(path: Path, rater_column: str | None, _test: str | None) -> ImportedRatings:
    if rater_column is not None:
        raise InputError(f"--rater-column is {rater_column[:40]!r}: the format csv has the column rater")
    return ImportedRatings(read_csv(path), "the column rater")


def _webmushra(path: Path, rater_column: str | None, _test: str | None) -> ImportedRatings:
    return webmushra.read(path, rater_column)


FORMATS: Mapping[str, Callable[[Path, str | None, str | None], ImportedRatings]] = {
    "csv": _csv,
    "webmushra": _webmushra,
    "pymushra": pymushra.read,
}
"""Format -> its reader."""
