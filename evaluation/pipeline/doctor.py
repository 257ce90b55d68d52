"""`doctor`: which packages and weights are on this machine, and what would be downloaded."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

import torch
from huggingface_hub import try_to_load_from_cache

from ..embedders import mini, weights
from ..embedders.cache import Cache
from ..embedders.registry import find_embedder, published_weights
from ..metrics.registry import METRICS

PACKAGES = {
    "torch": "everything",
    "julius": "everything",
    "hear21passt": "kl",
    "laion-clap": "clap, clap_windowed, fad_clap_music",
    "faiss-cpu": "mad, mad_mini",
    "audiobox-aesthetics": "aesthetics_*",
    "matplotlib": "plots",
    "diffusers": "riffusion, audioldm2, musicldm, stable-audio-open",
    "audio-diffusion-pytorch": "mousai",
    "yt-dlp": "fetching MusicCaps",
    "ray": "--ray",
}
"""Package → what needs it."""


def report(files: weights.Weights, cache: Cache, hashes: bool = True) -> str:
    """The report as text.

    Args:
        files: where weights are searched.
        cache: whose folder is reported.
        hashes: whether to compute the sha256 of weights, which takes seconds per gigabyte.
    """
    lines = ["packages"]
    for package, use in PACKAGES.items():
        lines.append(f"  {package:<25}{_version(package) or 'not installed':<16}for {use}")
    lines += ["", "weights"]
    for name, published in published_weights().items():
        used = [
            metric.name
            for metric in METRICS.values()
            if any(find_embedder(embedder).network == name for embedder in metric.embedders)
        ]
        file = files.find(published)
        if file is None and not published.url:
            lines.append(f"  {name:<11}not public: --weights {name}=FILE")
        elif file is None:
            lines.append(f"  {name:<11}would be downloaded: {published.url} ({published.megabytes} MB)")
        else:
            lines.append(f"  {name:<11}{file} ({file.stat().st_size / 1e6:.0f} MB){_hash(file) if hashes else ''}")
        lines.append(f"             for {', '.join(used)}")
    tokeniser = try_to_load_from_cache("roberta-base", "vocab.json")
    state = (
        str(tokeniser)
        if isinstance(tokeniser, str)
        else "would be downloaded from the hub: roberta-base (about 500 MB)"
    )
    lines.append(f"  roberta    {state}\n             for clap's captions")
    lines.append(f"  mini       embedded ({mini.FILE.stat().st_size / 1e6:.1f} MB){_hash(mini.FILE) if hashes else ''}")
    lines += ["", "devices", f"  {torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU'}"]
    lines.append(f"  {torch.get_num_threads()} threads")
    offline = os.environ.get("HF_HUB_OFFLINE") == "1"
    lines += ["", "cache", f"  {cache.folder}", "", f"downloads {'off (HF_HUB_OFFLINE=1)' if offline else 'on'}"]
    return "\n".join(lines) + "\n"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _hash(file: Path) -> str:
    return f", sha256 {weights.sha256(file)}"
