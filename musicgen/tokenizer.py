"""Audio tokenisers: waveform [B, C, samples] <-> codes [B, K, T frames].

EnCodec (the published models), DAC (paper table A.3), and the stereo pair, which runs a mono tokeniser on left and right and
interleaves the codebooks [1L, 1R, 2L, 2R, ...]. The networks are transformers' EncodecModel and DacModel.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Protocol

import torch
from torch import nn
from transformers import DacModel, EncodecModel

from musicgen.errors import CheckpointError, InputError


class Tokenizer(Protocol):
    """The interface of audio tokenisers. All channels are encoded by residual vector quantisation (RVQ)."""

    sample_rate: int
    """Hz."""
    channels: int
    """C."""
    num_codebooks: int
    """K."""
    codebook_size: int
    """N, entries of a codebook."""
    hop: int
    """Samples of a frame."""

    def encode(self, wave: torch.Tensor) -> torch.Tensor:
        """Waveforms [B, C, samples] -> codes, int64 [B, K, ceil(samples / hop)]."""
        ...

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes [B, K, T] -> waveforms, float32 [B, C, T * hop]."""
        ...


def frame_rate(tokenizer: Tokenizer) -> Fraction:
    """Frames a second as an exact fraction (DAC's is not an integer)."""
    return Fraction(tokenizer.sample_rate, tokenizer.hop)


def frames_of(tokenizer: Tokenizer, duration: float) -> int:
    """T for `duration` seconds: the nearest integer, at least 1."""
    # Through the decimal digits of the number: 0.1 s at 50 Hz is 5 frames, although 0.1 has no exact binary fraction.
    return max(1, round(Fraction(str(duration)) * frame_rate(tokenizer)))


class EncodecTokenizer(nn.Module):
    """EnCodec (Défossez et al. 2022) at its highest bandwidth."""

    def __init__(self, model: EncodecModel) -> None:
        super().__init__()
        config = model.config
        if config.normalize or config.chunk_length_s is not None:
            raise CheckpointError("this EnCodec model splits or rescales its input: codes alone do not decode")
        self.model = model
        self.sample_rate: int = config.sampling_rate
        self.channels: int = config.audio_channels
        self.num_codebooks: int = config.num_quantizers
        self.codebook_size: int = config.codebook_size
        self.hop: int = config.hop_length
        self.engine: Callable[[torch.Tensor], torch.Tensor] | None = None
        """A compiled `upsample`; None runs the PyTorch modules."""

    @property
    def tail(self) -> list[nn.Module]:
        """The decoder's layers after the LSTM."""
        return list(self.model.decoder.layers)[2:]

    def upsample(self, x: torch.Tensor) -> torch.Tensor:
        """Output of the decoder's LSTM [B, D, T] -> waveform [B, C, T * hop]."""
        if self.engine is not None:
            return self.engine(x)
        for layer in self.tail:
            x = layer(x)
        return x

    @torch.no_grad()
    def encode(self, wave: torch.Tensor) -> torch.Tensor:
        _check_wave(wave, self.channels)
        return self.model.encode(wave, bandwidth=self.model.config.target_bandwidths[-1]).audio_codes[0]

    @torch.no_grad()
    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        _check_codes(codes, self.num_codebooks)
        first, lstm = self.model.decoder.layers[:2]
        return self.upsample(lstm(first(self.model.quantizer.decode(codes.transpose(0, 1)))))


class DacTokenizer(nn.Module):
    """The Descript audio codec (Kumar et al. 2023): 44.1 kHz, 9 codebooks, 86 Hz."""

    channels = 1

    def __init__(self, model: DacModel) -> None:
        super().__init__()
        self.model = model
        self.sample_rate: int = model.config.sampling_rate
        self.num_codebooks: int = model.config.n_codebooks
        self.codebook_size: int = model.config.codebook_size
        self.hop: int = model.config.hop_length

    @torch.no_grad()
    def encode(self, wave: torch.Tensor) -> torch.Tensor:
        _check_wave(wave, self.channels)
        # DAC's strided convolutions need whole frames.
        missing = -wave.shape[-1] % self.hop
        return self.model.encode(nn.functional.pad(wave, (0, missing))).audio_codes

    @torch.no_grad()
    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        _check_codes(codes, self.num_codebooks)
        wave = self.model.decode(audio_codes=codes).audio_values[:, None]
        # With odd strides the decoder returns a few samples less: they are padded to `hop` samples for every frame.
        return nn.functional.pad(wave, (0, codes.shape[-1] * self.hop - wave.shape[-1]))


class StereoTokenizer(nn.Module):
    """Left and right through one mono tokeniser, codebooks interleaved (paper section 4.3)."""

    channels = 2

    def __init__(self, mono: EncodecTokenizer | DacTokenizer) -> None:
        super().__init__()
        self.mono = mono
        self.sample_rate = mono.sample_rate
        self.num_codebooks = 2 * mono.num_codebooks
        self.codebook_size = mono.codebook_size
        self.hop = mono.hop

    def encode(self, wave: torch.Tensor) -> torch.Tensor:
        _check_wave(wave, self.channels)
        left, right = self.mono.encode(wave[:, :1]), self.mono.encode(wave[:, 1:])
        return torch.stack([left, right], dim=2).flatten(1, 2)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        _check_codes(codes, self.num_codebooks)
        return torch.cat([self.mono.decode(codes[:, ::2]), self.mono.decode(codes[:, 1::2])], dim=1)


def _check_wave(wave: torch.Tensor, channels: int) -> None:
    if wave.dim() != 3 or wave.shape[1] != channels or wave.shape[2] == 0:
        raise InputError(f"the tokeniser takes waveforms [B, {channels}, samples], not {list(wave.shape)}")


def _check_codes(codes: torch.Tensor, num_codebooks: int) -> None:
    if codes.dim() != 3 or codes.shape[1] != num_codebooks or codes.shape[2] == 0:
        raise InputError(f"the tokeniser takes codes [B, {num_codebooks}, frames], not {list(codes.shape)}")
