"""Delete a rater with their sessions and ratings. Their pages are assigned to others."""

from __future__ import annotations

import argparse

from .common import add_study, opened


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_study(parser)
    parser.add_argument(
        "rater", help="receipt from the last page (the pseudonym in exports), worker id or invitation code"
    )


def run(arguments: argparse.Namespace) -> None:
    from musicgen.errors import InputError

    from ..sessions import raters

    with opened(arguments) as (_, database):
        with database.write() as connection:
            gone = raters.delete_rater(connection, database, arguments.rater)
        if not gone:
            raise InputError(f"no rater {arguments.rater!r}: a receipt has 16 hexadecimal digits")
        print("deleted; reports written earlier still contain these ratings: run analyse again")
