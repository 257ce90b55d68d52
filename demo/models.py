"""The models that the page offers: embedded ones, published ones, and those in a folder that the operator names.

A visitor chooses by name; a name never becomes a path. Free of PyTorch.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from musicgen import catalog
from musicgen.errors import InputError

FALLBACK = "facebook/musicgen-small"
_MARKERS = ("config.json", "state_dict.bin")


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
            found = sorted(one for one in folder.iterdir() if any((one / marker).is_file() for marker in _MARKERS))
            offers += [_of_folder(one, f"{folder.name}/{one.name}", "folder", "see its owner") for one in found]
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


def _of_folder(path: Path, name: str, origin: str, licence: str) -> Offer:
    size = sum(file.stat().st_size for file in path.iterdir() if file.suffix in (".safetensors", ".bin", ".th", ".pt"))
    stereo = melody = None
    separated = True
    try:
        values = json.loads((path / "config.json").read_text())
        melody = values["model_type"] == "musicgen_melody"
        stereo = values["decoder"].get("audio_channels", 1) == 2
        separated = bool(values.get("musicgen", {}).get("melody_separated", True))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # another layout: loading it will tell
    return Offer(name, str(path), licence, size, stereo, melody, origin, separated)
