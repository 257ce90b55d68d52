"""Convert a configuration of webMUSHRA to STUDY.yaml and samples folders. Prints settings that have no equivalent, or only a
similar one."""

from __future__ import annotations

import argparse
from pathlib import Path

from musicgen.errors import one_line
from musicgen.text_format import counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="webMUSHRA's YAML file")
    parser.add_argument(
        "--root",
        type=Path,
        metavar="FOLDER",
        help="webMUSHRA's folder, to which the paths of the clips are relative (default: the one above FILE's)",
    )
    parser.add_argument("--output", "--out", type=Path, metavar="FOLDER", required=True, help="folder to make")


def run(arguments: argparse.Namespace) -> None:
    from ..design.webmushra import configuration, conversion, plan

    made = plan.make(configuration.read(arguments.file))
    root = arguments.root if arguments.root is not None else arguments.file.resolve().parent.parent
    files = conversion.write(made, root, arguments.output)
    for study, file in zip(made.studies, files, strict=True):
        systems = len(next(iter(study.items.values())))
        print(
            f"{file}: {counted(len(study.items), 'item')} of {counted(systems, 'system')}, as {study.question['method']}"
        )
    print("without a counterpart, or with another one:")
    for note in made.notes:
        print(one_line(f"- {note}"))
