"""Weight files of the published networks: given by the user, found in this machine's caches, or downloaded.

Pickles are read with weights_only=True: tensors and numbers, never code.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from musicgen import safe_unpickle
from musicgen.errors import CheckpointError, InputError


@dataclass(frozen=True)
class Published:
    """A published file of weights.

    Attributes:
        name: of the network, which `--weights NAME=FILE` takes.
        file: the file's name.
        url: where it is; "" for weights that are not public, which `--weights` alone names.
        megabytes: its approximate size.
        repository: on the Hugging Face hub; "" where `url` is a plain download.
        sha256_prefix: first hexadecimal digits of its hash, "" if none is published.
    """

    name: str
    file: str
    url: str = ""
    megabytes: int = 0
    repository: str = ""
    sha256_prefix: str = ""


@dataclass(frozen=True)
class Weights:
    """Where files of weights are.

    Attributes:
        files: name of a network → file to use in place of the published one.
        download: whether missing files may be downloaded.

    Raises:
        InputError: a file does not exist.
    """

    files: Mapping[str, Path] = field(default_factory=dict)
    download: bool = True

    def __post_init__(self) -> None:
        for name, file in self.files.items():
            if not Path(file).is_file():
                raise InputError(f"--weights {name}={file}: no such file")

    def find(self, published: Published) -> Path | None:
        """The file of a network on this machine, None if it is not here."""
        if published.name in self.files:
            return Path(self.files[published.name])
        if published.repository:
            from huggingface_hub import try_to_load_from_cache

            cached = try_to_load_from_cache(published.repository, published.file)
            return Path(cached) if isinstance(cached, str) else None
        file = _checkpoints() / published.file
        return file if file.is_file() else None

    def file(self, published: Published) -> Path:
        """The file of a network, downloaded if it is not on this machine.

        Raises:
            CheckpointError: downloads are off, or the download failed.
        """
        local = self.find(published)
        if local is not None:
            return local
        if not published.url:
            raise CheckpointError(
                f"the weights of {published.name} are not public: pass --weights {published.name}=FILE"
            )
        if not self.download or os.environ.get("HF_HUB_OFFLINE") == "1":
            raise CheckpointError(
                f"{published.file} ({published.megabytes} MB) is not on this machine, and downloads are off: download "
                f"{published.url} and pass --weights {published.name}=FILE"
            )
        try:
            if published.repository:
                from huggingface_hub import hf_hub_download

                return Path(hf_hub_download(published.repository, published.file))
            target = _checkpoints() / published.file
            target.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(published.url, str(target), published.sha256_prefix or None)
            return target
        except (OSError, RuntimeError, ValueError) as error:
            raise CheckpointError(
                f"{published.url} cannot be downloaded ({error}): download it by hand and pass --weights {published.name}=FILE"
            ) from error


def sha256(file: Path) -> str:
    """sha256 of a file, computed once per process."""
    facts = file.stat()
    return _sha256(file, facts.st_size, facts.st_mtime_ns)


def read_state_dict(file: Path) -> dict[str, torch.Tensor]:
    """The state dict of a PyTorch file, without the prefix `module.`; no code of the file is run."""
    return state_dict(read_checkpoint(file), "module.")


def state_dict(checkpoint: Mapping[str, Any], prefix: str) -> dict[str, torch.Tensor]:
    """The tensors under `state_dict` or at the top level, their names without `prefix`."""
    state = checkpoint.get("state_dict", checkpoint)
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if isinstance(tensor, torch.Tensor)}


def read_checkpoint(file: Path) -> Mapping[str, Any]:
    """The contents of a PyTorch file: tensors, numbers, texts; never code.

    Raises:
        CheckpointError: the file is damaged, needs code, or holds no dictionary.
    """
    checkpoint = safe_unpickle.read(file)
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f"{file}: holds {type(checkpoint).__name__}, not tensors by name")
    return checkpoint


WEIGHT_NORM = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
"""Files from before PyTorch 2 name the parts of a normalised weight otherwise."""


def renamed_weight_norm(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict with the parts of normalised weights under PyTorch's new names."""
    renamed = {}
    for name, tensor in state.items():
        prefix, _, part = name.rpartition(".")
        renamed[f"{prefix}.{WEIGHT_NORM[part]}" if part in WEIGHT_NORM else name] = tensor
    return renamed


def load_state(network: torch.nn.Module, state: dict[str, torch.Tensor], file: Path) -> None:
    """Load a state dict strictly; `file` names it in errors.

    Raises:
        CheckpointError: names or shapes differ from the network's.
    """
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        first = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{file}: not the weights of this network ({first})") from error


def _checkpoints() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


@lru_cache(maxsize=16)
def _sha256(file: Path, size: int, changed: int) -> str:  # noqa: ARG001 (another size or time is another file)
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
