"""The operator's configuration, from flags or environment variables: `--max-duration 60` is MUSICGEN_DEMO_MAX_DURATION=60.

Gradio's own variables have effect too: GRADIO_SERVER_NAME, GRADIO_SERVER_PORT, GRADIO_ROOT_PATH and others.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from musicgen import commandline
from musicgen.serving.limits import Limits, check_positive

from . import deploy

PREFIX = "MUSICGEN_DEMO_"
FALSE_VALUES = ("", "0", "false")
"""Values of an environment variable that switch a flag off."""


@dataclass(frozen=True)
class TrainingLimits:
    """Limits for the training of adapters."""

    clips: int = 50
    """Of one training."""
    audio_seconds: float = 1_800.0
    """Seconds of sound of one training's clips together."""
    minutes: float = 30.0
    """Time of one training, what came before it was stopped included."""
    mb: float = 1_000.0
    """Megabytes that the files of one training may take, besides its clips."""
    queue: int = 4
    """Trainings that may wait."""
    per_address: int = 2
    """Trainings of one network address that may wait or run at the same time."""

    def __post_init__(self) -> None:
        check_positive(self)


@dataclass(frozen=True)
class Configuration:
    """All that the operator configures."""

    limits: Limits = field(default_factory=Limits)
    models: tuple[str, ...] = ()
    """Names of the offered models, or patterns of names; all models if empty."""
    model_folder: Path | None = None
    """The operator's folder of models."""
    adapter_folder: Path | None = None
    """The operator's folder of LoRA adapters."""
    training: TrainingLimits | None = None
    """Limits of trainings; None where visitors may not train adapters."""
    trained_folder: Path | None = None
    """The operator's folder for copies of the adapters that visitors train; None to keep none."""
    plugins: tuple[str, ...] = ()
    """Modules or .py files that register conditioners, tokenisers or back ends."""
    device: str = "auto"
    workers: int = 4
    """Jobs that run at the same time; those of the same model are one batch."""
    max_loaded_models: int = 3
    auth: tuple[str, str] | None = None
    """User and password."""
    share: bool = False
    """Whether to create a public URL through Gradio's tunnel."""
    hosts: tuple[str, ...] = ()
    """Names, or patterns of names, under which the page is reached besides the machine's own; "*" for any."""
    downloads: bool | None = None
    """Whether visitors may start the download of a published model; None: where only this machine reaches the page."""
    mcp: bool = False
    """Whether to serve the API to MCP clients."""
    watermark: bool = False
    """Whether to mix an inaudible mark into every clip."""
    c2pa_certificate: Path | None = None
    """With `c2pa_key`, what signs every clip: a file in PEM."""
    c2pa_key: Path | None = None
    temporary_folder: Path | None = None
    """Where the service creates its private folder; the system's temporary folder if None."""
    open_browser: bool | None = None
    """Whether to open the page in a browser; None: where there is a desktop."""
    space: str = ""
    """OWNER/NAME of a Space to which the demo is deployed instead of being served."""
    hardware: str | None = None
    """Hardware of that Space; None does not change it."""


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Configuration:
    """Parse command-line arguments. The environment has the defaults. Raises InputError for an invalid value."""
    parser = commandline.Parser(prog="app.py", description="The demo page.")
    add_arguments(parser, environment)
    return from_arguments(parser.parse_args(arguments))


def add_arguments(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """Add the flags, with the environment's values as their defaults."""
    limits, defaults = Limits(), Configuration()
    parser.epilog = f"Each flag is an environment variable too: {PREFIX}QUEUE=8."
    parser.set_defaults(parser_error=parser.error)

    def flag(name: str, kind: Any, default: Any, text: str) -> None:
        variable = PREFIX + name.upper().replace("-", "_")
        parser.add_argument(f"--{name}", type=kind, default=environment.get(variable, default), help=text)

    flag("max-duration", float, limits.max_duration, "seconds of one clip (%(default)s)")
    flag("max-variations", int, limits.max_variations, "variations of one request (%(default)s)")
    flag("queue", int, limits.queue, "clips that may wait (%(default)s)")
    flag("per-visitor", int, limits.per_visitor, "clips of one visitor at a time, waiting ones included (%(default)s)")
    flag("per-address", int, limits.per_address, "clips of one network address at a time (%(default)s)")
    flag(
        "queue-seconds",
        float,
        limits.queue_seconds,
        "seconds of sound that may wait or be in the making, half of them for one address (%(default)s)",
    )
    flag("upload-mb", int, limits.upload_mb, "megabytes of one uploaded file (%(default)s)")
    flag("keep-hours", float, limits.keep_hours, "hours after which clips and uploads are deleted (%(default)s)")
    flag("disk-gb", float, limits.disk_gb, "gigabytes of clips and uploads, half of them for one network (%(default)s)")
    flag("models", str, "", "names or patterns of the models offered, separated by commas: 'mini*,facebook/*small'")
    flag("folder", Path, None, "a folder of further models, each in a folder of its own")
    flag("adapters", Path, None, "a folder of LoRA adapters in PEFT's files, each in a folder of its own")
    flag(
        "plugin",
        str,
        "",
        "modules or .py files that register conditioners, tokenisers or back ends, separated by commas",
    )
    flag("device", str, defaults.device, "cpu, cuda or mps (%(default)s)")
    flag("workers", int, defaults.workers, "clips generated at the same time (%(default)s)")
    flag("loaded", int, defaults.max_loaded_models, "models kept in memory (%(default)s)")
    flag("auth", str, "", "USER:PASSWORD that visitors must enter")
    flag(
        "hosts",
        str,
        "",
        "names under which visitors reach the page besides this machine's own: 'music.example.org'; '*': any",
    )
    flag("temporary", Path, None, "a folder for temporary files, clips and uploads included (the system's)")
    training = TrainingLimits()
    flag("training-clips", int, training.clips, "clips of one training of an adapter (%(default)s)")
    flag("training-audio", float, training.audio_seconds, "seconds of sound of one training (%(default)s)")
    flag("training-minutes", float, training.minutes, "minutes that one training may take (%(default)s)")
    flag("training-mb", float, training.mb, "megabytes that one training's files may take (%(default)s)")
    flag("trained", Path, None, "a folder that gets a copy of every adapter that visitors train")
    for name in ("certificate", "key"):
        flag(f"c2pa-{name}", Path, None, f"sign clips with a C2PA manifest: the {name} in PEM")
    for name, text in (
        ("share", "a public URL through Gradio's tunnel"),
        ("mcp", "serve the API to MCP clients"),
        ("watermark", "mix an inaudible mark into every clip, by AudioSeal"),
        ("allow-training", "visitors may train LoRA adapters on clips of their own, one at a time"),
    ):
        default = environment.get(PREFIX + name.upper().replace("-", "_"), "") not in FALSE_VALUES
        parser.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, default=default, help=text)
    for name, text in (
        ("open", "open the page in a browser (without the flag: where there is a desktop)"),
        (
            "downloads",
            "visitors may start downloads of models (without the flag: where only this machine reaches the page)",
        ),
    ):
        value = environment.get(PREFIX + name.upper())
        where = None if value is None else value not in FALSE_VALUES
        parser.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, default=where, help=text)
    deploy.add_arguments(parser)


def from_arguments(arguments: argparse.Namespace) -> Configuration:
    """Convert parsed arguments to a configuration. Raises InputError for an invalid value."""
    user, colon, password = arguments.auth.partition(":")
    if arguments.auth and not (user and colon and password):
        arguments.parser_error("--auth is USER:PASSWORD")
    for name in ("folder", "adapters", "temporary", "trained"):
        path = getattr(arguments, name)
        if path is not None and not path.is_dir():
            arguments.parser_error(f"--{name} {path}: no such folder")
    for name in ("temporary", "trained"):
        path = getattr(arguments, name)
        if path is not None and not os.access(path, os.W_OK):
            arguments.parser_error(f"--{name} {path}: the folder is not writable")
    if arguments.trained is not None and not arguments.allow_training:
        arguments.parser_error("--trained is for --allow-training")
    if arguments.hardware is not None and not arguments.deploy:
        arguments.parser_error("--hardware is for --deploy OWNER/NAME")
    if arguments.workers < 1 or arguments.loaded < 1:
        arguments.parser_error("--workers and --loaded must be 1 or more")
    try:
        limits = Limits(
            max_duration=arguments.max_duration,
            max_variations=arguments.max_variations,
            queue=arguments.queue,
            per_visitor=arguments.per_visitor,
            per_address=arguments.per_address,
            queue_seconds=arguments.queue_seconds,
            disk_gb=arguments.disk_gb,
            upload_mb=arguments.upload_mb,
            keep_hours=arguments.keep_hours,
        )
        training = TrainingLimits(
            clips=arguments.training_clips,
            audio_seconds=arguments.training_audio,
            minutes=arguments.training_minutes,
            mb=arguments.training_mb,
        )
    except ValueError as error:
        arguments.parser_error(str(error))
    return Configuration(
        limits=limits,
        training=training if arguments.allow_training else None,
        trained_folder=arguments.trained,
        models=_separated(arguments.models),
        model_folder=arguments.folder,
        adapter_folder=arguments.adapters,
        plugins=_separated(arguments.plugin),
        device=arguments.device,
        workers=arguments.workers,
        max_loaded_models=arguments.loaded,
        auth=(user, password) if arguments.auth else None,
        share=arguments.share,
        mcp=arguments.mcp,
        watermark=arguments.watermark,
        c2pa_certificate=arguments.c2pa_certificate,
        c2pa_key=arguments.c2pa_key,
        hosts=_separated(arguments.hosts.lower()),
        downloads=arguments.downloads,
        temporary_folder=arguments.temporary,
        open_browser=arguments.open,
        space=arguments.deploy,
        hardware=arguments.hardware,
    )


def _separated(text: str) -> tuple[str, ...]:
    """The names in a text that separates them by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
