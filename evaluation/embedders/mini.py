"""The embedded small network as three embedders: `mini` (embedding), `mini_tags` (logits), `mini_clap` (joint space).

Conventions: `mini_network`; consecutive segments of 10 s, a last one of less than 1 s left out; one embedding per second.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch
from safetensors import safe_open

from ..clips.resampling import View
from . import mini_network as network
from . import weights
from .base import Array, EmbedderContext, EmbedderSpec

FILE = Path(__file__).with_name("mini.safetensors")
SEGMENT = 10 * network.RATE
SHORTEST = network.RATE


class Network:
    """The network with its classes and vocabulary, loaded on first use, shared by the three embedders.

    Args:
        file: its weights.
        device: PyTorch's name of it.
    """

    def __init__(self, file: Path = FILE, device: str = "cpu") -> None:
        self.file, self.device = file, device

    @cached_property
    def sha256(self) -> str:
        """Of the file of weights."""
        return weights.sha256(self.file)

    @cached_property
    def labels(self) -> dict[str, list[str]]:
        """Class names under "genres" and "leads", the vocabulary under "words"."""
        with safe_open(self.file, "pt") as file:
            metadata = file.metadata()
        return {name: json.loads(metadata[name]) for name in ("genres", "leads", "words")}

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """Word -> token from 1."""
        return {word: number for number, word in enumerate(self.labels["words"], 1)}

    @cached_property
    def model(self) -> network.Mini:
        """In evaluation mode, on the device."""
        model = network.Mini(*(len(self.labels[name]) for name in ("genres", "leads", "words")))
        with safe_open(self.file, "pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        model.load_state_dict(state)
        return model.float().eval().to(self.device)


class MiniEmbedder:
    """One output of the network.

    Args:
        name: mini, mini_tags or mini_clap.
        shared: the network of all three.
    """

    version = "1"
    view: View = "paper"
    rate = network.RATE

    def __init__(self, name: str, shared: Network) -> None:
        self.name = name
        self._network = shared

    @property
    def weights(self) -> str:
        return self._network.sha256

    def salt(self, clip_id: str) -> str:  # noqa: ARG002
        return ""

    def prepare(self, wave: torch.Tensor, clip_id: str) -> list[torch.Tensor]:  # noqa: ARG002
        pieces = [piece for piece in wave.split(SEGMENT) if len(piece) >= SHORTEST] or [wave]
        return [network.log_mel(piece[None])[0] for piece in pieces]

    @torch.inference_mode()
    def embed(self, inputs: torch.Tensor) -> Sequence[Array]:
        """For each input: mini [seconds, 64]; mini_tags [1, genres + instruments]; mini_clap [1, 64]."""
        embedding, genre, lead, joint = self._network.model.encode_audio(inputs.to(self._network.device))
        if self.name == "mini_tags":
            return [row[None] for row in torch.cat([genre, lead], dim=1).cpu().numpy()]
        if self.name == "mini_clap":
            return [row[None] for row in joint.cpu().numpy()]
        seconds = max(1, round(inputs.shape[-1] * network.HOP / network.RATE))
        return list(torch.nn.functional.adaptive_avg_pool1d(embedding, seconds).transpose(1, 2).cpu().numpy())

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> Array:
        """Embeddings [n, 64] of n captions."""
        rows = network.tokenize(list(texts), self._network.vocabulary)
        return self._network.model.encode_text(rows.to(self._network.device)).cpu().numpy()

    @property
    def genres(self) -> int:
        """How many of mini_tags' logits are genres; the rest are lead instruments."""
        return len(self._network.labels["genres"])


def _network(context: EmbedderContext) -> Network:
    return Network(device=context.device)


EMBEDDERS = (
    EmbedderSpec("mini", lambda context: MiniEmbedder("mini", context.shared(_network)), network="mini"),
    EmbedderSpec("mini_tags", lambda context: MiniEmbedder("mini_tags", context.shared(_network)), network="mini"),
    EmbedderSpec("mini_clap", lambda context: MiniEmbedder("mini_clap", context.shared(_network)), network="mini"),
)
