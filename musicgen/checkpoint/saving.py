"""Writing a model as a folder in one of the layouts."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import torch

from musicgen.checkpoint import audiocraft_export, transformers_layout
from musicgen.engine import precision as precisions
from musicgen.errors import InputError, MusicGenError
from musicgen.model import MusicGen

LAYOUTS = ("transformers", "audiocraft")
STORED = ("float32", "float16")


def save(
    model: MusicGen,
    folder: str | os.PathLike[str],
    layout: str = "transformers",
    stored: str = "float32",
    text_encoder: str | None = None,
) -> None:
    """Write a model as a new folder, atomically.

    stored: the files' type, float32 or float16 (half the size; the transformers layout only).
    text_encoder: the name of the T5 that audiocraft's layout is to name in place of storing it; None takes the one that the
        model says it has.
    Raises InputError for a folder that cannot be written, CheckpointError for a model that the layout cannot hold.
    """
    folder = Path(folder)
    if precisions.precision_of(model.lm) != "float32":
        raise InputError(
            "only a float32 model can be saved: load it ",
            python='with precision="float32"',
            shell="in float32",
            page="in float32",
        )
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
            audiocraft_export.save(model, temporary, text_encoder)
        temporary.chmod(0o755)
        for file in temporary.iterdir():
            file.chmod(0o644)  # safetensors' writer keeps others out
        temporary.replace(folder)
    except Exception as error:
        shutil.rmtree(temporary, ignore_errors=True)
        # A full disk reaches us as OSError from Python, as RuntimeError or SafetensorError from the libraries' writers.
        if isinstance(error, MusicGenError):
            raise
        raise InputError(f"cannot write {folder}: {error}") from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
