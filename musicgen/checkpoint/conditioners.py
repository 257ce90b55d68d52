"""Conditioners beside text and melody in the transformers layout, and how all conditions are fused.

    config.json         "musicgen": {"conditioners": {NAME: {"kind": ..., "config": {...}}}, "fusions": [[NAME, "prefix"], ...]}
    model.safetensors   conditioners.NAME.*

"fusions" lists all conditions in the order of concatenation. It is written only where it differs from that of the published
models: melody and text as a prefix, or text by cross-attention.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from musicgen import config_checks
from musicgen.checkpoint.module_building import build
from musicgen.checkpoint.tensors import below
from musicgen.conditioners import registry, style  # noqa: F401 (registers its kind)
from musicgen.conditioners.base import Conditioner
from musicgen.errors import CheckpointError
from musicgen.model import MusicGen

NATIVE = ("melody", "text")
"""The conditioners that layouts store under names of their own, in the order of their fusion."""


def others(model: MusicGen) -> dict[str, Conditioner]:
    """The conditioners of a model that are not NATIVE."""
    return {name: one for name, one in model.named_conditioners.items() if name not in NATIVE}


def state(model: MusicGen) -> dict[str, torch.Tensor]:
    """The tensors of the other conditioners under their names in a file."""
    return {
        f"conditioners.{name}.{key}": value
        for name, one in others(model).items()
        for key, value in one.state_dict().items()
    }


def describe(model: MusicGen) -> dict[str, Any]:
    """The entries of the configuration's section "musicgen"; none for models like the published ones.

    Raises:
        CheckpointError: A conditioner has no registered kind, so that nobody could load it.
    """
    entries: dict[str, Any] = {}
    for name, one in others(model).items():
        if not one.kind:
            raise CheckpointError(
                f"the conditioner {name!r} ({type(one).__name__}) has no registered kind: a checkpoint cannot name it"
            )
        entries.setdefault("conditioners", {})[name] = {"kind": one.kind, "config": one.config()}
    if list(model.fuser.fusions.items()) != list(_usual(melody=model.melody is not None).items()):
        entries["fusions"] = [list(item) for item in model.fuser.fusions.items()]
    return entries


def fusions(ours: Mapping[str, Any], source: str, *, melody: bool) -> dict[str, str]:
    """Name of each condition -> how it is fused, in order.

    Args:
        ours: The configuration's section "musicgen".
        source: The checkpoint, for errors.
        melody: Whether it is a melody model.
    """
    usual = _usual(melody=melody)
    listed = ours.get("fusions", [list(item) for item in usual.items()])
    found = config_checks.wrap_errors(lambda: {str(name): str(fusion) for name, fusion in listed}, source)
    expected = {*usual, *_entries(ours, source)}
    if found.keys() != expected:
        raise CheckpointError(
            f"{source}: the configuration fuses the conditions {', '.join(sorted(found))}, and has "
            f"{', '.join(sorted(expected))}"
        )
    return found


def load(ours: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], dim: int, source: str) -> dict[str, Conditioner]:
    """The conditioners that are not NATIVE.

    Args:
        ours: The configuration's section "musicgen".
        tensors: Of the whole file.
        dim: Width of the language model.
        source: The checkpoint, for errors.

    Raises:
        CheckpointError: A kind is not registered, or the tensors do not fit the configuration.
    """
    return {
        name: _load(name, entry, below(f"conditioners.{name}.", tensors), dim, source)
        for name, entry in _entries(ours, source).items()
    }


def _load(name: str, entry: Mapping[str, Any], tensors: dict[str, torch.Tensor], dim: int, source: str) -> Conditioner:
    source = f"{source} (condition {name!r})"
    return build(lambda: registry.build(entry["kind"], entry["config"], dim, source), tensors, source)


def _usual(*, melody: bool) -> dict[str, str]:
    return dict.fromkeys(NATIVE, "prefix") if melody else {"text": "cross"}


def _entries(ours: Mapping[str, Any], source: str) -> dict[str, Mapping[str, Any]]:
    entries = ours.get("conditioners", {})
    if not isinstance(entries, dict):
        raise CheckpointError(
            f"{source}: musicgen.conditioners is {entries!r}: conditioners by name are expected there"
        )
    for name, entry in entries.items():
        if not name.isidentifier() or name in NATIVE:
            raise CheckpointError(f"{source}: {name!r} is no name of a further conditioner")
        if not isinstance(entry, dict) or "kind" not in entry or not isinstance(entry.get("config"), dict):
            raise CheckpointError(f"{source}: musicgen.conditioners.{name} has no kind and config")
    return entries
