"""The interface of audio tokenisers, and of streaming decoders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from fractions import Fraction
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import nn

from musicgen.errors import InputError


class StreamDecoder(Protocol):
    """Decodes one batch of clips chunk by chunk. The concatenated chunks equal `decode` of all codes."""

    delay: int
    """Lookahead in frames: how many must follow a frame before it can be decoded."""

    def push(self, codes: torch.Tensor, *, last: bool = False) -> torch.Tensor:
        """Decode the next frames.

        Args:
            codes: int64 [B, K, T].
            last: Whether these are the last frames; then everything that remains is decoded.

        Returns:
            The samples that are now complete, [B, C, n]; n may be 0.
        """
        ...


class Tokenizer(nn.Module, ABC):
    """Base class of audio tokenisers. All channels are encoded by residual vector quantisation (RVQ)."""

    kind: ClassVar[str] = ""
    """`model_type` of the configuration in a checkpoint; `registry.register` sets it."""
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

    @abstractmethod
    def encode(self, wave: torch.Tensor) -> torch.Tensor:
        """Waveforms [B, C, samples] -> codes, int64 [B, K, ceil(samples / hop)]."""

    @abstractmethod
    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes [B, K, T] -> waveforms, float32 [B, C, T * hop]."""

    def stream_decoder(self) -> StreamDecoder:
        """A new streaming decoder.

        Raises:
            CheckpointError: This tokeniser does not support streaming.
        """
        return _WholeDecoder(self)

    @property
    def sides(self) -> list[Tokenizer]:
        """The tokeniser of each channel: itself, or for a stereo pair its mono tokeniser twice."""
        return [self]

    @property
    def network(self) -> nn.Module:
        """The module of `sides[0]` whose weights are stored in a checkpoint."""
        return self

    def config(self) -> dict[str, Any]:
        """The settings of `network` as JSON values, with `model_type`: the argument of `from_config`."""
        return {"model_type": self.kind}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The inverse of `config`, with weights that a checkpoint replaces."""
        return cls(**{name: value for name, value in config.items() if name != "model_type"})

    @classmethod
    def check(cls, config: Mapping[str, Any], names: Collection[str], source: str) -> None:
        """Compare a configuration with the names of a checkpoint's tensors, before memory is allocated for its sizes.

        Args:
            config: As of `config`.
            names: Of the tensors of `network`.
            source: The checkpoint, for errors.

        Raises:
            CheckpointError: They do not agree.
        """

    @classmethod
    def tensor_name(cls, stored: str) -> str:
        """The name in `network` of a tensor that older files store under another name."""
        return stored


class _WholeDecoder:
    """For tokenisers that cannot stream: waits for the last codes."""

    delay = 0

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._codes: list[torch.Tensor] = []

    def push(self, codes: torch.Tensor, *, last: bool = False) -> torch.Tensor:
        self._codes.append(codes)
        if last:
            return self._tokenizer.decode(torch.cat(self._codes, dim=2))
        return torch.zeros(codes.shape[0], self._tokenizer.channels, 0, device=codes.device)


def modern_weight_norm(stored: str) -> str:
    """The name of a tensor today, which files from before PyTorch 2.1 may store under another name: weight norm's two parts."""
    return stored.replace(".weight_g", ".parametrizations.weight.original0").replace(
        ".weight_v", ".parametrizations.weight.original1"
    )


def frame_rate(tokenizer: Tokenizer) -> Fraction:
    """Frames a second as an exact fraction (DAC's is not an integer)."""
    return Fraction(tokenizer.sample_rate, tokenizer.hop)


def frames_of(tokenizer: Tokenizer, duration: float) -> int:
    """T for `duration` seconds: the nearest integer, at least 1."""
    # Through the decimal digits of the number: 0.1 s at 50 Hz is 5 frames, although 0.1 has no exact binary fraction.
    return max(1, round(Fraction(str(duration)) * frame_rate(tokenizer)))


def check_wave(wave: torch.Tensor, channels: int) -> None:
    """Raise InputError unless `wave` is [B, channels, samples]."""
    if wave.dim() != 3 or wave.shape[1] != channels or wave.shape[2] == 0:
        raise InputError(f"the tokeniser takes waveforms [B, {channels}, samples], not {list(wave.shape)}")


def check_codes(codes: torch.Tensor, num_codebooks: int) -> None:
    """Raise InputError unless `codes` are [B, num_codebooks, frames]."""
    if codes.dim() != 3 or codes.shape[1] != num_codebooks or codes.shape[2] == 0:
        raise InputError(f"the tokeniser takes codes [B, {num_codebooks}, frames], not {list(codes.shape)}")
