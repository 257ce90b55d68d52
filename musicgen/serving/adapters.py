"""The catalog of the operator's LoRA adapters, which visitors select by folder name. The module does not import PyTorch.

An adapter and its weight as text, as on the command line: "jazz" has weight 1, "jazz:0.5" weight 0.5.
"""

from __future__ import annotations

import difflib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from musicgen import textfiles
from musicgen.checkpoint.adapter_folders import CONFIG, WEIGHTS
from musicgen.errors import InputError

log = logging.getLogger(__name__)

MAX_ADAPTERS = 8
"""Of one clip."""

Weighted = tuple[tuple[str, float], ...]
"""(name, weight) of each adapter of a clip."""


@dataclass(frozen=True)
class AdapterInfo:
    """What is known about an adapter before it is loaded.

    Attributes:
        name: the name in the catalog.
        base: the model that it was trained on, without its owner on the hub; "" where its files do not say.
        sha256: of the file of its weights; None where the file tells, which is here.
        folder: of its files; None for one that is on another server.
        owner: token of the visit that has trained it, "" for the operator's.
    """

    name: str
    base: str
    sha256: str | None = None
    folder: Path | None = None
    owner: str = ""

    @property
    def weights(self) -> Path | None:
        """The file of its weights; None where it is not there."""
        paths = [] if self.folder is None else [self.folder / file for file in WEIGHTS]
        return next((path for path in paths if path.is_file()), None)

    @property
    def is_offered(self) -> bool:
        """Whether its files are there: what visitors have trained expires."""
        return self.folder is None or self.weights is not None


class AdapterCatalog:
    """The adapters that the page offers.

    Args:
        folder: the operator's folder of adapters in PEFT's files, each in a folder of its own; None for none.
    """

    def __init__(self, folder: Path | None = None) -> None:
        found = [] if folder is None else sorted(path.parent for path in folder.glob(f"*/{CONFIG}"))
        self._adapters: dict[str, AdapterInfo] = {}
        for path in found:
            try:
                self.add(path.name, path)
            except (OSError, ValueError, AttributeError, RecursionError) as error:
                log.warning("%s is left out, it cannot be read as a LoRA adapter: %s", path, error)

    @classmethod
    def of(cls, infos: Iterable[AdapterInfo]) -> Self:
        """The catalog of adapters that are elsewhere, in this order."""
        made = cls()
        made._adapters = {info.name: info for info in infos}
        return made

    def __iter__(self) -> Iterator[AdapterInfo]:
        """The operator's."""
        return iter([info for info in self._adapters.values() if not info.owner])

    def __len__(self) -> int:
        """Number of the operator's."""
        return len(list(iter(self)))

    def add(self, name: str, folder: Path, owner: str = "") -> None:
        """Add an adapter.

        Args:
            name: which no other adapter has.
            folder: of its files; without them it is no longer offered.
            owner: token of the visit that has trained it, and that alone gets it; "" for everybody's.
        """
        self._forget_expired()
        base = json.loads(textfiles.contents(folder / CONFIG)).get("base_model_name_or_path") or ""
        info = AdapterInfo(name, Path(str(base)).name, folder=folder, owner=owner)
        if info.weights is None:
            raise ValueError(f"{WEIGHTS[0]} is missing")
        self._adapters[name] = info

    def _forget_expired(self) -> None:
        for info in list(self._adapters.values()):
            if info.owner and not info.is_offered:
                self._adapters.pop(info.name, None)

    def choices(self, visitor: str = "") -> list[tuple[str, str]]:
        """(label, name) of each adapter that a visitor may choose, as `gr.Dropdown` takes them.

        Args:
            visitor: token of the visit; "" for the operator's adapters alone.
        """
        self._forget_expired()
        offered = [info for info in list(self._adapters.values()) if info.owner in ("", visitor)]
        return [(f"{info.name} (for {info.base})" if info.base else info.name, info.name) for info in offered]

    def check_allowed(self, adapters: Weighted, visitor: str) -> None:
        """Raises InputError for an adapter that another visitor has trained: the same as for one that is not there."""
        for name, _ in adapters:
            info = self._adapters.get(name)
            if info is not None and info.owner not in ("", visitor):
                raise self._unknown(name)

    def get(self, name: str) -> AdapterInfo:
        """The adapter of that name.

        Raises:
            InputError: for an unknown name.
        """
        self._forget_expired()
        info = self._adapters.get(name)
        if info is None:
            raise self._unknown(name)
        return info

    def path(self, name: str) -> Path:
        """The folder of an adapter that is on this machine. Raises InputError for an unknown name."""
        folder = self.get(name).folder
        assert folder is not None
        return folder

    def _unknown(self, name: str) -> InputError:
        shown, names = str(name)[:100], [info.name for info in self]
        close = difflib.get_close_matches(shown, names, 1)
        here = f"the adapters here are {', '.join(names)}" if names else "the operator offers none (--adapters FOLDER)"
        return InputError(f"unknown LoRA adapter {shown!r}: {f'did you mean {close[0]!r}?' if close else here}")

    def sha256(self, name: str) -> str:
        """Of the file of an adapter's weights."""
        info = self.get(name)
        if info.sha256 is not None:
            return info.sha256
        from musicgen.samples import file_sha256  # imports PyTorch

        if info.weights is None:
            raise self._unknown(name)
        return file_sha256(info.weights)

    def sources(self, adapters: Weighted) -> dict[str, float]:
        """Folder -> weight, as `MusicGen.adapters.use` takes them."""
        return {str(self.path(name)): weight for name, weight in adapters}

    def without_paths(self, text: str) -> str:
        """A message with the adapters' names in place of their folders."""
        for info in self._adapters.values():
            if info.folder is not None:
                text = text.replace(str(info.folder), info.name)
        return text

    def parse(self, texts: Sequence[str]) -> Weighted:
        """Adapters with weights, from texts such as "jazz:0.5".

        Raises:
            InputError: for an unknown name, a weight out of range, an adapter that is given twice, and too many of them.
        """
        pairs = []
        for text in texts:
            name, colon, weight = text.strip().rpartition(":")
            if not colon or text.strip() in self._adapters:
                name, weight = text.strip(), "1"
            try:
                pairs.append((name, float(weight)))
            except ValueError:
                raise InputError(
                    f"the weight of the LoRA adapter {name[:100]!r} is {weight[:30]!r}: a number, 1 as it was trained"
                ) from None
        self.check(tuple(pairs))
        return tuple(sorted(pairs))  # in one order, because changes are summed up in theirs, with rounding

    def check(self, adapters: Weighted) -> None:
        """Raises InputError as `parse`."""
        if len(adapters) > MAX_ADAPTERS:
            raise InputError(f"{len(adapters)} LoRA adapters: {MAX_ADAPTERS} at most")
        names = [name for name, _ in adapters]
        for name, weight in adapters:
            self.get(name)
            if names.count(name) > 1:
                raise InputError(f"the LoRA adapter {name!r} is given twice")
            _check_weight(name, weight)

    def check_same(self, hashes: Mapping[str, str], source: str) -> None:
        """Check that the adapters of a clip are those of their names here.

        Args:
            hashes: name -> SHA-256 of the weights.
            source: of the clip, for the message.

        Raises:
            InputError: for an adapter that is not here, or another one of its name.
        """
        for name, sha256 in hashes.items():
            if name not in self._adapters:
                raise InputError(
                    f"{source}: was made with the LoRA adapter {name[:100]!r}, which this page does not have: use the command "
                    "line, musicgen generate --from-file"
                )
            if self.sha256(name) != sha256:
                raise InputError(
                    f"{source}: was made with another LoRA adapter of the name {name[:100]!r} than the one here"
                )


def show(adapters: Weighted) -> list[str]:
    """The texts that `AdapterCatalog.parse` reads."""
    return [name if weight == 1 else f"{name}:{weight:g}" for name, weight in adapters]


def _check_weight(name: str, weight: float) -> None:
    from musicgen.checkpoint.adapters import check_weight  # imports PyTorch

    check_weight(weight, name)
