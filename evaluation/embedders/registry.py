"""The embedder registry: name → `EmbedderSpec`; and the embedders of one run, built on first use.

Modules of this folder list their specs in `EMBEDDERS` and are registered by the loop below; other modules call
`register_embedder`.
"""

from __future__ import annotations

from collections.abc import Sequence

from musicgen.errors import InputError
from musicgen.registry import Registry
from musicgen.suggestions import did_you_mean

from . import aesthetics, chroma, clap, encodec, mert, mini, panns, passt, vggish
from .base import Embedder, EmbedderContext, EmbedderSpec
from .weights import Published, Weights

EMBEDDERS: Registry[EmbedderSpec] = Registry("embedder")
"""All registered embedders by name."""


def register_embedder(spec: EmbedderSpec) -> EmbedderSpec:
    """Add an embedder, so that metrics can name it.

    Args:
        spec: its name and how it is built.

    Returns:
        The same spec.

    Raises:
        InputError: another embedder has that name, or another file of weights its network's.
    """
    if spec.published is not None:
        name = spec.published.name
        if published_weights().get(name, spec.published) != spec.published:
            raise InputError(f"there are two files of weights {name!r}: register yours under another name")
    return EMBEDDERS.add(spec.name, spec)


def find_embedder(name: str) -> EmbedderSpec:
    """A registered embedder by its name.

    Raises:
        InputError: there is none; the message names the nearest.
    """
    return EMBEDDERS.find(name)


def published_weights() -> dict[str, Published]:
    """Name of a network → the file of weights that embedders read."""
    found = [spec.published for spec in EMBEDDERS.values() if spec.published is not None]
    return {published.name: published for published in found}


class Embedders:
    """The embedders of one run, by name. Those with one network share its weights in memory.

    Args:
        weights: where the files of weights are; by default caches and downloads.
        device: PyTorch's name of it.

    Raises:
        InputError: `weights` names a network that no embedder has.
    """

    def __init__(self, weights: Weights | None = None, device: str = "cpu") -> None:
        self.weights, self.device = weights if weights is not None else Weights(), device
        networks = published_weights()
        for name in self.weights.files:
            if name not in networks:
                raise InputError(f"--weights {name}=…: unknown network: {did_you_mean(name, networks)}")
        self._context = EmbedderContext(self.weights, device)
        self._built: dict[str, Embedder] = {}

    def __getitem__(self, name: str) -> Embedder:
        """The embedder; raises InputError for an unknown name."""
        if name not in self._built:
            self._built[name] = find_embedder(name).build(self._context)
        return self._built[name]

    def check(self, names: Sequence[str]) -> None:
        """Fetch the weights of embedders where they are not here: what is missing is an error before the work.

        Args:
            names: of embedders.

        Raises:
            InputError: a name is unknown.
            CheckpointError: weights cannot be had.
        """
        for name in names:
            _ = self[name].weights


for _module in (aesthetics, chroma, clap, encodec, mert, mini, panns, passt, vggish):
    for _spec in _module.EMBEDDERS:
        register_embedder(_spec)
