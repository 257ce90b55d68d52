"""The model that users call: prompts in, waveforms out.

Combines conditioners, the generation loop (window by window) and the tokeniser, for whole clips or as a stream.
`musicgen.checkpoint` reads and writes weights.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Unpack, cast

import torch
from torch import nn

from musicgen import audio
from musicgen.audio import Audio
from musicgen.conditioners.base import Conditioner
from musicgen.conditioners.fuser import Fuser
from musicgen.conditioners.prepared import PreparedCondition, prepared_input
from musicgen.decoders import CodecDecoder, Decoder
from musicgen.errors import CheckpointError, InputError
from musicgen.fill_in_the_middle import leading_frames, step_positions
from musicgen.generate import Runner, Step
from musicgen.generators import AutoregressiveGenerator, Generator
from musicgen.guidance import Guided, guidance_rows, guided
from musicgen.lm import LanguageModel
from musicgen.loops import make_loop
from musicgen.options import MAX_DURATION, GenerationOptions
from musicgen.patterns import Pattern, stereo_partial_delay
from musicgen.recordings import AudioInput, is_pair, recording
from musicgen.repainting import Repainted, repaint
from musicgen.request import TEXT, GenerationRequest, Prompts, RequestArguments
from musicgen.sampling import ClipStream, clip_seeds
from musicgen.sections import stream_sections
from musicgen.text_format import counted
from musicgen.tokenizers import Tokenizer, frame_rate, frames_of
from musicgen.windows import Window
from musicgen.windows import plan as plan_windows

_MODELS_FOR = {"melody": "mini-melody or facebook/musicgen-melody", "style": "facebook/musicgen-style"}
"""Condition -> models that follow it, an embedded one first."""

Progress = Callable[[int, int], None]
"""Called with (steps done, total steps) after each step; an exception it raises stops the generation."""


class Adapters(Protocol):
    """The LoRA adapters of a model."""

    @property
    def weights(self) -> dict[str, float]:
        """Name -> weight; 0 for an adapter that is disabled."""
        ...

    def use(self, weights: Mapping[str, float]) -> None:
        """Set the weights; adapters that are not named are disabled. Must not be called during a generation."""
        ...

    def sha256(self, name: str) -> str:
        """The sha256 of an adapter's weight file."""
        ...


@dataclass(frozen=True)
class GenerationPlan:
    """A validated request, with everything that the generation loop needs.

    Attributes:
        codes: int64 [B, K, T], filled in place; the first `known` frames are given.
        known: Frames of the audio prompt.
        leading: Frames of the audio prompt that follow the span which is generated, with their separator
            (`fill_in_the_middle`); 0 for a clip from its beginning on.
        windows: The windows that together fill all frames.
        streams: One random stream per clip.
        conditions: Name of each conditioner -> the prepared inputs of the clips, and the null condition.
        options: Sampling and guidance.
    """

    codes: torch.Tensor
    known: int
    leading: int
    windows: list[Window]
    streams: list[ClipStream]
    conditions: Mapping[str, PreparedCondition]
    options: GenerationOptions

    @property
    def seeds(self) -> list[int]:
        """One seed per clip."""
        return [stream.seed for stream in self.streams]


class MusicGen(nn.Module):
    """A language model over audio codes with its tokeniser and conditioners (Copet et al. 2023).

    Attributes:
        lm: The language model.
        pattern: Its codebook interleaving pattern.
        tokenizer: The audio tokeniser.
        conditioners: Name -> conditioner, in the order in which their vectors are concatenated. "text" encodes the prompts.
        fuser: How the conditions reach the language model.
        generator: How codes are generated; autoregressively by default.
        max_duration: Seconds of the training segments, which is the context of one window.
        fill_in_the_middle: Whether it was trained to generate a span with what follows it in its context
            (`musicgen.fill_in_the_middle`).
        name: The name or folder from which the model was loaded.
    """

    def __init__(
        self,
        lm: LanguageModel,
        pattern: Pattern,
        tokenizer: Tokenizer,
        conditioners: Mapping[str, Conditioner],
        *,
        fusions: Mapping[str, str] | None = None,
        generator: Generator | None = None,
        max_duration: float = 30.0,
        fill_in_the_middle: bool = False,
        name: str = "",
    ) -> None:
        """Args: the attributes of these names, and
        fusions: Name of a conditioner -> how the language model reads it (`conditioners.fuser`). Those that are not named go
            to cross-attention where the language model has it, and are a prefix elsewhere.
        """
        super().__init__()
        if not lm.config.num_codebooks == pattern.num_codebooks == tokenizer.num_codebooks:
            raise CheckpointError(
                f"codebooks do not agree: language model {lm.config.num_codebooks}, pattern {pattern.num_codebooks}, "
                f"tokeniser {tokenizer.num_codebooks}"
            )
        self.lm = lm
        self.pattern = pattern
        self.tokenizer = tokenizer
        self.conditioners = nn.ModuleDict(conditioners)
        usual = dict.fromkeys(conditioners, "cross" if lm.config.cross_attention else "prefix")
        self.fuser = Fuser({**usual, **(fusions or {})}, cross_attention=lm.config.cross_attention)
        if self.fuser.fusions.keys() != conditioners.keys():
            lacking = ", ".join(sorted(self.fuser.fusions.keys() - conditioners.keys()))
            raise CheckpointError(
                f"the conditions {lacking} are fused, and the model has no conditioners of these names"
            )
        for one in self.fuser.names("sum"):
            if conditioners[one].max_length != 1:
                raise CheckpointError(
                    f"the condition {one!r} of up to {conditioners[one].max_length} vectors is fused by 'sum', which takes "
                    "one"
                )
        self.generator = generator if generator is not None else AutoregressiveGenerator()
        self.max_duration = max_duration
        self.fill_in_the_middle = fill_in_the_middle
        self.name = name
        self.precision = "float32"
        """The precision of the language model."""
        self.decoder: Decoder = CodecDecoder()
        """Decodes codes to waveforms: the tokeniser's decoder, unless the model was loaded with another one."""
        self.adapters: Adapters | None = None
        """LoRA adapters and their weights; None for a model that was loaded without adapters."""
        self.engine: Runner | None = None
        """The engine that runs the language model; None runs the PyTorch module itself."""
        self.requires_grad_(False).eval()

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.tokenizer.sample_rate

    @property
    def channels(self) -> int:
        """C: 1 for mono, 2 for stereo."""
        return self.tokenizer.channels

    @property
    def frame_rate(self) -> float:
        """Frames a second (50 Hz in the published models)."""
        return float(frame_rate(self.tokenizer))

    @property
    def device(self) -> torch.device:
        return self.lm.embedding.weight.device

    @property
    def named_conditioners(self) -> dict[str, Conditioner]:
        """`conditioners` as a dict of their common type."""
        return cast(dict[str, Conditioner], dict(self.conditioners.items()))

    @property
    def text(self) -> Any:
        """The text conditioner, None in models without text."""
        return self.named_conditioners.get(TEXT)

    @property
    def melody(self) -> Any:
        """The melody conditioner, None in models without melody."""
        return self.named_conditioners.get("melody")

    def unknown(self, prompt: str | None) -> float:
        """The share of a description's tokens that are not in the model's vocabulary, 0 to 1: the model cannot follow them."""
        return self.text.unknown(prompt) if prompt and self.text is not None else 0.0

    def generate(
        self,
        prompts: Prompts | GenerationRequest,
        duration: float = 10.0,
        *,
        progress: Progress | None = None,
        **arguments: Unpack[RequestArguments],
    ) -> torch.Tensor:
        """Generate one clip for each prompt.

        Args:
            prompts: B descriptions, or one; None or "" generates without text. Or a `GenerationRequest`.
            duration: Seconds of the result, including the audio prompt.
            progress: Called after every step of the language model, and of a decoder that takes steps.
            **arguments: seed, melody, chords, style, continue_from, options, conditions, timeline, loop …: see
                `GenerationRequest.of`.

        Returns:
            Waveforms, float32 [B, C, samples] at `sample_rate` Hz: the decoder's output without loudness normalisation.

        Raises:
            InputError: An argument is invalid; raised before the first step.
        """
        request = GenerationRequest.of(prompts, duration, **arguments)
        whole = dataclasses.replace(request, loop=False)
        if request.timeline:
            waves = self._generate_sections(whole, progress)
        else:
            waves = self._generate(self.plan_generation(whole), progress)
        if not request.loop:
            return waves
        return torch.stack([make_loop(Audio(wave, self.sample_rate)).wave for wave in waves]).to(waves.device)

    def generate_codes(
        self,
        prompts: Prompts | GenerationRequest,
        duration: float = 10.0,
        *,
        progress: Progress | None = None,
        **arguments: Unpack[RequestArguments],
    ) -> torch.Tensor:
        """Generate codes instead of waveforms: int64 [B, K, T]. The arguments are those of `generate`, without a timeline and a
        loop, which join waveforms."""
        plan = self.plan_generation(GenerationRequest.of(prompts, duration, **arguments))
        for step in self._steps(plan):
            if progress is not None:
                progress(step.done, step.total)
        return plan.codes

    def stream(
        self,
        prompt: str | GenerationRequest | None,
        duration: float = 10.0,
        *,
        chunk: float = 0.5,
        progress: Progress | None = None,
        **arguments: Unpack[RequestArguments],
    ) -> Iterator[torch.Tensor]:
        """Generate one clip and decode it while it is generated.

        The arguments are those of `generate` for one clip, and `chunk`, seconds of each part. They are validated at once, not
        when the first part is requested.

        Returns:
            An iterator over parts, float32 [C, samples]. Concatenated, they equal the result of `generate`. A loop cannot be
            streamed, because its end is mixed into its beginning.
        """
        if not 0 < chunk <= MAX_DURATION:
            raise InputError(f"chunk is {chunk} s: it must be above 0 and at most {MAX_DURATION:g} s")
        request = GenerationRequest.of_one(prompt, duration, **arguments)
        if request.timeline and not request.loop:
            return self._stream_sections(request, chunk, progress)
        return self._stream(self.plan_generation(request), frames_of(self.tokenizer, chunk), progress)

    @torch.no_grad()
    def decode(
        self, codes: torch.Tensor, seed: int | Sequence[int] | None = None, *, progress: Progress | None = None
    ) -> torch.Tensor:
        """Decode codes.

        Args:
            codes: int64 [B, K, T].
            seed: Seed of the decoder's noise (multi-band diffusion only), as in `generate`.
            progress: Called after every step of a decoder that takes steps.

        Returns:
            float32 [B, C, T * hop].
        """
        seeds = clip_seeds(seed, codes.shape[0])
        total = len(seeds) * self.decoder.num_steps(self.tokenizer, codes.shape[2])
        return self.decoder.decode(self.tokenizer, codes.to(self.device), seeds, _counted(progress, total))

    @torch.no_grad()
    def _generate(self, plan: GenerationPlan, progress: Progress | None) -> torch.Tensor:
        count = _counted(progress, self.total_steps(plan))
        for _ in self._steps(plan):
            count()
        return self.decoder.decode(self.tokenizer, plan.codes, plan.seeds, count)

    def _stream(self, plan: GenerationPlan, chunk: int, progress: Progress | None) -> Iterator[torch.Tensor]:
        count = _counted(progress, self.total_steps(plan))
        decoder = self.decoder.stream(self.tokenizer, plan.seeds, count)
        total = plan.codes.shape[2]
        made, decoded = plan.known, 0
        for step in self._steps(plan):
            made += step.codes.shape[2]
            count()
            # The decoder needs `delay` frames of lookahead: the first part waits for them, so that it is a whole chunk too.
            lookahead = decoder.delay if decoded == 0 else 0
            if made == total or made - decoded >= chunk + lookahead:
                wave = decoder.push(plan.codes[:, :, decoded:made], last=made == total)
                decoded = made
                if wave.shape[2]:
                    yield wave[0].float()

    def _generate_sections(self, request: GenerationRequest, progress: Progress | None) -> torch.Tensor:
        """Waveforms [B, C, samples] of clips with a timeline, one clip after the other."""
        waves = []
        seeds = clip_seeds(request.seed, len(request.prompts))
        for index, seed in enumerate(seeds):

            def report(done: int, total: int, index: int = index) -> None:
                if progress is not None:
                    progress(index * total + done, len(seeds) * total)

            clip = request.clip(index, seed)
            waves.append(torch.cat(list(self._stream_sections(clip, self.max_duration, report)), dim=1))
        return torch.stack(waves).to(self.device)

    def _stream_sections(
        self, request: GenerationRequest, chunk: float, progress: Progress | None
    ) -> Iterator[torch.Tensor]:
        def play(
            part: GenerationRequest, context: torch.Tensor | None, report: Progress
        ) -> tuple[Iterator[torch.Tensor], torch.Tensor]:
            plan = self.plan_generation(part, context)
            return self._stream(plan, frames_of(self.tokenizer, chunk), report), plan.codes

        return stream_sections(self, request, play, progress)

    def repaint(
        self,
        clip: AudioInput | torch.Tensor,
        start: float,
        end: float,
        prompt: str | GenerationRequest | None = None,
        *,
        candidates: int = 8,
        batch_size: int | None = None,
        progress: Progress | None = None,
        **arguments: Unpack[RequestArguments],
    ) -> Repainted:
        """Regenerate a span of a clip, so that it fits what precedes and follows it (`repainting`).

        Args:
            clip: A file, an `Audio`, or (samples, rate); or codes, int64 [K, T], of this model.
            start: Seconds from the clip's beginning; below 0 extends the clip to the left.
            end: Seconds.
            prompt: Description of the span; None or "" generates without text. Or a `GenerationRequest`.
            candidates: Number of candidates; the one is chosen that makes what follows the span most likely.
            batch_size: Candidates that are generated at the same time; None for all.
            progress: Called after every step of the language model.
            **arguments: Of `GenerationRequest.of`, for one clip: seed, options, melody … Candidate i has seed + i.

        Returns:
            The new clip: its waveform, its codes, and how well each candidate fits.

        Raises:
            InputError: An argument is invalid; raised before the first step.
        """
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size is {batch_size!r}: it must be a whole number from 1 on")
        request = prompt if isinstance(prompt, GenerationRequest) else GenerationRequest.of_one(prompt, **arguments)

        def draw(many: GenerationRequest, left: torch.Tensor | None) -> torch.Tensor:
            size = batch_size if batch_size is not None else len(many.prompts)
            plans = [
                self.plan_generation(many.part(slice(index, index + size)), left)
                for index in range(0, len(many.prompts), size)
            ]
            count = _counted(progress, sum(self.num_steps(plan) for plan in plans))
            for plan in plans:
                for _ in self._steps(plan):
                    count()
            return torch.cat([plan.codes for plan in plans])

        return repaint(self, clip, start, end, request, draw, candidates=candidates)

    def plan_generation(self, request: GenerationRequest, prompt: torch.Tensor | None = None) -> GenerationPlan:
        """Validate a request against the model and prepare its conditions.

        Args:
            request: Without a timeline and a loop.
            prompt: Codes [B, K, P] that the clips begin with, instead of `continue_from`; part of the duration. It may be one
                of `fill_in_the_middle`, whose special tokens tell what follows the span from what precedes it.

        Raises:
            InputError: The model does not support the request. All user input is validated here.
        """
        if request.timeline or request.loop:
            what = "a timeline" if request.timeline else "a loop"
            raise InputError(f"{what} is made of waveforms: use MusicGen.generate")
        self.generator.check(request.options)
        batch, options = len(request.prompts), self.generator.completed(request.options)
        context = frames_of(self.tokenizer, self.max_duration)
        total = self.generator.frames(frames_of(self.tokenizer, request.duration), context)
        together = 2 if self.pattern == stereo_partial_delay(self.pattern.num_codebooks) and self.channels == 2 else 1
        seeds = clip_seeds(request.seed, batch)
        streams = [ClipStream(one, together) for one in seeds]
        conditions = self._conditions(request, seeds)
        if prompt is None:
            prompt = self._continuation(request, total)
        known = 0 if prompt is None else prompt.shape[2]
        windows = plan_windows(total, known, context, stride=context - round(options.window_overlap * context))
        codes = torch.zeros(batch, self.lm.config.num_codebooks, total, dtype=torch.int64, device=self.device)
        if prompt is not None:
            codes[:, :, :known] = prompt
        leading = 0 if prompt is None else max(leading_frames(prompt, self.lm.config.special_token))
        return GenerationPlan(codes, known, leading, windows, streams, conditions, options)

    def guided(self, request: GenerationRequest) -> Guided:
        """The conditions of the clips of a request, without windows; raises InputError as `plan_generation`."""
        seeds = clip_seeds(request.seed, len(request.prompts))
        return self._guided(self._conditions(request, seeds), self.generator.completed(request.options), None)

    def _steps(self, plan: GenerationPlan) -> Iterator[Step]:
        """Fill the plan's codes, window by window; steps are counted over all windows."""
        done, total = 0, self.num_steps(plan)
        for window in plan.windows:
            position = window.start + window.known
            for step in self.window_steps(plan, window):
                done += 1
                plan.codes[:, :, position : position + step.codes.shape[2]] = step.codes
                position += step.codes.shape[2]
                yield Step(done, total, step.codes)

    def window_steps(self, plan: GenerationPlan, window: Window) -> Iterator[Step]:
        """Generate one window of a plan; steps are counted from the start of the window."""
        guidance = self.guidance(plan, window)
        prompt = plan.codes[:, :, window.start : window.start + window.known]
        return self.generator.steps(
            self.lm, self.pattern, guidance, window.length, plan.options, plan.streams, prompt, self.engine
        )

    def guidance(self, plan: GenerationPlan, window: Window, pool_rows: int | None = None) -> Guided:
        """The conditions of one window, with one row per clip where that gives the same codes.

        Args:
            plan: From `plan_generation`.
            window: One of its windows.
            pool_rows: Rows of the pool that will run them; None for a separate pool.
        """
        span = None if len(plan.windows) == 1 else (window.start / self.frame_rate, self.max_duration)
        every = self._guided(plan.conditions, plan.options, span)
        if plan.leading:
            layout = self.pattern.layout(window.length)
            prefill = layout.first_step_of_frame(window.known)
            every = every.with_positions(step_positions(layout, plan.leading, window.length, prefill))
        fewer, batch = every.without_repeats(), plan.codes.shape[0]
        pools = (every.groups * batch, fewer.groups * batch) if pool_rows is None else (pool_rows,)
        return fewer if self.engine is not None and self.engine.is_batch_invariant(*pools) else every

    def _guided(
        self,
        conditions: Mapping[str, PreparedCondition],
        options: GenerationOptions,
        span: tuple[float, float] | None,
    ) -> Guided:
        vectors = {name: condition.vectors(span) for name, condition in conditions.items()}
        return guided(
            {name: given for name, (given, _) in vectors.items()},
            {name: null for name, (_, null) in vectors.items()},
            guidance_rows(options, conditions),
            self.fuser,
        )

    def read_given(self, file: str | os.PathLike[str]) -> Audio:
        """A recording to continue, at the model's rate and channels; InputError if it is longer than a result may be."""
        return audio.read(file, MAX_DURATION, channels=self.channels, rate=self.sample_rate)

    def num_steps(self, plan: GenerationPlan) -> int:
        """Steps of the language model over all windows."""
        return sum(self.generator.num_steps(self.pattern, window, plan.options) for window in plan.windows)

    def total_steps(self, plan: GenerationPlan) -> int:
        """Steps of the language model and of the decoder, the unit of the progress of `generate`."""
        batch, _, frames = plan.codes.shape
        return self.num_steps(plan) + batch * self.decoder.num_steps(self.tokenizer, frames)

    def _conditions(self, request: GenerationRequest, seeds: Sequence[int]) -> dict[str, PreparedCondition]:
        """The prepared inputs of all conditioners."""
        given = [name for name, value in request.conditions.items() if value is not None]
        if TEXT not in self.conditioners and any(request.prompts):
            given.append(TEXT)
        for name in given:
            if name not in self.conditioners:
                raise InputError(self._lacks(name))
        negatives = {TEXT: request.options.negative_prompt}
        return {
            name: self._prepared(name, request, seeds, negatives.get(name))
            for name in self.conditioners  # in the order in which they are fused
        }

    def _prepared(
        self, name: str, request: GenerationRequest, seeds: Sequence[int], negative: Any
    ) -> PreparedCondition:
        conditioner = self.named_conditioners[name]

        def prepare(value: Any) -> Any:
            if value is None:
                return None
            return prepared_input(conditioner, name, value, separate=request.separate, options=request.options)

        values = request.values(name)
        # One value for all clips is prepared once.
        each = [prepare(v) for v in values] if isinstance(values, list) else [prepare(values)] * len(request.prompts)
        own = [None if one is None else conditioner.seeded(one, seed) for one, seed in zip(each, seeds, strict=True)]
        return PreparedCondition(conditioner, own, prepare(negative or None))

    def _lacks(self, name: str) -> str:
        """The error message for a condition that the model does not have."""
        follows = f"the model {self.name or '(unnamed)'} follows {' and '.join(self.conditioners)} only"
        if name in _MODELS_FOR:
            return f"{follows}: a {name} needs a {name} model, such as {_MODELS_FOR[name]}"
        return f"{follows}: it has no condition {name!r}"

    def _continuation(self, request: GenerationRequest, total: int) -> torch.Tensor | None:
        """Codes [B, K, P] of the audio prompt, None without one."""
        given, batch = request.continue_from, len(request.prompts)
        if given is None:
            return None
        each = list(given) if isinstance(given, (list, tuple)) and not is_pair(given) else [given]
        if len(each) not in (1, batch):
            raise InputError(
                f"{counted(len(each), 'clip')} to continue for {counted(batch, 'prompt')}: pass one, or one a prompt"
            )
        waves = []
        for one in each:
            clip = recording(one, "the audio to continue from", self.read_given)  # type: ignore[arg-type]
            if not bool(torch.isfinite(clip.wave).all()):
                raise InputError("the audio to continue from holds NaN or infinite samples")
            waves.append(clip.with_channels(self.channels).resampled(self.sample_rate).wave)
        if len({wave.shape[1] for wave in waves}) > 1:
            lengths = sorted({round(wave.shape[1] / self.sample_rate, 2) for wave in waves})
            raise InputError(f"the clips to continue from have different lengths ({lengths} s): cut them to one")
        # Whole frames only: a last frame padded with silence would be continued with silence.
        frames = waves[0].shape[1] // self.tokenizer.hop
        if not 0 < frames < total:
            raise InputError(
                f"the audio to continue from is {waves[0].shape[1] / self.sample_rate:.2f} s long and the result "
                f"{total / self.frame_rate:.2f} s: the result includes it, so it must be longer"
            )
        # One by one: in a batch a recording is rounded in a way that depends on the others, and rounding changes codes.
        codes = [self.tokenizer.encode(wave[None, :, : frames * self.tokenizer.hop].to(self.device)) for wave in waves]
        return torch.cat(codes).expand(batch, -1, -1)


def _counted(progress: Progress | None, total: int) -> Callable[[], None]:
    """A function that reports one more step of `total` each time it is called."""
    done = itertools.count(1)

    def count() -> None:
        if progress is not None:
            progress(next(done), total)

    return count
