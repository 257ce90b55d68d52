"""Folders with LoRA adapters in PEFT's files, known without reading their weights and without PyTorch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from musicgen import textfiles

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
"""PEFT's names of the weights, the preferred one first."""


@dataclass(frozen=True)
class AdapterFolder:
    """An adapter on this machine.

    Attributes:
        name: On the hub, or the path of its folder.
        base: The model that it was trained on, as its files say; "" if they do not.
        bytes: Of its weights' file.
    """

    name: str
    base: str
    bytes: int


def found(folders: Mapping[str, Path]) -> list[AdapterFolder]:
    """The adapters among folders, by the names that are given to these; what cannot be read as one is left out."""
    adapters = []
    for name, folder in folders.items():
        weights = next((folder / file for file in WEIGHTS if (folder / file).is_file()), None)
        try:
            config = json.loads(textfiles.contents(folder / CONFIG))
            size = 0 if weights is None else weights.stat().st_size
        except (OSError, ValueError, RecursionError):
            continue
        if size and isinstance(config, dict) and config.get("peft_type") == "LORA":
            adapters.append(AdapterFolder(name, str(config.get("base_model_name_or_path") or ""), size))
    return adapters
