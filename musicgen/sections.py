"""Clips with a timeline: one section for each prompt, generated one after the other.

Each section after the first continues the codes before it:

    |---- section 1: prompt A ----|
                    |== context ==|---- section 2: prompt B ----|      context: the overlap of windows (12 of 30 s)

The context is a prompt of codes, so it is not encoded again. It is decoded again without the audio before it, so the waveform
can be discontinuous at the boundary of two sections. The discontinuity is faded out over some milliseconds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from musicgen.audio import Audio
from musicgen.conditioners.base import Conditioner
from musicgen.conditioners.prepared import prepared_input
from musicgen.errors import InputError
from musicgen.generators import Generator
from musicgen.recordings import is_pair, recording
from musicgen.request import GenerationRequest
from musicgen.sampling import clip_seeds
from musicgen.timeline import prompt_schedule
from musicgen.tokenizers import Tokenizer

STEP_FADE_SECONDS = 0.01
"""Time over which the step at the boundary of two sections is faded out."""

Progress = Callable[[int, int], None]
Play = Callable[[GenerationRequest, torch.Tensor | None, Progress], tuple[Iterator[torch.Tensor], torch.Tensor]]
"""Generates one clip from a request without a timeline, the codes [1, K, P] that it begins with (None for none), and a
callback. Returns its chunks of audio, float32 [C, T], and its codes [1, K, T], which are complete when the chunks are."""


class ConditionedModel(Protocol):
    """A model with conditioners."""

    @property
    def named_conditioners(self) -> dict[str, Conditioner]: ...


class Model(ConditionedModel, Protocol):
    """The interface of models that sections use."""

    max_duration: float
    tokenizer: Tokenizer

    @property
    def sample_rate(self) -> int: ...

    @property
    def frame_rate(self) -> float: ...

    @property
    def generator(self) -> Generator: ...

    def read_given(self, file: Any) -> Audio:
        """See `MusicGen.read_given`."""
        ...


@dataclass(frozen=True)
class Section:
    """Frames [start, end) of a clip, generated with one prompt as a continuation of the `context` frames before them."""

    start: int
    end: int
    context: int
    prompt: str


def plan_sections(
    request: GenerationRequest, frame_rate: float, max_duration: float, continued_seconds: float = 0.0
) -> list[Section]:
    """Divide a clip into sections.

    Args:
        request: Of one clip, with its timeline.
        frame_rate: Of the model, Hz.
        max_duration: Of the model's window, seconds.
        continued_seconds: Length of the audio that the clip continues. It is part of the first section.

    Returns:
        The sections in order, in frames.
    """
    schedule = prompt_schedule(request.prompts[0], request.timeline, request.duration)
    total = round(request.duration * frame_rate)
    continued = round(continued_seconds * frame_rate)
    starts = [round(entry.start * frame_rate) for entry in schedule]
    prompts = [entry.prompt for entry in schedule]
    # Prompts whose time ends before the first generated frame are dropped.
    while len(starts) > 1 and starts[1] <= continued:
        del starts[0], prompts[0]
    starts[0] = 0
    overlap = round(request.options.window_overlap * max_duration * frame_rate)
    return [
        Section(start, end, min(start, overlap), prompt)
        for start, end, prompt in zip(starts, [*starts[1:], total], prompts, strict=True)
        if end > start
    ]


def stream_sections(
    model: Model, request: GenerationRequest, play: Play, progress: Progress | None = None
) -> Iterator[torch.Tensor]:
    """Generate one clip with a timeline. Its inputs are read and validated at once.

    Args:
        model: Of the clip.
        request: Of one clip. The first section has its seed, each further section the next one.
        play: Generates a section.
        progress: Called with (frames done, frames in all).

    Returns:
        An iterator over chunks of audio, float32 [C, T].
    """
    if model.generator.timeline:
        raise InputError(model.generator.timeline)
    given: Any = request.continue_from
    if isinstance(given, (list, tuple)) and not is_pair(given):
        given = given[0]
    continued = None if given is None else recording(given, "the audio to continue from", model.read_given)
    sections = plan_sections(request, model.frame_rate, model.max_duration, continued.duration if continued else 0.0)
    seed = clip_seeds(request.seed, 1)[0]
    plain = dataclasses.replace(
        request, timeline=(), conditions=prepared_conditions(model, request, seed), continue_from=continued, seed=seed
    )
    return _joined(model, sections, plain, play, progress or _ignore)


def _joined(
    model: Model, sections: list[Section], plain: GenerationRequest, play: Play, progress: Progress
) -> Iterator[torch.Tensor]:
    """The audio of the sections; `plain` is the request without its timeline, with prepared inputs and a seed."""
    seed = clip_seeds(plain.seed, 1)[0]
    total = sum(section.end - section.start for section in sections)
    codes: torch.Tensor | None = None
    last_sample: torch.Tensor | None = None
    for index, section in enumerate(sections):
        begin = (section.start - section.context) / model.frame_rate

        def report(done: int, steps: int, section: Section = section) -> None:
            progress(round(section.start + (section.end - section.start) * done / steps), total)

        part = dataclasses.replace(
            plain,
            prompts=(section.prompt,),
            duration=(section.end - section.start + section.context) / model.frame_rate,
            seed=seed + index,
            continue_from=None if section.context else plain.continue_from,
            conditions={
                name: model.named_conditioners[name].shift(value, begin) if begin and value is not None else value
                for name, value in plain.conditions.items()
            },
        )
        context = codes[:, :, -section.context :] if codes is not None and section.context else None
        chunks, codes = play(part, context, report)
        to_drop, last_of_context = section.context * model.tokenizer.hop, None
        for chunk in chunks:
            chunk = chunk.cpu()
            dropped = min(to_drop, chunk.shape[1])
            if dropped:
                last_of_context = chunk[:, dropped - 1 : dropped]
                chunk, to_drop = chunk[:, dropped:], to_drop - dropped
            if not chunk.shape[1]:
                continue
            if last_of_context is not None and last_sample is not None:
                chunk, last_of_context = fade_step(last_sample - last_of_context, chunk, model.sample_rate), None
            last_sample = chunk[:, -1:]
            yield chunk


def fade_step(step: torch.Tensor, chunk: torch.Tensor, rate: int) -> torch.Tensor:
    """Add to the beginning of a chunk [C, T] a step [C, 1] that fades out linearly."""
    length = min(chunk.shape[1], round(STEP_FADE_SECONDS * rate))
    fade = torch.linspace(1, 0, length)
    return torch.cat([chunk[:, :length] + step * fade, chunk[:, length:]], dim=1)


def _ignore(done: int, total: int) -> None:
    pass


def prepared_conditions(model: ConditionedModel, request: GenerationRequest, seed: int) -> dict[str, Any]:
    """The conditions of one clip, read and validated once.

    Args:
        model: Of the clip.
        request: Of one clip.
        seed: Of the clip.
    """
    prepared = {}
    for name in request.conditions:
        values = request.values(name)
        value = values[0] if isinstance(values, list) else values
        conditioner = model.named_conditioners.get(name)
        if value is not None and conditioner is not None:
            value = prepared_input(conditioner, name, value, separate=request.separate, options=request.options)
            value = conditioner.seeded(value, seed)
        prepared[name] = value
    return prepared
