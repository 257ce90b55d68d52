"""The Descript audio codec. The network is transformers' DacModel, imported on first use because the import takes seconds.

codes --sum of entries--> [decoder] --> samples       as a stream, [...] runs in overlapping slices
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import nn

from musicgen import config_checks
from musicgen.errors import CheckpointError
from musicgen.tokenizers.base import StreamDecoder, Tokenizer, check_codes, check_wave, modern_weight_norm
from musicgen.tokenizers.registry import register
from musicgen.tokenizers.slices import Slices

if TYPE_CHECKING:
    from transformers import DacConfig, DacModel


@register("dac")
class DacTokenizer(Tokenizer):
    """The Descript audio codec (Kumar et al. 2023): 44.1 kHz, 9 codebooks, 86 Hz.

    Args:
        model: The network.
    """

    channels = 1

    def __init__(self, model: DacModel) -> None:
        super().__init__()
        self.model = model
        self.sample_rate: int = model.config.sampling_rate
        self.num_codebooks: int = model.config.n_codebooks
        self.codebook_size: int = model.config.codebook_size
        self.hop: int = model.config.hop_length

    @property
    def network(self) -> DacModel:
        return self.model

    def config(self) -> dict[str, Any]:
        return self.model.config.to_dict()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        from transformers import DacConfig, DacModel

        return cls(DacModel(DacConfig(**config)))

    @classmethod
    def tensor_name(cls, stored: str) -> str:
        return modern_weight_norm(stored)

    @classmethod
    def check(cls, config: Mapping[str, Any], names: Collection[str], source: str) -> None:
        from transformers import DacConfig

        values = config_checks.wrap_errors(lambda: DacConfig(**config), source)
        config_checks.check_count("quantisers", values.n_codebooks, r"quantizer\.quantizers\.(\d+)\.", names, source)

    def stream_decoder(self) -> StreamDecoder:
        return _DacStream(self)

    @torch.no_grad()
    def encode(self, wave: torch.Tensor) -> torch.Tensor:
        check_wave(wave, self.channels)
        # DAC's strided convolutions need whole frames.
        missing = -wave.shape[-1] % self.hop
        return self.model.encode(nn.functional.pad(wave, (0, missing))).audio_codes

    @torch.no_grad()
    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        check_codes(codes, self.num_codebooks)
        wave = self.model.decode(audio_codes=codes).audio_values[:, None]
        # With odd strides the decoder returns a few samples less: they are padded to `hop` samples for every frame.
        return nn.functional.pad(wave, (0, codes.shape[-1] * self.hop - wave.shape[-1]))


class _DacStream:
    def __init__(self, tokenizer: DacTokenizer) -> None:
        config = tokenizer.model.config
        if any(ratio % 2 for ratio in config.upsampling_ratios):
            raise CheckpointError(f"DAC with the odd strides {config.upsampling_ratios} cannot be decoded as a stream")
        self._quantizer = tokenizer.model.quantizer
        self._slices = Slices(tokenizer.model.decoder, dac_radius(config), hop=tokenizer.hop)
        self.delay = self._slices.radius

    @torch.no_grad()
    def push(self, codes: torch.Tensor, *, last: bool = False) -> torch.Tensor:
        latent = self._quantizer.from_codes(codes)[0]
        wave = self._slices.push(latent, last)
        return wave if wave is not None else latent.new_zeros(latent.shape[0], 1, 0)


def dac_radius(config: DacConfig) -> int:
    """Radius of the receptive field of DAC's decoder, in frames: kernels of 7, residual units with dilations 1, 3 and 9."""
    reach, rate = Fraction(3), 1
    for ratio in config.upsampling_ratios:
        reach += Fraction(1, rate)
        rate *= ratio
        reach += Fraction(3 * (1 + 3 + 9), rate)
    return math.ceil(reach + Fraction(3, rate))
