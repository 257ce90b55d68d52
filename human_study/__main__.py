"""python -m human_study COMMAND. Exit codes: `musicgen.commandline`."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from musicgen import commandline, extras

COMMANDS = {
    "build": "build a study folder from STUDY.yaml and samples folders",
    "serve": "serve a study to raters",
    "example": "build and serve the example study",
    "invite": "make personal invitation links",
    "screen": "exclude raters who fail the screening, and assign their pages again",
    "analyse": "tables, confidence intervals, tests and a report",
    "export": "write the raw tables as CSV",
    "import": "convert ratings from another program to CSV",
    "power": "how many raters detect a difference of d points",
    "prolific": "create, publish, pause or show the study on Prolific",
    "delete-rater": "delete one rater with all ratings",
    "load": "load test of a running study on this machine with simulated raters",
}


@commandline.entry()
def main(arguments: Sequence[str] | None = None) -> int | None:
    with extras.needed("study", "a listening study"):
        options = _parser().parse_args(arguments)
        return options.run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m human_study", description="Listening studies, from clips to tables."
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        # "import" is a keyword, and a hyphen is none of a name's.
        module = {"import": "import_"}.get(name, name.replace("-", "_"))
        command = importlib.import_module(f"{__package__}.commands.{module}")
        subparser = subparsers.add_parser(name, help=summary, description=command.__doc__)
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
