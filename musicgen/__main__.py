"""python -m musicgen COMMAND. Exit codes: `commandline`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import musicgen
from musicgen import commandline, extras, plugins

COMMANDS = {
    "generate": "make music from descriptions",
    "repaint": "regenerate a span of a clip",
    "daw": "write stems, melody, tempo and key of a clip as a ZIP for a DAW",
    "inspect": "show the provenance of audio files",
    "models": "list the models that can be loaded, and which are on this machine",
    "train": "train a model or an audio tokeniser from a recipe",
    "export": "write a model as a folder in the transformers or the audiocraft layout",
    "demo": "serve the demo page for the browser",
    "serve": "serve the HTTP API, on one machine or a cluster",
}
EXTRAS = {"train": "training", "demo": "demo", "serve": "serve"}
"""Command -> the extra that installs its additional packages."""
PLUGGABLE = ("generate", "repaint", "train", "export")
"""Commands that load a model, and so take plug-ins."""

NEGATIVE = ("--span",)
"""Options whose value may begin with a minus sign, which argparse takes for an option's name."""


@commandline.entry()
def main(arguments: Sequence[str] | None = None) -> int | None:
    parser = commandline.Parser(
        prog=commandline.program("musicgen", "musicgen"), description="Music from a description, a melody, or both."
    )
    parser.add_argument("--version", action="version", version=musicgen.__version__)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = importlib.import_module(f"musicgen.commands.{name}")
        subparser = subparsers.add_parser(name, help=summary, description=command.__doc__, conflict_handler="resolve")
        command.add_arguments(subparser)
        if name in PLUGGABLE:
            plugins.add_argument(subparser, "conditioners, tokenisers or back ends")
        subparser.set_defaults(run=command.run)
    options, rest = parser.parse_known_args(commandline.joined(arguments, NEGATIVE))
    # argparse takes a list of positional arguments in one piece only; `train` has them before and behind its options.
    if any(argument.startswith("-") or "=" not in argument or "overrides" not in options for argument in rest):
        parser.error(f"unknown arguments: {' '.join(rest)}")
    if rest:
        options.overrides += rest
    plugins.load_plugins(getattr(options, "plugin", []))
    if options.command not in EXTRAS:
        return options.run(options)
    with extras.needed(EXTRAS[options.command], f"musicgen {options.command}"):
        return options.run(options)


if __name__ == "__main__":
    sys.exit(main())
