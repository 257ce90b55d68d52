"""Named tensors on disk, and renaming them: what both checkpoint layouts share. Nothing here runs code from a file."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from musicgen.errors import CheckpointError

Names = dict[str, list[str]]
"""Our tensor's name -> the names of the equal parts that another layout stores, in order along dimension 0."""


def read_safetensors(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a folder: `model.safetensors`, or the shards that `model.safetensors.index.json` lists."""
    index = folder / "model.safetensors.index.json"
    files = ["model.safetensors"]
    if index.is_file():
        files = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    tensors: dict[str, torch.Tensor] = {}
    for name in files:
        path = folder / Path(name).name  # a name from the index must not lead out of the folder
        if not path.is_file():
            raise CheckpointError(f"{path}: missing: the checkpoint is incomplete, download it again")
        try:
            with safe_open(path, framework="pt") as file:
                tensors |= {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
        except SafetensorError as error:
            raise CheckpointError(f"{path}: damaged ({error}): download it again") from error
    return tensors


def read_pickle(path: Path) -> dict[str, Any]:
    """A `torch.save` file of tensors and plain values. A pickle that wants to run code is refused."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: refused: this pickle needs more than tensors and plain values to load, and could run code. "
            "Export it anew as safetensors"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged or not a PyTorch file ({error}): download it again") from error


def gather(names: Names, tensors: Mapping[str, torch.Tensor], source: str) -> dict[str, torch.Tensor]:
    """Tensors under our names from those of another layout. A missing one is an error that names it."""
    missing = [part for parts in names.values() for part in parts if part not in tensors]
    if missing:
        raise CheckpointError(f"{source}: {len(missing)} tensors are missing, among them {missing[0]!r}")
    return {
        ours: tensors[parts[0]] if len(parts) == 1 else torch.cat([tensors[part] for part in parts])
        for ours, parts in names.items()
    }


def scatter(names: Names, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The inverse of `gather`."""
    out = {}
    for ours, parts in names.items():
        for part, tensor in zip(parts, state[ours].chunk(len(parts)), strict=True):
            out[part] = tensor.clone().contiguous()
    return out


def fill(module: nn.Module, state: Mapping[str, torch.Tensor], source: str) -> None:
    """Give a module the weights of `state`, all of them in their right shape; float32."""
    expected = module.state_dict()
    for name, tensor in expected.items():
        if name not in state:
            raise CheckpointError(f"{source}: the tensor {name!r} is missing")
        if state[name].shape != tensor.shape:
            raise CheckpointError(
                f"{source}: {name!r} has the shape {list(state[name].shape)}, the configuration says {list(tensor.shape)}"
            )
    values = {name: state[name].float() if state[name].dtype.is_floating_point else state[name] for name in expected}
    module.load_state_dict(values, assign=True)


def below(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors whose name starts with `prefix`, without it."""
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
