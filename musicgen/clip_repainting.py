"""Repainting a span of an audio file with the settings that are stored in it, some of which the caller may override.

    settings in the file ──┐
    arguments ─────────────┴► `span_request` ► GenerationRequest ► MusicGen.repaint

Settings contain only the names of the files that a clip was generated from (a melody, a style recording). If such a file is not
passed again, the span is generated without this condition, and the caller is told.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Unpack

from musicgen.errors import InputError
from musicgen.model import MusicGen
from musicgen.repainting import Repainted
from musicgen.request import SHORT, GenerationRequest, RequestArguments
from musicgen.settings import REPAINTED, STOPPED_EARLY, Settings
from musicgen.timeline import prompt_at, prompt_schedule


@dataclass(frozen=True)
class SpanRequest:
    """The request for a span.

    Attributes:
        request: A request for one clip; its conditions begin with the clip.
        missing: Conditions of the clip that the request lacks, in words.
    """

    request: GenerationRequest
    missing: tuple[str, ...]


def span_request(
    stored: Settings | None, start: float, prompt: str | None = None, **given: Unpack[RequestArguments]
) -> SpanRequest:
    """The request for a span: the given arguments, and the clip's stored settings for all others.

    Args:
        stored: The clip's settings; None for a recording without settings.
        start: Start of the span, in seconds from the clip's beginning.
        prompt: None uses the description that the clip had there.
        **given: Arguments of `GenerationRequest.of`, for one clip.

    Raises:
        InputError: An argument is invalid for every model.
    """
    if stored is None:
        return SpanRequest(GenerationRequest.of_one(prompt, **given), ())
    values: dict[str, Any] = {"options": stored.options, **given}
    missing = [one for one in stored.beyond if one != STOPPED_EARLY and not one.endswith(REPAINTED)]
    if prompt is None:
        prompt = prompt_at(prompt_schedule(stored.prompt, stored.timeline, stored.duration), start)
    conditions = dict(values.pop("conditions", None) or {})
    follows = {name for name in SHORT if values.get(name) is not None} | conditions.keys()
    if "melody" not in follows and values.get("chords") is None:
        if stored.chords is not None:
            conditions["melody"] = stored.chords
        elif stored.melody is not None:
            missing.append(f"the melody {stored.melody.name!r}")
    if values.get("separate") is None and stored.melody is not None:
        values["separate"] = stored.separate
    for name, value in stored.conditions.items():
        if name in follows:
            continue
        if isinstance(value, str) and name not in SHORT:
            conditions[name] = value
        else:  # a recording, of which the clip holds the name at most
            missing.append(f"the {name} {(value if isinstance(value, str) else value.name)!r}")
    return SpanRequest(GenerationRequest.of_one(prompt, conditions=conditions, **values), tuple(missing))


def repaint_clip(
    model: MusicGen,
    file: str | os.PathLike[str],
    start: float,
    end: float,
    prompt: str | None = None,
    *,
    candidates: int = 8,
    batch_size: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    **arguments: Unpack[RequestArguments],
) -> Repainted:
    """Regenerate a span of a clip's file with the description, options and conditions that are stored in the file.

    Args:
        model: The loaded model; it may be another one than that of the clip.
        file: The clip, or any recording.
        start, end, candidates, batch_size, progress: As in `MusicGen.repaint`.
        prompt: Description that replaces the clip's.
        **arguments: Arguments of `GenerationRequest.of`, for one clip, that replace the stored settings.

    Returns:
        As `MusicGen.repaint`. Conditions of the clip that are not available, such as the file of a melody, give a warning.

    Raises:
        InputError: An argument is invalid, or the file's settings are damaged; raised before the first step.
    """
    if isinstance(prompt, GenerationRequest):
        raise InputError("a whole request holds its conditions itself: pass it to MusicGen.repaint")
    wanted = span_request(Settings.of_recording(file), start, prompt, **arguments)
    for one in wanted.missing:
        warnings.warn(left_out(file, one), stacklevel=2)
    return model.repaint(
        file, start, end, wanted.request, candidates=candidates, batch_size=batch_size, progress=progress
    )


def left_out(file: str | os.PathLike[str], what: str) -> str:
    """The warning for one of `SpanRequest.missing`."""
    return f"{os.fspath(file)} was made with {what}, which is not given: the span follows the rest alone"
