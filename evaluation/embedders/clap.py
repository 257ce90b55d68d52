"""CLAP (Wu et al. 2023): captions and audio in a joint space of 512 dimensions; for the CLAP score and `fad_clap_music`.

Conventions: 48 kHz mono float (never rounded to 16 bits); HTSAT-base with RoBERTa (at most 77 tokens), no fusion; 10 s
a window, shorter audio repeated as often as it fits and padded with zeros. Two modes:

    clap            audiocraft's: a random crop of longer clips (there unseeded; here seeded by the clip's id), one
                    vector per clip
    clap_windowed   consecutive windows of 10 s, a last one of less than 1 s left out

Vectors have unit length, as laion_clap returns them. The network is laion_clap's with fused attention; importing laion_clap
asks the hub for tokenisers, so only this module does it. `laion/larger_clap_music` on the hub is not this
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

from ..clips.resampling import View
from . import weights
from .attention import FusedAttention
from .base import Array, EmbedderContext, EmbedderSpec

PUBLISHED = weights.Published(
    "clap",
    "music_audioset_epoch_15_esc_90.14.pt",
    "https://huggingface.co/lukewys/laion_clap/resolve/main/music_audioset_epoch_15_esc_90.14.pt",
    2352,
    repository="lukewys/laion_clap",
)
RATE = 48_000
"""Hz."""
WINDOW = 10 * RATE
"""Samples."""
SHORTEST = RATE
"""Samples that a further window needs."""
TOKENS = 77
VOCABULARY = 50_265
"""Size of RoBERTa's vocabulary; offline, laion_clap silently uses another tokeniser of 5 tokens."""


class Network:
    """laion_clap's network, loaded on first use, shared by both modes.

    Args:
        files: where the weights are.
        device: PyTorch's name of it.
    """

    def __init__(self, files: weights.Weights, device: str = "cpu") -> None:
        self._files, self.device = files, device

    @cached_property
    def sha256(self) -> str:
        """Of the file of weights."""
        return weights.sha256(self._files.file(PUBLISHED))

    @cached_property
    def module(self) -> Any:
        """laion_clap.CLAP_Module with the weights; raises CheckpointError without its tokeniser."""
        file = self._files.file(PUBLISHED)
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
        state = weights.read_state_dict(file)
        state.pop("text_branch.embeddings.position_ids", None)  # a table that newer transformers computes by itself
        weights.load_state(module.model, state, file)
        fuse_attention(module.model.audio_branch)
        return module.eval()

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> Array:
        """Embeddings [n, 512] of n captions."""
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        rows = [self.module.get_text_embedding([text], use_tensor=True).cpu().numpy() for text in texts]
        return np.concatenate(rows)

    @torch.inference_mode()
    def embed_audio(self, windows: torch.Tensor) -> Array:
        """Embeddings [n, 512] of windows [n, 480000] at 48 kHz."""
        model = self.module.model
        batch = {"waveform": windows.to(self.device), "longer": torch.zeros(len(windows), 1, dtype=torch.bool)}
        joined = model.audio_projection(model.encode_audio(batch, device=self.device)["embedding"])
        return torch.nn.functional.normalize(joined, dim=-1).cpu().numpy()


class WindowAttention(nn.Module):
    """The attention of one of HTSAT's blocks, fused. mask: of shifted windows [windows, n, n]."""

    def __init__(self, plain: Any, mask: torch.Tensor | None) -> None:
        super().__init__()
        bias = plain.relative_position_bias_table.detach()[plain.relative_position_index.flatten()]
        n = len(plain.relative_position_index)
        bias = bias.reshape(1, n, n, -1).permute(0, 3, 1, 2)
        self.fused = FusedAttention(plain, (bias if mask is None else bias + mask[:, None]).contiguous())

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: ARG002
        # The second value would be the attention weights, which are unused.
        return self.fused(x), x.new_zeros(1)


def fuse_attention(audio_branch: Any) -> None:
    """Replace HTSAT's attention, in place: equal up to rounding, in two thirds of the time."""
    for block in list(audio_branch.modules()):
        if hasattr(block, "attn") and hasattr(block, "attn_mask"):
            block.attn = WindowAttention(block.attn, block.attn_mask)


class ClapEmbedder:
    """One mode of the network.

    Args:
        name: clap or clap_windowed.
        network: shared by both.
    """

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
        """The crop of a longer clip depends on its id."""
        return "" if self.windowed else clip_id

    def prepare(self, wave: torch.Tensor, clip_id: str) -> list[torch.Tensor]:
        if self.windowed:
            pieces = [piece for piece in wave.split(WINDOW) if len(piece) >= SHORTEST]
            return [repeat_padded(piece) for piece in pieces or [wave]]
        return [repeat_padded(random_crop(wave, clip_id))]

    def embed(self, inputs: torch.Tensor) -> Sequence[Array]:
        return [row[None] for row in self._network.embed_audio(inputs)]

    def embed_texts(self, texts: Sequence[str]) -> Array:
        """Embeddings [n, 512] of n captions."""
        return self._network.embed_texts(texts)


def random_crop(wave: torch.Tensor, clip_id: str) -> torch.Tensor:
    """10 s of a longer clip [samples], at a position drawn with its id as the seed."""
    overflow = len(wave) - WINDOW
    if overflow <= 0:
        return wave
    seed = int.from_bytes(hashlib.sha256(clip_id.encode()).digest()[:8], "big")
    start = int(np.random.default_rng(seed).integers(0, overflow + 1))
    return wave[start : start + WINDOW]


def repeat_padded(wave: torch.Tensor) -> torch.Tensor:
    """[samples] -> [480000]: repeated as often as it fits, then zeros (laion_clap's "repeatpad")."""
    whole = wave.repeat(max(1, WINDOW // len(wave)))[:WINDOW]
    return torch.nn.functional.pad(whole, (0, WINDOW - len(whole)))


def _network(context: EmbedderContext) -> Network:
    return Network(context.weights, context.device)


EMBEDDERS = (
    EmbedderSpec("clap", lambda context: ClapEmbedder("clap", context.shared(_network)), PUBLISHED),
    EmbedderSpec("clap_windowed", lambda context: ClapEmbedder("clap_windowed", context.shared(_network)), PUBLISHED),
)
