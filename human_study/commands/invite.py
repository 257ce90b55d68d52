"""Create personal invitation links. A link is for one person, who can also continue with it on another machine."""

from __future__ import annotations

import argparse

from .common import add_study, opened, public_url, whole_number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_study(parser)
    parser.add_argument("--count", type=whole_number(1, 100_000), default=1)
    parser.add_argument("--label", default="", help="a note on the recipients, such as the mailing list")
    parser.add_argument("--public-url", default="http://127.0.0.1:8600", metavar="URL")


def run(arguments: argparse.Namespace) -> None:
    from musicgen.options import check_text

    from ..sessions import raters

    address = public_url(arguments.public_url)
    check_text("--label", arguments.label)
    with opened(arguments) as (_, database):
        for _ in range(arguments.count):
            with database.write() as connection:
                code = raters.invite(connection, database, arguments.label)
            print(f"{address}/?code={code}")
