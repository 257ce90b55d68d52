"""The interface of decoders, and the tokeniser's own decoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import nn

from musicgen.tokenizers import StreamDecoder, Tokenizer

Report = Callable[[], None]
"""Called after each step of a decoder; an exception that it raises ends the decoding."""


class Decoder(nn.Module, ABC):
    """Base class of decoders. A clip's waveform depends on its own codes and seed, not on the other clips of a batch."""

    kind: ClassVar[str]
    """The name in a clip's settings."""

    def check(self, tokenizer: Tokenizer) -> None:
        """Refuse a tokeniser whose codes it cannot decode.

        Raises:
            InputError: It decodes those of another tokeniser.
        """

    @abstractmethod
    def num_steps(self, tokenizer: Tokenizer, frames: int) -> int:
        """How often `report` is called for one clip with this number of frames."""

    @abstractmethod
    def decode(self, tokenizer: Tokenizer, codes: torch.Tensor, seeds: Sequence[int], report: Report) -> torch.Tensor:
        """Decode whole clips.

        Args:
            tokenizer: The tokeniser of the codes.
            codes: int64 [B, K, T].
            seeds: B seeds of the clips' noise.
            report: Called after each step.

        Returns:
            float32 [B, C, T * hop].
        """

    @abstractmethod
    def stream(self, tokenizer: Tokenizer, seeds: Sequence[int], report: Report) -> StreamDecoder:
        """A streaming decoder; the arguments are those of `decode`."""


class NoAudio(StreamDecoder):
    """In the place of a streaming decoder where only the codes of a generation are wanted."""

    delay = 0

    def __init__(self, channels: int) -> None:
        self.channels = channels

    def push(self, codes: torch.Tensor, *, last: bool = False) -> torch.Tensor:  # noqa: ARG002
        return torch.zeros(codes.shape[0], self.channels, 0)


class CodecDecoder(Decoder):
    """The decoder that was trained with the tokeniser's encoder. It draws no noise, and counts no steps."""

    kind = "codec"

    def num_steps(self, tokenizer: Tokenizer, frames: int) -> int:  # noqa: ARG002
        return 0

    def decode(
        self,
        tokenizer: Tokenizer,
        codes: torch.Tensor,
        seeds: Sequence[int],  # noqa: ARG002
        report: Report,  # noqa: ARG002
    ) -> torch.Tensor:
        return tokenizer.decode(codes).float()

    def stream(
        self,
        tokenizer: Tokenizer,
        seeds: Sequence[int],  # noqa: ARG002
        report: Report,  # noqa: ARG002
    ) -> StreamDecoder:
        return tokenizer.stream_decoder()
