"""Convert ratings from another program to the CSV that `analyse` reads."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..analysis.imports import FORMATS
from .common import write_private


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="CSV with the columns of `export`, or webMUSHRA's mushra.csv")
    parser.add_argument("--format", choices=FORMATS, default="csv")
    parser.add_argument(
        "--rater-column",
        metavar="COLUMN",
        help="the column that tells raters apart (default: session_uuid of webMUSHRA)",
    )
    parser.add_argument("--output", "--out", type=Path, metavar="FILE", required=True, help="CSV file to write")


def run(arguments: argparse.Namespace) -> None:
    from musicgen.errors import InputError

    from ..analysis import imports, ratings_csv

    data = imports.read(arguments.file, arguments.format, arguments.rater_column)
    if not data.ratings:
        raise InputError(f"{arguments.file}: contains preferences and no ratings: only ratings can be converted")
    write_private(arguments.output, ratings_csv.to_csv(ratings_csv.rows_of(data)))
    print(f"{arguments.output}: {len(data.ratings)} ratings by {len(data.raters)} raters")
    apart = imports.told_apart_by(arguments.file, arguments.format, arguments.rater_column)
    print(f"raters are told apart by {apart}")
