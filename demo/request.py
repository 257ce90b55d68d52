"""One request of a visitor: typed, cleaned, checked before anything is loaded. Free of PyTorch."""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from musicgen.errors import InputError
from musicgen.options import GenerationOptions

from .configuration import Limits
from .models import Shelf

PRECISIONS = ("auto", "float32", "bfloat16", "float16", "int8", "int4")
MAX_SEED = 2**31 - 1
NUM_CHROMA = 12
MAX_FRAMES = 5_000
"""Chroma frames of an edited melody: ten minutes."""
_TIME = re.compile(r"\s*(?:(\d{1,3}):)?(\d{1,3}(?:\.\d{1,3})?)\s*s?\s*[-–:]?\s+(\S.*)")


@dataclass(frozen=True)
class Section:
    """From `start` seconds on, the music follows `prompt`."""

    start: float
    prompt: str


@dataclass(frozen=True)
class Request:
    """What to make. melody, continue_from: files that the server itself stored; frames: an edited melody, one pitch class
    (0 for C) a chroma frame, in the place of the file's own; separate None: as in the model's training; seed None: a new
    one. A finished clip's request says what "auto" and None became."""

    prompt: str
    model: str
    duration: float = 10.0
    seed: int | None = None
    variations: int = 1
    options: GenerationOptions = field(default_factory=GenerationOptions)
    melody: Path | None = None
    frames: tuple[int, ...] | None = None
    separate: bool | None = None
    continue_from: Path | None = None
    timeline: tuple[Section, ...] = ()
    precision: str = "auto"
    loop: bool = False

    @property
    def sections(self) -> tuple[Section, ...]:
        """The prompts in time, from 0 on."""
        later = tuple(section for section in self.timeline if 0 < section.start < self.duration)
        first = [section.prompt for section in self.timeline if section.start == 0]
        return (Section(0.0, first[-1] if first else self.prompt), *later)


def clean(text: str | None) -> str:
    """A prompt without control characters and lone surrogates, which no tokeniser was made for."""
    if text is None:
        return ""
    if not isinstance(text, str):
        raise InputError(f"the description is {type(text).__name__}: it must be text")
    kept = (" " if unicodedata.category(char) in ("Cc", "Cs", "Cn", "Co") else char for char in text)
    return " ".join("".join(kept).split())


def number(value: object, name: str, low: float, high: float) -> float:
    """A finite number between the two."""
    # Compared, not asked whether it is finite: that fails for whole numbers of hundreds of digits.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -1e300 < value < 1e300:
        raise InputError(f"{name} is {value!r}: it must be a number")
    if not low <= value <= high:
        raise InputError(f"{name} is {value:g}: it must lie between {low:g} and {high:g}")
    return float(value)


def whole(value: object, name: str, low: int, high: int) -> int:
    """A whole number between the two."""
    found = number(value, name, low, high)
    if found != int(found):
        raise InputError(f"{name} is {found:g}: it must be a whole number")
    return int(found)


def parse_timeline(text: str | None) -> tuple[Section, ...]:
    """Lines such as "0:10 drums come in" or "12.5 strings only", in any order."""
    sections = {}
    for line in (text or "").splitlines():
        if not line.strip():
            continue
        match = _TIME.fullmatch(line)
        if match is None:
            raise InputError(
                f"the timeline's line {line.strip()[:60]!r} is not a time and a description: '0:10 drums come in'"
            )
        start = 60 * int(match[1] or 0) + float(match[2])
        if start in sections:
            raise InputError(f"the timeline has two lines at {start:g} s")
        sections[start] = Section(start, clean(match[3]))
    return tuple(sections[start] for start in sorted(sections))


def format_timeline(sections: tuple[Section, ...]) -> str:
    """The inverse of `parse_timeline`."""
    lines = []
    for section in sections:
        minutes, seconds = divmod(section.start, 60)
        lines.append(f"{int(minutes)}:{seconds:05.2f}".removesuffix(".00") + f" {section.prompt}")
    return "\n".join(lines)


def check(request: Request, limits: Limits, shelf: Shelf) -> None:
    """Refuse what no model should be loaded for."""
    offer = shelf.find(request.model)
    prompts = [request.prompt, request.options.negative_prompt or "", *(one.prompt for one in request.timeline)]
    longest = max(len(prompt) for prompt in prompts)
    if longest > limits.max_prompt:
        raise InputError(f"the description has {longest} characters: {limits.max_prompt} at most")
    if not 0.5 <= number(request.duration, "duration", -math.inf, math.inf) <= limits.max_duration:
        raise InputError(f"duration is {request.duration:g} s: it must lie between 0.5 and {limits.max_duration:g} s")
    whole(request.variations, "variations", 1, limits.max_variations)
    if request.seed is not None:
        whole(request.seed, "seed", 0, MAX_SEED)
    if request.precision not in PRECISIONS:
        raise InputError(f"unknown precision {request.precision!r}: one of {', '.join(PRECISIONS)}")
    if len(request.timeline) > limits.max_sections:
        raise InputError(f"the timeline has {len(request.timeline)} lines: {limits.max_sections} at most")
    late = [section.start for section in request.timeline if section.start >= request.duration]
    if late:
        raise InputError(f"the timeline has a line at {late[0]:g} s, but the piece is {request.duration:g} s long")
    if request.frames is not None:
        if not 0 < len(request.frames) <= MAX_FRAMES:
            raise InputError(f"the edited melody has {len(request.frames)} frames: 1 to {MAX_FRAMES}")
        if any(type(frame) is not int or not 0 <= frame < NUM_CHROMA for frame in request.frames):
            raise InputError("the edited melody holds something else than pitch classes 0 to 11")
    if (request.melody is not None or request.frames is not None) and offer.melody is False:
        raise InputError(f"{request.model} follows text only: choose a melody model, or remove the melody")
