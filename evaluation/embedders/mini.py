"""The embedded small networks as embedders: `mini` (embedding), `mini_tags` (logits), `mini_clap` (joint space).

Conventions: `mini_network`; segments of 10 s, one behind the other, a last one of less than 1 s left out; one embedding
a second.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch
from safetensors import safe_open

from ..clips import View
from . import mini_network as network
from . import weights
from .base import Array

FILE = Path(__file__).with_name("mini.safetensors")
SEGMENT = 10 * network.RATE
SHORTEST = network.RATE


class Loaded:
    """The network with its classes and words; loaded when it is first used, shared by the three embedders."""

    def __init__(self, file: Path = FILE, device: str = "cpu") -> None:
        self.file, self.device = file, device

    @cached_property
    def sha256(self) -> str:
        return weights.sha256(self.file)

    @cached_property
    def facts(self) -> dict[str, list[str]]:
        """genres, leads, words: lists of names."""
        with safe_open(self.file, "pt") as file:
            metadata = file.metadata()
        return {name: json.loads(metadata[name]) for name in ("genres", "leads", "words")}

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.facts["words"], 1)}

    @cached_property
    def model(self) -> network.Mini:
        model = network.Mini(*(len(self.facts[name]) for name in ("genres", "leads", "words")))
        with safe_open(self.file, "pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        model.load_state_dict(state)
        return model.float().eval().to(self.device)


class MiniEmbedder:
    """name: mini, mini_tags or mini_clap."""

    version = "1"
    view: View = "paper"
    rate = network.RATE

    def __init__(self, name: str, loaded: Loaded) -> None:
        self.name = name
        self._loaded = loaded

    @property
    def weights(self) -> str:
        return self._loaded.sha256

    def salt(self, clip_id: str) -> str:  # noqa: ARG002
        return ""

    def prepare(self, wave: torch.Tensor, clip_id: str) -> list[torch.Tensor]:  # noqa: ARG002
        pieces = [piece for piece in wave.split(SEGMENT) if len(piece) >= SHORTEST] or [wave]
        return [network.log_mel(piece[None])[0] for piece in pieces]

    @torch.inference_mode()
    def embed(self, inputs: torch.Tensor) -> Sequence[Array]:
        """mini: [seconds, 64]; mini_tags: [1, genres + instruments]; mini_clap: [1, 64], each an input."""
        embedding, genre, lead, joint = self._loaded.model.hear(inputs.to(self._loaded.device))
        if self.name == "mini_tags":
            return [row[None] for row in torch.cat([genre, lead], dim=1).cpu().numpy()]
        if self.name == "mini_clap":
            return [row[None] for row in joint.cpu().numpy()]
        seconds = max(1, round(inputs.shape[-1] * network.HOP / network.RATE))
        return list(torch.nn.functional.adaptive_avg_pool1d(embedding, seconds).transpose(1, 2).cpu().numpy())

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Array:
        """[n, 64]."""
        rows = network.tokens(list(texts), self._loaded.vocabulary)
        return self._loaded.model.read(rows.to(self._loaded.device)).cpu().numpy()

    @property
    def genres(self) -> int:
        """How many of mini_tags' logits are genres; the rest are lead instruments."""
        return len(self._loaded.facts["genres"])
