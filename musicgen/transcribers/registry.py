"""The registry of transcribers, and their interface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from musicgen.errors import InputError
from musicgen.notes import Note
from musicgen.registry import Registry

if TYPE_CHECKING:
    from musicgen.audio import Audio

DEFAULT = "pyin"


@dataclass(frozen=True)
class Transcriber:
    """What hears the notes of a recording.

    Attributes:
        name: In `--transcriber`.
        voices: "one voice" or "several voices", which may sound at the same time.
        stems: The stems of Demucs that it is given where there are some.
        file: The MIDI file's name.
        transcribe: A recording, float32 [C, T] -> its notes in the order of their onsets.
        is_installed: Whether its packages are here.
        remedy: What installs them, the end of an error.
    """

    name: str
    voices: str
    stems: tuple[str, ...]
    file: str
    transcribe: Callable[[Audio], list[Note]]
    is_installed: Callable[[], bool] = lambda: True
    remedy: str = ""


TRANSCRIBERS: Registry[Transcriber] = Registry("transcriber")


def register(transcriber: Transcriber) -> None:
    """Add a transcriber; raises InputError where another one has its name."""
    TRANSCRIBERS.add(transcriber.name, transcriber)


def names() -> tuple[str, ...]:
    """Of all transcribers, installed or not."""
    return tuple(TRANSCRIBERS)


def installed() -> tuple[str, ...]:
    """The names of those whose packages are here."""
    return tuple(name for name, one in TRANSCRIBERS.items() if one.is_installed())


def find(name: str) -> Transcriber:
    """The transcriber of a name.

    Raises:
        InputError: There is none of that name, or its packages are not here.
    """
    found = TRANSCRIBERS.find(name)
    if not found.is_installed():
        raise InputError(f"the transcriber {name!r} is not installed: {found.remedy}")
    return found
