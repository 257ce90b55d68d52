"""Streaming decoder: codes -> waveform in parts, whose concatenation equals decoding all codes at once.

A frame is decoded when the frames within the convolutions' receptive field to its right are known; those are context, decoded
again with the next part. The state of EnCodec's LSTM is carried from part to part. The first and the last part have the
network's own padding at the clip's edges.

    EnCodec: codes --sum of entries--> [first convolution] --LSTM, state carried--> [upsampling convolutions] --> samples
    DAC:     codes --sum of entries--> [decoder] --> samples                        [...]: in overlapping slices
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import torch
from torch import nn
from transformers import DacConfig, EncodecConfig

from musicgen.errors import CheckpointError
from musicgen.tokenizer import DacTokenizer, EncodecTokenizer, StereoTokenizer


class StreamDecoder:
    """Decodes one batch of clips, part by part.

    Attributes:
        delay: Lookahead in frames: how many must follow a frame before it can be decoded.
    """

    def __init__(self, tokenizer: EncodecTokenizer | DacTokenizer | StereoTokenizer) -> None:
        sides = [tokenizer.mono, tokenizer.mono] if isinstance(tokenizer, StereoTokenizer) else [tokenizer]
        self._sides = [_EncodecStream(one) if isinstance(one, EncodecTokenizer) else _DacStream(one) for one in sides]
        self.delay = self._sides[0].delay

    @torch.no_grad()
    def push(self, codes: torch.Tensor, *, last: bool = False) -> torch.Tensor:
        """Decode the next frames.

        Args:
            codes: int64 [B, K, T].
            last: Whether these are the last: then everything that remains is decoded.

        Returns:
            The samples that are complete now, [B, C, n]; n may be 0.
        """
        # Stereo codes alternate between left and right; with one side this takes every codebook.
        parts = [side.push(codes[:, i :: len(self._sides)], last) for i, side in enumerate(self._sides)]
        return torch.cat(parts, dim=1)


class _Slices:
    """A convolutional network on a sequence that arrives in parts.

    radius: of the receptive field, in input positions; hop: output samples for each input position.
    """

    def __init__(self, network: Callable[[torch.Tensor], torch.Tensor], radius: int, hop: int) -> None:
        self.network, self.radius, self.hop = network, radius, hop
        self._held: torch.Tensor | None = None
        self._done = 0  # leading positions that have been decoded already: left context

    def push(self, x: torch.Tensor, last: bool) -> torch.Tensor | None:
        """[B, D, n] -> the output that is complete now, [B, E, m * hop]; None if there is none."""
        held = x if self._held is None else torch.cat([self._held, x], dim=-1)
        ready = held.shape[-1] if last else held.shape[-1] - self.radius
        if ready <= self._done:
            self._held = held
            return None
        out = self.network(held)[..., self._done * self.hop : ready * self.hop]
        cut = max(0, ready - self.radius)
        self._held, self._done = held[..., cut:], ready - cut
        return out


class _EncodecStream:
    def __init__(self, tokenizer: EncodecTokenizer) -> None:
        config = tokenizer.model.config
        if config.norm_type != "weight_norm":
            raise CheckpointError(
                f"EnCodec with {config.norm_type} normalises over time: it cannot be decoded as a stream"
            )
        first, lstm = tokenizer.model.decoder.layers[:2]
        self._quantizer = tokenizer.model.quantizer
        self._first = _Slices(first, _reach(config.kernel_size, config.use_causal_conv), hop=1)
        self._lstm: nn.LSTM = lstm.lstm
        self._state: tuple[torch.Tensor, torch.Tensor] | None = None
        self._rest = _Slices(tokenizer.upsample, encodec_radius(config), hop=tokenizer.hop)
        self.delay = self._first.radius + self._rest.radius

    def push(self, codes: torch.Tensor, last: bool) -> torch.Tensor:
        latent = self._quantizer.decode(codes.transpose(0, 1))
        x = self._first.push(latent, last)
        if x is None:
            return latent.new_zeros(latent.shape[0], 1, 0)
        steps = x.permute(2, 0, 1)
        out, self._state = self._lstm(steps, self._state)
        wave = self._rest.push((out + steps).permute(1, 2, 0), last)
        return wave if wave is not None else latent.new_zeros(latent.shape[0], 1, 0)


class _DacStream:
    def __init__(self, tokenizer: DacTokenizer) -> None:
        config = tokenizer.model.config
        if any(ratio % 2 for ratio in config.upsampling_ratios):
            raise CheckpointError(f"DAC with the odd strides {config.upsampling_ratios} cannot be decoded as a stream")
        self._quantizer = tokenizer.model.quantizer
        self._slices = _Slices(tokenizer.model.decoder, dac_radius(config), hop=tokenizer.hop)
        self.delay = self._slices.radius

    def push(self, codes: torch.Tensor, last: bool) -> torch.Tensor:
        latent = self._quantizer.from_codes(codes)[0]
        wave = self._slices.push(latent, last)
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


def dac_radius(config: DacConfig) -> int:
    """Radius of the receptive field of DAC's decoder, in frames: kernels of 7, residual units with dilations 1, 3 and 9."""
    reach, rate = Fraction(3), 1
    for ratio in config.upsampling_ratios:
        reach += Fraction(1, rate)
        rate *= ratio
        reach += Fraction(3 * (1 + 3 + 9), rate)
    return math.ceil(reach + Fraction(3, rate))


def _reach(kernel: int, causal: bool) -> int:
    return kernel - 1 if causal else kernel // 2
