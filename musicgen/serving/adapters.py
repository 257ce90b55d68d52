"""The operator's LoRA adapters, which visitors choose by the names of their folders. The module does not import PyTorch.

Text of an adapter with its weight: "jazz" as it was trained, "jazz:0.5" half of it, as on the command line.
"""

from __future__ import annotations

import difflib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from musicgen.errors import InputError

log = logging.getLogger(__name__)

MAX_ADAPTERS = 8
"""Of one clip."""
_CONFIG = "adapter_config.json"
_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")

Weighted = tuple[tuple[str, float], ...]
"""(name, weight) of each adapter of a clip."""


class AdapterCatalog:
    """The adapters that the page offers.

    Args:
        folder: the operator's folder of adapters in PEFT's files, each in a folder of its own; None for none.
    """

    def __init__(self, folder: Path | None = None) -> None:
        found = [] if folder is None else sorted(path.parent for path in folder.glob(f"*/{_CONFIG}"))
        self._bases: dict[str, str] = {}
        self._folders: dict[str, Path] = {}
        for path in found:
            try:
                base = json.loads((path / _CONFIG).read_bytes()).get("base_model_name_or_path") or ""
                if not any((path / name).is_file() for name in _WEIGHTS):
                    raise ValueError(f"{_WEIGHTS[0]} is missing")
            except (OSError, ValueError, AttributeError, RecursionError) as error:
                log.warning("%s is left out, it cannot be read as a LoRA adapter: %s", path, error)
                continue
            self._folders[path.name], self._bases[path.name] = path, Path(str(base)).name

    def __len__(self) -> int:
        return len(self._folders)

    def choices(self) -> list[tuple[str, str]]:
        """(label, name) of each adapter, as `gr.Dropdown` takes them."""
        return [(f"{name} (for {base})" if base else name, name) for name, base in self._bases.items()]

    def path(self, name: str) -> Path:
        """The folder of an adapter.

        Raises:
            InputError: for an unknown name.
        """
        path = self._folders.get(name)
        if path is None:
            shown, names = str(name)[:100], list(self._folders)
            close = difflib.get_close_matches(shown, names, 1)
            here = (
                f"the adapters here are {', '.join(names)}" if names else "the operator offers none (--adapters FOLDER)"
            )
            raise InputError(f"unknown LoRA adapter {shown!r}: {f'did you mean {close[0]!r}?' if close else here}")
        return path

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
