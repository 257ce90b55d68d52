"""Checkpoints: hub, transformers and audiocraft layouts <-> our modules."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import torch

from musicgen import catalog
from musicgen.checkpoint import audiocraft_export, audiocraft_layout, hub, transformers_layout
from musicgen.engine.precision import apply as apply_precision
from musicgen.engine.precision import check as check_precision
from musicgen.engine.precision import precision_of
from musicgen.engine.selection import accelerate
from musicgen.errors import CheckpointError, InputError
from musicgen.model import MusicGen

LAYOUTS = ("transformers", "audiocraft")
STORED = ("float32", "float16")


def load(name: str | os.PathLike[str], device: str | torch.device = "auto", precision: str = "float32") -> MusicGen:
    """A model by its hub name, its embedded name, or the path of a folder in either layout, ready to generate.

    device: "auto" takes CUDA or Apple's MPS where there is one, else the CPU.
    precision: of the language model: float32 (exact), bfloat16, float16, int8, int4, as far as the device has it.
    Raises CheckpointError for a name that is not known or cannot be reached, and for files that are damaged or unsafe.
    """
    target = pick_device(device)
    check_precision(precision, target)
    folder = find(name)
    read = transformers_layout.load if transformers_layout.is_layout(folder) else audiocraft_layout.load
    model = read(folder, name=str(name))
    if model.melody is not None:
        model.melody.separator.device = target
    apply_precision(model.lm, precision, target)
    accelerate(model)
    return model.to(target)


def find(name: str | os.PathLike[str]) -> Path:
    """The folder of a checkpoint, downloaded from the hub if need be."""
    folder = Path(name)
    if folder.is_dir():
        if not (transformers_layout.is_layout(folder) or audiocraft_layout.is_layout(folder)):
            raise CheckpointError(
                f"{folder}: neither {transformers_layout.CONFIG} nor {audiocraft_layout.LM_FILE} inside"
            )
        return folder
    name = str(name)
    if name in catalog.embedded():
        return catalog.PRETRAINED / name
    if "/" not in name or not hub.is_repository(name):
        raise CheckpointError(f"unknown model {name!r} (and no such folder): {catalog.did_you_mean(name)}")
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
    if precision_of(model.lm) != "float32":
        raise InputError("only a float32 model can be saved: load it without a precision")
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
