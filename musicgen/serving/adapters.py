"""The operator's LoRA adapters, which visitors choose by the names of their folders. The module does not import PyTorch.

Text of an adapter with its weight: "jazz" as it was trained, "jazz:0.5" half of it, as on the command line.
"""

from __future__ import annotations

import difflib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from musicgen import textfiles
from musicgen.errors import InputError

log = logging.getLogger(__name__)

MAX_ADAPTERS = 8
"""Of one clip."""
CONFIG = "adapter_config.json"
_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")

Weighted = tuple[tuple[str, float], ...]
"""(name, weight) of each adapter of a clip."""


class AdapterCatalog:
    """The adapters that the page offers.

    Args:
        folder: the operator's folder of adapters in PEFT's files, each in a folder of its own; None for none.
    """

    def __init__(self, folder: Path | None = None) -> None:
        found = [] if folder is None else sorted(path.parent for path in folder.glob(f"*/{CONFIG}"))
        self._bases: dict[str, str] = {}
        self._folders: dict[str, Path] = {}
        self._owners: dict[str, str] = {}
        """Of the adapters that visitors have trained: name -> token of the visit."""
        for path in found:
            try:
                self._add(path.name, path)
            except (OSError, ValueError, AttributeError, RecursionError) as error:
                log.warning("%s is left out, it cannot be read as a LoRA adapter: %s", path, error)

    def __len__(self) -> int:
        """Number of the operator's."""
        return len(self._folders) - len(self._owners)

    def add(self, name: str, folder: Path, owner: str) -> None:
        """Add an adapter that a visitor has trained, and that nobody else gets.

        Args:
            name: which no other adapter has.
            folder: of its files; without them it is no longer offered.
            owner: token of the visit.
        """
        self._forget_expired()
        self._add(name, folder)
        self._owners[name] = owner

    def _add(self, name: str, folder: Path) -> None:
        base = json.loads(textfiles.contents(folder / CONFIG)).get("base_model_name_or_path") or ""
        if not any((folder / file).is_file() for file in _WEIGHTS):
            raise ValueError(f"{_WEIGHTS[0]} is missing")
        self._folders[name], self._bases[name] = folder, Path(str(base)).name

    def _forget_expired(self) -> None:
        for name in list(self._owners):
            folder = self._folders[name]
            if not any((folder / file).is_file() for file in _WEIGHTS):
                del self._owners[name], self._folders[name], self._bases[name]

    def choices(self, visitor: str = "") -> list[tuple[str, str]]:
        """(label, name) of each adapter that a visitor may choose, as `gr.Dropdown` takes them.

        Args:
            visitor: token of the visit; "" for the operator's adapters alone.
        """
        self._forget_expired()
        names = [name for name in list(self._bases) if self._owners.get(name, visitor) == visitor]
        return [(f"{name} (for {self._bases[name]})" if self._bases[name] else name, name) for name in names]

    def check_allowed(self, adapters: Weighted, visitor: str) -> None:
        """Raises InputError for an adapter that another visitor has trained: the same as for one that is not there."""
        for name, _ in adapters:
            if self._owners.get(name, visitor) != visitor:
                raise self._unknown(name)

    def path(self, name: str) -> Path:
        """The folder of an adapter.

        Raises:
            InputError: for an unknown name.
        """
        self._forget_expired()
        path = self._folders.get(name)
        if path is None:
            raise self._unknown(name)
        return path

    def _unknown(self, name: str) -> InputError:
        shown, names = str(name)[:100], [name for name in list(self._folders) if name not in self._owners]
        close = difflib.get_close_matches(shown, names, 1)
        here = f"the adapters here are {', '.join(names)}" if names else "the operator offers none (--adapters FOLDER)"
        return InputError(f"unknown LoRA adapter {shown!r}: {f'did you mean {close[0]!r}?' if close else here}")

    def sha256(self, name: str) -> str:
        """Of the file of an adapter's weights."""
        from musicgen.samples import file_sha256  # imports PyTorch

        folder = self.path(name)
        return file_sha256(next(folder / file for file in _WEIGHTS if (folder / file).is_file()))

    def sources(self, adapters: Weighted) -> dict[str, float]:
        """Folder -> weight, as `MusicGen.adapters.use` takes them."""
        return {str(self.path(name)): weight for name, weight in adapters}

    def without_paths(self, text: str) -> str:
        """A message with the adapters' names in place of their folders."""
        for name, path in self._folders.items():
            text = text.replace(str(path), name)
        return text

    def parse(self, texts: Sequence[str]) -> Weighted:
        """Adapters with weights, from texts such as "jazz:0.5".

        Raises:
            InputError: for an unknown name, a weight out of range, an adapter that is given twice, and too many of them.
        """
        pairs = []
        for text in texts:
            name, colon, weight = text.strip().rpartition(":")
            if not colon or text.strip() in self._folders:
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
            self.path(name)
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
            if name not in self._folders:
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
