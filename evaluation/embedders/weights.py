"""Where the published networks' weights come from: a file the user names, this machine's caches, or a download.

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

from musicgen import pickles
from musicgen.errors import CheckpointError, InputError


@dataclass(frozen=True)
class Published:
    """A file of weights. repository: on the Hugging Face hub, or "" where `url` is a plain download; megabytes: about."""

    name: str
    file: str
    url: str
    megabytes: int
    repository: str = ""
    sha256_prefix: str = ""


PUBLISHED = {
    published.name: published
    for published in (
        Published(
            "vggish",
            "vggish-10086976.pth",
            "https://github.com/harritaylor/torchvggish/releases/download/v0.1/vggish-10086976.pth",
            275,
            sha256_prefix="10086976",
        ),
        Published(
            "passt",
            "passt-s-f128-20sec-p16-s10-ap.474-swa.pt",
            "https://github.com/kkoutini/PaSST/releases/download/v0.0.5/passt-s-f128-20sec-p16-s10-ap.474-swa.pt",
            345,
        ),
        Published(
            "clap",
            "music_audioset_epoch_15_esc_90.14.pt",
            "https://huggingface.co/lukewys/laion_clap/resolve/main/music_audioset_epoch_15_esc_90.14.pt",
            2352,
            repository="lukewys/laion_clap",
        ),
        Published(
            "mert",
            "pytorch_model.bin",
            "https://huggingface.co/m-a-p/MERT-v1-330M/resolve/main/pytorch_model.bin",
            1260,
            repository="m-a-p/MERT-v1-330M",
        ),
        Published(
            "aesthetics",
            "checkpoint.pt",
            "https://huggingface.co/facebook/audiobox-aesthetics/resolve/main/checkpoint.pt",
            416,
            repository="facebook/audiobox-aesthetics",
        ),
    )
}
"""name → the file that the metrics use."""


@dataclass(frozen=True)
class Weights:
    """The user's choice. files: name → file, in place of the published one; download: whether what is missing may be
    fetched."""

    files: Mapping[str, Path] = field(default_factory=dict)
    download: bool = True

    def __post_init__(self) -> None:
        unknown = sorted(set(self.files) - set(PUBLISHED))
        if unknown:
            raise InputError(f"--weights {unknown[0]}=…: unknown network: one of {', '.join(PUBLISHED)}")
        for name, file in self.files.items():
            if not Path(file).is_file():
                raise InputError(f"--weights {name}={file}: no such file")

    def find(self, name: str) -> Path | None:
        """The file on this machine, None where there is none."""
        if name in self.files:
            return Path(self.files[name])
        published = PUBLISHED[name]
        if published.repository:
            from huggingface_hub import try_to_load_from_cache

            cached = try_to_load_from_cache(published.repository, published.file)
            return Path(cached) if isinstance(cached, str) else None
        file = _checkpoints() / published.file
        return file if file.is_file() else None

    def file(self, name: str) -> Path:
        """The file, fetched where it must be."""
        found = self.find(name)
        if found is not None:
            return found
        published = PUBLISHED[name]
        if not self.download or os.environ.get("HF_HUB_OFFLINE") == "1":
            raise CheckpointError(
                f"{published.file} ({published.megabytes} MB) is not on this machine, and downloads are off: fetch "
                f"{published.url} and pass --weights {name}=FILE"
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
                f"{published.url} cannot be fetched ({error}): fetch it by hand and pass --weights {name}=FILE"
            ) from error


def sha256(file: Path) -> str:
    """Of a file, computed once a process."""
    facts = file.stat()
    return _sha256(file, facts.st_size, facts.st_mtime_ns)


def read(file: Path) -> dict[str, torch.Tensor]:
    """Tensors of a PyTorch file, under `state_dict` or at the top, without running code from it."""
    return tensors(package(file), "module.")


def tensors(package: Mapping[str, Any], prefix: str) -> dict[str, torch.Tensor]:
    """Under `state_dict` or at the top, their names without the prefix that a wrapper left."""
    state = package.get("state_dict", package)
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if isinstance(tensor, torch.Tensor)}


def package(file: Path) -> Mapping[str, Any]:
    """Whatever a PyTorch file holds: tensors, numbers, texts; never code."""
    found = pickles.read(file)
    if not isinstance(found, dict):
        raise CheckpointError(f"{file}: holds {type(found).__name__}, not tensors by name")
    return found


def fill(network: torch.nn.Module, state: dict[str, torch.Tensor], file: Path) -> None:
    """Load tensors into a network, all of them."""
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
