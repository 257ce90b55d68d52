"""A visitor's generation request: its type, and the validation before a model is loaded.

The module does not import PyTorch.
"""

from __future__ import annotations

import dataclasses
import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from musicgen import named_values
from musicgen.catalog import DECODERS, check_decoder
from musicgen.chords import ChordChart
from musicgen.errors import InputError
from musicgen.midi import is_midi
from musicgen.options import LIMITERS, LOOP_CUTS, GenerationOptions, check_limiter, check_loop_cut
from musicgen.serving.adapters import Weighted
from musicgen.serving.limits import MIN_DURATION, Limits
from musicgen.serving.models import CONDITIONS_WITH_INPUTS, ModelCatalog
from musicgen.timeline import TimelineEntry, check_within, parse, prompt_at, prompt_schedule

PRECISIONS = ("auto", "float32", "bfloat16", "float16", "int8", "int4")
MAX_SEED = 2**31 - 1
FILES = ("melody", "style", "continue_from")
"""The attributes of a request that are files."""
NUM_CHROMA = 12
MAX_CHROMA_FRAMES = 5_000
"""Chroma frames of an edited melody: ten minutes."""


@dataclass(frozen=True)
class ClipRequest:
    """What to generate.

    The request of a finished clip has the values that "auto" and None were replaced by.

    Attributes:
        prompt: the description.
        model: a name in the catalog.
        duration: seconds.
        seed: None draws one.
        variations: number of clips, with consecutive seeds.
        options: sampling and guidance.
        melody: the file of the melody, a recording or a MIDI file, as stored by the server.
        frames: an edited melody, which replaces that of the file: one pitch class (0 to 11, 0 is C) for each chroma frame.
        separate: whether to remove drums and bass from the melody; None as in the model's training.
        chords: chords in place of a melody.
        style: the file of a recording whose style the clip follows, as stored by the server.
        continue_from: the file of a clip with which the result begins, as stored by the server.
        timeline: changes of the prompt.
        precision: one of PRECISIONS.
        loop: whether the clip repeats without a seam.
        loop_cut: of `musicgen.options.LOOP_CUTS`: where the loop is cut.
        limiter: of `musicgen.options.LIMITERS`: what keeps the peaks below the ceiling.
        adapters: the operator's LoRA adapters, by name, with their weights.
        conditions: of the model's further conditioners, (name, value) as text.
        decoder: of `musicgen.catalog.DECODERS`: what turns codes into sound.
        span: the seconds (start, end) of `continue_from` that are made anew in place of a continuation; start may be below 0.
            Chords and melody begin with `continue_from`, also where the span is before that.
    """

    prompt: str
    model: str
    duration: float = 10.0
    seed: int | None = None
    variations: int = 1
    options: GenerationOptions = field(default_factory=GenerationOptions)
    melody: Path | None = None
    frames: tuple[int, ...] | None = None
    separate: bool | None = None
    chords: ChordChart | None = None
    style: Path | None = None
    continue_from: Path | None = None
    timeline: tuple[TimelineEntry, ...] = ()
    precision: str = "auto"
    loop: bool = False
    loop_cut: str = LOOP_CUTS[-1]
    limiter: str = LIMITERS[-1]
    adapters: Weighted = ()
    conditions: tuple[tuple[str, str], ...] = ()
    decoder: str = DECODERS[0]
    span: tuple[float, float] | None = None

    @property
    def files(self) -> dict[str, Path]:
        """Name of the attribute -> the file of each recording that the clip is made from."""
        return {name: file for name in FILES if (file := getattr(self, name)) is not None}

    def with_files(self, files: Mapping[str, Path]) -> ClipRequest:
        """The request with these files, by the names of their attributes, and no others."""
        return dataclasses.replace(
            self, melody=files.get("melody"), style=files.get("style"), continue_from=files.get("continue_from")
        )

    @property
    def needs_frames(self) -> bool:
        """Whether the melody is a recording whose chroma frames are not extracted yet."""
        return self.melody is not None and self.frames is None and not is_midi(self.melody)

    @property
    def prompt_schedule(self) -> tuple[TimelineEntry, ...]:
        """The prompts of the clip in order. The first one starts at 0 s."""
        return prompt_schedule(self.prompt, self.timeline, self.duration)

    def prompt_at(self, seconds: float) -> str:
        """The description that the clip follows at a time; before its beginning, that of its beginning."""
        return prompt_at(self.prompt_schedule, seconds)


def clean_prompt(text: str | None) -> str:
    """Replace control characters, lone surrogates and unassigned characters by spaces, and collapse spaces.

    Raises:
        InputError: for a value that is not text.
    """
    if text is None:
        return ""
    if not isinstance(text, str):
        raise InputError(f"the description is {type(text).__name__}: it must be text")
    cleaned = (" " if unicodedata.category(char) in ("Cc", "Cs", "Cn", "Co") else char for char in text)
    return " ".join("".join(cleaned).split())


def check_number(value: object, name: str, low: float, high: float) -> float:
    """The value as a float.

    Raises:
        InputError: for a value that is not a finite number from `low` to `high`.
    """
    # A comparison instead of math.isfinite, which raises OverflowError for very large integers.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -1e300 < value < 1e300:
        raise InputError(f"{name} is {value!r}: it must be a number")
    if not low <= value <= high:
        raise InputError(f"{name} is {value:g}: it must lie between {_shown(low)} and {_shown(high)}")
    return float(value)


def _shown(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


def check_integer(value: object, name: str, low: int, high: int) -> int:
    """The value as an int.

    Raises:
        InputError: for a value that is not a whole number from `low` to `high`.
    """
    number = check_number(value, name, low, high)
    if number != int(number):
        raise InputError(f"{name} is {number:g}: it must be a whole number")
    return int(number)


def parse_timeline(text: str | None) -> tuple[TimelineEntry, ...]:
    """Entries such as "0:10 drums come in" on lines of their own, with prompts as `clean_prompt` returns them.

    Raises:
        InputError: as `musicgen.timeline.parse`.
    """
    return tuple(TimelineEntry(entry.start, clean_prompt(entry.prompt)) for entry in parse(text or ""))


def parse_conditions(lines: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Conditions such as "energy=0.5" as (name, value), in the order of their names.

    Raises:
        InputError: for a line of another form, a name that is given twice, and a condition with an input of its own.
    """
    for line in lines:
        if not isinstance(line, str):
            raise InputError(f"the condition {str(line)[:40]!r} is no text: it must be like 'energy=0.5'")
    elsewhere = dict.fromkeys(CONDITIONS_WITH_INPUTS, "has an input of its own: leave it out of the further conditions")
    found = named_values.parse([line for line in lines if line.strip()], "the condition", elsewhere=elsewhere)
    return tuple(sorted((name, clean_prompt(value)) for name, value in found.items()))


def validate(request: ClipRequest, limits: Limits, catalog: ModelCatalog) -> None:
    """Check the values of a request. What its model can follow is checked by `capabilities.check`.

    Raises:
        InputError: for a value that is out of range, and an unknown model, adapter or precision.
    """
    catalog.get(request.model)
    prompts = [request.prompt, request.options.negative_prompt or "", *(entry.prompt for entry in request.timeline)]
    longest = max(len(prompt) for prompt in prompts)
    if longest > limits.max_prompt:
        raise InputError(f"the description has {longest} characters: {limits.max_prompt} at most")
    if not MIN_DURATION <= check_number(request.duration, "duration", -math.inf, math.inf) <= limits.max_duration:
        raise InputError(
            f"duration is {request.duration:g} s: it must lie between {MIN_DURATION:g} and {limits.max_duration:g} s"
        )
    check_integer(request.variations, "variations", 1, limits.max_variations)
    if request.seed is not None:
        check_integer(request.seed, "seed", 0, MAX_SEED)
    catalog.adapters.check(request.adapters)
    if request.precision not in PRECISIONS:
        raise InputError(f"unknown precision {str(request.precision)[:20]!r}: one of {', '.join(PRECISIONS)}")
    check_decoder(str(request.decoder))
    check_limiter(request.limiter)
    check_loop_cut(request.loop_cut)
    if len(request.timeline) > limits.max_timeline_entries:
        raise InputError(f"the timeline has {len(request.timeline)} entries: {limits.max_timeline_entries} at most")
    check_within(request.timeline, request.duration)
    if request.span is not None and request.continue_from is None:
        raise InputError("there is no clip of which a part could be made anew")
    if request.span is not None and not (request.span[0] < request.span[1] and request.span[1] >= 0):
        raise InputError(
            f"the span {request.span[0]:g}:{request.span[1]:g} is empty: it must end behind its beginning, and not before 0 s"
        )
    if request.span is not None and request.timeline:
        raise InputError("a timeline is for a whole clip, and not for a part that is made anew: leave it out")
    if request.frames is not None:
        if not 0 < len(request.frames) <= MAX_CHROMA_FRAMES:
            raise InputError(f"the edited melody has {len(request.frames)} frames: 1 to {MAX_CHROMA_FRAMES}")
        if any(type(frame) is not int or not 0 <= frame < NUM_CHROMA for frame in request.frames):
            raise InputError("the edited melody has values that are not pitch classes 0 to 11")
    recorded = request.melody is not None or request.frames is not None
    if recorded and request.chords is not None:
        raise InputError("the melody is given twice, as a tune and as chords: remove one of them")
