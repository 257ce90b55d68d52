"""PaSST (Koutini et al. 2022): an audio tagger, logits of AudioSet's 527 classes; for the KL metric.

Conventions: 32 kHz mono; hear21passt's 20-s network; consecutive segments of at most 20 s, without padding, those of 0.15 s or
less dropped. The network is hear21passt's, with changes that do not affect the results beyond rounding: its mel front end is
replaced, because it uses PyTorch's global random generator even at inference and rebuilds its filters in each call; attention
is fused; and the last block computes only the two tokens that the head reads.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any, cast

import torch
from torch import nn

from musicgen import extras

from ..clips.resampling import View
from . import weights
from .attention import FusedAttention
from .base import Array, CheckpointEmbedder, EmbedderSpec

PUBLISHED = weights.Published(
    "passt",
    "passt-s-f128-20sec-p16-s10-ap.474-swa.pt",
    "https://github.com/kkoutini/PaSST/releases/download/v0.0.5/passt-s-f128-20sec-p16-s10-ap.474-swa.pt",
    345,
)
RATE = 32_000
"""Hz."""
SEGMENT = 20 * RATE
"""Samples."""
SHORTEST = 0.15 * RATE
"""Samples; a segment must be longer."""
BANDS, WINDOW, HOP, SPECTRUM = 128, 800, 320, 1024
HIGHEST = RATE / 2 - 1000
"""Hz: half of the front end's training-time variation below Nyquist."""
FRAMES = 2000
CLASSES = 527


class PasstEmbedder(CheckpointEmbedder):
    """Rows [segments, 527]: logits of AudioSet's classes."""

    name, published = "passt", PUBLISHED
    version = "2"
    view: View = "paper"
    rate = RATE

    def prepare(self, wave: torch.Tensor, clip_id: str) -> list[torch.Tensor]:  # noqa: ARG002
        return [log_mel(segment[None])[0][None] for segment in wave.split(SEGMENT) if len(segment) > SHORTEST]

    @torch.inference_mode()
    def embed(self, inputs: torch.Tensor) -> Sequence[Array]:
        with warnings.catch_warnings(action="ignore"):  # warns of segments shorter than 20 s
            logits, _ = self._module(inputs.to(self.device))
        return [row[None] for row in logits.cpu().numpy()]

    @cached_property
    def _module(self) -> nn.Module:
        network = architecture()
        weights.load_state(network, weights.read_state_dict(self.file), self.file)
        return optimise(network.eval().to(self.device))


class LastBlock(nn.Module):
    """PaSST's last block for the class and distillation tokens [b, 2, d], the only ones that the head reads."""

    def __init__(self, plain: Any) -> None:
        super().__init__()
        self.norm1, self.norm2, self.mlp = plain.norm1, plain.norm2, plain.mlp
        self.proj, self.heads = plain.attn.proj, int(plain.attn.num_heads)
        width = plain.attn.qkv.in_features
        self.query = slice_outputs(plain.attn.qkv, 0, width)
        self.key_value = slice_outputs(plain.attn.qkv, width, 3 * width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, n, d = x.shape
        normed = self.norm1(x)
        q = self.query(normed[:, :2]).reshape(b, 2, self.heads, d // self.heads).transpose(1, 2)
        k, v = self.key_value(normed).reshape(b, n, 2, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        joined = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, 2, d)
        read = x[:, :2] + self.proj(joined)
        return read + self.mlp(self.norm2(read))


def optimise(network: Any) -> nn.Module:
    """The same network, equal up to rounding, 1.6 times as fast (10 s of sound on a core of an EPYC, n = 4)."""
    *blocks, last = network.blocks
    for block in blocks:
        block.attn = FusedAttention(block.attn)
    network.blocks = nn.Sequential(*blocks, LastBlock(last))
    return cast(nn.Module, network)


def slice_outputs(layer: nn.Linear, start: int, end: int) -> nn.Linear:
    """A linear layer with the outputs from `start` to `end` of `layer`."""
    piece = nn.utils.skip_init(nn.Linear, layer.in_features, end - start, device=layer.weight.device)
    with torch.no_grad():
        piece.weight.copy_(layer.weight[start:end])
        piece.bias.copy_(layer.bias[start:end])
    return piece


def architecture() -> nn.Module:
    """The 20-s network without weights."""
    with contextlib.redirect_stdout(io.StringIO()), torch.random.fork_rng():  # it prints itself and initialises weights
        passt: Any = extras.load("hear21passt.models.passt", "evaluation", "the KL metric")
        passt.first_RUN = False
        network: nn.Module = passt.get_model(arch="passt_20sec", pretrained=False, input_tdim=FRAMES)
        return network


def log_mel(wave: torch.Tensor) -> torch.Tensor:
    """Log-mel [n, 128, frames] of sound [n, samples] at 32 kHz: pre-emphasis, power spectrum, Kaldi's mel bands, normalised as
    in PaSST's training."""
    emphasised = wave[:, 1:] - 0.97 * wave[:, :-1]
    window = torch.hann_window(WINDOW, periodic=False)
    spectrum = torch.stft(emphasised, SPECTRUM, HOP, WINDOW, window, center=True, return_complex=True)
    power = torch.view_as_real(spectrum).square().sum(-1)
    return ((_filters() @ power + 1e-5).log() + 4.5) / 5.0


@lru_cache(maxsize=1)
def _filters() -> torch.Tensor:
    from torchaudio.compliance.kaldi import get_mel_banks

    banks, _ = get_mel_banks(BANDS, SPECTRUM, RATE, 0.0, HIGHEST, 100.0, -500.0, 1.0)
    return nn.functional.pad(banks, (0, 1))


EMBEDDERS = (EmbedderSpec("passt", lambda context: PasstEmbedder(context.weights, context.device), PUBLISHED),)
