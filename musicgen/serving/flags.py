"""Command-line flags that all servers share. Each can also be set by an environment variable."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from musicgen.serving.limits import Limits

Flag = Callable[[str, Any, Any, str], None]
FALSE_VALUES = ("", "0", "false")
"""Values of an environment variable that switch a flag off."""
_FOLDERS = ("folder", "adapters", "temporary", "trained")


def flag_adder(parser: argparse.ArgumentParser, environment: Mapping[str, str], prefix: str) -> Flag:
    """A function that adds a flag (name, type, default, help) whose default the environment may change.

    Args:
        parser: gets the flags, and an epilogue on the variables.
        environment: the environment variables.
        prefix: of their names.
    """
    parser.epilog = f"Each flag is an environment variable too: {prefix}QUEUE=8."
    parser.set_defaults(parser_error=parser.error)

    def flag(name: str, kind: Any, default: Any, text: str) -> None:
        variable = prefix + name.upper().replace("-", "_")
        parser.add_argument(f"--{name}", type=kind, default=environment.get(variable, default), help=text)

    return flag


def add_switch(
    parser: argparse.ArgumentParser,
    environment: Mapping[str, str],
    prefix: str,
    name: str,
    default: bool | None,
    text: str,
) -> None:
    """Add a flag with a negation, `--no-NAME`."""
    value = environment.get(prefix + name.upper().replace("-", "_"))
    chosen = default if value is None else value not in FALSE_VALUES
    parser.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, default=chosen, help=text)


def add_limits(flag: Flag, limits: Limits) -> None:
    """Add the flags of `Limits` that every server has.

    Args:
        flag: of `flag_adder`.
        limits: the defaults.
    """
    flag("max-duration", float, limits.max_duration, "seconds of one clip (%(default)s)")
    flag("max-variations", int, limits.max_variations, "variations of one request (%(default)s)")
    flag("queue", int, limits.queue, "clips that may wait (%(default)s)")
    flag("per-visitor", int, limits.per_visitor, "clips of one visitor at a time, waiting ones included (%(default)s)")
    flag(
        "queue-seconds",
        float,
        limits.queue_seconds,
        "seconds of audio that may be queued or in progress, at most half of them for one address (%(default)s)",
    )
    flag("upload-mb", int, limits.upload_mb, "megabytes of one uploaded file (%(default)s)")
    flag("keep-hours", float, limits.keep_hours, "hours after which clips and uploads are deleted (%(default)s)")
    flag(
        "disk-gb",
        float,
        limits.disk_gb,
        "gigabytes of clips and uploads, at most half of them for one network (%(default)s)",
    )


def limits_of(arguments: argparse.Namespace) -> Limits:
    """The limits of parsed arguments. An invalid value exits the program."""
    try:
        return Limits(
            max_duration=arguments.max_duration,
            max_variations=arguments.max_variations,
            queue=arguments.queue,
            per_visitor=arguments.per_visitor,
            per_address=getattr(arguments, "per_address", arguments.per_visitor),
            queue_seconds=arguments.queue_seconds,
            disk_gb=arguments.disk_gb,
            upload_mb=arguments.upload_mb,
            keep_hours=arguments.keep_hours,
        )
    except ValueError as error:
        arguments.parser_error(str(error))
        raise


def add_models(flag: Flag) -> None:
    """Add the flags that say which models are served, and by what."""
    flag("models", str, "", "names or patterns of the models to offer, separated by commas: 'mini*,facebook/*small'")
    flag("folder", Path, None, "a folder of further models, one subfolder per model")
    flag("adapters", Path, None, "a folder of LoRA adapters in PEFT's format, one subfolder per adapter")
    flag(
        "plugin",
        str,
        "",
        "modules or .py files that register conditioners, tokenisers or back ends, separated by commas",
    )
    flag("device", str, "auto", "cpu, cuda or mps (%(default)s)")
    flag("workers", int, 4, "clips generated at the same time (%(default)s)")
    flag("loaded", int, 3, "models kept in memory (%(default)s)")


def add_marks(flag: Flag) -> None:
    """Add the flags that name certificate and key of a C2PA manifest."""
    for name in ("certificate", "key"):
        flag(f"c2pa-{name}", Path, None, f"sign clips with a C2PA manifest: the {name} in PEM")


def check(arguments: argparse.Namespace) -> None:
    """Check the flags that are here. An invalid value exits the program."""
    for name in _FOLDERS:
        path = getattr(arguments, name, None)
        if path is not None and not path.is_dir():
            arguments.parser_error(f"--{name} {path}: no such folder")
    for name in ("temporary", "trained"):
        path = getattr(arguments, name, None)
        if path is not None and not os.access(path, os.W_OK):
            arguments.parser_error(f"--{name} {path}: the folder is not writable")
    if arguments.workers < 1 or arguments.loaded < 1:
        arguments.parser_error("--workers and --loaded must be 1 or more")


def separated(text: str) -> tuple[str, ...]:
    """The names in a text that separates them by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
