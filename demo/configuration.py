"""What the operator decides at start, by flags or environment: `--max-duration 60` is MUSICGEN_DEMO_MAX_DURATION=60.

Gradio's own environment works too: GRADIO_SERVER_NAME, GRADIO_SERVER_PORT, GRADIO_ROOT_PATH and their kin.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import deploy

PREFIX = "MUSICGEN_DEMO_"
OFF = ("", "0", "false")
"""Values of a variable that switch a flag off."""


@dataclass(frozen=True)
class Limits:
    """What one visitor may ask for, and all of them together."""

    max_duration: float = 300.0
    """Seconds of one clip."""
    max_prompt: int = 2_000
    """Characters of a description."""
    max_variations: int = 4
    max_sections: int = 20
    """Lines of a timeline."""
    queue: int = 32
    """Clips that may wait; a further one is refused."""
    per_visitor: int = 2
    """Clips of one visitor that may wait or be made at a time."""
    upload_mb: int = 50
    """Megabytes of one file."""
    keep_hours: float = 6.0
    """How long clips and uploads stay on the disk."""
    history: int = 30
    """Clips that a visit remembers."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not math.isfinite(value) or value <= 0:
                raise ValueError(f"{name} is {value}: it must be above 0")


@dataclass(frozen=True)
class Configuration:
    """The whole of it. models: names or patterns that are offered, all when empty; folder: with models of the operator's."""

    limits: Limits = Limits()
    models: tuple[str, ...] = ()
    folder: Path | None = None
    device: str = "auto"
    workers: int = 4
    """Clips made at the same time, in one batch for each model."""
    loaded: int = 3
    """Models kept in memory at most."""
    auth: tuple[str, str] | None = None
    share: bool = False
    mcp: bool = False
    temporary: Path | None = None
    """The folder in which the service makes its private one; the system's for temporary files when None."""
    open: bool | None = None
    """Whether to open the page in a browser; None: where there is a desktop."""
    deploy: str = ""
    """OWNER/NAME of a Space to upload the demo to, instead of serving it here."""
    hardware: str | None = None
    """What that Space runs on; None leaves it as it is."""


def read(arguments: Sequence[str], environment: Mapping[str, str]) -> Configuration:
    """From the command line, and where that says nothing from the environment. Ends the program on a bad value."""
    parser = argparse.ArgumentParser(prog="app.py", description="The demo page.")
    add_arguments(parser, environment)
    return checked(parser.parse_args(arguments))


def add_arguments(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """The flags, with what the environment says as their defaults."""
    limits, standard = Limits(), Configuration()
    parser.epilog = f"Each flag is an environment variable too: {PREFIX}QUEUE=8."
    parser.set_defaults(refuse=parser.error)

    def flag(name: str, kind: Any, default: Any, text: str) -> None:
        variable = PREFIX + name.upper().replace("-", "_")
        parser.add_argument(f"--{name}", type=kind, default=environment.get(variable, default), help=text)

    flag("max-duration", float, limits.max_duration, "seconds of one clip (%(default)s)")
    flag("max-variations", int, limits.max_variations, "variations of one request (%(default)s)")
    flag("queue", int, limits.queue, "clips that may wait (%(default)s)")
    flag("per-visitor", int, limits.per_visitor, "clips of one visitor at a time, waiting ones included (%(default)s)")
    flag("upload-mb", int, limits.upload_mb, "megabytes of one uploaded file (%(default)s)")
    flag("keep-hours", float, limits.keep_hours, "how long clips and uploads are kept (%(default)s)")
    flag("models", str, "", "names or patterns of the models offered, with commas between: 'mini*,facebook/*small'")
    flag("folder", Path, None, "a folder that holds further models, each in a folder of its own")
    flag("device", str, standard.device, "cpu, cuda or mps (%(default)s)")
    flag("workers", int, standard.workers, "clips made at the same time (%(default)s)")
    flag("loaded", int, standard.loaded, "models kept in memory (%(default)s)")
    flag("auth", str, "", "USER:PASSWORD that visitors must give")
    flag("temporary", Path, None, "a folder for temporary files, clips and uploads included (the system's)")
    for name, text in (("share", "a public address through Gradio's tunnel"), ("mcp", "serve the API to MCP clients")):
        default = environment.get(PREFIX + name.upper(), "") not in OFF
        parser.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, default=default, help=text)
    chosen = environment.get(PREFIX + "OPEN")
    parser.add_argument(
        "--open", action=argparse.BooleanOptionalAction, default=None if chosen is None else chosen not in OFF,
        help="open the page in a browser (without the flag: where there is a desktop)",
    )  # fmt: skip
    deploy.add_arguments(parser)


def checked(given: argparse.Namespace) -> Configuration:
    """The flags' values as a configuration. Ends the program on a bad one."""
    user, colon, password = given.auth.partition(":")
    if given.auth and not (user and colon and password):
        given.refuse("--auth is USER:PASSWORD")
    for name in ("folder", "temporary"):
        path = getattr(given, name)
        if path is not None and not path.is_dir():
            given.refuse(f"--{name} {path}: no such folder")
    if given.temporary is not None and not os.access(given.temporary, os.W_OK):
        given.refuse(f"--temporary {given.temporary}: nothing can be written there")
    if given.hardware is not None and not given.deploy:
        given.refuse("--hardware is for --deploy OWNER/NAME")
    if given.workers < 1 or given.loaded < 1:
        given.refuse("--workers and --loaded must be 1 or more")
    try:
        limits = Limits(
            max_duration=given.max_duration,
            max_variations=given.max_variations,
            queue=given.queue,
            per_visitor=given.per_visitor,
            upload_mb=given.upload_mb,
            keep_hours=given.keep_hours,
        )
    except ValueError as error:
        given.refuse(str(error))
    return Configuration(
        limits=limits,
        models=tuple(name.strip() for name in given.models.split(",") if name.strip()),
        folder=given.folder,
        device=given.device,
        workers=given.workers,
        loaded=given.loaded,
        auth=(user, password) if given.auth else None,
        share=given.share,
        mcp=given.mcp,
        temporary=given.temporary,
        open=given.open,
        deploy=given.deploy,
        hardware=given.hardware,
    )
