"""Screen the ratings so far: exclude raters who fail, and assign their pages to others. Prints rater, step and reason."""

from __future__ import annotations

import argparse

from musicgen.text_format import counted

from .common import add_study, opened


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_study(parser)


def run(arguments: argparse.Namespace) -> None:
    from ..analysis import interim_screening

    with opened(arguments) as (study, database):
        with database.write() as connection:
            excluded = interim_screening.screen(connection, database, study)
        for entry in excluded:
            print(f"{entry['rater']}  {entry['step']}: {entry['reason']}")
        again = "; their pages are assigned again" if excluded else ""
        print(f"{counted(len(excluded), 'rater')} excluded{again}")
