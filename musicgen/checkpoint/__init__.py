"""Checkpoints: hub, transformers and audiocraft layouts <-> our modules."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import torch

from musicgen import catalog
from musicgen.checkpoint import audiocraft_export, audiocraft_layout, hub, transformers_layout
from musicgen.engine import precision as precisions
from musicgen.engine.runner import accelerate
from musicgen.errors import CheckpointError, InputError
from musicgen.lm import LMConfig
from musicgen.model import MusicGen

LAYOUTS = ("transformers", "audiocraft")
STORED = ("float32", "float16")


def load(
    name: str | os.PathLike[str],
    device: str | torch.device = "auto",
    precision: str = precisions.AUTO,
    *,
    folders: bool = True,
) -> MusicGen:
    """A model by its hub name, its embedded name, or the path of a folder in either layout, ready to generate.

    Args:
        name: hub name, embedded name or folder.
        device: "auto" takes CUDA or Apple's MPS where there is one, else the CPU.
        precision: of the language model: float32 (exact), bfloat16, float16, int8, int4, as far as the device has it. "auto"
            takes what suits both: for models of the published sizes bfloat16 on CUDA (float16 before Ampere) and int8 on CPUs
            with the instructions for it, float32 otherwise. The model's `precision` says what it became.
        folders: whether the name may be a folder's; a name out of a stranger's file must not be.

    Raises:
        CheckpointError: for a name that is not known or cannot be reached, and for files that are damaged or unsafe.
        InputError: for a device or a precision that is not to be had.
    """
    target = pick_device(device)
    precisions.check(precision, target)
    folder = find(name, folders=folders)
    read = transformers_layout.load if transformers_layout.is_layout(folder) else audiocraft_layout.load
    model = read(folder, name=str(name))
    if model.melody is not None:
        model.melody.separator.device = target
    model.precision = precisions.resolve(precision, target, model.lm.config)
    precisions.apply(model.lm, model.precision, target)
    accelerate(model)
    return model.to(target)


def resolve_precision(
    name: str | os.PathLike[str], device: str | torch.device = "auto", precision: str = precisions.AUTO
) -> str | None:
    """The precision in which `load` with the same arguments gives a model, told without its weights.

    Returns: None where only loading tells: for "auto" and a model that is not on this machine or in audiocraft's layout.
    """
    target = pick_device(device)
    if precision != precisions.AUTO:
        precisions.check(precision, target)
        return precision
    config = _shape(name)
    return None if config is None else precisions.resolve(precision, target, config)


def _shape(name: str | os.PathLike[str]) -> LMConfig | None:
    """The shape of a model's language model, as far as it is known without reading weights or the network."""
    published = next((entry for entry in catalog.PUBLISHED if entry.name == str(name)), None)
    if published is not None and not Path(name).is_dir():
        return LMConfig(
            published.dim,
            published.num_heads,
            published.num_layers,
            published.num_codebooks,
            cross_attention=not published.melody,
        )
    folder = catalog.PRETRAINED / name if str(name) in catalog.embedded() else Path(name)
    return transformers_layout.shape(folder) if transformers_layout.is_layout(folder) else None


def find(name: str | os.PathLike[str], *, folders: bool = True) -> Path:
    """The folder of a checkpoint, downloaded from the hub if need be. folders: as of `load`."""
    folder = Path(name)
    if folders and folder.is_dir():
        if not (transformers_layout.is_layout(folder) or audiocraft_layout.is_layout(folder)):
            raise CheckpointError(
                f"{folder}: neither {transformers_layout.CONFIG} nor {audiocraft_layout.LM_FILE} inside"
            )
        return folder
    name = str(name)
    if name in catalog.embedded():
        return catalog.PRETRAINED / name
    if "/" not in name or not catalog.is_repository(name):
        nor = " (and no such folder)" if folders else ""
        raise CheckpointError(f"unknown model {name!r}{nor}: {catalog.did_you_mean(name)}")
    folder = hub.download(name, transformers_layout.FILES)
    if not transformers_layout.is_layout(folder):
        folder = hub.download(name, audiocraft_layout.FILES)
        if not audiocraft_layout.is_layout(folder):
            raise CheckpointError(f"{name!r} holds no MusicGen model: {catalog.did_you_mean(name)}")
    return folder


def save(
    model: MusicGen, folder: str | os.PathLike[str], layout: str = "transformers", stored: str = "float32"
) -> None:
    """Write a model as a new folder, which appears whole or not at all. stored: the files' type, float32 or float16 (half
    the size; the transformers layout only)."""
    folder = Path(folder)
    if precisions.precision_of(model.lm) != "float32":
        raise InputError('only a float32 model can be saved: load it with precision="float32"')
    if layout not in LAYOUTS:
        raise InputError(f"unknown layout {layout!r}: one of {', '.join(LAYOUTS)}")
    if stored not in STORED or (stored != "float32" and layout != "transformers"):
        raise InputError(f"the layout {layout} cannot store {stored!r}: one of {', '.join(STORED)} in transformers'")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists already and is not an empty folder: choose another")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror or error}") from error
    try:
        if layout == "transformers":
            transformers_layout.save(model, temporary, getattr(torch, stored))
        else:
            audiocraft_export.save(model, temporary)
        temporary.chmod(0o755)
        for file in temporary.iterdir():
            file.chmod(0o644)  # safetensors' writer keeps others out
        temporary.replace(folder)
    except Exception as error:
        shutil.rmtree(temporary, ignore_errors=True)
        # A full disk reaches us as OSError from Python, as RuntimeError or SafetensorError from the libraries' writers.
        if isinstance(error, CheckpointError):
            raise
        raise InputError(f"cannot write {folder}: {error}") from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """The device that a name stands for, if this machine has it."""
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        picked = torch.device(device)
        torch.empty(0, device=picked)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"the device {str(device)!r} is not to be had here ({reason}): 'cpu' always is") from error
    return picked
