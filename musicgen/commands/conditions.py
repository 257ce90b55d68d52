"""`--condition NAME=VALUE`: values for the conditioners of a model beside text and melody, and what a clip stores of them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from musicgen import commandline, named_values
from musicgen.errors import InputError
from musicgen.folders import is_file
from musicgen.options import check_text
from musicgen.untrusted_text import UntrustedText

if TYPE_CHECKING:
    from musicgen.chords import ChordChart
    from musicgen.settings import Settings, SourceFile

OWN_FLAGS = {"text": "the descriptions", "melody": "--melody", "style": "--style"}
"""Conditions that are given in another way, and which."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what a clip can follow beside its description to a command."""
    parser.add_argument(
        "--melody", type=Path, metavar="FILE", help="audio, or a MIDI file, whose melody the clips follow"
    )
    parser.add_argument("--chords", metavar="TEXT", help="chords instead of a melody, one per bar: 'C G,E7 Am F'")
    parser.add_argument("--bpm", type=float, help="tempo of the chords in quarter notes per minute (default: 120)")
    parser.add_argument("--metre", metavar="N/N", help="time signature of the chords (default: 4/4)")
    parser.add_argument("--separation", action=argparse.BooleanOptionalAction, help="remove drums and bass from the melody "
                        "with Demucs; not needed for a clean or hummed one (default: as in the model's training)")  # fmt: skip
    parser.add_argument(
        "--style", type=Path, metavar="FILE", help="audio whose style the clips follow, for MusicGen-Style"
    )
    parser.add_argument("--condition", action="append", default=[], metavar="NAME=VALUE", help="a text or a file as the value "
                        "of a further condition of the model; may be repeated")  # fmt: skip


def chart(arguments: argparse.Namespace, stored: Settings | None) -> ChordChart | None:
    """The chords of the arguments, over those of the stored clip."""
    from musicgen.chords import chart_of

    if arguments.chords is not None and arguments.melody is not None:
        raise InputError("--chords takes the place of --melody: pass one of them")
    known = stored.chords if stored is not None and arguments.melody is None else None
    if known is None:
        return chart_of(arguments.chords, arguments.bpm, arguments.metre)
    chosen = {
        name: getattr(known, name) if getattr(arguments, name) is None else getattr(arguments, name)
        for name in ("chords", "bpm", "metre")
    }
    return chart_of(**chosen)


def check_recordings(arguments: argparse.Namespace) -> None:
    """Refuse the files of a melody, a style or audio to continue that cannot be read, before the model is loaded."""
    from musicgen import audio, decoding, midi
    from musicgen.conditioners.melody import MAX_CHANNELS
    from musicgen.options import MAX_DURATION

    recordings: tuple[tuple[Path | None, int], ...] = (
        (arguments.melody, MAX_CHANNELS),
        (arguments.style, decoding.MAX_CHANNELS),
        (getattr(arguments, "continue_from", None), decoding.MAX_CHANNELS),
    )
    for source, channels in recordings:
        if source is None:
            continue
        if midi.is_midi(source):
            midi.notes(source)
        else:
            audio.measure(source, MAX_DURATION, most_channels=channels)


def parse(arguments: Sequence[str]) -> dict[str, str]:
    """Name of each condition -> its value: text, or the path of a file.

    Raises:
        InputError: An argument is no NAME=VALUE, or a name is given twice or has an argument of its own.
    """
    elsewhere = {name: f"is given by {flag}" for name, flag in OWN_FLAGS.items()}
    values = named_values.parse(arguments, "--condition", elsewhere=elsewhere)
    return {
        name: value if is_file(value) else check_text(f"--condition {name}", value) for name, value in values.items()
    }


def style(path: Path | None) -> dict[str, str]:
    """The condition that `--style FILE` gives.

    Raises:
        InputError: There is no such file.
    """
    if path is not None and not is_file(path):
        raise InputError(f"{path}: no such file: --style takes a recording")
    return {} if path is None else {"style": str(path)}


def files(values: Mapping[str, str]) -> dict[str, Path]:
    """The conditions that the caller gave as files of this machine. What a clip says is never taken for one."""
    return {
        name: Path(value) for name, value in values.items() if not isinstance(value, UntrustedText) and is_file(value)
    }


def completed(given: Mapping[str, str], stored: Mapping[str, str | SourceFile]) -> dict[str, str]:
    """The given values, and those that a clip stores of other conditions.

    Raises:
        InputError: The clip was made with a file that is not given again.
    """
    values = dict(given)
    for name, value in stored.items():
        if name in values:
            continue
        if isinstance(value, str) and name not in OWN_FLAGS:
            values[name] = value
            continue
        file = value if isinstance(value, str) else value.name
        raise InputError(
            f"the clip was made with the file {file!r}: pass it again as "
            + (f"--{name} FILE" if name in OWN_FLAGS else f"--condition {name}=FILE")
        )
    return values


def described(values: Mapping[str, str], stored: Mapping[str, str | SourceFile]) -> dict[str, str | SourceFile]:
    """The values that a new clip stores; warns if a file differs from that of the stored clip."""
    from musicgen.settings import SourceFile

    found: dict[str, str | SourceFile] = dict(values)
    for name, path in files(values).items():
        source = found[name] = SourceFile.of(path)
        known = stored.get(name)
        if isinstance(known, SourceFile) and known.sha256 != source.sha256:
            commandline.warn(f"{path} is not the file {known.name!r} that the clip was made with")
    return found
