"""The models that the page offers: embedded ones, published ones, and those in a folder that the operator names.

A visitor chooses by name; a name never becomes a path. Free of PyTorch.
"""

from __future__ import annotations

import fnmatch
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from musicgen import catalog
from musicgen.errors import InputError

log = logging.getLogger(__name__)

FALLBACK = "facebook/musicgen-small"
_CONFIG = "config.json"
_MARKERS = (_CONFIG, "state_dict.bin")
_TYPES = ("musicgen", "musicgen_melody")


@dataclass(frozen=True)
class Offer:
    """A model on offer. source: what `musicgen.load` takes; size: bytes of the weights; stereo, melody: None where only
    loading it would tell; separated: whether melodies were without drums and bass in training."""

    name: str
    source: str
    licence: str
    size: int
    stereo: bool | None
    melody: bool | None
    origin: str
    separated: bool = True

    @property
    def label(self) -> str:
        """One line for a list."""
        size = f"{self.size / 1e9:.1f} GB" if self.size >= 1e9 else f"{self.size / 1e6:.0f} MB"
        kinds = {True: "text + melody", False: "text", None: "custom"}
        channels = {True: ", stereo", False: "", None: ""}
        return f"{self.name} · {kinds[self.melody]}{channels[self.stereo]} · {size} · {self.licence}"


class Shelf:
    """All offers, in the order of the list. allowed: patterns of names, everything when empty."""

    def __init__(self, folder: Path | None = None, allowed: Sequence[str] = ()) -> None:
        offers = [_of_folder(catalog.PRETRAINED / name, name, "embedded", "MIT") for name in catalog.embedded()]
        if folder is not None:
            offers += _of_operator(folder)
        offers += [
            Offer(
                name=entry.name,
                source=entry.name,
                licence=catalog.WEIGHTS_LICENCE,
                size=entry.download_bytes,
                stereo=entry.stereo,
                melody=entry.melody,
                origin="published",
            )
            for entry in catalog.PUBLISHED
        ]
        self._offers = {
            one.name: one for one in offers if not allowed or any(fnmatch.fnmatch(one.name, each) for each in allowed)
        }
        if not self._offers:
            raise InputError(f"no model's name fits {', '.join(allowed)}: the models are {', '.join(catalog.names())}")

    def __iter__(self) -> Iterator[Offer]:
        return iter(self._offers.values())

    def choices(self) -> list[tuple[str, str]]:
        """(label, name) of each."""
        return [(offer.label, offer.name) for offer in self._offers.values()]

    def default(self) -> str:
        """An embedded one, else a small one that has to be fetched."""
        first = next(iter(self._offers.values()))
        return FALLBACK if first.origin == "published" and FALLBACK in self._offers else first.name

    def follower(self, name: str) -> Offer | None:
        """The offer that follows a melody where `name` is chosen: itself, or for a text model the first that does."""
        chosen = self.find(name)
        return chosen if chosen.melody is not False else next((offer for offer in self if offer.melody), None)

    def find(self, name: str) -> Offer:
        """The offer of that name; InputError if there is none."""
        offer = self._offers.get(name) if isinstance(name, str) else None
        if offer is None:
            shown = str(name)[:100]
            raise InputError(f"unknown model {shown!r}: {_close(shown, list(self._offers))}")
        return offer


def _close(name: str, known: list[str]) -> str:
    guess = catalog.did_you_mean(name)
    return guess if guess.startswith("did you mean") else f"the models here are {', '.join(known)}"


def _of_operator(folder: Path) -> Iterator[Offer]:
    """The models in the operator's folder. One that is broken keeps the others from nobody."""
    for path in sorted(one for one in folder.iterdir() if one.is_dir()):
        try:
            if any(file.name in _MARKERS for file in path.iterdir()):
                yield _of_folder(path, f"{folder.name}/{path.name}", "folder", "see its owner")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            log.warning("%s is left out, it cannot be read as a model: %s", path, _reason(error))


def _of_folder(path: Path, name: str, origin: str, licence: str) -> Offer:
    weights = [file for file in path.iterdir() if file.suffix in (".safetensors", ".bin", ".th", ".pt")]
    size = sum(file.stat().st_size for file in weights)
    if not size:
        raise ValueError("there are no weights in it")
    stereo = melody = None
    separated = True
    if any(file.name == _CONFIG for file in path.iterdir()):  # else it is in another layout: loading it will tell
        values = json.loads((path / _CONFIG).read_text())
        if values["model_type"] not in _TYPES:
            raise ValueError(f"it is a checkpoint of the type {values['model_type']!r}")
        melody = values["model_type"] == "musicgen_melody"
        stereo = values["decoder"].get("audio_channels", 1) == 2
        separated = bool(values.get("musicgen", {}).get("melody_separated", True))
    return Offer(name, str(path), licence, size, stereo, melody, origin, separated)


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError | RecursionError):
        return f"{_CONFIG} is not JSON"
    if isinstance(error, KeyError | TypeError | AttributeError):
        return f"{_CONFIG} is not a MusicGen model's"
    return str(error)
