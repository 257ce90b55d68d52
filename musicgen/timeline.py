"""Timelines: prompts that change during a clip, such as "0:lofi|20:drum and bass". The module does not import PyTorch."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

from musicgen.errors import InputError
from musicgen.options import MAX_DURATION, check_number, check_text

MAX_TEXT = 100_000
"""Characters of a timeline as text."""
_TIME = re.compile(r"(?:([0-9]{1,3}):)?([0-9]{1,3}(?:\.[0-9]{1,3})?)")
_BAR = re.compile(r"\|(?=\s*[0-9])")
"""A bar inside a prompt separates nothing."""
_SEPARATORS = "-–:"


@dataclass(frozen=True)
class TimelineEntry:
    """A change of the prompt: from `start` seconds on, the music follows `prompt`."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    start: float
    prompt: str

    def __post_init__(self) -> None:
        start = check_number("the time of a timeline's entry", self.start, low=0.0, high=MAX_DURATION)
        object.__setattr__(self, "start", start)
        check_text("the prompt of a timeline's entry", self.prompt)


Timeline = str | Sequence[TimelineEntry | tuple[float, str]] | None
"""A text as `parse` reads it, or entries, or None for one prompt throughout."""


def timeline_of(value: Timeline) -> tuple[TimelineEntry, ...]:
    """What a caller passed, as entries in the order of time.

    Raises:
        InputError: It is no timeline, or two entries have the same time.
    """
    if value is None:
        return ()
    if isinstance(value, str):
        return parse(value)
    entries = []
    for entry in value:
        if not isinstance(entry, TimelineEntry):
            if not isinstance(entry, Sequence) or isinstance(entry, str) or len(entry) != 2:
                raise InputError(f"the timeline's entry {str(entry)[:60]!r} is not (seconds, prompt)")
            entry = TimelineEntry(*entry)
        entries.append(entry)
    return _sorted(entries)


def parse(text: str) -> tuple[TimelineEntry, ...]:
    """Parse entries such as "0:10 drums come in" or "12.5 strings only", in any order, separated by "|" or line ends.

    Args:
        text: A time is minutes:seconds or seconds; "20:drum and bass" starts at 20 s, too.

    Returns:
        The entries, in the order of time.

    Raises:
        InputError: An entry of another form, or two entries with the same time.
    """
    if len(text) > MAX_TEXT:
        raise InputError(f"the timeline has {len(text)} characters: {MAX_TEXT} at most")
    return _sorted(_entry(part.strip()) for line in text.splitlines() for part in _BAR.split(line) if part.strip())


def format_timeline(entries: Sequence[TimelineEntry]) -> str:
    """The inverse of `parse`, a line for each entry."""
    lines = []
    for entry in entries:
        minutes, seconds = divmod(entry.start, 60)
        lines.append(f"{int(minutes)}:{seconds:06.3f}".removesuffix("0").removesuffix(".00") + f" {entry.prompt}")
    return "\n".join(lines)


def prompt_schedule(
    prompt: str | None, timeline: Sequence[TimelineEntry], duration: float
) -> tuple[TimelineEntry, ...]:
    """The prompts of a clip in the order of time; the first one starts at 0 s.

    Args:
        prompt: What the clip begins with, unless the timeline has an entry at 0 s.
        timeline: The changes.
        duration: Of the clip, seconds. Later entries are dropped.
    """
    at_start = [entry.prompt for entry in timeline if entry.start == 0]
    later = tuple(entry for entry in timeline if 0 < entry.start < duration)
    return (TimelineEntry(0.0, at_start[-1] if at_start else prompt or ""), *later)


def prompt_at(schedule: Sequence[TimelineEntry], seconds: float) -> str:
    """The prompt of a schedule (`prompt_schedule`) at a time; before 0 s that of 0 s."""
    return [entry.prompt for entry in schedule if entry.start <= max(seconds, 0.0)][-1]


def check_within(timeline: Sequence[TimelineEntry], duration: float) -> None:
    """Raises InputError for an entry that a clip of `duration` seconds does not reach."""
    late = next((entry.start for entry in timeline if entry.start >= duration), None)
    if late is not None:
        raise InputError(f"the timeline has an entry at {late:g} s, but the clip is {duration:g} s long")


def _entry(text: str) -> TimelineEntry:
    time = _TIME.match(text)
    prompt = None if time is None else _prompt_after_time(text[time.end() :])
    if time is None or not prompt:
        raise InputError(
            f"the timeline's entry {text[:60]!r} is not a time and a description: '0:10 drums come in', '20: strings'"
        )
    return TimelineEntry(60 * int(time[1] or 0) + float(time[2]), prompt)


def _prompt_after_time(rest: str) -> str | None:
    """What follows "s", a dash or a colon, or space alone; None where nothing separates it from the time."""
    spaced = rest[:1].isspace()
    rest = rest.lstrip()
    if rest[:1] == "s" and (rest[1:2].isspace() or rest[1:2] in tuple(_SEPARATORS)):
        rest = rest[1:]
        spaced = rest[:1].isspace()
        rest = rest.lstrip()
    if rest[:1] in tuple(_SEPARATORS):
        return rest[1:].strip()
    return rest if spaced else None


def _sorted(entries: Iterable[TimelineEntry]) -> tuple[TimelineEntry, ...]:
    ordered = sorted(entries, key=lambda entry: entry.start)
    for before, after in itertools.pairwise(ordered):
        if math.isclose(before.start, after.start, abs_tol=1e-9):
            raise InputError(f"the timeline has two entries at {after.start:g} s")
    return tuple(ordered)
