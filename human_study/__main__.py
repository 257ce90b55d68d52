"""python -m human_study COMMAND. Exit codes: `musicgen.commandline`."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator, Sequence

from musicgen import commandline, extras
from musicgen.errors import InputError

COMMANDS = {
    "build": "build a study folder from STUDY.yaml and samples folders",
    "serve": "serve a study to raters",
    "example": "build and serve the example study",
    "invite": "make personal invitation links",
    "screen": "exclude raters who fail the screening, and assign their pages again",
    "analyse": "tables, confidence intervals, tests and a report",
    "export": "write the raw tables as CSV",
    "import": "convert ratings from another program to CSV",
    "import-config": "make STUDY.yaml and samples folders from a configuration of webMUSHRA",
    "power": "how many raters detect a difference of d points",
    "prolific": "create, publish, pause or show the study on Prolific",
    "delete-rater": "delete one rater with all ratings",
    "load": "load test of a running study on this machine with simulated raters",
}


@commandline.entry()
def main(arguments: Sequence[str] | None = None) -> int | None:
    with extras.needed("study", "a listening study"), _private_files():
        options = _parser().parse_args(arguments)
        try:
            return options.run(options)
        except OSError as error:
            # Files that cannot be read or written, and places that are full: what the caller can mend.
            if error.strerror is None:
                raise
            where = f"{error.filename}: " if error.filename is not None else ""
            raise InputError(f"{where}{error.strerror}") from error


@contextlib.contextmanager
def _private_files() -> Iterator[None]:
    """Output files contain ratings, pseudonyms and worker ids, so only the user may read them, whatever the umask."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def _parser() -> commandline.Parser:
    parser = commandline.Parser(
        prog=commandline.program("musicgen-study", str(__package__)),
        description="Listening studies, from clips to tables.",
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
