"""The style conditioner of MusicGen-Style: an excerpt of audio -> a few quantised vectors a second (Rouard et al. 2024).

    excerpt --MERT, frozen--> 75 Hz --linear, transformer, batch norm--> 75 Hz --RVQ--> every 15th frame --linear--> 5 Hz

The quantiser is the bottleneck: the fewer of its codebooks are used, the freer the music. In its published configuration
MERT's code equals transformers' HuBERT (`evaluation/embedders/mert.py`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from musicgen import audio
from musicgen.audio import Audio
from musicgen.conditioners.base import Conditioner
from musicgen.conditioners.condition import Condition, stack
from musicgen.conditioners.registry import register
from musicgen.errors import CheckpointError, InputError
from musicgen.options import STYLE_SECONDS, GenerationOptions
from musicgen.quantiser import ResidualQuantiser
from musicgen.recordings import AudioInput, check_audible, recording
from musicgen.transformer import Block, sinusoid

MERT_RATE = 24_000
"""Hz of the feature extractor's input."""
MERT_FRAME_RATE = 75
"""Hz of its output."""
MAX_SECONDS = 600.0
SILENCE = 1e-4
"""An excerpt whose largest sample is below this is silent (-80 dBFS)."""
_STREAM = 0x57
"""Distinguishes the random numbers of the excerpt's place from those of the codes, which the same seed gives."""


@dataclass(frozen=True, eq=False)
class Style:
    """A validated recording, and the excerpt of it that is followed.

    Attributes:
        wave: float32 [samples], mono at the model's rate.
        length: Samples of the excerpt.
        codebooks: Of the quantiser, how many are used.
        start: First sample of the excerpt, None as long as the clip's seed has not decided it.
    """

    wave: torch.Tensor
    length: int
    codebooks: int
    start: int | None = None

    @property
    def excerpt(self) -> torch.Tensor:
        """float32 [length]."""
        start = self.start or 0
        return self.wave[start : start + self.length]


@dataclass(frozen=True)
class StyleShape:
    """The shape of a style conditioner; the defaults are the published model's.

    Attributes:
        width, heads, layers: Of the transformer.
        num_quantisers, num_entries: Of the quantiser.
        codebooks: Quantisers that are used unless a request says otherwise.
        every: Every `every`-th frame is kept.
        seconds: Of the excerpt, unless a request says otherwise.
        rate: Hz, of the audio from which the excerpt is cut.
    """

    width: int = 512
    heads: int = 8
    layers: int = 8
    num_quantisers: int = 6
    num_entries: int = 1024
    codebooks: int = 3
    every: int = 15
    seconds: float = 3.0
    rate: int = 32_000


@register("style")
class StyleConditioner(Conditioner):
    """A style excerpt as a prefix. The null style is as many zero vectors as the clip's style has, one for a clip without.

    Args:
        features: MERT: a wave [B, samples] at 24 kHz -> `last_hidden_state` [B, frames at 75 Hz, width].
        shape: Of the layers behind it.
        dim: Width of the language model.
    """

    def __init__(self, features: nn.Module, shape: StyleShape, dim: int) -> None:
        super().__init__()
        self.shape = shape
        self.features = features
        self.embedding = nn.Linear(self._features_config.hidden_size, shape.width)
        self.blocks = nn.ModuleList(
            Block(shape.width, shape.heads, 4 * shape.width, "gelu", cross_attention=False) for _ in range(shape.layers)
        )
        self.norm = nn.BatchNorm1d(shape.width, affine=False)
        self.quantiser = ResidualQuantiser(shape.num_quantisers, shape.num_entries, shape.width)
        self.projection = nn.Linear(shape.width, dim)

    @property
    def _features_config(self) -> Any:
        return self.features.config

    @property
    def max_length(self) -> int:
        return math.ceil(STYLE_SECONDS[1] * MERT_FRAME_RATE / self.shape.every)

    def check(self, source: str) -> None:
        low, high = STYLE_SECONDS
        if not low <= self.shape.seconds <= high:
            raise CheckpointError(
                f"{source}: style excerpts of {self.shape.seconds:g} s: {low:g} to {high:g} s are possible"
            )
        if not 1 <= self.shape.codebooks <= self.shape.num_quantisers or self.shape.every < 1:
            raise CheckpointError(
                f"{source}: {self.shape.codebooks} style codebooks of {self.shape.num_quantisers}, every "
                f"{self.shape.every}th frame"
            )

    def config(self) -> dict[str, Any]:
        return {"features": self._features_config.to_diff_dict(), "shape": dict(vars(self.shape))}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], dim: int) -> Self:
        return cls(feature_extractor(config["features"]), StyleShape(**config["shape"]), dim)

    def prepare(self, value: AudioInput | Style, *, options: GenerationOptions | None = None, **_: Any) -> Style:
        """Read and validate a recording.

        Args:
            value: A file, audio, or what this method returned.
            options: `style_seconds` and `style_codebooks` of the request.

        Raises:
            InputError: It is unreadable, shorter than the shortest excerpt, silent, or has NaN samples; or the model has fewer
                codebooks.
        """
        if isinstance(value, Style):
            return value
        options = options if options is not None else GenerationOptions()
        codebooks = self.shape.codebooks if options.style_codebooks is None else options.style_codebooks
        if codebooks > self.shape.num_quantisers:
            raise InputError(f"style_codebooks is {codebooks}: the model's style has {self.shape.num_quantisers}")
        name = str(value) if isinstance(value, (str, os.PathLike)) else "the style"
        heard = recording(value, "the style", self._read).mono()
        _check_recording(heard, name)
        wave = heard.resampled(self.shape.rate).wave[0]
        seconds = self.shape.seconds if options.style_seconds is None else options.style_seconds
        # A recording between the shortest excerpt and the one asked for is taken whole: the training had all these lengths.
        return Style(wave, min(round(seconds * self.shape.rate), wave.shape[0]), codebooks)

    def seeded(self, prepared: Style, seed: int) -> Style:
        """The recording with the place of its excerpt, which the seed draws."""
        if prepared.start is not None:
            return prepared
        generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, _STREAM])))
        start = int(generator.integers(prepared.wave.shape[0] - prepared.length, endpoint=True))
        return replace(prepared, start=start)

    def forward(self, styles: Sequence[Style | None]) -> Condition:
        """The condition of B styles; None gives one zero vector."""
        return stack([self._encode(style) for style in styles])

    def null(self, batch: int, like: Condition) -> Condition:  # noqa: ARG002
        """Zero vectors, as many as each row's own style has."""
        return like.zeroed()

    @torch.no_grad()
    def hidden(self, wave: torch.Tensor) -> torch.Tensor:
        """Audio [B, samples] at 24 kHz -> vectors before quantisation [B, frames, width]."""
        x = self.embedding(self.features(wave).last_hidden_state)
        x = x + sinusoid(torch.arange(x.shape[1], device=x.device), self.shape.width).to(x.dtype)
        everywhere = torch.ones(1, 1, x.shape[1], x.shape[1], dtype=torch.bool, device=x.device)
        for layer, block in enumerate(self.blocks):
            x = block(x, everywhere, None, None, None, layer)
        return self.norm(x.transpose(1, 2)).transpose(1, 2)

    def condition(self, hidden: torch.Tensor, codebooks: int) -> Condition:
        """Quantise and project vectors [B, frames, width], of which every `every`-th is kept."""
        kept = self.quantiser(hidden[:, :: self.shape.every], codebooks)
        values = self.projection(kept)
        return Condition(values, torch.ones(values.shape[:2], dtype=torch.bool, device=values.device))

    def _encode(self, style: Style | None) -> Condition:
        weight = self.projection.weight
        if style is None:
            return Condition(
                weight.new_zeros(1, 1, weight.shape[0]), torch.ones(1, 1, dtype=torch.bool, device=weight.device)
            )
        wave = Audio(style.excerpt[None], self.shape.rate).resampled(MERT_RATE).wave
        return self.condition(self.hidden(wave.to(weight)), style.codebooks)

    def _read(self, file: str | os.PathLike[str]) -> Audio:
        return audio.read(file, MAX_SECONDS, channels=1, rate=self.shape.rate)


def feature_extractor(config: Mapping[str, Any]) -> nn.Module:
    """MERT with initial weights.

    Args:
        config: Of the published repository, or of a checkpoint that holds MERT.
    """
    from transformers import HubertConfig, HubertModel

    # MERT's own class has no masking at inference either.
    values = {name: value for name, value in config.items() if name not in ("model_type", "architectures", "auto_map")}
    return HubertModel(HubertConfig(**{**values, "mask_time_prob": 0.0}))


def _check_recording(heard: Audio, name: str) -> None:
    low = STYLE_SECONDS[0]
    if heard.duration < low:
        raise InputError(f"{name} is {heard.duration:.2f} s long: a style needs {low:g} s at least")
    check_audible(heard, name, "style", MAX_SECONDS, SILENCE)
