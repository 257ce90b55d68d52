"""`--lora FOLDER[:WEIGHT]`: LoRA adapters on the command line, and what a clip stores of them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from musicgen import commandline
from musicgen.errors import InputError

if TYPE_CHECKING:
    from musicgen.model import MusicGen
    from musicgen.settings import AdapterUse


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--lora`, which may be repeated, to a command."""
    parser.add_argument("--lora", action="append", default=[], metavar="FOLDER[:WEIGHT]", help="a LoRA adapter in PEFT's "
                        "format (a folder or a hub name) and its weight (default: 1, as trained); may be repeated")  # fmt: skip


def parse(arguments: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """The adapters with their weights, in the order given."""
    adapters = []
    for argument in arguments:
        name, colon, weight = argument.rpartition(":")
        try:
            adapters.append((name, float(weight)) if colon and name else (argument, 1.0))
        except ValueError:
            adapters.append((argument, 1.0))
    return tuple(adapters)


def require(given: Sequence[tuple[str, float]], stored: Sequence[AdapterUse]) -> None:
    """Refuse to repeat a clip without its adapters: it says which ones they were, not where they are.

    Raises:
        InputError: The clip was made with adapters and none are given.
    """
    if stored and not given:
        names = ", ".join(repr(use.name) for use in stored)
        flags = " ".join(f"--lora FOLDER:{use.weight:g}" for use in stored)
        raise InputError(f"the clip was made with the LoRA adapters {names}: pass them again as {flags}")


def described(model: MusicGen, stored: Sequence[AdapterUse] | None) -> tuple[AdapterUse, ...]:
    """What a new clip stores of a model's adapters; a warning where a stored clip had other ones.

    Args:
        model: The loaded model.
        stored: Those of the clip that is repeated, None without one.
    """
    from musicgen.folders import folder_name, is_folder
    from musicgen.settings import AdapterUse

    adapters = model.adapters
    uses: tuple[AdapterUse, ...] = ()
    if adapters is not None:
        uses = tuple(
            AdapterUse(folder_name(name) if is_folder(name) else name, adapters.sha256(name), weight)
            for name, weight in adapters.weights.items()
        )
    if stored is not None and {(use.sha256, use.weight) for use in uses} != {
        (use.sha256, use.weight) for use in stored
    }:
        commandline.warn("the LoRA adapters or their weights are not those that the clip was made with")
    return uses
