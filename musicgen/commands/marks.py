"""`--watermark`, `--c2pa-certificate`, `--c2pa-key`: optional marks of generated clips, in addition to their tags."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from musicgen.errors import InputError

if TYPE_CHECKING:
    from musicgen.content_credentials import Signer

VARIABLES = {"certificate": "MUSICGEN_C2PA_CERTIFICATE", "key": "MUSICGEN_C2PA_KEY"}
"""Option -> the environment variable with the path of the file, if the option is not given."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to a command that writes clips."""
    parser.add_argument("--watermark", action=argparse.BooleanOptionalAction, help="add an inaudible watermark to the audio, "
                        "by AudioSeal")  # fmt: skip
    add_signer_arguments(parser)


def add_signer_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that name certificate and key."""
    for name, variable in VARIABLES.items():
        parser.add_argument(f"--c2pa-{name}", type=Path, metavar="FILE", help=f"sign clips with a C2PA manifest: the {name} in "
                            f"PEM (default: {variable})")  # fmt: skip


def signer(certificate: Path | None, key: Path | None, environment: Mapping[str, str] = os.environ) -> Signer | None:
    """What signs the clips, None where nothing does.

    Args:
        certificate, key: as of the options; the environment's where None.
        environment: the environment variables.

    Raises:
        InputError: one of them lacks the other, or `Signer.of_files` refuses them.
    """
    given = {"certificate": certificate, "key": key}
    paths = {name: path or environment.get(VARIABLES[name]) for name, path in given.items()}
    if not any(paths.values()):
        return None
    for name, path in paths.items():
        if not path:
            raise InputError(
                f"signing needs a certificate and its key: pass --c2pa-{name} too, or set {VARIABLES[name]}"
            )
    from musicgen.content_credentials import Signer

    return Signer.of_files(str(paths["certificate"]), str(paths["key"]))
