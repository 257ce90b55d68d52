"""The network of EnCodec (Défossez et al. 2022, section 3.1): SEANet's encoder and decoder around residual vector quantisation.

    waveform --encoder--> latents [B, D, T] --quantizer--> codes --quantizer--> latents --decoder--> waveform

Parameters and buffers have the names of transformers' `EncodecModel`, so its weights load without renaming. The network is
reimplemented because importing transformers' model classes takes longer than generating a short clip.
"""

from __future__ import annotations

import math
from typing import Any, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm


class EncodecConfig(BaseModel):
    """The settings of a network; names and defaults as in transformers' configuration files. Other settings are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore")

    model_type: Literal["encodec"] = "encodec"
    target_bandwidths: list[float] = Field(default=[1.5, 3.0, 6.0, 12.0, 24.0], min_length=1)
    """kbit/s; the last one tells the number of quantisers."""
    sampling_rate: PositiveInt = 24_000
    audio_channels: PositiveInt = 1
    normalize: bool = False
    chunk_length_s: float | None = None
    overlap: float | None = None
    hidden_size: PositiveInt = 128
    num_filters: PositiveInt = 32
    num_residual_layers: int = Field(default=1, ge=0)
    upsampling_ratios: list[PositiveInt] = Field(default=[8, 5, 4, 2], min_length=1)
    norm_type: Literal["weight_norm", "time_group_norm"] = "weight_norm"
    kernel_size: PositiveInt = 7
    last_kernel_size: PositiveInt = 7
    residual_kernel_size: PositiveInt = 3
    dilation_growth_rate: PositiveInt = 2
    use_causal_conv: bool = True
    pad_mode: Literal["reflect", "constant", "replicate", "circular"] = "reflect"
    compress: PositiveInt = 2
    num_lstm_layers: PositiveInt = 2
    trim_right_ratio: float = Field(default=1.0, ge=0, le=1)
    codebook_size: PositiveInt = 1_024
    codebook_dim: PositiveInt | None = None
    use_conv_shortcut: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.codebook_dim is None:
            self.codebook_dim = self.hidden_size
        if self.trim_right_ratio != 1 and not self.use_causal_conv:
            raise ValueError(
                f"trim_right_ratio is {self.trim_right_ratio:g}: only causal convolutions are trimmed otherwise"
            )
        return self

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values, as transformers reads them."""
        return self.model_dump() | {"architectures": ["EncodecModel"]}

    @property
    def hop_length(self) -> int:
        """Samples of a frame."""
        return math.prod(self.upsampling_ratios)

    @property
    def frame_rate(self) -> int:
        """Frames a second, rounded up."""
        return -(-self.sampling_rate // self.hop_length)

    @property
    def num_quantizers(self) -> int:
        """K at the highest bandwidth."""
        bits = (self.codebook_size - 1).bit_length()
        return int(1_000 * self.target_bandwidths[-1] // (self.frame_rate * bits))


class EncodecNetwork(nn.Module):
    """Encoder, quantiser and decoder.

    Args:
        config: The settings. The weights are drawn from PyTorch's global generator; the codebooks are zero.
    """

    def __init__(self, config: EncodecConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quantizer = Quantizer(config)

    def encode(self, wave: torch.Tensor) -> torch.Tensor:
        """Waveforms [B, C, samples] -> codes, int64 [B, K, T]."""
        return self.quantizer.encode(self.encoder(wave))

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes [B, K, T] -> waveforms [B, C, T * hop]."""
        return self.decoder(self.quantizer.decode(codes))


class Conv1d(nn.Module):
    """A convolution padded so that its stride divides the length: of n samples become ceil(n / stride)."""

    def __init__(
        self, config: EncodecConfig, inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        self.causal, self.pad_mode = config.use_causal_conv, config.pad_mode
        self.conv = nn.Conv1d(inputs, outputs, kernel, stride, dilation=dilation)
        _initialise(self.conv)
        self.norm = _normalise(self.conv, config, outputs)

    def padding(self, length: int) -> tuple[int, int]:
        """Padding before and after an input of this length, in samples."""
        (kernel,), (stride,), (dilation,) = self.conv.kernel_size, self.conv.stride, self.conv.dilation
        total = (kernel - 1) * dilation + 1 - stride
        right = 0 if self.causal else total // 2
        return total - right, right + -length % stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, inputs, n] -> [B, outputs, ceil(n / stride)]."""
        x = self.conv(_pad(x, self.padding(x.shape[-1]), self.pad_mode))
        return x if self.norm is None else self.norm(x)


class ConvTranspose1d(nn.Module):
    """A transposed convolution trimmed to stride samples for each input."""

    def __init__(self, config: EncodecConfig, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose1d(inputs, outputs, kernel, stride)
        self.norm = _normalise(self.conv, config, outputs)
        total = kernel - stride
        self.right = math.ceil(total * config.trim_right_ratio) if config.use_causal_conv else total // 2
        self.left = total - self.right

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, inputs, n] -> [B, outputs, n * stride]."""
        x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x)
        return x[..., self.left : x.shape[-1] - self.right]


class LSTM(nn.Module):
    """Recurrent layers over time, with a residual connection."""

    def __init__(self, config: EncodecConfig, dim: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(dim, dim, config.num_lstm_layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, D, T] -> the same shape."""
        steps = x.permute(2, 0, 1)
        return (self.lstm(steps)[0] + steps).permute(1, 2, 0)


class ResidualBlock(nn.Module):
    """Two convolutions, narrower in between, beside a shortcut."""

    def __init__(self, config: EncodecConfig, dim: int, dilation: int) -> None:
        super().__init__()
        hidden = dim // config.compress
        self.block = nn.ModuleList(
            [
                nn.ELU(),
                Conv1d(config, dim, hidden, config.residual_kernel_size, dilation=dilation),
                nn.ELU(),
                Conv1d(config, hidden, dim, 1),
            ]
        )
        self.shortcut = Conv1d(config, dim, dim, 1) if config.use_conv_shortcut else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, D, n] -> the same shape."""
        inner = x
        for layer in self.block:
            inner = layer(inner)
        return self.shortcut(x) + inner


class _Layers(nn.Module):
    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class Encoder(_Layers):
    """Waveform [B, C, samples] -> latents [B, D, T]."""

    def __init__(self, config: EncodecConfig) -> None:
        width = config.num_filters
        layers: list[nn.Module] = [Conv1d(config, config.audio_channels, width, config.kernel_size)]
        for ratio in reversed(config.upsampling_ratios):
            layers += _residual(config, width)
            layers += [nn.ELU(), Conv1d(config, width, 2 * width, 2 * ratio, stride=ratio)]
            width *= 2
        layers += [LSTM(config, width), nn.ELU(), Conv1d(config, width, config.hidden_size, config.last_kernel_size)]
        super().__init__(layers)


class Decoder(_Layers):
    """Latents [B, D, T] -> waveform [B, C, T * hop]."""

    def __init__(self, config: EncodecConfig) -> None:
        width = config.num_filters * 2 ** len(config.upsampling_ratios)
        layers: list[nn.Module] = [Conv1d(config, config.hidden_size, width, config.kernel_size), LSTM(config, width)]
        for ratio in config.upsampling_ratios:
            layers += [nn.ELU(), ConvTranspose1d(config, width, width // 2, 2 * ratio, stride=ratio)]
            width //= 2
            layers += _residual(config, width)
        layers += [nn.ELU(), Conv1d(config, width, config.audio_channels, config.last_kernel_size)]
        super().__init__(layers)


class Quantizer(nn.Module):
    """Residual vector quantisation: each codebook quantises what the ones before it left."""

    def __init__(self, config: EncodecConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Quantiser(config) for _ in range(config.num_quantizers))

    @property
    def codebooks(self) -> list[Codebook]:
        """Of each quantiser."""
        return [layer.codebook for layer in self.layers if isinstance(layer, _Quantiser)]

    def encode(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents [B, D, T] -> codes, int64 [B, K, T]."""
        codes, residual = [], latents
        for codebook in self.codebooks:
            codes.append(codebook.nearest(residual))
            residual = residual - codebook.entries(codes[-1])
        return torch.stack(codes, dim=1)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes [B, K, T] -> latents [B, D, T]."""
        parts = [codebook.entries(codes[:, k]) for k, codebook in enumerate(self.codebooks)]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total


class _Quantiser(nn.Module):
    def __init__(self, config: EncodecConfig) -> None:
        super().__init__()
        self.codebook = Codebook(config)


class Codebook(nn.Module):
    """Entries [N, D], with the moving averages that training keeps of them."""

    embed: torch.Tensor
    embed_avg: torch.Tensor
    cluster_size: torch.Tensor
    inited: torch.Tensor

    def __init__(self, config: EncodecConfig) -> None:
        super().__init__()
        size, dim = config.codebook_size, config.codebook_dim
        assert dim is not None
        self.register_buffer("inited", torch.ones(1))
        self.register_buffer("cluster_size", torch.zeros(size))
        self.register_buffer("embed", torch.zeros(size, dim))
        self.register_buffer("embed_avg", torch.zeros(size, dim))

    def nearest(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents [B, D, T] -> the index of the nearest entry by Euclidean distance, int64 [B, T]."""
        vectors = latents.permute(0, 2, 1).reshape(-1, latents.shape[1])
        entries = self.embed.t()
        squares = vectors.pow(2).sum(1, keepdim=True)
        distance = squares - 2 * vectors @ entries + entries.pow(2).sum(0, keepdim=True)
        return distance.argmin(dim=-1).view(latents.shape[0], -1)

    def entries(self, indices: torch.Tensor) -> torch.Tensor:
        """Indices [B, T] -> entries [B, D, T]."""
        return F.embedding(indices, self.embed).permute(0, 2, 1)


def _residual(config: EncodecConfig, dim: int) -> list[nn.Module]:
    return [ResidualBlock(config, dim, config.dilation_growth_rate**j) for j in range(config.num_residual_layers)]


def _initialise(conv: nn.Conv1d) -> None:
    """He et al. 2015, with the bias of PyTorch's own layers."""
    nn.init.kaiming_normal_(conv.weight)
    assert conv.bias is not None
    bound = (conv.in_channels * conv.kernel_size[0]) ** -0.5
    nn.init.uniform_(conv.bias, -bound, bound)


def _normalise(conv: nn.Module, config: EncodecConfig, channels: int) -> nn.Module | None:
    """Give a convolution weight norm, or return the norm over time that follows it."""
    if config.norm_type == "weight_norm":
        weight_norm(conv)
        return None
    return nn.GroupNorm(1, channels)


def _pad(x: torch.Tensor, padding: tuple[int, int], mode: str) -> torch.Tensor:
    """Pad [B, D, n]; what reflection needs beyond n samples is taken from zeros appended for it."""
    missing = max(0, max(padding) - x.shape[-1] + 1) if mode == "reflect" else 0
    padded = F.pad(F.pad(x, (0, missing)), padding, mode)
    return padded[..., : padded.shape[-1] - missing]
