"""The operator's configuration, from flags or environment variables: `--max-duration 60` is MUSICGEN_DEMO_MAX_DURATION=60.

Gradio's environment variables are supported too: GRADIO_SERVER_NAME, GRADIO_SERVER_PORT, GRADIO_ROOT_PATH and others.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from musicgen import commandline
from musicgen.serving import flags
from musicgen.serving.limits import Limits, check_positive

from . import deploy

PREFIX = "MUSICGEN_DEMO_"


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
    engine: str = ""
    """The URL of the server that generates, `musicgen serve`; "" generates in this process."""
    state_folder: Path | None = None
    """The folder that the workers of a page share; None: one process, whose clips are gone at its end."""
    worker_url: str = ""
    """Where the other workers reach this one; "" where all of them are on this machine."""
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
    flag = flags.flag_adder(parser, environment, PREFIX)
    flags.add_limits(flag, Limits())
    flag("per-address", int, Limits().per_address, "clips of one network address at a time (%(default)s)")
    flags.add_models(flag)
    flag(
        "engine",
        str,
        "",
        "URL of a server that generates in place of this process (musicgen serve); its key is in MUSICGEN_ENGINE_KEY",
    )
    flag(
        "state",
        Path,
        None,
        "a folder for clips, visits and accepted jobs, which several processes of the page may share and the next one finds "
        "again. Without it they are gone at the end",
    )
    flag(
        "worker-url",
        str,
        "",
        "URL at which the other processes that share --state reach this one, if not on this machine",
    )
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
    flag("training-audio", float, training.audio_seconds, "seconds of audio of one training (%(default)s)")
    flag("training-minutes", float, training.minutes, "minutes that one training may take (%(default)s)")
    flag("training-mb", float, training.mb, "megabytes that one training's files may take (%(default)s)")
    flag("trained", Path, None, "a folder that gets a copy of every adapter that visitors train")
    flags.add_marks(flag)
    for name, default, text in (
        ("share", False, "a public URL through Gradio's tunnel"),
        ("mcp", False, "serve the API to MCP clients"),
        ("watermark", False, "add AudioSeal's inaudible watermark to every clip"),
        ("allow-training", False, "visitors may train LoRA adapters on their own clips, one at a time"),
        ("open", None, "open the page in a browser (without the flag: if there is a desktop)"),
        (
            "downloads",
            None,
            "visitors may start downloads of models (without the flag: where only this machine reaches the page)",
        ),
    ):
        flags.add_switch(parser, environment, PREFIX, name, default, text)
    deploy.add_arguments(parser)


def from_arguments(arguments: argparse.Namespace) -> Configuration:
    """Convert parsed arguments to a configuration. Raises InputError for an invalid value."""
    user, colon, password = arguments.auth.partition(":")
    if arguments.auth and not (user and colon and password):
        arguments.parser_error("--auth is USER:PASSWORD")
    flags.check(arguments)
    if arguments.trained is not None and not arguments.allow_training:
        arguments.parser_error("--trained is for --allow-training")
    if arguments.worker_url and arguments.state is None:
        arguments.parser_error("--worker-url is for --state")
    if arguments.state is not None and arguments.allow_training:
        arguments.parser_error("--allow-training is for a page without --state: trainings are in one process")
    if arguments.engine:
        for name, given in (
            ("allow-training", arguments.allow_training), ("models", arguments.models), ("folder", arguments.folder),
            ("adapters", arguments.adapters), ("plugin", arguments.plugin),
        ):  # fmt: skip
            if given:
                arguments.parser_error(f"--{name} is for a page that generates itself: give it to the engine's server")
    if arguments.hardware is not None and not arguments.deploy:
        arguments.parser_error("--hardware is for --deploy OWNER/NAME")
    try:
        training = TrainingLimits(
            clips=arguments.training_clips,
            audio_seconds=arguments.training_audio,
            minutes=arguments.training_minutes,
            mb=arguments.training_mb,
        )
    except ValueError as error:
        arguments.parser_error(str(error))
    return Configuration(
        training=training if arguments.allow_training else None,
        trained_folder=arguments.trained,
        limits=flags.limits_of(arguments),
        models=flags.separated(arguments.models),
        model_folder=arguments.folder,
        adapter_folder=arguments.adapters,
        plugins=flags.separated(arguments.plugin),
        engine=arguments.engine,
        state_folder=arguments.state,
        worker_url=arguments.worker_url,
        device=arguments.device,
        workers=arguments.workers,
        max_loaded_models=arguments.loaded,
        auth=(user, password) if arguments.auth else None,
        share=arguments.share,
        mcp=arguments.mcp,
        watermark=arguments.watermark,
        c2pa_certificate=arguments.c2pa_certificate,
        c2pa_key=arguments.c2pa_key,
        hosts=flags.separated(arguments.hosts.lower()),
        downloads=arguments.downloads,
        temporary_folder=arguments.temporary,
        open_browser=arguments.open,
        space=arguments.deploy,
        hardware=arguments.hardware,
    )
