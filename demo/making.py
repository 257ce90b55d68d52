"""One clip of a request, made piece by piece: sound as it comes.

A timeline cuts the clip where its prompts change. Each piece after the first continues the end of what is there:

    |---- piece 1: prompt A ----|
                  |== context ==|---- piece 2: prompt B ----|      context: what windows overlap by (12 of 30 s)

The decoder meets the context again, so a joint can step by a fraction: the step is faded out over some milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from musicgen.audio import Audio
from musicgen.engine import Scheduler
from musicgen.model import MusicGen

from . import melody
from .request import Request

CHUNK = 1.0
"""Seconds of sound that a visitor gets at a time: shorter parts make players stutter."""
JOINT = 0.01
"""Seconds over which the step at a joint fades."""


@dataclass(frozen=True)
class Piece:
    """Frames [start, end) of the clip under one prompt, made after `context` frames of what precedes them."""

    start: int
    end: int
    context: int
    prompt: str


def pieces(request: Request, frame_rate: float, max_duration: float, given: float = 0.0) -> list[Piece]:
    """The clip's pieces in frames. `given`: seconds that the clip continues; they belong to the first piece."""
    total = round(request.duration * frame_rate)
    known = round(given * frame_rate)
    starts = [round(section.start * frame_rate) for section in request.sections]
    prompts = [section.prompt for section in request.sections]
    # A prompt that is over before the new music begins is not needed.
    while len(starts) > 1 and starts[1] <= known:
        del starts[0], prompts[0]
    starts[0] = 0
    overlap = round(request.options.window_overlap * max_duration * frame_rate)
    cut = []
    for start, end, prompt in zip(starts, [*starts[1:], total], prompts, strict=True):
        if end > start:
            cut.append(Piece(start, end, min(start, overlap), prompt))
    return cut


def stream(
    engine: Scheduler, request: Request, seed: int, progress: Callable[[int, int], None]
) -> Iterator[torch.Tensor]:
    """Parts [C, n] of one clip, float32 at the model's rate; a melody is taken from the request's frames. `progress(done,
    total)` as the clip advances; what it raises ends the clip."""
    model = engine.model
    tune = None if request.frames is None else melody.as_tensor(request.frames)
    given = None
    if request.continue_from is not None:
        given = model.read_given(request.continue_from)
    plan = pieces(request, model.frame_rate, model.max_duration, given.duration if given else 0.0)
    if len(plan) == 1:
        only = plan[0]
        yield from engine.stream(
            only.prompt, request.duration, seed=seed, melody=tune, continue_from=given,
            options=request.options, progress=progress,
        )  # fmt: skip
        return

    hop = round(model.sample_rate / model.frame_rate)
    total = sum(piece.end - piece.start for piece in plan)
    made = torch.zeros(model.channels, 0)
    for index, piece in enumerate(plan):
        context = Audio(made[:, -piece.context * hop :], model.sample_rate) if piece.context else given
        skip = piece.context * hop
        following = tune if tune is None or not piece.start else _later(tune, piece.start - piece.context, model)
        seconds = (piece.end - piece.start + piece.context) / model.frame_rate
        joint: torch.Tensor | None = None

        def report(done: int, steps: int, piece: Piece = piece) -> None:
            share = piece.start + (piece.end - piece.start) * done / steps
            progress(round(share), total)

        for part in engine.stream(
            piece.prompt, seconds, seed=seed + index, melody=following, continue_from=context,
            options=request.options, progress=report,
        ):  # fmt: skip
            part = part.cpu()
            dropped = min(skip, part.shape[1])
            if dropped:
                joint, part, skip = part[:, dropped - 1 : dropped], part[:, dropped:], skip - dropped
            if not part.shape[1]:
                continue
            if joint is not None and made.shape[1]:
                part = _joined(made[:, -1:] - joint, part, model.sample_rate)
                joint = None
            made = torch.cat([made, part], dim=1)
            yield part


def _later(tune: torch.Tensor, frames: int, model: MusicGen) -> torch.Tensor:
    """The melody from that frame of the clip on."""
    return tune.roll(-round(frames / model.frame_rate / melody.SECONDS_PER_FRAME), dims=0)


def _joined(step: torch.Tensor, part: torch.Tensor, rate: int) -> torch.Tensor:
    """`part` begun where the sound before it ended: the step [C, 1] between them fades."""
    length = min(part.shape[1], round(JOINT * rate))
    fade = torch.linspace(1, 0, length)
    return torch.cat([part[:, :length] + step * fade, part[:, length:]], dim=1)


def seamless(audio: Audio, seconds: float = 1.0) -> Audio:
    """The clip as a loop: its last `seconds` (a quarter of it at most) are mixed into its beginning, at equal power."""
    length = min(round(seconds * audio.rate), audio.wave.shape[1] // 4)
    if length < 2:
        return audio
    angle = torch.linspace(0, torch.pi / 2, length)
    head, tail = audio.wave[:, :length], audio.wave[:, -length:]
    mixed = head * angle.sin() + tail * angle.cos()
    return Audio(torch.cat([mixed, audio.wave[:, length:-length]], dim=1), audio.rate)
