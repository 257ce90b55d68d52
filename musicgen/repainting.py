"""Repainting (inpainting): regenerates a span of a clip so that it fits what precedes and follows it.

    |---- left: kept ----|==== span: candidates ====|---- right: kept ----|

An autoregressive model sees only the left, unless it was trained to fill in the middle: then it reads the right before the left
(`musicgen.fill_in_the_middle`). Several candidates for the span are sampled as continuations of the left, and the
one that makes the right most likely is chosen: with a candidate in place, one forward pass over left, span and right (teacher
forcing) gives the log-likelihood of the codes on the right. All other codes are unchanged. The new codes are decoded together
with those around them. The old waveform is crossfaded to the new one outside the span, within the receptive field of the
decoder, where both come from the same codes. Beyond it, the samples are unchanged.

A span before the beginning (start < 0) extends the clip to the left: there is no left, so only the right decides.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from musicgen import fill_in_the_middle
from musicgen.audio import Audio
from musicgen.conditioners.base import Conditioner
from musicgen.decoders import Decoder
from musicgen.errors import CheckpointError, InputError
from musicgen.generators import Generator
from musicgen.guidance import Guided
from musicgen.lm import LanguageModel
from musicgen.options import MAX_DURATION, check_number
from musicgen.patterns import Pattern
from musicgen.recordings import AudioInput, recording
from musicgen.request import GenerationRequest
from musicgen.sampling import check_seed, clip_seeds
from musicgen.sections import prepared_conditions
from musicgen.tokenizers import Tokenizer, frames_of

MOST_CANDIDATES = 64
"""A limit, so that a typing error does not run for a day."""
FADE_SECONDS = 0.1
"""Time over which old and new waveform are mixed, at least: the reach of a decoder that does not tell its own."""
MARGIN_SECONDS = 1.0
"""The least context in a window beside the span, so that there is something to fit."""
_LOGITS_BYTES = 256 << 20
"""Most memory of the logits of one pass."""

Progress = Callable[[int, int], None]
Draw = Callable[[GenerationRequest, torch.Tensor | None], torch.Tensor]
"""Generates the codes [B, K, T] of a request for B clips that begin with the codes [1, K, P] (None for none)."""


class Model(Protocol):
    """The interface of models that repainting uses."""

    lm: LanguageModel
    pattern: Pattern
    tokenizer: Tokenizer
    decoder: Decoder
    max_duration: float
    fill_in_the_middle: bool

    @property
    def sample_rate(self) -> int: ...

    @property
    def channels(self) -> int: ...

    @property
    def frame_rate(self) -> float: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def named_conditioners(self) -> dict[str, Conditioner]: ...

    @property
    def generator(self) -> Generator: ...

    def read_given(self, file: Any) -> Audio:
        """See `MusicGen.read_given`."""
        ...

    def guided(self, request: GenerationRequest) -> Guided:
        """See `MusicGen.guided`."""
        ...

    def decode(self, codes: torch.Tensor, seed: int | Sequence[int] | None = None) -> torch.Tensor:
        """See `MusicGen.decode`."""
        ...


@dataclass(frozen=True)
class Repainted:
    """A clip with a repainted span.

    Attributes:
        wave: float32 [C, samples].
        codes: int64 [K, T].
        span: Frames [start, end) of `codes` that are new; the codes of all others are those of the clip.
        seed: Seed of the chosen candidate.
        log_likelihoods: Seed of each candidate -> mean log-likelihood of a code on the right, in nats; empty if nothing
            follows the span.
        original: The same with the original codes of the span; None if there were none.
    """

    wave: torch.Tensor
    codes: torch.Tensor
    span: tuple[int, int]
    seed: int
    log_likelihoods: dict[int, float]
    original: float | None


@dataclass(frozen=True)
class SpanLayout:
    """The position of a span in frames of the new clip: the span [start, end), its window [first, last); added: frames added at
    the left."""

    start: int
    end: int
    first: int
    last: int
    added: int


def span_layout(start: float, end: float, total: int, frame_rate: float, context: int) -> SpanLayout:
    """The position of a span.

    Args:
        start: Seconds from the clip's beginning; may be below 0.
        end: Seconds.
        total: Frames of the clip.
        frame_rate: Hz.
        context: Most frames of a window.

    Raises:
        InputError: The span is empty, outside the clip, or too long for a window.
    """
    seconds = total / frame_rate
    start = check_number("start", start, low=-MAX_DURATION, high=MAX_DURATION)
    end = check_number("end", end, low=-MAX_DURATION, high=MAX_DURATION)
    first, last = round(start * frame_rate), round(end * frame_rate)
    if last <= first:
        raise InputError(f"the span {start:g}:{end:g} is empty: it ends where it begins, or before")
    if first < 0 and last < 0:
        raise InputError(f"the span {start:g}:{end:g} ends before the clip begins: it must reach 0 s")
    if first >= total or last > total:
        raise InputError(
            f"the span {start:g}:{end:g} reaches beyond the clip of {seconds:.2f} s: to make it longer, continue it"
        )
    longest = context - round(MARGIN_SECONDS * frame_rate)
    if last - first > longest:
        raise InputError(
            f"the span {start:g}:{end:g} is {end - start:g} s long: {longest / frame_rate:g} s at most fit into the model's "
            "window with something around them"
        )
    added = max(0, -first)
    first, last, total = first + added, last + added, total + added
    if total > round(MAX_DURATION * frame_rate):
        raise InputError(f"the clip would be longer than {MAX_DURATION:g} s")
    rest = context - (last - first)
    left = min(first, max(rest // 2, rest - (total - last)))
    return SpanLayout(first, last, first - left, min(total, first - left + context), added)


def repaint(
    model: Model,
    clip: AudioInput | torch.Tensor,
    start: float,
    end: float,
    request: GenerationRequest,
    draw: Draw,
    *,
    candidates: int = 8,
) -> Repainted:
    """Regenerate a span of a clip.

    Args:
        model: The loaded model.
        clip: A recording; or codes, int64 [K, T], of this model's tokeniser.
        start: Seconds from the clip's beginning; below 0 extends it to the left.
        end: Seconds.
        request: A request for one clip: the description, options, conditions and seed for the span. Its conditions start at the
            beginning of the original clip, also for a span before it; its duration is not used.
        draw: Generates candidates.
        candidates: Number of candidates; candidate i has seed + i.

    Returns:
        The new clip.

    Raises:
        InputError: An argument is invalid, or the model does not generate step by step.
    """
    if not model.generator.autoregressive:
        raise InputError(
            "this model generates in passes over all frames (MAGNeT): a span is repainted by models that go step by step"
        )
    if isinstance(candidates, bool) or not isinstance(candidates, int) or not 1 <= candidates <= MOST_CANDIDATES:
        raise InputError(f"candidates is {candidates!r}: it must be a whole number from 1 to {MOST_CANDIDATES}")
    others = {
        "a timeline": request.timeline,
        "a loop": request.loop,
        "audio to continue": request.continue_from is not None,
    }
    for name, given in others.items():
        if given:
            raise InputError(f"{name} is for a whole clip, and not for a span of it: leave it out")
    old, wave = _clip(model, clip)
    context = frames_of(model.tokenizer, model.max_duration)
    where = span_layout(start, end, old.shape[1], model.frame_rate, context)
    if where.end == old.shape[1] + where.added:
        candidates = 1  # nothing on the right could choose among them
    first_seed = check_seed(clip_seeds(request.seed, 1)[0])
    seeds = [check_seed(first_seed + index) for index in range(candidates)]
    frames, leading = where.end - where.first, 0
    if model.fill_in_the_middle:
        # As much of the right as fits beside the left, the span and the separator. The left is not cut: a position tells
        # where in the beat it is only if the music begins where the window does.
        leading = max(0, min(where.last - where.end, context - frames - old.shape[0]))
    if leading:
        frames += leading + old.shape[0]
    request = _of_window(model, request, where, seeds, frames / model.frame_rate)
    kept = torch.cat([old.new_zeros(old.shape[0], where.added), old], dim=1)
    prompt = kept[None, :, where.first : where.start]
    if leading:
        right = kept[None, :, where.end : where.end + leading]
        prompt = fill_in_the_middle.audio_prompt(prompt, right, model.lm.config.special_token)
    drawn = draw(request, prompt if prompt.shape[2] else None)[:, :, prompt.shape[2] :].to(old.device)
    filled = kept.expand(candidates, -1, -1).clone()
    filled[:, :, where.start : where.end] = drawn
    # What was there is compared too: it tells how well anything can fit.
    rows = filled if where.added else torch.cat([filled, kept[None]])
    found = _log_likelihoods(model, request, rows[:, :, where.first : where.last], where.end - where.first)
    best = int(found[:candidates].argmax()) if len(found) else 0
    codes = filled[best]
    return Repainted(
        join(model, wave, kept, codes, where, seeds[best]),
        codes,
        (where.start, where.end),
        seeds[best],
        {seed: float(one) for seed, one in zip(seeds, found, strict=False)},
        float(found[-1]) if len(found) > candidates else None,
    )


def _clip(model: Model, clip: AudioInput | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The codes [K, T] of a clip, and its waveform [C, samples] where that was given."""
    if isinstance(clip, torch.Tensor):
        count, size = model.tokenizer.num_codebooks, model.tokenizer.codebook_size
        if clip.dim() != 2 or clip.shape[0] != count or clip.shape[1] == 0 or clip.is_floating_point():
            raise InputError(
                f"codes are whole numbers [{count}, frames], not {list(clip.shape)} {clip.dtype}; a recording is (samples, "
                "rate)"
            )
        if int(clip.min()) < 0 or int(clip.max()) >= size:
            raise InputError(f"a code is {int(clip.max())}: the codes of this model lie between 0 and {size - 1}")
        return clip.to(model.device, torch.int64), None
    heard = recording(clip, "the clip", model.read_given).with_channels(model.channels).resampled(model.sample_rate)
    if not bool(torch.isfinite(heard.wave).all()):
        raise InputError("the clip holds NaN or infinite samples")
    if heard.duration > MAX_DURATION:
        raise InputError(f"the clip is {heard.duration:.0f} s long: {MAX_DURATION:g} s at most")
    frames = heard.wave.shape[1] // model.tokenizer.hop
    if frames == 0:
        raise InputError(
            f"the clip is {heard.duration:.3f} s long: a frame of this model is {1 / model.frame_rate:.3f} s"
        )
    whole = heard.wave[None, :, : frames * model.tokenizer.hop].to(model.device)
    return model.tokenizer.encode(whole)[0], heard.wave.cpu()


def _of_window(
    model: Model, request: GenerationRequest, where: SpanLayout, seeds: list[int], duration: float
) -> GenerationRequest:
    """The request for the candidates, in a window of `duration` seconds that ends with the span."""
    begin = (where.first - where.added) / model.frame_rate
    conditions = {
        name: model.named_conditioners[name].shift(value, begin)
        if value is not None and name in model.named_conditioners
        else value
        for name, value in prepared_conditions(model, request, seeds[0]).items()
    }
    return dataclasses.replace(
        request,
        prompts=request.prompts * len(seeds),
        duration=duration,
        seed=seeds,
        conditions=conditions,
    )


@torch.no_grad()
def _log_likelihoods(model: Model, request: GenerationRequest, codes: torch.Tensor, begin: int) -> torch.Tensor:
    """The mean log-likelihood of the codes from frame `begin` on given all before them and the conditions, without guidance.

    Args:
        model: The loaded model.
        request: Whose conditions hold for all rows.
        codes: int64 [rows, K, T], of one window.
        begin: Frame.

    Returns:
        float64 [rows]; empty where nothing is behind `begin`.
    """
    _, codebooks, frames = codes.shape
    if begin == frames:
        return torch.zeros(0, dtype=torch.float64)
    one = request.clip(0, clip_seeds(request.seed, len(request.prompts))[0])
    conditions = model.guided(one).conditions.of(slice(0, 1))
    layout = model.pattern.layout(frames)
    steps = layout.steps[:, begin:].to(codes.device)
    size = max(1, _LOGITS_BYTES // (4 * codebooks * (frames - begin) * model.lm.config.codebook_size))
    found = []
    for part in codes.split(size):
        sequence = layout.build(part, model.lm.config.special_token)[:, :, : layout.num_steps]
        logits = model.lm(sequence, conditions.repeated(part.shape[0]), predicting=steps)
        likely = logits.float().log_softmax(dim=-1).gather(3, part[:, :, begin:, None])[..., 0]
        found.append(likely.double().mean(dim=(1, 2)).cpu())
    return torch.cat(found)


def join(
    model: Model, wave: torch.Tensor | None, old: torch.Tensor, codes: torch.Tensor, where: SpanLayout, seed: int
) -> torch.Tensor:
    """The waveform [C, samples] of the new codes, which outside the span and the decoder's reach is the old one.

    Args:
        model: The loaded model.
        wave: Of the old clip, None for one that was given as codes.
        old: Its codes [K, T], with zeros in the frames that are added at the left.
        codes: The new ones [K, T].
        where: The span.
        seed: Of a decoder's noise.
    """
    hop = model.tokenizer.hop
    new = model.decode(codes[None], seed)[0].cpu()
    added, start, end = where.added * hop, where.start * hop, where.end * hop
    if wave is None:
        wave = model.decode(old[None, :, where.added :], seed)[0].cpu()
    total = added + wave.shape[1]
    before = torch.nn.functional.pad(wave, (added, 0))
    # The last samples, less than a frame, have no codes. They go with the span where it reaches the end.
    new = torch.nn.functional.pad(new, (0, total - new.shape[1]))
    if where.end == codes.shape[1]:
        before, new, total = before[:, :end], new[:, :end], end
    reach = _reach(model) * hop
    share = torch.zeros(total)
    share[start:end] = 1.0
    left, right = min(reach, start), min(reach, total - end)
    share[start - left : start] = torch.linspace(0, 1, left + 2)[1:-1]
    share[end : end + right] = torch.linspace(1, 0, right + 2)[1:-1]
    # Not a sum of products everywhere: what is kept is kept bit for bit.
    mixed = before + (new - before) * share
    return torch.where(share == 0, before, torch.where(share == 1, new, mixed))


def _reach(model: Model) -> int:
    """Frames to each side of the span whose waveform depends on the new codes."""
    least = math.ceil(FADE_SECONDS * model.frame_rate)
    try:
        return max(least, model.tokenizer.stream_decoder().delay)
    except CheckpointError:  # codes that cannot be decoded in parts
        return least
