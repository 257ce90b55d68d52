"""Registry of generators by the kind that checkpoints name; the default is "autoregressive"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from musicgen.generators.base import Generator
from musicgen.registry import KindRegistry

_REGISTRY: KindRegistry[type[Generator]] = KindRegistry("generator", "musicgen.generators")
register = _REGISTRY.register


def of_kind(kind: object, source: str) -> type[Generator]:
    """The class of a registered name.

    Args:
        kind: The name.
        source: The checkpoint, for errors.

    Raises:
        CheckpointError: The kind is not registered.
    """
    return _REGISTRY.of(kind, source)


def build(kind: object, config: Mapping[str, Any], source: str) -> Generator:
    """A generator by its registered name.

    Args:
        kind: The name.
        config: Its settings, as of `Generator.config`.
        source: The checkpoint, for errors.

    Raises:
        CheckpointError: The kind is not registered.
    """
    return of_kind(kind, source)(**config)
