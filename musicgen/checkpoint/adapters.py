"""LoRA adapters (Hu et al. 2021, arXiv:2106.09685) in PEFT's files: reading, applying with weights, and writing.

An adapter changes a weight W [out, in] to W + s B A, with A [r, in], B [out, r] and s = alpha / r. PEFT stores A and B under
the names of transformers' classes, which `transformers_layout.lm_names` maps to the tensors of this project. Where a tensor of
this project concatenates several of theirs, the adapter of each is applied to its slice.

    adapter_config.json            rank, alpha, the base model's name
    adapter_model.safetensors      base_model.model.<module>.lora_A.weight, … or adapter_model.bin
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from musicgen import catalog, textfiles
from musicgen.checkpoint.adapter_folders import CONFIG, WEIGHTS
from musicgen.checkpoint.tensors import is_finite, read_tensors
from musicgen.checkpoint.transformers_layout import lm_names
from musicgen.engine.linear import Int4Linear, Int8Linear
from musicgen.errors import CheckpointError, InputError
from musicgen.folders import is_folder
from musicgen.lm import LanguageModel
from musicgen.model import MusicGen
from musicgen.samples import file_sha256

MAX_WEIGHT = 10.0
"""Largest absolute weight of an adapter: 1 is the adapter as it was trained."""

_PREFIX = "base_model.model."
PROJECTIONS = {"enc_to_dec_proj": "text", "audio_enc_to_dec_proj": "melody"}
"""transformers' name of a projection -> the conditioner that has it."""
_LOW_RANK = re.compile(r"(.+?)\.lora_(embedding_)?([AB])(?:\.weight)?$")


@dataclass(frozen=True)
class LowRank:
    """The change scale * B A of one weight; of an embedding table, its transpose.

    Attributes:
        a: float32 [r, in].
        b: float32 [out, r].
        scale: alpha / r, or alpha / sqrt(r) for rsLoRA.
        embedding: whether the weight is an embedding table [in, out].
    """

    a: torch.Tensor
    b: torch.Tensor
    scale: float
    embedding: bool = False

    def __call__(self, base: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        change = self.scale * (self.b @ self.a)
        return change.T if self.embedding else change

    @property
    def shape(self) -> list[int]:
        """Of the weight that it changes."""
        out, within = self.b.shape[0], self.a.shape[1]
        return [within, out] if self.embedding else [out, within]


@dataclass(frozen=True)
class Replacement:
    """The change to a weight that was trained as a whole (PEFT's `modules_to_save`)."""

    value: torch.Tensor

    def __call__(self, base: torch.Tensor) -> torch.Tensor:
        return self.value - base

    @property
    def shape(self) -> list[int]:
        """Of the weight that it changes."""
        return list(self.value.shape)


@dataclass(frozen=True)
class Adapter:
    """One adapter.

    Attributes:
        source: the folder or hub name that it was read from.
        base: the name of the model that it was trained on, as its files say; None if they do not.
        sha256: of the file of its weights.
        changes: transformers' name of a weight -> its change.
    """

    source: str
    base: str | None
    sha256: str
    changes: Mapping[str, LowRank | Replacement]


def find(name: str | os.PathLike[str]) -> Path:
    """The folder of an adapter, downloaded from the hub if need be.

    Args:
        name: a folder or a hub name.

    Raises:
        CheckpointError: there is no such folder or repository, or it holds no adapter.
    """
    if is_folder(name):
        return Path(name)
    if "/" not in str(name) or not catalog.is_repository(str(name)):
        raise CheckpointError(f"{name}: no such folder, and no name on the hub: a LoRA adapter is expected")
    from musicgen.checkpoint import hub

    return hub.download(str(name), lambda names: [CONFIG, _weights_in(names, str(name))], hub.ADAPTER)


def _weights_in(names: Sequence[str], source: str) -> str:
    for name in WEIGHTS:
        if name in names:
            return name
    raise CheckpointError(f"{source}: no LoRA adapter: {WEIGHTS[0]} is missing")


def read(name: str | os.PathLike[str]) -> Adapter:
    """Read an adapter.

    Args:
        name: a folder or a hub name.

    Raises:
        CheckpointError: it is missing, damaged, or of another kind than LoRA.
    """
    source, folder = str(name), find(name)
    names = [path.name for path in folder.iterdir()]
    if CONFIG not in names:
        raise CheckpointError(f"{source}: no LoRA adapter: {CONFIG} is missing")
    config = _config(folder / CONFIG)
    path = folder / _weights_in(names, source)
    tensors = read_tensors(path)
    base = config.get("base_model_name_or_path") or None
    return Adapter(source, base, file_sha256(path), _changes(tensors, config, source))


def _config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(textfiles.contents(path))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not JSON ({error})") from error
    kind = config.get("peft_type") if isinstance(config, dict) else None
    if kind != "LORA":
        raise CheckpointError(f"{path}: an adapter of the kind {kind!r}: only LORA is supported")
    for setting in ("use_dora", "fan_in_fan_out", "use_qalora"):
        if config.get(setting):
            raise CheckpointError(f"{path}: the setting {setting!r} is not supported: merge the adapter with peft")
    if not _positive(config.get("lora_alpha", 8)) or not isinstance(config.get("alpha_pattern") or {}, dict):
        raise CheckpointError(f"{path}: lora_alpha is {config.get('lora_alpha')!r}: it must be a number above 0")
    return config


def _positive(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf


def _changes(
    tensors: Mapping[str, torch.Tensor], config: Mapping[str, Any], source: str
) -> dict[str, LowRank | Replacement]:
    factors: dict[tuple[str, bool], dict[str, torch.Tensor]] = {}
    changes: dict[str, LowRank | Replacement] = {}
    for name, tensor in tensors.items():
        if not is_finite(tensor):
            raise CheckpointError(
                f"{source}: {name!r} holds NaN or infinite values: the training or the file is broken"
            )
        name = name.removeprefix(_PREFIX)
        match = _LOW_RANK.fullmatch(name)
        if match:
            factors.setdefault((match[1], bool(match[2])), {})[match[3]] = tensor.float()
        elif "lora_" in name:
            raise CheckpointError(f"{source}: the tensor {name!r} is not supported: merge the adapter with peft")
        else:
            changes[name.replace(".base_layer.", ".").replace(".modules_to_save.", ".")] = Replacement(tensor.float())
    for (module, embedding), pair in factors.items():
        a, b = pair.get("A"), pair.get("B")
        if a is None or b is None or a.dim() != 2 or b.dim() != 2 or a.shape[0] != b.shape[1] or not a.shape[0]:
            raise CheckpointError(f"{source}: the factors A and B of {module!r} do not fit together")
        changes[f"{module}.weight"] = LowRank(a, b, _scale(module, a.shape[0], config, source), embedding)
    if not factors:
        raise CheckpointError(f"{source}: no LoRA adapter: it holds none of the factors lora_A and lora_B")
    return changes


def _scale(module: str, rank: int, config: Mapping[str, Any], source: str) -> float:
    """alpha / r of a module, as PEFT resolves `alpha_pattern`."""
    alpha = config.get("lora_alpha", 8)
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            alpha = value
            break
    if not _positive(alpha):
        raise CheckpointError(f"{source}: lora_alpha of {module!r} is {alpha!r}: it must be a number above 0")
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


class AdapterSet:
    """The adapters of one model, which can be weighted anew while the model is loaded.

    A copy of the original weights that the adapters change stays in memory (in float16 where that is exact).

    Args:
        model: in float32, without adapters.
        adapters: name -> adapter.

    Raises:
        CheckpointError: an adapter does not fit the model.
    """

    def __init__(self, model: MusicGen, adapters: Mapping[str, Adapter]) -> None:
        self._model, self._adapters = model, dict(adapters)
        self._parts = _parts(model)
        self._weights = dict.fromkeys(self._adapters, 0.0)
        for adapter in self._adapters.values():
            self._check(adapter)
        changed = {name for adapter in self._adapters.values() for name in adapter.changes}
        self._base = {
            ours: _compact(_tensor(model, ours)) for ours, parts in self._parts.items() if changed.intersection(parts)
        }

    @property
    def weights(self) -> dict[str, float]:
        """Name -> weight; 0 for an adapter that is switched off."""
        return dict(self._weights)

    def sha256(self, name: str) -> str:
        """Of the file of an adapter's weights."""
        return self._adapters[name].sha256

    def use(self, weights: Mapping[str, float]) -> None:
        """Set the weights of the adapters: W = base + the sum of weight * change, quantised anew where the model is quantised.

        Generations that are running and schedulers that exist must have ended: they hold the earlier weights in part.

        Args:
            weights: name -> weight, 1 for the adapter as it was trained. Adapters that are not named are switched off.

        Raises:
            InputError: for an unknown name or a weight out of range.
        """
        for name, weight in weights.items():
            if name not in self._adapters:
                raise InputError(f"no adapter {name!r} is loaded: {', '.join(map(repr, self._adapters))} are")
            check_weight(weight, name)
        self._weights = dict.fromkeys(self._adapters, 0.0) | {name: float(value) for name, value in weights.items()}
        active = [(self._adapters[name], weight) for name, weight in self._weights.items() if weight]
        for ours, base in self._base.items():
            parts = list(base.float().chunk(len(self._parts[ours])))
            for number, part in enumerate(self._parts[ours]):
                original = parts[number]
                for adapter, weight in active:
                    change = adapter.changes.get(part)
                    if change is not None:
                        parts[number] = parts[number] + weight * change(original)
            _assign(self._model, ours, torch.cat(parts))

    def _check(self, adapter: Adapter) -> None:
        shapes: dict[str, list[int]] = {}
        for ours, parts in self._parts.items():
            shape = list(_tensor(self._model, ours).shape)
            shape[0] //= len(parts)
            shapes |= dict.fromkeys(parts, shape)
        check_fit(adapter, self._model.name, shapes)


def check_fit(adapter: Adapter, model: str, shapes: Mapping[str, list[int]]) -> None:
    """Check that an adapter is one of a model.

    Args:
        adapter: the adapter.
        model: name of the model.
        shapes: transformers' name of each weight that adapters may change -> its shape.

    Raises:
        CheckpointError: it is of another model.
    """
    # Trained on a folder, it names a path of the machine that it was trained on.
    base = adapter.base and (Path(adapter.base).name if Path(adapter.base).is_absolute() else adapter.base)
    trained = f", trained on {base!r}" if base else ""
    for name, change in adapter.changes.items():
        if name not in shapes:
            raise CheckpointError(
                f"{adapter.source}: an adapter of another model{trained}: it changes {name!r}, and {model!r} has no such "
                "weight that adapters may change"
            )
        if change.shape != shapes[name]:
            raise CheckpointError(
                f"{adapter.source}: an adapter of another model{trained}: its {name!r} is of the shape {change.shape}, that of "
                f"{model!r} of {shapes[name]}"
            )


def check_weight(weight: object, name: str) -> float:
    """A weight as a float.

    Raises:
        InputError: it is no number from -MAX_WEIGHT to MAX_WEIGHT.
    """
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not abs(weight) <= MAX_WEIGHT:
        raise InputError(
            f"the weight of the adapter {name!r} is {weight!r}: a number up to {MAX_WEIGHT:g}, 1 as trained"
        )
    return float(weight)


Given = str | os.PathLike[str] | tuple[str | os.PathLike[str], float]
"""An adapter as callers name it: a folder or a hub name, alone or with its weight."""


def attach(model: MusicGen, adapters: Sequence[Given]) -> None:
    """Read adapters and apply them to a float32 model, whose `adapters` they become.

    Args:
        model: as it was loaded.
        adapters: folders or hub names, each alone (with the weight 1) or with its weight.

    Raises:
        CheckpointError: an adapter cannot be read or does not fit.
        InputError: a weight is out of range, or an adapter is given twice.
    """
    weights: dict[str, float] = {}
    for given in adapters:
        name, weight = given if isinstance(given, tuple) else (given, 1.0)
        if str(name) in weights:
            raise InputError(f"the adapter {str(name)!r} is given twice")
        weights[str(name)] = check_weight(weight, str(name))
    model.adapters = AdapterSet(model, {name: read(name) for name in weights})
    model.adapters.use(weights)


def _parts(model: MusicGen) -> dict[str, list[str]]:
    """The weights of a model that adapters may change: our name -> the names of its parts in transformers."""
    parts = {f"lm.{ours}": theirs for ours, theirs in lm_names(model.lm.config).items()}
    for theirs in projections(model):
        for kind in ("weight", "bias"):
            parts[f"conditioners.{PROJECTIONS[theirs]}.projection.{kind}"] = [f"{theirs}.{kind}"]
    return parts


def projections(model: MusicGen) -> dict[str, nn.Linear]:
    """transformers' name of a projection -> the conditioner's layer, for those that a model has."""
    found = {
        theirs: getattr(model.named_conditioners.get(conditioner), "projection", None)
        for theirs, conditioner in PROJECTIONS.items()
    }
    return {theirs: layer for theirs, layer in found.items() if isinstance(layer, nn.Linear)}


def _tensor(model: MusicGen, name: str) -> torch.Tensor:
    module, _, attribute = name.rpartition(".")
    return getattr(model.get_submodule(module), attribute).detach()


def _compact(tensor: torch.Tensor) -> torch.Tensor:
    half = tensor.to("cpu", torch.float16)
    return half if torch.equal(half.float(), tensor.cpu()) else tensor.to("cpu", copy=True)


@torch.no_grad()
def _assign(model: MusicGen, name: str, value: torch.Tensor) -> None:
    """Copy a value into a tensor of the model, in place: what was compiled from it is then compiled anew."""
    module_name, _, attribute = name.rpartition(".")
    module = model.get_submodule(module_name)
    if isinstance(module, (Int8Linear, Int4Linear)):
        linear = nn.Linear(value.shape[1], value.shape[0], bias=False, device="meta")
        linear.weight = nn.Parameter(value, requires_grad=False)
        for buffer, fresh in type(module)(linear).named_buffers():
            getattr(module, buffer).copy_(fresh)
    else:
        getattr(module, attribute).copy_(value)


def save(
    lm: LanguageModel,
    trained: Mapping[str, torch.Tensor],
    folder: Path,
    *,
    base: str,
    rank: int,
    alpha: float,
) -> None:
    """Write the adapters of a language model as PEFT does, so that PEFT loads them onto transformers' class.

    Args:
        lm: with PEFT's LoRA layers in place of its linear layers.
        trained: transformers' names of further weights that were trained as a whole, such as "enc_to_dec_proj.weight".
        folder: a new folder.
        base: name of the model that the adapters were trained on.
        rank: r.
        alpha: alpha.
    """
    state = lm.state_dict()
    tensors: dict[str, torch.Tensor] = {}
    targets: list[str] = []
    for ours, parts in lm_names(lm.config).items():
        module = ours.removesuffix(".weight")
        a, b = (state.get(f"{module}.lora_{factor}.default.weight") for factor in "AB")
        if a is None or b is None:
            continue
        for part, rows in zip(parts, b.chunk(len(parts)), strict=True):
            target = part.removesuffix(".weight")
            targets.append(target)
            tensors[f"{_PREFIX}{target}.lora_A.weight"] = a.float().cpu().clone()
            tensors[f"{_PREFIX}{target}.lora_B.weight"] = rows.float().cpu().clone()
    tensors |= {f"{_PREFIX}{name}": value.float().cpu().clone() for name, value in trained.items()}
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": targets,
        "modules_to_save": sorted({name.rpartition(".")[0] for name in trained}) or None,
        "inference_mode": True,
    }
    folder.mkdir()
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    save_file(tensors, folder / WEIGHTS[0], metadata={"format": "pt"})
