"""Several takes of one request, best first: clips with consecutive seeds, generated in one batch and ordered by a ranking."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Unpack

import torch

from musicgen.audio import Audio
from musicgen.engine.batch_size import automatic
from musicgen.errors import InputError
from musicgen.model import MusicGen
from musicgen.ranking import Ranker, ranker
from musicgen.request import GenerationRequest, RequestArguments
from musicgen.sampling import clip_seeds

MOST = 64
"""Takes of one request: a typing error should not run for a day."""


@dataclass(frozen=True)
class Take:
    """One take. wave: float32 [C, samples], as the model makes it; seed: of this take, with which it is generated alone; score:
    of the ranking, the higher the better, None without one."""

    wave: torch.Tensor
    seed: int
    score: float | None = None


def generate_takes(
    model: MusicGen,
    prompt: str | GenerationRequest | None,
    duration: float = 10.0,
    *,
    takes: int = 8,
    rank: str = "clap",
    progress: Callable[[int, int], None] | None = None,
    **arguments: Unpack[RequestArguments],
) -> list[Take]:
    """Generate several takes of one clip and order them.

    Args:
        model: The loaded model.
        prompt: Description; None or "" generates without text. Or a `GenerationRequest`.
        duration: Seconds of a take.
        takes: Number of takes.
        rank: The ranking: "clap" (audio and description), "melody", "none", or a registered one (`musicgen.ranking`).
        progress: As in `MusicGen.generate`, over all takes.
        **arguments: Those of `GenerationRequest.of`, for one clip. Take i has seed + i.

    Returns:
        The takes, best first; with "none" ordered by seed.

    Raises:
        InputError: An argument is invalid, or there is nothing to rank by; raised before the first step.
    """
    count = check_takes(takes)
    request = GenerationRequest.of_one(prompt, duration, **arguments)
    judge = ranker(rank)
    if judge is not None:
        judge.check(request)
    request = prepared(model, request)
    seeds = _seeds(request, count)
    many = dataclasses.replace(request, prompts=request.prompts * count, seed=seeds)
    waves = [wave for part in parts(model, many, progress) for wave in model.generate(part[0], progress=part[1])]
    return ranked(model, request, waves, seeds, judge)


def check_takes(takes: object) -> int:
    """`takes`, if it is a number of takes."""
    if isinstance(takes, bool) or not isinstance(takes, int) or not 1 <= takes <= MOST:
        raise InputError(f"takes is {takes!r}: it must be a whole number from 1 to {MOST}")
    return takes


def ranked(
    model: MusicGen,
    request: GenerationRequest,
    waves: Sequence[torch.Tensor],
    seeds: Sequence[int],
    judge: Ranker | None,
) -> list[Take]:
    """Takes of one request, best first; equal ones ordered by seed.

    Args:
        model: The model that generated them.
        request: A request for one clip, from `prepared`.
        waves: Float32 [C, samples] each.
        seeds: One per take.
        judge: Scores them; None keeps their order.
    """
    if judge is None:
        return [Take(wave, seed) for wave, seed in zip(waves, seeds, strict=True)]
    scored = [
        Take(wave, seed, judge.score(Audio(wave.cpu(), model.sample_rate), request, model))
        for wave, seed in zip(waves, seeds, strict=True)
    ]
    return sorted(scored, key=lambda take: -(take.score or 0.0))


def prepared(model: MusicGen, request: GenerationRequest) -> GenerationRequest:
    """The request of one clip with its melody read once for all takes."""
    conditions = dict(request.conditions)
    value = request.values("melody")
    value = value[0] if isinstance(value, list) else value
    if value is not None and model.melody is not None:
        conditions["melody"] = model.melody.prepare(value, separate=request.separate, options=request.options)
    return dataclasses.replace(request, conditions=conditions)


def parts(
    model: MusicGen,
    request: GenerationRequest,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[GenerationRequest, Callable[[int, int], None] | None]]:
    """A request for B clips as requests of as many clips as fit in memory at once, each with its share of the progress.

    Args:
        model: What generates them.
        request: Its seed is a list, and its conditions hold for all clips.
        progress: Of all parts together.
    """
    clips = len(request.prompts)
    size = automatic(model, clips)
    count = -(-clips // size)
    for index in range(count):
        own = slice(index * size, (index + 1) * size)

        def report(done: int, total: int, index: int = index) -> None:
            assert progress is not None
            progress(index * total + done, count * total)

        yield request.part(own), None if progress is None else report


def _seeds(request: GenerationRequest, count: int) -> list[int]:
    if request.seed is None:
        first = clip_seeds(None, 1)[0]
        return clip_seeds(first, count)
    return clip_seeds(clip_seeds(request.seed, 1)[0], count)
