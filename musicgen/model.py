"""The model that users call: prompts in, waveforms out.

Combines conditioners, the generation loop (window by window) and the tokeniser, for whole clips or as a stream.
`musicgen.checkpoint` reads and writes weights.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from musicgen import audio
from musicgen.audio import Audio
from musicgen.conditioners.clap import ClapConditioner
from musicgen.conditioners.condition import Condition
from musicgen.conditioners.melody import Melody, MelodyConditioner, MelodyInput
from musicgen.conditioners.text import NoText, T5Conditioner
from musicgen.errors import CheckpointError, InputError
from musicgen.generate import Guided, Runner, Step, generate_codes, guided
from musicgen.lm import LanguageModel
from musicgen.options import MAX_DURATION, GenerationOptions, check_duration, check_text
from musicgen.patterns import Pattern, stereo_partial_delay
from musicgen.recordings import AudioInput, is_pair, recording
from musicgen.sampling import ClipStream, clip_seeds
from musicgen.streaming import StreamDecoder
from musicgen.tokenizer import DacTokenizer, EncodecTokenizer, StereoTokenizer, frame_rate, frames_of
from musicgen.windows import Window
from musicgen.windows import plan as plan_windows

Progress = Callable[[int, int], None]
"""Called with (steps done, total steps) after each step; an exception it raises stops the generation."""

Options = GenerationOptions | Mapping[str, Any] | None
"""Options, a dict of some of their fields, or None for all defaults."""


@dataclass(frozen=True)
class GenerationPlan:
    """A validated request: everything that the generation loop needs.

    Attributes:
        codes: int64 [B, K, T], filled in place; the first `known` frames are given.
        known: Frames of the audio prompt.
        windows: The windows that together fill all frames.
        streams: One random stream a clip.
        text: The descriptions.
        null_text: The null condition of classifier-free guidance, or the negative prompt.
        melodies: One a clip, None for none.
        options: Sampling and guidance.
    """

    codes: torch.Tensor
    known: int
    windows: list[Window]
    streams: list[ClipStream]
    text: Condition
    null_text: Condition
    melodies: list[Melody | None]
    options: GenerationOptions


class MusicGen(nn.Module):
    """A language model over audio codes with its tokeniser and conditioners (Copet et al. 2023).

    Attributes:
        lm: The language model.
        pattern: Its codebook interleaving pattern.
        tokenizer: The audio tokeniser.
        text: The text conditioner.
        melody: The melody conditioner, None in models that are conditioned on text only.
        max_duration: Seconds of the training segments, which is the context of one window.
        name: What it was loaded as.
    """

    def __init__(
        self,
        lm: LanguageModel,
        pattern: Pattern,
        tokenizer: EncodecTokenizer | DacTokenizer | StereoTokenizer,
        text: T5Conditioner | ClapConditioner | NoText,
        melody: MelodyConditioner | None = None,
        *,
        max_duration: float = 30.0,
        name: str = "",
    ) -> None:
        super().__init__()
        if not lm.config.num_codebooks == pattern.num_codebooks == tokenizer.num_codebooks:
            raise CheckpointError(
                f"codebooks do not agree: language model {lm.config.num_codebooks}, pattern {pattern.num_codebooks}, "
                f"tokeniser {tokenizer.num_codebooks}"
            )
        if melody is not None and lm.config.cross_attention:
            raise CheckpointError("a melody is a prefix: a language model with cross-attention does not take one")
        self.lm = lm
        self.pattern = pattern
        self.tokenizer = tokenizer
        self.text = text
        self.melody = melody
        self.max_duration = max_duration
        self.name = name
        self.precision = "float32"
        """Of the language model, as it was loaded."""
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

    def unknown(self, prompt: str | None) -> float:
        """The share of a description's tokens that the model's vocabulary lacks, 0 to 1: how much of it it cannot follow."""
        return self.text.unknown(prompt) if prompt else 0.0

    def generate(
        self,
        prompts: str | Sequence[str | None] | None,
        duration: float = 10.0,
        *,
        seed: int | Sequence[int] | None = None,
        melody: MelodyInput | Sequence[MelodyInput | None] | None = None,
        continue_from: AudioInput | Sequence[AudioInput] | None = None,
        options: Options = None,
        separate: bool | None = None,
        progress: Progress | None = None,
    ) -> torch.Tensor:
        """Generate one clip for each prompt.

        Args:
            prompts: B descriptions, or one; None or "" generates without text.
            duration: Seconds of the result, including the audio prompt. Clips longer than `max_duration` are generated in
                overlapping windows.
            seed: Clip i uses `seed + i`; a list gives one seed for each clip; None draws them from the operating system. A
                clip depends on its own seed only, not on the other clips of the batch.
            melody: One for all clips, or a list with one for each clip (None for none). A file, an `Audio`, (samples, rate),
                or chroma frames [frames, 12].
            continue_from: Audio prompt that the clip starts with: one for all, or one for each clip, all of equal length. A
                file, an `Audio`, or (samples, rate).
            options: Sampling and classifier-free guidance, as `GenerationOptions` or as a dict of its fields; the paper's by
                default.
            separate: Whether Demucs removes drums and bass from the melody; False for clean or hummed melodies. None does as
                the model's training did: yes for the published models, no for the embedded ones.
            progress: Called after every step.

        Returns:
            Waveforms, float32 [B, C, samples] at `sample_rate` Hz: the decoder's output without loudness normalisation.

        Raises:
            InputError: An argument is invalid; raised before the first step.
        """
        codes = self.generate_codes(
            prompts, duration, seed=seed, melody=melody, continue_from=continue_from, options=options, separate=separate,
            progress=progress,
        )  # fmt: skip
        return self.decode(codes)

    def generate_codes(
        self,
        prompts: str | Sequence[str | None] | None,
        duration: float = 10.0,
        *,
        seed: int | Sequence[int] | None = None,
        melody: MelodyInput | Sequence[MelodyInput | None] | None = None,
        continue_from: AudioInput | Sequence[AudioInput] | None = None,
        options: Options = None,
        separate: bool | None = None,
        progress: Progress | None = None,
    ) -> torch.Tensor:
        """Generate codes instead of waveforms.

        Args: As for `generate`.

        Returns:
            int64 [B, K, T].
        """
        plan = self.plan_generation(prompts, duration, seed, melody, continue_from, options, separate)
        for step in self._steps(plan):
            if progress is not None:
                progress(step.done, step.total)
        return plan.codes

    def stream(
        self,
        prompt: str | None,
        duration: float = 10.0,
        *,
        chunk: float = 0.5,
        seed: int | None = None,
        melody: MelodyInput | None = None,
        continue_from: AudioInput | None = None,
        options: Options = None,
        separate: bool | None = None,
        progress: Progress | None = None,
    ) -> Iterator[torch.Tensor]:
        """Generate one clip and decode it while it is generated.

        Args: As for `generate`; they are validated at once, not when the first part is requested.
            chunk: Seconds of each part.

        Returns:
            An iterator over parts, float32 [C, samples]. Concatenated, they equal the result of `generate`.
        """
        if not 0 < chunk <= MAX_DURATION:
            raise InputError(f"chunk is {chunk} s: it must be above 0 and at most {MAX_DURATION:g} s")
        plan = self.plan_generation([prompt], duration, seed, melody, continue_from, options, separate)
        return self._stream(plan, frames_of(self.tokenizer, chunk), progress)

    @torch.no_grad()
    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Decode codes [B, K, T] to waveforms, float32 [B, C, T * hop]."""
        return self.tokenizer.decode(codes.to(self.device)).float()

    def _stream(self, plan: GenerationPlan, chunk: int, progress: Progress | None) -> Iterator[torch.Tensor]:
        decoder = StreamDecoder(self.tokenizer)
        total = plan.codes.shape[2]
        made, decoded = plan.known, 0
        for step in self._steps(plan):
            made += step.codes.shape[2]
            if progress is not None:
                progress(step.done, step.total)
            # The decoder needs `delay` frames of lookahead: the first part waits for them, so that it is a whole chunk too.
            lookahead = decoder.delay if decoded == 0 else 0
            if made == total or made - decoded >= chunk + lookahead:
                wave = decoder.push(plan.codes[:, :, decoded:made], last=made == total)
                decoded = made
                if wave.shape[2]:
                    yield wave[0].float()

    def plan_generation(
        self,
        prompts: str | Sequence[str | None] | None,
        duration: float,
        seed: int | Sequence[int] | None,
        melody: MelodyInput | Sequence[MelodyInput | None] | None,
        continue_from: AudioInput | Sequence[AudioInput] | None,
        options: Options,
        separate: bool | None,
    ) -> GenerationPlan:
        """Validate the arguments of `generate` and compute the conditions.

        Raises:
            InputError: An argument is invalid. Nothing that comes after this depends on user input.
        """
        if not isinstance(options, GenerationOptions):
            options = GenerationOptions.from_dict(options if options is not None else {})
        texts = check_prompts(prompts)
        total = frames_of(self.tokenizer, check_duration(duration))
        together = 2 if self.pattern == stereo_partial_delay(self.pattern.num_codebooks) and self.channels == 2 else 1
        streams = [ClipStream(one, together) for one in clip_seeds(seed, len(texts))]
        melodies = self._melodies(melody, len(texts), separate)
        prompt = self._continuation(continue_from, len(texts), total)
        known = 0 if prompt is None else prompt.shape[2]
        context = frames_of(self.tokenizer, self.max_duration)
        windows = plan_windows(total, known, context, stride=context - round(options.window_overlap * context))
        text, null_text = self._texts(texts, options)
        codes = torch.zeros(len(texts), self.lm.config.num_codebooks, total, dtype=torch.int64, device=self.device)
        if prompt is not None:
            codes[:, :, :known] = prompt
        return GenerationPlan(codes, known, windows, streams, text, null_text, melodies, options)

    def _steps(self, plan: GenerationPlan) -> Iterator[Step]:
        """Fill the plan's codes, window by window; steps are counted over all windows."""
        done, total = 0, self.num_steps(plan)
        for window in plan.windows:
            position = window.start + window.known
            guidance = self.guidance(plan, window)
            prompt = plan.codes[:, :, window.start : position]
            for step in generate_codes(
                self.lm, self.pattern, guidance, window.length, plan.options, plan.streams, prompt, self.engine
            ):
                done += 1
                plan.codes[:, :, position : position + step.codes.shape[2]] = step.codes
                position += step.codes.shape[2]
                yield Step(done, total, step.codes)

    def guidance(self, plan: GenerationPlan, window: Window) -> Guided:
        """The conditions of one window, with the melody from the window's start on."""
        melodies = plan.melodies
        if len(plan.windows) > 1:
            seconds = window.start / self.frame_rate
            melodies = [None if one is None else one.window(seconds, self.max_duration) for one in melodies]
        melody = null_melody = None
        if self.melody is not None:
            melody = self.melody(self.melody.frames(melodies))
            null_melody = self.melody.null(len(melodies))
        return guided(
            plan.text, plan.null_text, melody, null_melody, plan.options,
            cross_attention=self.lm.config.cross_attention,
        )  # fmt: skip

    def read_given(self, file: str | os.PathLike[str]) -> Audio:
        """A recording to continue, at the model's rate and with its channels; no longer than a result may be."""
        return audio.read(file, MAX_DURATION, channels=self.channels, rate=self.sample_rate)

    def num_steps(self, plan: GenerationPlan) -> int:
        """Steps of the language model over all windows."""
        return sum(self._num_steps(window) for window in plan.windows)

    def _num_steps(self, window: Window) -> int:
        layout = self.pattern.layout(window.length)
        return layout.num_steps + 1 - layout.first_step_of_frame(window.known)

    def _texts(self, texts: list[str | None], options: GenerationOptions) -> tuple[Condition, Condition]:
        text = self.text(texts)
        if not options.negative_prompt:
            return text, text.zeroed()
        return text, self.text([options.negative_prompt] * len(texts))

    def _melodies(
        self, melody: MelodyInput | Sequence[MelodyInput | None] | None, batch: int, separate: bool | None
    ) -> list[Melody | None]:
        if melody is None:
            return [None] * batch
        if self.melody is None:
            raise InputError(
                f"the model {self.name or '(unnamed)'} follows text only: a melody needs a melody model, such as "
                "facebook/musicgen-melody"
            )
        if isinstance(melody, (list, tuple)) and not is_pair(melody):
            if len(melody) != batch:
                raise InputError(f"{len(melody)} melodies for {batch} prompts: pass one, or one a prompt")
            return [None if one is None else self.melody.prepare(one, separate=separate) for one in melody]
        return [self.melody.prepare(melody, separate=separate)] * batch  # type: ignore[arg-type]

    def _continuation(
        self, given: AudioInput | Sequence[AudioInput] | None, batch: int, total: int
    ) -> torch.Tensor | None:
        """Codes [B, K, P] of the audio prompt, None without one."""
        if given is None:
            return None
        each = list(given) if isinstance(given, (list, tuple)) and not is_pair(given) else [given]
        if len(each) not in (1, batch):
            raise InputError(f"{len(each)} clips to continue for {batch} prompts: pass one, or one a prompt")
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
        batch_wave = torch.stack(waves)[:, :, : frames * self.tokenizer.hop].to(self.device)
        return self.tokenizer.encode(batch_wave).expand(batch, -1, -1)


def check_prompts(prompts: str | Sequence[str | None] | None) -> list[str | None]:
    """The prompts as a list; raises InputError unless each is text or None."""
    try:
        texts = [prompts] if prompts is None or isinstance(prompts, str) else list(prompts)
    except TypeError:
        texts = [check_text("the prompt", prompts)]
    if not texts:
        raise InputError("the list of prompts is empty: pass at least one ('' generates without text)")
    return [None if one is None else check_text("the prompt", one) for one in texts]
