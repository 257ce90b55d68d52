"""Suggested captions for a visitor's clips: the words of the file name, and the estimated tempo and key."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from musicgen.decoding import EXTENSIONS
from musicgen.errors import InputError
from musicgen.serving.request import clean_prompt

from ..tempo_key import tempo_and_key

_NUMBER = re.compile(r"^\d{1,3}(?:[\s.)-]+|$)")
"""A track's number in front of its title."""
_UNNAMED = "music"
"""Of a clip whose name has no words."""


@dataclass(frozen=True)
class Proposal:
    """The suggested caption of a clip, and its length in seconds."""

    caption: str
    seconds: float


def words_of(name: str) -> str:
    """The words of a file's name: "03_slow-folk song.mp3" says "slow folk song"."""
    stem = Path(name).stem if Path(name).suffix.lower() in EXTENSIONS else name
    spaced = clean_prompt(re.sub(r"[_\s-]+", " ", stem))
    visible = "".join(char for char in spaced if unicodedata.category(char) != "Cf")  # marks of direction
    return _NUMBER.sub("", visible).strip() or _UNNAMED


def propose(file: Path, name: str, longest: float) -> Proposal:
    """Measure a clip and propose its caption.

    Args:
        file: as the server has stored it.
        name: as the visitor knows it, for the caption and for messages.
        longest: seconds of the longest clip that is read.

    Raises:
        InputError: the file is no audio, damaged, or too long.
    """
    from musicgen import audio, rhythm

    try:
        recording = audio.read(file, longest, channels=1, rate=rhythm.RATE)
    except InputError as error:
        raise InputError(str(error).replace(str(file), name)) from error
    return Proposal(", ".join([words_of(name), *tempo_and_key(recording)]), recording.duration)
