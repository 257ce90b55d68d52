"""EnCodec, the tokeniser of the published models.

    codes --sum of entries--> [first convolution] --LSTM--> [upsampling convolutions] --> samples

When streaming, the parts in [...] run in overlapping slices, and the state of the LSTM is carried from chunk to chunk.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from fractions import Fraction
from typing import Any, Self

import torch
from torch import nn

from musicgen import config_checks
from musicgen.errors import CheckpointError
from musicgen.tokenizers.base import StreamDecoder, Tokenizer, check_codes, check_wave, modern_weight_norm
from musicgen.tokenizers.encodec_network import EncodecConfig, EncodecNetwork
from musicgen.tokenizers.registry import register
from musicgen.tokenizers.slices import Slices

WHOLE_SECONDS = 30.0
"""Length up to which audio is encoded as a whole: that of the published models' context. Longer audio takes no more memory."""


@register("encodec")
class EncodecTokenizer(Tokenizer):
    """EnCodec (Défossez et al. 2022) at its highest bandwidth.

    Args:
        model: The network.
    """

    def __init__(self, model: EncodecNetwork) -> None:
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
    def network(self) -> EncodecNetwork:
        return self.model

    def config(self) -> dict[str, Any]:
        return self.model.config.to_dict()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        return cls(EncodecNetwork(EncodecConfig(**config)))

    @classmethod
    def tensor_name(cls, stored: str) -> str:
        return modern_weight_norm(stored)

    @classmethod
    def check(cls, config: Mapping[str, Any], names: Collection[str], source: str) -> None:
        values = config_checks.wrap_errors(lambda: EncodecConfig(**config), source)
        quantisers = config_checks.wrap_errors(lambda: values.num_quantizers, source)
        config_checks.check_count("quantisers", quantisers, r"quantizer\.layers\.(\d+)\.", names, source)
        lstm = r"encoder\.layers\.\d+\.lstm\.weight_ih_l(\d+)"
        config_checks.check_count("LSTM layers", values.num_lstm_layers, lstm, names, source)
        if not 0 < values.num_residual_layers <= len(names):
            raise CheckpointError(
                f"{source}: num_residual_layers is {values.num_residual_layers}, of which there are fewer"
            )

    def stream_decoder(self) -> StreamDecoder:
        return _EncodecStream(self)

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
        check_wave(wave, self.channels)
        if wave.shape[-1] <= WHOLE_SECONDS * self.sample_rate or self.model.config.norm_type != "weight_norm":
            return self.model.encode(wave)
        layers = list(self.model.encoder.layers)
        x = self._downsample(layers[:-3], wave)
        for layer in layers[
            -3:
        ]:  # the LSTM needs all that came before; it and the last convolution run at the frame rate
            x = layer(x)
        return self.model.quantizer.encode(x)

    def _downsample(self, layers: list[nn.Module], wave: torch.Tensor) -> torch.Tensor:
        """Output of the encoder's convolutions before the LSTM, [B, D, T]: block by block, because the first ones take hundreds
        of bytes for each sample."""
        block, radius = round(WHOLE_SECONDS * self.sample_rate / self.hop / 4), _encoder_radius(self.model.config)
        frames, parts = -(-wave.shape[-1] // self.hop), []
        for start in range(0, frames, block):
            context = max(0, start - radius)
            end = min(start + block, frames)
            x = wave[..., context * self.hop : (end + radius) * self.hop]
            for layer in layers:
                x = layer(x)
            parts.append(x[..., start - context : end - context])
        return torch.cat(parts, dim=-1)

    def vectors(self, codes: torch.Tensor) -> torch.Tensor:
        """The sums of the entries that codes [B, K, T] stand for, [B, D, T]: what the decoder reads."""
        return self.model.quantizer.decode(codes)

    @torch.no_grad()
    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        check_codes(codes, self.num_codebooks)
        first, lstm = self.model.decoder.layers[:2]
        return self.upsample(lstm(first(self.vectors(codes))))


class _EncodecStream:
    def __init__(self, tokenizer: EncodecTokenizer) -> None:
        config = tokenizer.model.config
        if config.norm_type != "weight_norm":
            raise CheckpointError(
                f"EnCodec with {config.norm_type} normalises over time: it cannot be decoded as a stream"
            )
        first, lstm = tokenizer.model.decoder.layers[:2]
        self._quantizer = tokenizer.model.quantizer
        self._first = Slices(first, _reach(config.kernel_size, config.use_causal_conv), hop=1)
        self._lstm: Any = lstm.lstm
        self._state: tuple[torch.Tensor, torch.Tensor] | None = None
        self._rest = Slices(tokenizer.upsample, encodec_radius(config), hop=tokenizer.hop)
        self.delay = self._first.radius + self._rest.radius

    @torch.no_grad()
    def push(self, codes: torch.Tensor, *, last: bool = False) -> torch.Tensor:
        latent = self._quantizer.decode(codes)
        x = self._first.push(latent, last)
        if x is None:
            return latent.new_zeros(latent.shape[0], 1, 0)
        steps = x.permute(2, 0, 1)
        out, self._state = self._lstm(steps, self._state)
        wave = self._rest.push((out + steps).permute(1, 2, 0), last)
        return wave if wave is not None else latent.new_zeros(latent.shape[0], 1, 0)


def encodec_radius(config: EncodecConfig) -> int:
    """Radius of the receptive field of EnCodec's layers after the LSTM, in frames."""
    reach, rate = Fraction(0), 1
    for ratio in config.upsampling_ratios:
        reach += Fraction(1, rate)  # the transposed convolution of twice the stride
        rate *= ratio
        for j in range(config.num_residual_layers):
            kernel = (config.residual_kernel_size - 1) * config.dilation_growth_rate**j + 1
            reach += Fraction(_reach(kernel, config.use_causal_conv), rate)
    reach += Fraction(_reach(config.last_kernel_size, config.use_causal_conv), rate)
    return math.ceil(reach)


def _encoder_radius(config: EncodecConfig) -> int:
    """Radius of the receptive field of EnCodec's layers before the encoder's LSTM, in frames."""
    reach, stride = _reach(config.kernel_size, config.use_causal_conv), 1
    for ratio in reversed(config.upsampling_ratios):
        for j in range(config.num_residual_layers):
            kernel = (config.residual_kernel_size - 1) * config.dilation_growth_rate**j + 1
            reach += stride * _reach(kernel, config.use_causal_conv)
        reach += stride * 2 * ratio
        stride *= ratio
    return math.ceil(Fraction(reach, stride))


def _reach(kernel: int, causal: bool) -> int:
    return kernel - 1 if causal else kernel // 2
