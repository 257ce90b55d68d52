"""MusicGen as its users hold it: prompts in, waveforms out.

Joins the parts: conditioners -> generate (readable path, window by window) -> tokeniser, whole or as a stream. Reading and
writing weights is `musicgen.checkpoint`'s business; sampling, patterns and audio files have modules of their own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from musicgen import audio
from musicgen.audio import Audio
from musicgen.conditioners.clap import ClapConditioner
from musicgen.conditioners.condition import Condition
from musicgen.conditioners.melody import Melody, MelodyConditioner, MelodyInput
from musicgen.conditioners.text import T5Conditioner
from musicgen.errors import CheckpointError, InputError
from musicgen.generate import Guided, Runner, Step, generate_codes, guided
from musicgen.lm import LanguageModel
from musicgen.options import MAX_DURATION, GenerationOptions, check_duration
from musicgen.patterns import Pattern, stereo_partial_delay
from musicgen.sampling import ClipStream, clip_seeds
from musicgen.streaming import StreamDecoder
from musicgen.tokenizer import DacTokenizer, EncodecTokenizer, StereoTokenizer, frame_rate, frames_of
from musicgen.windows import Window, plan

Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all) after each step; an exception it raises ends the generation."""

AudioInput = str | os.PathLike[str] | Audio


@dataclass(frozen=True)
class Piece:
    """What is to be made, checked: its codes [B, K, T], of which `known` frames are given and the rest is filled in."""

    codes: torch.Tensor
    known: int
    windows: list[Window]
    streams: list[ClipStream]
    text: Condition
    null_text: Condition
    melodies: list[Melody | None]
    options: GenerationOptions


class MusicGen(nn.Module):
    """A language model over audio codes with its tokeniser and conditioners.

    name: what it was loaded as; max_duration: seconds of the training segments, the context of one window.
    """

    def __init__(
        self,
        lm: LanguageModel,
        pattern: Pattern,
        tokenizer: EncodecTokenizer | DacTokenizer | StereoTokenizer,
        text: T5Conditioner | ClapConditioner,
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
        self.engine: Runner | None = None
        """Runs the language model in its stead, where the model was loaded to generate."""
        self.requires_grad_(False).eval()

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.tokenizer.sample_rate

    @property
    def channels(self) -> int:
        """1 for mono, 2 for stereo."""
        return self.tokenizer.channels

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return float(frame_rate(self.tokenizer))

    @property
    def device(self) -> torch.device:
        return self.lm.embedding.weight.device

    def generate(
        self,
        prompts: str | Sequence[str | None],
        duration: float = 10.0,
        *,
        seed: int | Sequence[int] | None = None,
        melody: MelodyInput | Sequence[MelodyInput | None] | None = None,
        continue_from: AudioInput | Sequence[AudioInput] | None = None,
        options: GenerationOptions | None = None,
        separate: bool = True,
        progress: Progress | None = None,
    ) -> torch.Tensor:
        """Waveforms, float32 [B, C, samples] at `sample_rate` Hz, one clip a prompt: the decoder's output as it is.

        prompts: descriptions; None or "" generates without text.
        duration: seconds of the result, given audio included; pieces longer than `max_duration` are made in windows.
        seed: clip i draws from `seed + i`; a list gives one seed a clip; None draws fresh ones. A clip depends on its own
            seed only, not on the clips beside it.
        melody: one for all clips or a list of one a clip (None: this clip has none). A file, an `Audio`, or chroma frames.
        continue_from: audio that the clip starts with, one for all or one a clip, all of one length.
        separate: drop drums and bass from the melody (Demucs); False for clean or hummed input.

        Raises InputError for anything that cannot be generated, before the first step.
        """
        codes = self.generate_codes(
            prompts, duration, seed=seed, melody=melody, continue_from=continue_from, options=options, separate=separate,
            progress=progress,
        )  # fmt: skip
        return self.decode(codes)

    def generate_codes(
        self,
        prompts: str | Sequence[str | None],
        duration: float = 10.0,
        *,
        seed: int | Sequence[int] | None = None,
        melody: MelodyInput | Sequence[MelodyInput | None] | None = None,
        continue_from: AudioInput | Sequence[AudioInput] | None = None,
        options: GenerationOptions | None = None,
        separate: bool = True,
        progress: Progress | None = None,
    ) -> torch.Tensor:
        """Codes [B, K, T] in place of waveforms; arguments as for `generate`."""
        piece = self.piece(prompts, duration, seed, melody, continue_from, options, separate)
        for step in self._steps(piece):
            if progress is not None:
                progress(step.done, step.total)
        return piece.codes

    def stream(
        self,
        prompt: str | None,
        duration: float = 10.0,
        *,
        chunk: float = 0.5,
        seed: int | None = None,
        melody: MelodyInput | None = None,
        continue_from: AudioInput | None = None,
        options: GenerationOptions | None = None,
        separate: bool = True,
        progress: Progress | None = None,
    ) -> Iterator[torch.Tensor]:
        """One clip as it is made: parts [C, n] of about `chunk` seconds, which joined are what `generate` returns.

        Arguments as for `generate`, which are checked at once, not at the first part.
        """
        if not 0 < chunk <= MAX_DURATION:
            raise InputError(f"chunk is {chunk} s: it must be above 0 and at most {MAX_DURATION:g} s")
        piece = self.piece([prompt], duration, seed, melody, continue_from, options, separate)
        return self._stream(piece, frames_of(self.tokenizer, chunk), progress)

    @torch.no_grad()
    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes [B, K, T] -> waveforms [B, C, T * hop] float32."""
        return self.tokenizer.decode(codes.to(self.device)).float()

    def _stream(self, piece: Piece, chunk: int, progress: Progress | None) -> Iterator[torch.Tensor]:
        decoder = StreamDecoder(self.tokenizer)
        total = piece.codes.shape[2]
        made, heard = piece.known, 0
        for step in self._steps(piece):
            made += step.codes.shape[2]
            if progress is not None:
                progress(step.done, step.total)
            # The decoder holds `delay` frames back: the first part waits for them, so that it is a whole chunk too.
            held = decoder.delay if heard == 0 else 0
            if made == total or made - heard >= chunk + held:
                wave = decoder.push(piece.codes[:, :, heard:made], last=made == total)
                heard = made
                if wave.shape[2]:
                    yield wave[0].float()

    def piece(
        self,
        prompts: str | Sequence[str | None],
        duration: float,
        seed: int | Sequence[int] | None,
        melody: MelodyInput | Sequence[MelodyInput | None] | None,
        continue_from: AudioInput | Sequence[AudioInput] | None,
        options: GenerationOptions | None,
        separate: bool,
    ) -> Piece:
        """What `generate` is asked for, checked: everything that can be wrong is found here. Arguments as for `generate`."""
        options = options if options is not None else GenerationOptions()
        texts = check_prompts(prompts)
        total = frames_of(self.tokenizer, check_duration(duration))
        together = 2 if self.pattern == stereo_partial_delay(self.pattern.num_codebooks) and self.channels == 2 else 1
        streams = [ClipStream(one, together) for one in clip_seeds(seed, len(texts))]
        melodies = self._melodies(melody, len(texts), separate)
        prompt = self._continuation(continue_from, len(texts), total)
        known = 0 if prompt is None else prompt.shape[2]
        context = frames_of(self.tokenizer, self.max_duration)
        windows = plan(total, known, context, stride=context - round(options.window_overlap * context))
        text, null_text = self._texts(texts, options)
        codes = torch.zeros(len(texts), self.lm.config.num_codebooks, total, dtype=torch.int64, device=self.device)
        if prompt is not None:
            codes[:, :, :known] = prompt
        return Piece(codes, known, windows, streams, text, null_text, melodies, options)

    def _steps(self, piece: Piece) -> Iterator[Step]:
        """Fill the piece's codes, window by window; the steps are counted over all of them."""
        done, total = 0, self.num_steps(piece)
        for window in piece.windows:
            position = window.start + window.known
            guidance = self.guidance(piece, window)
            prompt = piece.codes[:, :, window.start : position]
            for step in generate_codes(
                self.lm, self.pattern, guidance, window.length, piece.options, piece.streams, prompt, self.engine
            ):
                done += 1
                piece.codes[:, :, position : position + step.codes.shape[2]] = step.codes
                position += step.codes.shape[2]
                yield Step(done, total, step.codes)

    def guidance(self, piece: Piece, window: Window) -> Guided:
        """The conditions of one window of a piece."""
        melodies = piece.melodies
        if len(piece.windows) > 1:
            seconds = window.start / self.frame_rate
            melodies = [None if one is None else one.window(seconds, self.max_duration) for one in melodies]
        melody = null_melody = None
        if self.melody is not None:
            melody = self.melody(self.melody.frames(melodies))
            null_melody = self.melody.null(len(melodies))
        return guided(
            piece.text, piece.null_text, melody, null_melody, piece.options,
            cross_attention=self.lm.config.cross_attention,
        )  # fmt: skip

    def read_given(self, file: str | os.PathLike[str]) -> Audio:
        """A recording to continue, at the model's rate and with its channels; no longer than a result may be."""
        return audio.read(file, MAX_DURATION, channels=self.channels, rate=self.sample_rate)

    def num_steps(self, piece: Piece) -> int:
        """Steps of the model that a piece takes, over all its windows."""
        return sum(self._num_steps(window) for window in piece.windows)

    def _num_steps(self, window: Window) -> int:
        layout = self.pattern.layout(window.length)
        return layout.num_steps + 1 - layout.first_step_of_frame(window.known)

    def _texts(self, texts: list[str | None], options: GenerationOptions) -> tuple[Condition, Condition]:
        text = self.text(texts)
        if not options.negative_prompt:
            return text, text.zeroed()
        return text, self.text([options.negative_prompt] * len(texts))

    def _melodies(
        self, melody: MelodyInput | Sequence[MelodyInput | None] | None, batch: int, separate: bool
    ) -> list[Melody | None]:
        if melody is None:
            return [None] * batch
        if self.melody is None:
            raise InputError(
                f"the model {self.name or '(unnamed)'} follows text only: a melody needs a melody model, such as "
                "facebook/musicgen-melody"
            )
        if isinstance(melody, (list, tuple)):
            if len(melody) != batch:
                raise InputError(f"{len(melody)} melodies for {batch} prompts: pass one, or one a prompt")
            return [None if one is None else self.melody.prepare(one, separate=separate) for one in melody]
        return [self.melody.prepare(melody, separate=separate)] * batch  # type: ignore[arg-type]

    def _continuation(
        self, given: AudioInput | Sequence[AudioInput] | None, batch: int, total: int
    ) -> torch.Tensor | None:
        """Codes [B, K, P] of the audio to go on from."""
        if given is None:
            return None
        each = list(given) if isinstance(given, (list, tuple)) else [given]
        if len(each) not in (1, batch):
            raise InputError(f"{len(each)} clips to continue for {batch} prompts: pass one, or one a prompt")
        waves = []
        for one in each:
            clip = one if isinstance(one, Audio) else self.read_given(one)  # type: ignore[arg-type]
            if not bool(torch.isfinite(clip.wave).all()):
                raise InputError("the audio to continue from holds NaN or infinite samples")
            waves.append(clip.with_channels(self.channels).resampled(self.sample_rate).wave)
        if len({wave.shape[1] for wave in waves}) > 1:
            lengths = sorted({round(wave.shape[1] / self.sample_rate, 2) for wave in waves})
            raise InputError(f"the clips to continue from have different lengths ({lengths} s): cut them to one")
        # Whole frames only: a last frame padded with silence would be continued as silence.
        frames = waves[0].shape[1] // self.tokenizer.hop
        if not 0 < frames < total:
            raise InputError(
                f"the audio to continue from is {waves[0].shape[1] / self.sample_rate:.2f} s long and the result "
                f"{total / self.frame_rate:.2f} s: the result includes it, so it must be longer"
            )
        batch_wave = torch.stack(waves)[:, :, : frames * self.tokenizer.hop].to(self.device)
        return self.tokenizer.encode(batch_wave).expand(batch, -1, -1)


def check_prompts(prompts: str | Sequence[str | None]) -> list[str | None]:
    """The prompts as a list, if each is text or None."""
    texts: list[str | None] = [prompts] if isinstance(prompts, str) else list(prompts)
    if not texts:
        raise InputError("the list of prompts is empty: pass at least one ('' generates without text)")
    for text in texts:
        if text is not None and not isinstance(text, str):
            raise InputError(f"the prompt {text!r} is not text")
    return texts
