"""PaSST (Koutini et al. 2022): what is heard, as logits of AudioSet's 527 classes; behind the KL metric.

Conventions: 32 kHz mono; hear21passt's 20-s network; segments of at most 20 s, one behind the other, without padding,
those of 0.15 s or less dropped. The network is hear21passt's, with two changes that alter no number: its mel front end
draws from PyTorch's global random numbers even where nothing is random, and builds its filters anew for each call, so
ours replaces it; and attention runs fused.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import nn

from evaluation.clips import View
from evaluation.embedders import weights
from evaluation.embedders.base import Array
from musicgen.errors import InputError

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


class PasstEmbedder:
    """Logits [segments, 527]."""

    name = "passt"
    version = "1"
    view: View = "paper"
    rate = RATE

    def __init__(self, chosen: weights.Weights, device: str = "cpu") -> None:
        self._chosen, self._device = chosen, device

    @cached_property
    def weights(self) -> str:
        return weights.sha256(self._chosen.file("passt"))

    def salt(self, clip_id: str) -> str:  # noqa: ARG002
        return ""

    def prepare(self, wave: torch.Tensor, clip_id: str) -> list[torch.Tensor]:  # noqa: ARG002
        return [log_mel(segment[None])[0][None] for segment in wave.split(SEGMENT) if len(segment) > SHORTEST]

    @torch.inference_mode()
    def embed(self, inputs: torch.Tensor) -> Sequence[Array]:
        with warnings.catch_warnings(action="ignore"):  # that a segment is shorter than 20 s
            logits, _ = self._network(inputs.to(self._device))
        return [row[None] for row in logits.cpu().numpy()]

    @cached_property
    def _network(self) -> nn.Module:
        network = architecture()
        file = self._chosen.file("passt")
        weights.fill(network, weights.read(file), file)
        for block in network.blocks:  # type: ignore[union-attr]
            block.attn = FusedAttention(block.attn)
        return network.eval().to(self._device)


class FusedAttention(nn.Module):
    """The attention of one of PaSST's blocks, in PyTorch's fused form."""

    def __init__(self, plain: Any) -> None:
        super().__init__()
        self.qkv, self.proj, self.heads = plain.qkv, plain.proj, int(plain.num_heads)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        joined = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d)
        return self.proj(joined)


def architecture() -> nn.Module:
    """The 20-s network without weights."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), torch.random.fork_rng():  # it prints itself and draws weights
            passt: Any = importlib.import_module("hear21passt.models.passt")

            passt.first_RUN = False
            network: nn.Module = passt.get_model(arch="passt_20sec", pretrained=False, input_tdim=FRAMES)
            return network
    except ImportError as error:
        raise InputError(
            f"the KL metric needs hear21passt ({error}): pip install -r requirements-evaluation.txt"
        ) from error


def log_mel(wave: torch.Tensor) -> torch.Tensor:
    """[n, samples] -> [n, 128, frames], scaled as in training: pre-emphasis, power spectrum, Kaldi's mel bands."""
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
