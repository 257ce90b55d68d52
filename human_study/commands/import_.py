"""Turn ratings from another program into our CSV, which `analyse` reads."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..analysis.imports import FORMATS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="ratings: our columns, or webMUSHRA's mushra.csv")
    parser.add_argument("--format", choices=FORMATS, default="csv")
    parser.add_argument("--out", type=Path, required=True, help="the CSV to write")


def run(arguments: argparse.Namespace) -> None:
    from musicgen.errors import InputError

    from ..analysis import imports, ratings_csv

    data = imports.read(arguments.file, arguments.format)
    if not data.ratings:
        raise InputError(f"{arguments.file}: holds preferences and no ratings: they have no CSV of ours")
    arguments.out.write_text(ratings_csv.to_csv(ratings_csv.rows_of(data.ratings)), encoding="utf-8", newline="")
    print(f"{arguments.out}: {len(data.ratings)} ratings by {len(data.raters)} raters")
