"""MIDI files as melodies, with one voice or chords: the notes that sound at each time."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

from musicgen.errors import InputError

EXTENSIONS = (".mid", ".midi")
MAX_SECONDS = 600.0
MAX_BYTES = 256_000
"""Of a file. Parsing takes time for each byte, in which a server does nothing else; songs have a tenth of that."""
_DRUMS = 9
"""The channel of percussion in General MIDI, whose numbers are instruments and no pitches."""


def is_midi(value: object) -> bool:
    """Whether a value is the name of a MIDI file."""
    return isinstance(value, (str, os.PathLike)) and Path(value).suffix.lower() in EXTENSIONS


def notes(file: str | os.PathLike[str]) -> list[tuple[float, float, int]]:
    """The notes of a file without its drums, as (start, end, number) in seconds and MIDI numbers, in the order of their ends.

    Raises:
        InputError: The file is no MIDI file, too long, or without notes.
    """
    import mido

    size = Path(file).stat().st_size if Path(file).is_file() else 0
    if size > MAX_BYTES:
        raise InputError(f"{file} has {size} bytes: a MIDI file may have {MAX_BYTES}. Remove tracks that are no melody")
    found: list[tuple[float, float, int]] = []
    sounding: dict[tuple[int, int], list[float]] = {}
    now = 0.0
    try:
        song = mido.MidiFile(os.fspath(file), clip=True)
        if song.ticks_per_beat <= 0:
            raise InputError(f"{file}: counts time in frames of film (SMPTE), or in none: export it with beats")
        for message in song:
            now += message.time
            if now > MAX_SECONDS:
                raise InputError(f"{file} is longer than {MAX_SECONDS:.0f} s: cut it")
            if message.type not in ("note_on", "note_off") or message.channel == _DRUMS:
                continue
            key = message.channel, message.note
            if message.type == "note_on" and message.velocity:
                sounding.setdefault(key, []).append(now)
            elif sounding.get(key):
                found.append((sounding[key].pop(0), now, message.note))
    except (InputError, MemoryError):
        raise
    except (
        Exception
    ) as error:  # mido takes much for granted: damage is a KeyError, a ZeroDivisionError, an error of its own
        reason = getattr(error, "strerror", None) or str(error) or "it ends too early"
        raise InputError(f"{file}: not a readable MIDI file ({reason})") from error
    # A note that is not ended sounds to the end.
    found += [(start, now, number) for (_, number), starts in sounding.items() for start in starts if now > start]
    if not found:
        raise InputError(f"{file}: holds no notes (drums aside): there is no melody to follow")
    return found


def pitch_classes_at(file: str | os.PathLike[str], step: Fraction) -> list[frozenset[int]]:
    """The pitch classes that sound at the times 0, step, 2 step, ... to the end of the last note. In a gap those before it
    are held, as a listener does.

    Args:
        file: A MIDI file.
        step: Seconds.

    Raises:
        InputError: As `notes`.
    """
    every = notes(file)
    count = max(1, int(max(end for _, end, _ in every) / step) + 1)
    frames: list[set[int]] = [set() for _ in range(count)]
    for start, end, number in every:
        # A note shorter than a step is heard in the nearest one.
        first = min(count - 1, -int(-Fraction(start) // step))
        last = max(first + 1, min(count, -int(-Fraction(end) // step)))
        for index in range(first, last):
            frames[index].add(number % 12)
    held: list[frozenset[int]] = []
    for frame in frames:
        held.append(frozenset(frame) if frame or not held else held[-1])
    return held
