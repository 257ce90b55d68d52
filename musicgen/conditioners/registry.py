"""Registry of conditioners other than text and melody, by the kind that checkpoints name.

@register("energy")
class EnergyConditioner(Conditioner): ...
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from musicgen.conditioners.base import Conditioner
from musicgen.registry import KindRegistry

_REGISTRY: KindRegistry[type[Conditioner]] = KindRegistry("conditioner", "musicgen.conditioners")
register = _REGISTRY.register


def build(kind: object, config: Mapping[str, Any], dim: int, source: str) -> Conditioner:
    """A conditioner with initial weights.

    Args:
        kind: The registered name.
        config: Its settings, as of `Conditioner.config`.
        dim: Width of the language model.
        source: The checkpoint, for errors.

    Raises:
        CheckpointError: The kind is not registered.
    """
    return _REGISTRY.of(kind, source).from_config(config, dim)
