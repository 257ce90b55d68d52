"""Multi-band diffusion (San Roman et al. 2023): codes -> waveform by one diffusion process for each of a few frequency bands.

    noise --20 steps of a U-Net, conditioned on the codes' embeddings--> a band         the bands are summed
    sum --equaliser: 32 mel bands, each scaled to its energy in the tokeniser's decoding--> waveform

Clips longer than WINDOW_SECONDS are decoded in overlapping windows, because the networks normalise over their whole input. The
noise is a function of the position in the clip, so that overlapping windows get the same noise; they are crossfaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from musicgen.decoders.base import Decoder, Report
from musicgen.decoders.frequency_bands import split
from musicgen.decoders.noise_schedule import VISITED, NoiseSchedule
from musicgen.decoders.unet import UNet
from musicgen.errors import InputError
from musicgen.text_format import counted
from musicgen.tokenizers import EncodecTokenizer, StreamDecoder, Tokenizer, frames_of

WINDOW_SECONDS = 30.0
"""The published models' context: within it the waveform is the reference's."""
OVERLAP_SECONDS = 1.0
"""Of two windows: the length of the networks' training segments."""
EQUALISER_BANDS = 32
_STREAM = 0x6D
"""Distinguishes the random numbers of the noise from those of the codes, which the same seed gives."""

Noise = Callable[[int, int], torch.Tensor]
"""(draw of a band, samples) -> normal numbers, float32 [samples]."""


class Band(nn.Module):
    """The diffusion process of one band.

    Args:
        network: Estimates the noise.
        schedule: Of the noise.
        gains, offsets: float32 [n], what brings the n frequency bands of the result back to music's levels; empty where the
            process ran on music as it is.
        rate: Hz.
    """

    gains: torch.Tensor
    offsets: torch.Tensor

    def __init__(
        self, network: UNet, schedule: NoiseSchedule, gains: torch.Tensor, offsets: torch.Tensor, rate: int
    ) -> None:
        super().__init__()
        self.network, self.schedule, self.rate = network, schedule, rate
        self.register_buffer("gains", gains)
        self.register_buffer("offsets", offsets)

    def forward(self, vectors: torch.Tensor, samples: int, noise: Noise, report: Report) -> torch.Tensor:
        """The codes' vectors [1, D, T] -> this band's share of the waveform, [1, 1, samples]."""
        transitions, clip = self.schedule.transitions(), self.schedule.clip
        x = noise(0, samples).to(vectors)[None, None] * self.schedule.noise_scale
        for draw, transition in enumerate(transitions, 1):
            estimate = self.network(x, transition.step, vectors)
            x = (x - transition.estimate * estimate) / transition.scale
            if transition.noise:
                x = x + transition.noise * noise(draw, samples).to(x)
            if clip:
                x = x.clamp(-clip, clip)
            report()
        return self.rescaled(x)

    def rescaled(self, x: torch.Tensor) -> torch.Tensor:
        """A signal [B, 1, samples] with each frequency band at its level in music."""
        if not self.gains.numel():
            return x
        parts = split(x, self.gains.numel(), self.rate)
        return torch.stack(
            [part * gain + offset for part, gain, offset in zip(parts, self.gains, self.offsets, strict=True)]
        ).sum(dim=0)


class MultiBandDiffusion(Decoder):
    """Decodes the codes of a mono EnCodec; left and right of stereo in two passes, with the same noise.

    Args:
        bands: The processes; their results are added up.
        rate: Hz, of EnCodec.
    """

    kind = "mbd"

    def __init__(self, bands: Sequence[Band], rate: int) -> None:
        super().__init__()
        self.bands = nn.ModuleList(bands)
        self.rate = rate
        self.requires_grad_(False).eval()

    @property
    def condition(self) -> int:
        """Width of the codes' vectors."""
        first = self.bands[0]
        assert isinstance(first, Band)
        return first.network.shape.condition

    def check(self, tokenizer: Tokenizer) -> None:
        side = tokenizer.sides[0]
        own = f"mono EnCodec at {self.rate} Hz with vectors of {self.condition} numbers"
        if not isinstance(side, EncodecTokenizer):
            raise InputError(f"decoder 'mbd' decodes {own}, and the model's tokeniser is of the kind {side.kind!r}")
        width = side.model.config.codebook_dim
        if (side.channels, side.sample_rate, width) != (1, self.rate, self.condition):
            raise InputError(
                f"decoder 'mbd' decodes {own}, and the model's EnCodec has {counted(side.channels, 'channel')} at "
                f"{side.sample_rate} Hz and vectors of {width}"
            )

    def num_steps(self, tokenizer: Tokenizer, frames: int) -> int:
        window, overlap = _window(tokenizer)
        windows = 1 + max(0, -((window - frames) // (window - overlap)))
        return windows * len(tokenizer.sides) * len(self.bands) * (len(VISITED) - 1)

    def decode(self, tokenizer: Tokenizer, codes: torch.Tensor, seeds: Sequence[int], report: Report) -> torch.Tensor:
        return self.stream(tokenizer, seeds, report).push(codes, last=True)

    def stream(self, tokenizer: Tokenizer, seeds: Sequence[int], report: Report) -> StreamDecoder:
        return _Windows(self, tokenizer, seeds, report)

    @torch.no_grad()
    def decode_side(
        self, tokenizer: EncodecTokenizer, codes: torch.Tensor, seed: int, start: int, report: Report
    ) -> torch.Tensor:
        """Decode one window of one channel of one clip.

        Args:
            tokenizer: The mono tokeniser.
            codes: int64 [1, K, T].
            seed: Of the clip.
            start: The window's first sample in the clip.
            report: Called after each evaluation of a network.

        Returns:
            float32 [1, 1, T * hop].
        """
        reference, vectors = tokenizer.decode(codes), tokenizer.vectors(codes)
        wave = torch.zeros_like(reference)
        for index, band in enumerate(self.bands):

            def noise(draw: int, samples: int, index: int = index) -> torch.Tensor:
                return normal_noise([seed, _STREAM, index, draw], start, samples)

            wave += band(vectors, reference.shape[-1], noise, report)
        return equalised(wave, reference, self.rate)


class _Windows:
    """Decodes B clips window after window, as their frames arrive."""

    delay = 0

    def __init__(self, decoder: MultiBandDiffusion, tokenizer: Tokenizer, seeds: Sequence[int], report: Report) -> None:
        self._decoder, self._tokenizer, self._seeds, self._report = decoder, tokenizer, seeds, report
        self._window, self._overlap = _window(tokenizer)
        self._held: torch.Tensor | None = None
        self._start = 0
        self._tail: torch.Tensor | None = None  # the end of the window before, which overlaps the next one

    def push(self, codes: torch.Tensor, *, last: bool = False) -> torch.Tensor:
        held = codes if self._held is None else torch.cat([self._held, codes], dim=2)
        stride, hop = self._window - self._overlap, self._tokenizer.hop
        parts = []
        while held.shape[2] > self._window:
            wave = self._decode(held[:, :, : self._window])
            parts.append(wave[..., : stride * hop])
            self._tail = wave[..., stride * hop :]
            held = held[:, :, stride:]
            self._start += stride
        if last:
            parts.append(self._decode(held))
        self._held = held
        nothing = torch.zeros(codes.shape[0], self._tokenizer.channels, 0, device=codes.device)
        return torch.cat(parts, dim=2) if parts else nothing

    def _decode(self, codes: torch.Tensor) -> torch.Tensor:
        """The window that begins at `self._start`, [B, C, samples], faded in over the end of the one before."""
        sides, start = self._tokenizer.sides, self._start * self._tokenizer.hop
        waves = []
        for clip, seed in zip(codes.split(1), self._seeds, strict=True):
            channels = []
            for index, side in enumerate(sides):
                assert isinstance(side, EncodecTokenizer)  # `check` has seen to it
                own = clip[:, index :: len(sides)]
                channels.append(self._decoder.decode_side(side, own, seed, start, self._report))
            waves.append(torch.cat(channels, dim=1))
        wave = torch.cat(waves)
        if self._tail is not None:
            length = self._tail.shape[2]
            fade = torch.linspace(0, 1, length, device=wave.device)
            wave[..., :length] = self._tail * (1 - fade) + wave[..., :length] * fade
        return wave


def normal_noise(key: Sequence[int], start: int, samples: int) -> torch.Tensor:
    """Numbers `start` to `start + samples` of a sequence of normal numbers that a key stands for: float32 [samples]."""
    counter, skipped = divmod(start, 4)  # Philox gives four numbers for each value of its counter
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence(key)).advance(counter))
    uniform = torch.from_numpy(generator.random(skipped + samples)[skipped:])
    # By the inverse of the distribution: one uniform number each. Their grid, of 2^-53, is moved off 0 and kept below 1.
    return torch.special.ndtri((uniform + 2.0**-54).clamp(max=1 - 2.0**-53)).float()


def equalised(wave: torch.Tensor, reference: torch.Tensor, rate: int) -> torch.Tensor:
    """A waveform [1, 1, samples] whose frequency bands have the standard deviations of a reference's."""
    total = torch.zeros_like(wave)
    for own, wanted in zip(split(wave, EQUALISER_BANDS, rate), split(reference, EQUALISER_BANDS, rate), strict=True):
        total += own * (wanted.std() / own.std().clamp(min=torch.finfo(own.dtype).tiny))
    return total


def _window(tokenizer: Tokenizer) -> tuple[int, int]:
    """Frames of a window, and of the overlap of two."""
    return frames_of(tokenizer, WINDOW_SECONDS), frames_of(tokenizer, OVERLAP_SECONDS)
