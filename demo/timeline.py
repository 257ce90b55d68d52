"""Generates one clip, section by section, as a stream of audio.

A timeline divides the clip into sections where its prompts change. Each section after the first is a continuation of the end of
the preceding audio:

    |---- section 1: prompt A ----|
                    |== context ==|---- section 2: prompt B ----|      context: the overlap of windows (12 of 30 s)

The context is decoded a second time, so the waveform can have a small step at the boundary of two sections. The step is faded
out over some milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from musicgen.audio import Audio
from musicgen.engine import Scheduler
from musicgen.model import MusicGen

from . import melody
from .request import PageRequest

CHUNK_SECONDS = 1.0
"""Length of the chunks of audio that are streamed to the page. Shorter ones cause gaps in playback."""
STEP_FADE_SECONDS = 0.01
"""Time over which the step at the boundary of two sections is faded out."""


@dataclass(frozen=True)
class Section:
    """Frames [start, end) of a clip, generated with one prompt as a continuation of the `context` frames before them."""

    start: int
    end: int
    context: int
    prompt: str


def plan_sections(
    request: PageRequest, frame_rate: float, max_duration: float, continued_seconds: float = 0.0
) -> list[Section]:
    """Divide a clip into sections.

    Args:
        request: the request, with its timeline.
        frame_rate: of the model, Hz.
        max_duration: of the model's window, seconds.
        continued_seconds: length of the audio that the clip continues. It is part of the first section.

    Returns:
        The sections in order, in frames.
    """
    total = round(request.duration * frame_rate)
    continued = round(continued_seconds * frame_rate)
    starts = [round(entry.start * frame_rate) for entry in request.prompt_schedule]
    prompts = [entry.prompt for entry in request.prompt_schedule]
    # Prompts whose time ends before the first generated frame are dropped.
    while len(starts) > 1 and starts[1] <= continued:
        del starts[0], prompts[0]
    starts[0] = 0
    overlap = round(request.options.window_overlap * max_duration * frame_rate)
    sections = []
    for start, end, prompt in zip(starts, [*starts[1:], total], prompts, strict=True):
        if end > start:
            sections.append(Section(start, end, min(start, overlap), prompt))
    return sections


def stream(
    scheduler: Scheduler, request: PageRequest, seed: int, progress: Callable[[int, int], None]
) -> Iterator[torch.Tensor]:
    """Generate one clip.

    Args:
        scheduler: of the model.
        request: the request; its melody is taken from `frames`.
        seed: of the first section; each further section has the next one.
        progress: called with (steps done, total steps) during generation. An exception that it raises ends the generation.

    Yields:
        Chunks of audio, float32 [C, T] at the model's sample rate.
    """
    model = scheduler.model
    tune = None if request.frames is None else melody.to_one_hot(request.frames)
    continued = None
    if request.continue_from is not None:
        continued = model.read_given(request.continue_from)
    sections = plan_sections(request, model.frame_rate, model.max_duration, continued.duration if continued else 0.0)
    if len(sections) == 1:
        yield from scheduler.stream(
            sections[0].prompt, request.duration, seed=seed, melody=tune, continue_from=continued,
            options=request.options, progress=progress,
        )  # fmt: skip
        return

    hop = round(model.sample_rate / model.frame_rate)
    total = sum(section.end - section.start for section in sections)
    generated = torch.zeros(model.channels, 0)
    for index, section in enumerate(sections):
        context_samples = section.context * hop
        context = Audio(generated[:, -context_samples:], model.sample_rate) if section.context else continued
        to_drop = context_samples
        section_tune = (
            tune if tune is None or not section.start else _melody_from(tune, section.start - section.context, model)
        )
        seconds = (section.end - section.start + section.context) / model.frame_rate
        last_context_sample: torch.Tensor | None = None

        def report(done: int, steps: int, section: Section = section) -> None:
            frames_done = section.start + (section.end - section.start) * done / steps
            progress(round(frames_done), total)

        for chunk in scheduler.stream(
            section.prompt, seconds, seed=seed + index, melody=section_tune, continue_from=context,
            options=request.options, progress=report,
        ):  # fmt: skip
            chunk = chunk.cpu()
            dropped = min(to_drop, chunk.shape[1])
            if dropped:
                last_context_sample = chunk[:, dropped - 1 : dropped]
                chunk, to_drop = chunk[:, dropped:], to_drop - dropped
            if not chunk.shape[1]:
                continue
            if last_context_sample is not None and generated.shape[1]:
                chunk = _fade_step(generated[:, -1:] - last_context_sample, chunk, model.sample_rate)
                last_context_sample = None
            generated = torch.cat([generated, chunk], dim=1)
            yield chunk


def _melody_from(tune: torch.Tensor, frame: int, model: MusicGen) -> torch.Tensor:
    """The melody [chroma frames, 12] rotated so that it begins at a frame of the model."""
    return tune.roll(-round(frame / model.frame_rate / melody.SECONDS_PER_FRAME), dims=0)


def _fade_step(step: torch.Tensor, chunk: torch.Tensor, rate: int) -> torch.Tensor:
    """Add to the beginning of a chunk [C, T] a step [C, 1] that fades out linearly."""
    length = min(chunk.shape[1], round(STEP_FADE_SECONDS * rate))
    fade = torch.linspace(1, 0, length)
    return torch.cat([chunk[:, :length] + step * fade, chunk[:, length:]], dim=1)


def make_loop(audio: Audio, seconds: float = 1.0) -> Audio:
    """Make a clip a seamless loop: an equal-power crossfade of its end into its beginning.

    Args:
        audio: the clip.
        seconds: length of the crossfade, at most a quarter of the clip. The loop is that much shorter.
    """
    length = min(round(seconds * audio.rate), audio.wave.shape[1] // 4)
    if length < 2:
        return audio
    angle = torch.linspace(0, torch.pi / 2, length)
    head, tail = audio.wave[:, :length], audio.wave[:, -length:]
    mixed = head * angle.sin() + tail * angle.cos()
    return Audio(torch.cat([mixed, audio.wave[:, length:-length]], dim=1), audio.rate)
