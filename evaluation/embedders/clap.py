"""CLAP (Wu et al. 2023): captions and sound in one space of 512 dimensions; behind the CLAP score and `fad_clap_music`.

Conventions: 48 kHz mono float (never rounded to 16 bits); HTSAT-base with RoBERTa (at most 77 tokens), no fusion; 10 s
at once, shorter sound repeated as often as it fits and padded with zeros. Two modes:

    clap            audiocraft's: a random crop of longer clips (there unseeded; here seeded by the clip's id), one
                    vector a clip
    clap_windowed   consecutive windows of 10 s, a last one of less than 1 s left out

Vectors have length 1, as laion_clap returns them. The network is laion_clap's, but for its attention, which runs fused;
importing it asks the hub for tokenisers, so that happens here alone. `laion/larger_clap_music` on the hub is not this
model.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from musicgen.errors import CheckpointError

from ..clips import View
from . import weights
from .attention import FusedAttention
from .base import Array

RATE = 48_000
"""Hz."""
WINDOW = 10 * RATE
"""Samples."""
SHORTEST = RATE
"""Samples that a further window needs."""
TOKENS = 77
VOCABULARY = 50_265
"""Of RoBERTa's tokeniser; offline, laion_clap makes do with another of 5."""


class Network:
    """laion_clap's network; loaded when it is first used, shared by both modes."""

    def __init__(self, chosen: weights.Weights, device: str = "cpu") -> None:
        self._chosen, self.device = chosen, device

    @cached_property
    def sha256(self) -> str:
        return weights.sha256(self._chosen.file("clap"))

    @cached_property
    def module(self) -> Any:
        file = self._chosen.file("clap")
        try:
            with contextlib.redirect_stdout(io.StringIO()), torch.random.fork_rng():
                import laion_clap

                module = laion_clap.CLAP_Module(enable_fusion=False, amodel="HTSAT-base", device=self.device)
        except (OSError, ValueError, TypeError) as error:
            raise CheckpointError(f"CLAP's text tokeniser roberta-base is not on this machine ({error})") from error
        if len(module.tokenize) < VOCABULARY:
            raise CheckpointError(
                f"CLAP's text tokeniser roberta-base is not on this machine: {len(module.tokenize)} tokens in place of "
                f"{VOCABULARY}. Connect to the network once"
            )
        state = weights.read(file)
        state.pop("text_branch.embeddings.position_ids", None)  # a table that newer transformers computes by itself
        weights.fill(module.model, state, file)
        quicken(module.model.audio_branch)
        return module.eval()

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Array:
        """[n, 512]."""
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        rows = [self.module.get_text_embedding([text], use_tensor=True).cpu().numpy() for text in texts]
        return np.concatenate(rows)

    @torch.inference_mode()
    def audio(self, windows: torch.Tensor) -> Array:
        """[n, 480000] -> [n, 512]."""
        model = self.module.model
        batch = {"waveform": windows.to(self.device), "longer": torch.zeros(len(windows), 1, dtype=torch.bool)}
        joined = model.audio_projection(model.encode_audio(batch, device=self.device)["embedding"])
        return torch.nn.functional.normalize(joined, dim=-1).cpu().numpy()


class WindowAttention(nn.Module):
    """The attention of one of HTSAT's blocks, fused. mask: of the windows that a shift joined."""

    def __init__(self, plain: Any, mask: torch.Tensor | None) -> None:
        super().__init__()
        bias = plain.relative_position_bias_table.detach()[plain.relative_position_index.flatten()]
        n = len(plain.relative_position_index)
        bias = bias.reshape(1, n, n, -1).permute(0, 3, 1, 2)
        self.fused = FusedAttention(plain, (bias if mask is None else bias + mask[:, None]).contiguous())

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: ARG002
        # The second value would be the attention's weights, which nobody reads.
        return self.fused(x), x.new_zeros(1)


def quicken(sound: Any) -> None:
    """The same numbers, up to rounding, in two thirds of the time."""
    for block in list(sound.modules()):
        if hasattr(block, "attn") and hasattr(block, "attn_mask"):
            block.attn = WindowAttention(block.attn, block.attn_mask)


class ClapEmbedder:
    """One mode of the network. name: clap or clap_windowed."""

    version = "2"
    view: View = "paper_whole"
    rate = RATE

    def __init__(self, name: str, network: Network) -> None:
        self.name = name
        self.windowed = name == "clap_windowed"
        self._network = network

    @property
    def weights(self) -> str:
        return self._network.sha256

    def salt(self, clip_id: str) -> str:
        """Where a longer clip is cropped hangs on its id."""
        return "" if self.windowed else clip_id

    def prepare(self, wave: torch.Tensor, clip_id: str) -> list[torch.Tensor]:
        if self.windowed:
            pieces = [piece for piece in wave.split(WINDOW) if len(piece) >= SHORTEST]
            return [filled(piece) for piece in pieces or [wave]]
        return [filled(cropped(wave, clip_id))]

    def embed(self, inputs: torch.Tensor) -> Sequence[Array]:
        return [row[None] for row in self._network.audio(inputs)]

    def texts(self, texts: Sequence[str]) -> Array:
        return self._network.texts(texts)


def cropped(wave: torch.Tensor, clip_id: str) -> torch.Tensor:
    """10 s of a longer clip, at a place drawn from its id."""
    overflow = len(wave) - WINDOW
    if overflow <= 0:
        return wave
    seed = int.from_bytes(hashlib.sha256(clip_id.encode()).digest()[:8], "big")
    start = int(np.random.default_rng(seed).integers(0, overflow + 1))
    return wave[start : start + WINDOW]


def filled(wave: torch.Tensor) -> torch.Tensor:
    """10 s: repeated as often as it fits, then zeros."""
    whole = wave.repeat(max(1, WINDOW // len(wave)))[:WINDOW]
    return torch.nn.functional.pad(whole, (0, WINDOW - len(whole)))
