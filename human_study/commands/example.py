"""Build the example study, with clips of the embedded models, and serve it."""

from __future__ import annotations

import argparse
from pathlib import Path

from musicgen import signals
from musicgen.text_format import counted

from .common import whole_number

STUDY = Path(__file__).parent.parent / "example" / "STUDY.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, nargs="?", default=Path("outputs/example-study"))
    parser.add_argument("--port", type=whole_number(1, 65535), default=8600)
    parser.add_argument("--open", action="store_true", help="open the study in a browser")
    parser.add_argument("--build-only", action="store_true", help="build the study without serving it")


def run(arguments: argparse.Namespace) -> None:
    from ..design import manifest, prepare, study_settings
    from .serve import serve

    signals.interrupt_on_termination()
    built = arguments.folder / "study"
    if not (built / manifest.FILE).is_file():
        study = prepare.build(study_settings.read(STUDY), built)
        print(f"{built}: {counted(len(study.clips), 'clip')}, {study.target_lufs:.2f} LUFS")
    if arguments.build_only:
        return
    serve(built, None, "127.0.0.1", arguments.port, None, open_browser=arguments.open)
