"""Forget one rater: sessions, ratings, everything. Their places open again for others."""

from __future__ import annotations

import argparse

from .common import add_study, opened


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_study(parser)
    parser.add_argument(
        "rater", help="the receipt from the last page (the name in exports), a worker id or a personal code"
    )


def run(arguments: argparse.Namespace) -> None:
    from musicgen.errors import InputError

    from ..sessions import raters

    with opened(arguments) as (_, database):
        with database.write() as connection:
            gone = raters.delete_rater(connection, database, arguments.rater)
        if not gone:
            raise InputError(f"no rater {arguments.rater!r}: a receipt has 16 hexadecimal digits")
        print("deleted; results that were written before still hold these ratings: analyse again")
