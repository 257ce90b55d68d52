"""Reading, writing and renaming tensors, for both checkpoint layouts. Nothing here runs code from a file."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from musicgen import safe_unpickle, textfiles
from musicgen.checkpoint import unsupported_formats
from musicgen.errors import CheckpointError
from musicgen.safe_unpickle import again, check_kind, first_line

Names = dict[str, list[str]]
"""Our tensor's name -> the names of the equal parts that another layout stores, in order along dimension 0."""

_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_FORMS: dict[str, str | None] = {
    "model.safetensors": None,
    "model.safetensors.index.json": r"model-\d+-of-\d+\.safetensors",
    "pytorch_model.bin": None,
    "pytorch_model.bin.index.json": r"pytorch_model-\d+-of-\d+\.bin",
}
"""transformers' names of a file of weights, or of an index, with its shards' names; the preferred one first."""


def weight_files(names: Sequence[str]) -> list[str]:
    """Of a folder's file names those that hold its weights: the first form that transformers itself looks for, with the index
    and the shards where it is one of those. None where there are no weights."""
    for form, shard in _FORMS.items():
        if form in names:
            return [form] if shard is None else [form, *(name for name in names if re.fullmatch(shard, name))]
    return []


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a folder in the transformers layout: safetensors, or PyTorch's own files where there are none of those;
    one file, or the shards that an index lists."""
    names = weight_files([path.name for path in folder.iterdir()])
    if not names:
        known = unsupported_formats.describe([path.name for path in folder.iterdir()])
        raise CheckpointError(
            f"{folder / 'model.safetensors'}: missing: {known or 'the checkpoint is incomplete, download it again'}"
        )
    files = _shards(folder / names[0]) if names[0].endswith(".json") else [folder / names[0]]
    tensors: dict[str, torch.Tensor] = {}
    for path in files:
        if not path.is_file():
            raise CheckpointError(f"{path}: missing: the checkpoint is incomplete, download it again")
        tensors |= read_tensors(path)
    found = unwrapped(tensors)
    unmerged = next((name for name in found if re.search(r"\.(base_layer|lora_[AB])\.", name)), None)
    if unmerged is not None:
        raise CheckpointError(
            f"{folder}: the weights of a model with adapters that are not merged into it ({unmerged!r}): save it after PEFT's "
            "merge_and_unload(), or save the adapter alone and load it beside its base model"
        )
    return found


def unwrapped(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors by the names that they have in the module itself: training loops often save a module as something wraps it:
    `torch.compile` (`_orig_mod`), `DistributedDataParallel` (`module`), PEFT (`base_model.model`), Lightning (`model`)."""
    found = {name.replace("_orig_mod.", ""): tensor for name, tensor in tensors.items()}
    for wrapper in ("module.", "base_model.model.", "model."):
        if found and all(name.startswith(wrapper) for name in found):
            found = below(wrapper, found)
    return found


def _shards(index: Path) -> list[Path]:
    try:
        names = sorted({str(name) for name in json.loads(textfiles.contents(index))["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index}: no list of shards ({first_line(error)}): {again(index)}") from error
    # A name from the index must not lead out of the folder.
    return [index.parent / Path(name).name for name in names]


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The named tensors of one file: safetensors, or PyTorch's own format where the name ends otherwise."""
    tensors = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickled_tensors(path)
    empty = next((name for name, tensor in tensors.items() if not tensor.numel()), None)
    if empty is not None:
        raise CheckpointError(
            f"{path}: {empty!r} is empty: a training that shares its weights among processes (DeepSpeed ZeRO-3, FSDP) saved "
            "a placeholder: save the model again with its weights gathered"
        )
    return tensors


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    check_kind(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: damaged ({first_line(error)}): {again(path)}") from error


def _read_pickled_tensors(path: Path) -> dict[str, torch.Tensor]:
    tensors = read_pickle(path)
    if not all(isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in tensors.items()):
        raise CheckpointError(f"{path}: not a file of named tensors")
    return tensors


def read_pickle(path: Path, classes: Mapping[str, type] | None = None) -> dict[Any, Any]:
    """A `torch.save` file of tensors and plain values by name. A pickle that wants to run code is refused. classes: as of
    `safe_unpickle.read`."""
    package = safe_unpickle.read(path, classes)
    if not isinstance(package, dict):
        raise CheckpointError(f"{path}: holds a {type(package).__name__} where a checkpoint holds names and values")
    _check_backed(package, path)
    return package


def _check_backed(values: Any, path: Path) -> None:
    """Refuse tensors that claim more values than the file brought for them."""
    if isinstance(values, Mapping):
        for value in values.values():
            _check_backed(value, path)
    if not isinstance(values, torch.Tensor):
        return
    if values.layout != torch.strided or values.is_meta or values.nbytes > values.untyped_storage().nbytes():
        raise CheckpointError(f"{path}: a tensor of shape {list(values.shape)} for which the file holds no such data")


def gather(names: Names, tensors: Mapping[str, torch.Tensor], source: str) -> dict[str, torch.Tensor]:
    """Tensors under our names from those of another layout. A missing one is an error that names it."""
    _check_present(names, tensors, source)
    joined = {}
    for ours, parts in names.items():
        try:
            joined[ours] = tensors[parts[0]] if len(parts) == 1 else torch.cat([tensors[part] for part in parts])
        except RuntimeError as error:
            raise CheckpointError(
                f"{source}: {parts[0]!r} and its like do not fit together: {first_line(error)}"
            ) from error
    return joined


def _check_present(names: Names, tensors: Mapping[str, torch.Tensor], source: str) -> None:
    missing = [part for parts in names.values() for part in parts if part not in tensors]
    if missing:
        raise CheckpointError(f"{source}: {len(missing)} tensors are missing, among them {missing[0]!r}")


def scatter(names: Names, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The inverse of `gather`."""
    out = {}
    for ours, parts in names.items():
        each = [state[ours]] if len(parts) == 1 else state[ours].chunk(len(parts))
        for part, tensor in zip(parts, each, strict=True):
            out[part] = tensor.clone().contiguous()
    return out


def check_shapes(
    expected: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor], source: str, prefix: str = ""
) -> None:
    """Refuse a state that lacks one of the expected tensors or has it in another shape. prefix: of the names in messages."""
    for name, tensor in expected.items():
        if name not in state:
            raise CheckpointError(f"{source}: the tensor {prefix + name!r} is missing")
        if state[name].shape != tensor.shape:
            raise CheckpointError(
                f"{source}: {prefix + name!r} has the shape {list(state[name].shape)}, the configuration says "
                f"{list(tensor.shape)}"
            )


def fill(module: nn.Module, state: Mapping[str, torch.Tensor], source: str, prefix: str = "") -> None:
    """Give a module the weights of `state`, all of them in their right shape and finite; float32. prefix: of the names in
    messages."""
    expected = module.state_dict()
    check_shapes(expected, state, source, prefix)
    for name, tensor in expected.items():
        if tensor.dtype.is_floating_point and state[name].dtype not in _FLOATS:
            stored = str(state[name].dtype).removeprefix("torch.")
            raise CheckpointError(
                f"{source}: {prefix + name!r} holds {stored}, so the checkpoint is quantised: load the one in float32 or "
                "float16 it was made from",
                python=' (precision="int8" quantises that here)',
                shell=" (--precision int8 quantises that here)",
                page=", which the operator does",
            )
        if not is_finite(state[name]):
            raise CheckpointError(
                f"{source}: {prefix + name!r} holds NaN or infinite values: the training broke, or the file did"
            )
    values = {name: state[name].float() if state[name].dtype.is_floating_point else state[name] for name in expected}
    module.load_state_dict(values, assign=True)


def fill_parts(
    module: nn.Module,
    parts: Sequence[str],
    names: Names,
    tensors: Mapping[str, torch.Tensor],
    source: str,
    convert: Callable[[str], None],
) -> None:
    """Give a module its weights part by part, and convert each before the next one is read.

    Args:
        module: Outlined, without memory for its weights.
        parts: Names of the submodules that hold all of them.
        names: Where the other layout keeps the module's tensors.
        tensors: In that layout.
        source: The checkpoint, for errors.
        convert: Called with each part's name once it has its weights.
    """
    _check_present(names, tensors, source)
    for part in parts:
        prefix = f"{part}."
        own = {ours.removeprefix(prefix): theirs for ours, theirs in names.items() if ours.startswith(prefix)}
        fill(module.get_submodule(part), gather(own, tensors, source), source, prefix)
        convert(part)


def is_finite(tensor: torch.Tensor) -> bool:
    """Whether a tensor holds neither NaN nor infinite values."""
    if not tensor.dtype.is_floating_point or not tensor.numel():
        return True
    least, most = torch.aminmax(tensor)  # NaN spreads to both; no copy of the tensor is made
    return math.isfinite(least) and math.isfinite(most)


def below(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors whose name starts with `prefix`, without it."""
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
