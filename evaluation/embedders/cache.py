"""The cache of embeddings: one file an entry, named by what it was made from.

A key is the hash of the audio's bytes, its preparation, the network's weights and the code's version (`base.key`), so
an entry is never out of date, and two runs on one cache write the same bytes. An entry is a line of JSON (sha256, type,
shape, a label) and the array's bytes; it appears whole or not at all, and one that is damaged counts as absent.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from musicgen.errors import InputError
from musicgen.numba_cache import user_cache

FOLDER_VARIABLE = "MUSICGEN_EVALUATION_CACHE"
SUFFIX = ".emb"
TEMPORARY = ".tmp-"
DAY = 86_400.0
"""Seconds."""


@dataclass(frozen=True)
class Entry:
    """One file of the cache. size: bytes; age: days since it was written or last used."""

    key: str
    label: str
    size: int
    age: float


def default_folder() -> Path:
    """$MUSICGEN_EVALUATION_CACHE, else the user's cache folder."""
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named)
    return user_cache() / "musicgen" / "evaluation"


class Cache:
    """A folder of entries."""

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self.folder = Path(folder) if folder is not None else default_folder()

    def __contains__(self, key: str) -> bool:
        return self._path(key).is_file()

    def get(self, key: str) -> npt.NDArray[Any] | None:
        """The array, or None where there is none that is whole."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        array = _decode(data)
        if array is None:
            path.unlink(missing_ok=True)
        return array

    def put(self, key: str, array: npt.NDArray[Any], label: str) -> None:
        """Keep an array. label: for people, such as `passt music.flac`."""
        payload = np.ascontiguousarray(array).tobytes()
        facts = {"sha256": hashlib.sha256(payload).hexdigest(), "dtype": array.dtype.str, "shape": array.shape}
        head = json.dumps({**facts, "label": label})
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=TEMPORARY)
            # Not synced: after a power cut, a torn entry fails its checksum and is made again.
            with os.fdopen(handle, "wb") as file:
                file.write(head.encode() + b"\n" + payload)
            Path(temporary).replace(path)
        except OSError as error:
            raise InputError(f"cannot write to the cache {self.folder}: {error.strerror or error}") from error

    def entries(self) -> Iterator[Entry]:
        """All entries, by key."""
        now = time.time()
        for path in sorted(self.folder.glob(f"??/*{SUFFIX}")):
            with path.open("rb") as file:
                head = file.readline(4096)
            try:
                label = str(json.loads(head)["label"])
            except (ValueError, KeyError):
                label = "(damaged)"
            facts = path.stat()
            yield Entry(path.stem, label, facts.st_size, max(0.0, (now - facts.st_mtime) / DAY))

    def verify(self) -> list[str]:
        """Remove the entries whose checksum fails; their keys."""
        damaged = [entry.key for entry in self.entries() if _decode(self._path(entry.key).read_bytes()) is None]
        for key in damaged:
            self._path(key).unlink(missing_ok=True)
        return damaged

    def collect(self, days: float) -> tuple[int, int]:
        """Remove entries older than `days`, and what killed runs left; (how many, bytes)."""
        count = size = 0
        for entry in list(self.entries()):
            if entry.age >= days:
                self._path(entry.key).unlink(missing_ok=True)
                count, size = count + 1, size + entry.size
        for path in self.folder.glob(f"??/{TEMPORARY}*"):
            if time.time() - path.stat().st_mtime > DAY / 24:
                size += path.stat().st_size
                path.unlink(missing_ok=True)
        return count, size

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}{SUFFIX}"


def _decode(data: bytes) -> npt.NDArray[Any] | None:
    head, _, payload = data.partition(b"\n")
    try:
        facts = json.loads(head)
        if facts["sha256"] != hashlib.sha256(payload).hexdigest():
            return None
        return np.frombuffer(payload, dtype=np.dtype(facts["dtype"])).reshape(facts["shape"])
    except (ValueError, KeyError, TypeError):
        return None
