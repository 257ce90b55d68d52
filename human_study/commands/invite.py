"""Make personal invitation links. A link is for one person, who can continue with it on another machine."""

from __future__ import annotations

import argparse

from .common import add_study, opened


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_study(parser)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--label", default="", help="a note on the recipients, such as the mailing list")
    parser.add_argument("--public-url", default="http://127.0.0.1:8600", metavar="URL")


def run(arguments: argparse.Namespace) -> None:
    from ..sessions import raters

    with opened(arguments) as (_, database):
        for _ in range(arguments.count):
            with database.write() as connection:
                code = raters.invite(connection, database, arguments.label)
            print(f"{arguments.public_url.rstrip('/')}/?code={code}")
