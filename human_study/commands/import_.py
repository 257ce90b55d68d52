"""Convert ratings from another program to the CSV that `analyse` reads."""

from __future__ import annotations

import argparse
from pathlib import Path

from musicgen.errors import one_line
from musicgen.text_format import counted

from ..analysis.import_formats import FORMATS
from .common import write_private


def add_arguments(parser: argparse.ArgumentParser) -> None:
    help_text = "CSV with the columns of `export`, webMUSHRA's mushra.csv, or pyMUSHRA's db.json"
    parser.add_argument("file", type=Path, help=help_text)
    parser.add_argument("--format", choices=FORMATS, default="csv")
    parser.add_argument(
        "--rater-column",
        metavar="COLUMN",
        help="the column, or pyMUSHRA's field of the questionnaire, that tells raters apart (default: session_uuid, or uuid)",
    )
    parser.add_argument("--test", metavar="ID", help="the test, where a database of pyMUSHRA holds several")
    parser.add_argument("--output", "--out", type=Path, metavar="FILE", required=True, help="CSV file to write")


def run(arguments: argparse.Namespace) -> None:
    from musicgen.errors import InputError

    from ..analysis import import_formats, ratings_csv

    imported = import_formats.read(arguments.file, arguments.format, arguments.rater_column, arguments.test)
    data = imported.data
    if not data.ratings:
        raise InputError(
            f"{arguments.file}: contains {len(data.preferences)} preferences and no ratings: only ratings can be converted"
        )
    write_private(arguments.output, ratings_csv.to_csv(ratings_csv.rows_of(data), ratings_csv.COLUMNS))
    people = len({r.rater for r in data.ratings})
    print(f"{arguments.output}: {counted(len(data.ratings), 'rating')} by {counted(people, 'rater')}")
    print(one_line(f"raters are told apart by {imported.told_apart_by}"))
    preferences = [f"{len(data.preferences)} preferences of paired comparisons"] if data.preferences else []
    for line in (*imported.left_out, *preferences):
        print(one_line(f"left out: {line}"))
