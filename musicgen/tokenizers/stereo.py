"""A stereo pair: a mono tokeniser on left and right, codebooks interleaved [1L, 1R, 2L, 2R, ...] (paper section 4.3)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from musicgen.tokenizers.base import StreamDecoder, Tokenizer, check_codes, check_wave


class StereoTokenizer(Tokenizer):
    """Left and right through one mono tokeniser, codebooks interleaved (paper section 4.3)."""

    channels = 2

    def __init__(self, mono: Tokenizer) -> None:
        super().__init__()
        self.mono = mono
        self.sample_rate = mono.sample_rate
        self.num_codebooks = 2 * mono.num_codebooks
        self.codebook_size = mono.codebook_size
        self.hop = mono.hop

    @property
    def sides(self) -> list[Tokenizer]:
        return [self.mono, self.mono]

    @property
    def network(self) -> nn.Module:
        return self.mono.network

    def config(self) -> dict[str, Any]:
        return self.mono.config()

    def stream_decoder(self) -> StreamDecoder:
        return _StereoStream(self.mono)

    def encode(self, wave: torch.Tensor) -> torch.Tensor:
        check_wave(wave, self.channels)
        left, right = self.mono.encode(wave[:, :1]), self.mono.encode(wave[:, 1:])
        return torch.stack([left, right], dim=2).flatten(1, 2)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        check_codes(codes, self.num_codebooks)
        return torch.cat([self.mono.decode(codes[:, ::2]), self.mono.decode(codes[:, 1::2])], dim=1)


class _StereoStream:
    def __init__(self, mono: Tokenizer) -> None:
        self._sides = [mono.stream_decoder(), mono.stream_decoder()]
        self.delay = self._sides[0].delay

    @torch.no_grad()
    def push(self, codes: torch.Tensor, *, last: bool = False) -> torch.Tensor:
        parts = [side.push(codes[:, i::2], last=last) for i, side in enumerate(self._sides)]
        return torch.cat(parts, dim=1)
