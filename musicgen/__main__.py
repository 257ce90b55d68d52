"""python -m musicgen COMMAND. Exit codes: 0 done, 2 something the caller can mend, 130 interrupted."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

import musicgen
from musicgen.errors import MusicGenError

COMMANDS = {
    "generate": "make music from descriptions",
    "models": "list the models that can be loaded, and what is on this machine",
    "train": "train a model or an audio tokeniser from a recipe",
    "export": "write a model as a folder in the transformers or the audiocraft layout",
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m musicgen", description="Music from a description, a melody, or both."
    )
    parser.add_argument("--version", action="version", version=musicgen.__version__)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = importlib.import_module(f"musicgen.commands.{name}")
        subparser = subparsers.add_parser(name, help=summary, description=command.__doc__, conflict_handler="resolve")
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run)
    options, rest = parser.parse_known_args(arguments)
    # argparse takes a list of positional arguments in one piece only; `train` has them before and behind its options.
    if any(argument.startswith("-") or "=" not in argument or "overrides" not in options for argument in rest):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.overrides += rest
    try:
        return int(options.run(options) or 0)
    except MusicGenError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
