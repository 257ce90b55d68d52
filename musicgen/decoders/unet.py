"""The U-Net of multi-band diffusion (San Roman et al. 2023): a noisy band and the codes' embeddings -> the noise in it.

    band --encoders--> bottleneck + condition [--LSTM or transformer-->] --decoders, with skip connections--> estimate

The tensors have the names of the published file, except those of the transformer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from musicgen.decoders.noise_schedule import NUM_STEPS
from musicgen.transformer import CrossAttention, SelfAttention, sinusoid

HEADS, LAYERS, FFN = 8, 6, 2048
"""Of the transformer, which no configuration changes."""


@dataclass(frozen=True)
class UNetShape:
    """The shape of a network.

    Attributes:
        hidden: Channels of the first encoder.
        depth: Number of encoders, and of decoders.
        growth: Factor of the channels from one encoder to the next.
        max_channels: Most channels.
        kernel, stride: Of the convolutions between two resolutions.
        res_blocks: Residual blocks of an encoder and of a decoder.
        norm_groups: Groups of the normalisation.
        step_everywhere: Whether every encoder is told the step, or the first alone.
        bottleneck: What is between encoders and decoders; "cross" is a transformer that attends the condition, which the
            others add to its input.
        condition: Width of the codes' vectors.
    """

    hidden: int
    depth: int
    growth: float
    max_channels: int
    kernel: int
    stride: int
    res_blocks: int
    norm_groups: int
    step_everywhere: bool
    bottleneck: Literal["none", "lstm", "transformer", "cross"]
    condition: int

    @property
    def widths(self) -> list[int]:
        """Channels of the waveform and behind each encoder."""
        widths = [1, self.hidden]
        while len(widths) <= self.depth:
            widths.append(min(int(widths[-1] * self.growth), self.max_channels))
        return widths


class UNet(nn.Module):
    """Estimates the noise in a band.

    Args:
        shape: Of the network.
    """

    def __init__(self, shape: UNetShape) -> None:
        super().__init__()
        self.shape = shape
        pairs = list(zip(shape.widths, shape.widths[1:], strict=False))
        self.encoders = nn.ModuleList(_Encoder(shape, narrow, wide) for narrow, wide in pairs)
        self.decoders = nn.ModuleList(_Decoder(shape, wide, narrow) for narrow, wide in reversed(pairs))
        self.embedding = nn.Embedding(NUM_STEPS, shape.hidden)
        further = [wide for _, wide in pairs[1:]] if shape.step_everywhere else []
        self.embeddings = nn.ModuleList(nn.Embedding(NUM_STEPS, width) for width in further)
        width = shape.widths[-1]
        self.conv_codec = nn.Conv1d(shape.condition, width, 1)
        self.bilstm = _LSTM(width) if shape.bottleneck == "lstm" else None
        cross = shape.bottleneck == "cross"
        self.transformer = _Transformer(width, cross) if cross or shape.bottleneck == "transformer" else None

    def forward(self, x: torch.Tensor, step: int, condition: torch.Tensor) -> torch.Tensor:
        """A noisy band [B, 1, samples] at a step and the codes' vectors [B, condition, T] -> the noise, [B, 1, samples]."""
        told, length, skips = [self.embedding, *self.embeddings], x.shape[-1], []
        for index, encoder in enumerate(self.encoders):
            x = encoder(x)
            if index < len(told):
                x = x + told[index](torch.tensor(step, device=x.device))[:, None]
            skips.append(x)
        vectors = self.conv_codec(condition)
        if self.transformer is not None and self.transformer.cross_attention:
            x = self.transformer(x, vectors)
        else:
            # The skip connection has the condition as well.
            x = skips[-1] = x + F.interpolate(vectors, x.shape[-1])
            if self.transformer is not None:
                x = self.transformer(x, None)
            else:
                x = torch.zeros_like(x) if self.bilstm is None else self.bilstm(x)
        for decoder, skip in zip(self.decoders, reversed(skips), strict=True):
            x = decoder(x[..., : skip.shape[-1]] + skip)
        return x[..., :length]


class _ResidualBlock(nn.Module):
    def __init__(self, width: int, groups: int, dilation: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(groups, width), nn.GroupNorm(groups, width)
        self.conv1 = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.conv2 = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.conv1(F.relu(self.norm1(x)))
        return x + self.conv2(F.relu(self.norm2(inner)))


def _residual(shape: UNetShape, width: int) -> nn.Sequential:
    return nn.Sequential(*(_ResidualBlock(width, shape.norm_groups, 2**i) for i in range(shape.res_blocks)))


class _Encoder(nn.Module):
    def __init__(self, shape: UNetShape, inputs: int, outputs: int) -> None:
        super().__init__()
        self.stride = shape.stride
        padding = (shape.kernel - shape.stride) // 2
        self.conv = nn.Conv1d(inputs, outputs, shape.kernel, shape.stride, padding, bias=False)
        self.norm = nn.GroupNorm(shape.norm_groups, outputs)
        self.res_blocks = _residual(shape, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, inputs, n] -> [B, outputs, ceil(n / stride)]."""
        x = self.conv(F.pad(x, (0, -x.shape[-1] % self.stride)))
        return self.res_blocks(F.relu(self.norm(x)))


class _Decoder(nn.Module):
    def __init__(self, shape: UNetShape, inputs: int, outputs: int) -> None:
        super().__init__()
        padding = (shape.kernel - shape.stride) // 2
        self.res_blocks = _residual(shape, inputs)
        self.norm = nn.GroupNorm(shape.norm_groups, inputs)
        self.convtr = nn.ConvTranspose1d(inputs, outputs, shape.kernel, shape.stride, padding, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, inputs, n] -> [B, outputs, n * stride]."""
        return self.convtr(F.relu(self.norm(self.res_blocks(x))))


class _LSTM(nn.Module):
    """Two bidirectional layers over time."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width, num_layers=2, bidirectional=True)
        self.linear = nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.lstm(x.permute(2, 0, 1))[0]).permute(1, 2, 0)


class _Transformer(nn.Module):
    """Six layers over time, with sinusoidal positions."""

    def __init__(self, width: int, cross_attention: bool) -> None:
        super().__init__()
        self.cross_attention = cross_attention
        self.layers = nn.ModuleList(_Layer(width, cross_attention) for _ in range(LAYERS))

    def forward(self, x: torch.Tensor, condition: torch.Tensor | None) -> torch.Tensor:
        """x: [B, D, S]; condition: [B, D, L], None without cross-attention. Returns [B, D, S]."""
        x = _with_positions(x)
        attended = None if condition is None else _with_positions(condition)
        for layer in self.layers:
            x = layer(x, attended)
        return x.transpose(1, 2)


def _with_positions(x: torch.Tensor) -> torch.Tensor:
    """[B, D, S] -> [B, S, D], positions added."""
    return x.transpose(1, 2) + sinusoid(torch.arange(x.shape[2], device=x.device), x.shape[1])


class _Layer(nn.Module):
    """Attention and feed-forward, normalised behind their residual connections (Vaswani et al. 2017)."""

    def __init__(self, width: int, cross_attention: bool) -> None:
        super().__init__()
        self.self_attention, self.norm_self = SelfAttention(width, HEADS), nn.LayerNorm(width)
        self.cross_attention = CrossAttention(width, HEADS) if cross_attention else None
        self.norm_cross = nn.LayerNorm(width) if cross_attention else None
        self.ffn_in, self.ffn_out = nn.Linear(width, FFN, bias=False), nn.Linear(FFN, width, bias=False)
        self.norm_ffn = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor, condition: torch.Tensor | None) -> torch.Tensor:
        """x: [B, S, D]; condition: [B, L, D], None without cross-attention. Returns [B, S, D]."""
        everywhere = torch.ones(1, 1, x.shape[1], x.shape[1], dtype=torch.bool, device=x.device)
        inner = self.norm_self(x + self.self_attention(x, everywhere, None, 0))
        if self.cross_attention is not None and self.norm_cross is not None and condition is not None:
            # The condition is asked by the layer's input, as in the published code.
            attended = self.cross_attention(x, *self.cross_attention.project(condition), None)
            inner = self.norm_cross(inner + attended)
        return self.norm_ffn(inner + self.ffn_out(F.relu(self.ffn_in(inner))))
