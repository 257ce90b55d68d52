"""Reading PyTorch files without running code from them: tensors, numbers, texts and containers of these."""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from musicgen.errors import CheckpointError


def read(file: str | os.PathLike[str], classes: Mapping[str, type] | None = None) -> Any:
    """What a file of `torch.save` holds, on the CPU. It may hold NumPy's scalars, as laion_clap's checkpoints do.

    Args:
        file: its path.
        classes: further names that the pickle may hold, and what is made of them here: classes that keep values and do nothing.

    Raises:
        CheckpointError: the file is missing, damaged, something else, or needs more than data to be read.
    """
    path = Path(file)
    scalar = np.float64(0).__reduce__()[0]
    # NumPy 1 wrote its scalars under the first name, NumPy 2 writes them under the second; PyTorch goes by names.
    scalars = [(scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar")]
    allowed: list[Any] = [*scalars, np.dtype, *{type(np.dtype(kind)) for kind in ("f4", "f8", "i8")}]
    allowed += [(kept, name) for name, kept in (classes or {}).items()]
    check_kind(path)
    with path.open("rb") as opened:
        start = opened.read(2)
    if start != b"PK" and start[:1] != b"\x80":
        raise CheckpointError(f"{path}: damaged or not a PyTorch file (neither an archive nor a pickle): {again(path)}")
    try:
        _check_archive(path)
        with torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        name = wanted[1] if wanted else ""
        mend = "Export it anew as safetensors"
        if name.startswith("omegaconf."):
            mend = "It is one of audiocraft's training: export it with audiocraft.utils.export"
        raise CheckpointError(
            f"{path}: refused: this pickle needs more than tensors and plain values to load{name and f' ({name})'}, and could "
            f"run code. {mend}"
        ) from error
    except MemoryError:
        raise
    except (
        Exception
    ) as error:  # PyTorch's reader takes much for granted: damage is an AssertionError, a KeyError and much else
        raise CheckpointError(f"{path}: damaged or not a PyTorch file ({first_line(error)}): {again(path)}") from error


def check_kind(path: Path) -> None:
    """Refuse what stands in place of weights when a download went wrong, by its first bytes."""
    try:
        with path.open("rb") as file:
            start = file.read(512).lstrip()
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from error
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError(
            f"{path}: a Git LFS pointer, not the file itself: run 'git lfs pull' in the folder, or download it again"
        )
    if re.match(rb"<(!doctype|html|head|\?xml)", start, re.IGNORECASE):
        raise CheckpointError(
            f"{path}: a web page, not a checkpoint (a login or an error page was stored in its place): {again(path)}"
        )
    if not start:
        raise CheckpointError(f"{path}: empty: {again(path)}")


def _check_archive(path: Path) -> None:
    """PyTorch stores what it packs uncompressed: an archive that would unpack to more than its size is not one of its own."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
            raise pickle.UnpicklingError("compressed or overlapping entries")


def again(path: Path) -> str:
    """How to replace a file. In the hub's cache a name is a link: without the file behind it nothing is fetched anew."""
    if path.is_symlink():
        return f"delete {path.resolve()} and load the model again"
    return "download it again"


def first_line(error: Exception) -> str:
    """The first line of what an error says."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
