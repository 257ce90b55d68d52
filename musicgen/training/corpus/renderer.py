"""The renderer: composition -> stereo audio, with a General MIDI soundfont.

Every part is synthesised separately, so that its level in the mix does not depend on the soundfont's balance. The synthesiser
has no random state: the same composition and soundfont give the same samples.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from musicgen.errors import InputError
from musicgen.training.corpus.composition import Composition, Part
from musicgen.training.corpus.genres import find_genre
from musicgen.training.corpus.instruments import INSTRUMENTS
from musicgen.training.corpus.mixing import master, mix

if TYPE_CHECKING:
    from tinysoundfont import Synth

SAMPLE_RATE = 32_000
"""Hz."""
SOUNDFONT_VARIABLE = "MUSICGEN_SOUNDFONT"
SOUNDFONT_PACKAGE = "fluid-soundfont-gm"
SOUNDFONT_PATHS = ("/usr/share/sounds/sf2/FluidR3_GM.sf2",)
"""Where Debian and Ubuntu put the soundfont that the mix was made for."""

_DRUM_BANK = 128
_CHANNEL = 0
_MAX_VOICES = 256
_ALL_SOUND_OFF = 120
_FLUSH = 0.1
"""Seconds."""


def soundfont_path() -> Path:
    """The soundfont: the file that $MUSICGEN_SOUNDFONT names, else Debian's."""
    named = os.environ.get(SOUNDFONT_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise InputError(f"{SOUNDFONT_VARIABLE} names {named}, which is no file")
        return Path(named)
    for path in SOUNDFONT_PATHS:
        if Path(path).is_file():
            return Path(path)
    raise InputError(
        f"no soundfont at {' or '.join(SOUNDFONT_PATHS)}: install it (Debian and Ubuntu: apt install {SOUNDFONT_PACKAGE}), "
        f"or name a General MIDI .sf2 or .sf3 file in {SOUNDFONT_VARIABLE}"
    )


def check() -> None:
    """Raises InputError, with what to install, where nothing can be rendered."""
    _synthesiser()
    soundfont_path()


def render(composition: Composition, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """The mix: float32 [2, T] at `sample_rate` Hz, T = duration × rate, -16 LUFS, no sample beyond -1 dBFS."""
    stems = [(part, stem(part, composition.duration, sample_rate)) for part in composition.parts]
    genre = find_genre(composition.genre)
    return master(mix(stems, genre, sample_rate), genre, composition.seed, sample_rate)


def stem(part: Part, duration: float, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """One part by itself, dry and at the soundfont's own level: float32 [2, T]."""
    synth, font = _synth(str(soundfont_path()), sample_rate)
    player = INSTRUMENTS[part.instrument]
    # Sounds that are switched off fade for some milliseconds; what is left of the part before must not leak into this one.
    synth.control_change(_CHANNEL, _ALL_SOUND_OFF, 0)
    synth.generate(int(_FLUSH * sample_rate))
    synth.program_select(_CHANNEL, font, _DRUM_BANK if player.drums else 0, player.program, player.drums)

    num_samples = round(duration * sample_rate)
    samples = np.zeros((num_samples, 2), dtype=np.float32)
    position = 0
    for at, is_on, pitch, velocity in _schedule(part, sample_rate):
        at = min(at, num_samples)
        if at > position:
            samples[position:at] = _generated(synth, at - position)
            position = at
        if is_on:
            synth.noteon(_CHANNEL, pitch, velocity)
        else:
            synth.noteoff(_CHANNEL, pitch)
    if position < num_samples:
        samples[position:] = _generated(synth, num_samples - position)
    return np.ascontiguousarray(samples.T)


def _schedule(part: Part, sample_rate: int) -> list[tuple[int, bool, int, int]]:
    """(sample, on or off, pitch, velocity) in the order to be sent. A note ends where the same pitch starts again, and at
    one instant endings come first, so that a repeated note is not cut off by the end of the one before."""
    events = []
    next_onset: dict[int, int] = {}
    for note in reversed(part.notes):
        onset = round(note.onset * sample_rate)
        offset = min(round(note.offset * sample_rate), next_onset.get(note.pitch, 2**62))
        next_onset[note.pitch] = onset
        events.append((onset, True, note.pitch, note.velocity))
        events.append((offset, False, note.pitch, 0))
    return sorted(events)


def _generated(synth: Synth, num_samples: int) -> np.ndarray:
    return np.frombuffer(synth.generate(num_samples), dtype=np.float32).reshape(-1, 2)


@lru_cache(maxsize=2)
def _synth(path: str, sample_rate: int) -> tuple[Synth, int]:
    """The synthesiser with the soundfont loaded, once a process: loading takes longer than rendering."""
    synth = _synthesiser()(samplerate=sample_rate)
    return synth, synth.sfload(path, max_voices=_MAX_VOICES)


def _synthesiser() -> type[Synth]:
    try:
        from tinysoundfont import Synth  # here: only rendering needs it
    except ImportError as error:
        raise InputError(
            "rendering needs the package tinysoundfont (pip install --no-deps tinysoundfont), "
            "which a C++ compiler builds where Python is newer than 3.12"
        ) from error
    return Synth
