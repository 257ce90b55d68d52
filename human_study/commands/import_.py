"""Convert ratings from another program to the CSV that `analyse` reads."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..analysis.imports import FORMATS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="CSV with the columns of `export`, or webMUSHRA's mushra.csv")
    parser.add_argument("--format", choices=FORMATS, default="csv")
    parser.add_argument("--out", type=Path, required=True, help="CSV file to write")


def run(arguments: argparse.Namespace) -> None:
    from musicgen.errors import InputError

    from ..analysis import imports, ratings_csv

    data = imports.read(arguments.file, arguments.format)
    if not data.ratings:
        raise InputError(f"{arguments.file}: contains preferences and no ratings: only ratings can be converted")
    arguments.out.write_text(ratings_csv.to_csv(ratings_csv.rows_of(data.ratings)), encoding="utf-8", newline="")
    print(f"{arguments.out}: {len(data.ratings)} ratings by {len(data.raters)} raters")
