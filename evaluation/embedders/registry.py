"""Embedders by name, built when they are first asked for; those that share a network share its weights in memory."""

from __future__ import annotations

from functools import cached_property

from musicgen.errors import InputError

from . import aesthetics, chroma, clap, mert, mini, passt, vggish
from .base import Embedder
from .weights import Weights

NAMES = (
    "aesthetics", "chroma", "clap", "clap_windowed", "mert", "mini", "mini_clap", "mini_tags", "passt", "vggish_tf",
    "vggish_torch",
)  # fmt: skip
NEEDS = {
    "vggish_tf": "vggish",
    "vggish_torch": "vggish",
    "passt": "passt",
    "clap": "clap",
    "clap_windowed": "clap",
    "mert": "mert",
    "aesthetics": "aesthetics",
    "mini": "mini",
    "mini_clap": "mini",
    "mini_tags": "mini",
}
"""Embedder → the network whose weights it reads; mini's are embedded, the others published."""


class Registry:
    """The embedders of one run."""

    def __init__(self, chosen: Weights | None = None, device: str = "cpu") -> None:
        self.chosen, self.device = chosen if chosen is not None else Weights(), device
        self._made: dict[str, Embedder] = {}

    def __getitem__(self, name: str) -> Embedder:
        if name not in NAMES:
            raise InputError(f"unknown embedder {name!r}: one of {', '.join(NAMES)}")
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def _make(self, name: str) -> Embedder:
        if name.startswith("vggish"):
            return vggish.VGGishEmbedder(name, self.chosen, self.device)
        if name.startswith("clap"):
            return clap.ClapEmbedder(name, self._clap)
        if name.startswith("mini"):
            return mini.MiniEmbedder(name, self._mini)
        if name == "chroma":
            return chroma.ChromaEmbedder()
        if name == "mert":
            return mert.MertEmbedder(self.chosen, self.device)
        if name == "aesthetics":
            return aesthetics.AestheticsEmbedder(self.chosen, self.device)
        return passt.PasstEmbedder(self.chosen, self.device)

    @cached_property
    def _clap(self) -> clap.Network:
        return clap.Network(self.chosen, self.device)

    @cached_property
    def _mini(self) -> mini.Loaded:
        return mini.Loaded(device=self.device)
