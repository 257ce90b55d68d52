"""The content-addressed cache of embeddings: one file per entry.

A key is the hash of the audio's bytes, its preparation, the network's weights and the code's version (`base.embedding_key`), so
entries are never outdated, and two runs that share a cache write the same bytes. An entry is a line of JSON (sha256, dtype,
shape, a label) followed by the array's bytes. It is written atomically; a damaged entry counts as missing.
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
    """One file of the cache.

    Attributes:
        key: hexadecimal digits.
        label: for people, such as "passt music.flac".
        size: bytes.
        age: days since it was written.
    """

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
    """A folder of entries.

    Args:
        folder: by default that of `default_folder`.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self.folder = Path(folder) if folder is not None else default_folder()

    def __contains__(self, key: str) -> bool:
        return self._path(key).is_file()

    def get(self, key: str) -> npt.NDArray[Any] | None:
        """The array of a key, None if there is no undamaged entry."""
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
        """Store an array.

        Args:
            key: its key.
            array: of any dtype and shape.
            label: for people, such as "passt music.flac".

        Raises:
            InputError: the folder cannot be written.
        """
        payload = np.ascontiguousarray(array).tobytes()
        header = {"sha256": hashlib.sha256(payload).hexdigest(), "dtype": array.dtype.str, "shape": array.shape}
        line = json.dumps({**header, "label": label})
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=TEMPORARY)
            # Not synced: after a power failure, a truncated entry fails its checksum and is computed again.
            with os.fdopen(handle, "wb") as file:
                file.write(line.encode() + b"\n" + payload)
            Path(temporary).replace(path)
        except OSError as error:
            raise InputError(f"cannot write to the cache {self.folder}: {error.strerror or error}") from error

    def entries(self) -> Iterator[Entry]:
        """All entries, sorted by key."""
        now = time.time()
        for path in sorted(self.folder.glob(f"??/*{SUFFIX}")):
            with path.open("rb") as file:
                head = file.readline(4096)
            try:
                label = str(json.loads(head)["label"])
            except (ValueError, KeyError):
                label = "(damaged)"
            status = path.stat()
            yield Entry(path.stem, label, status.st_size, max(0.0, (now - status.st_mtime) / DAY))

    def verify(self) -> list[str]:
        """Remove the entries whose checksum fails. Returns their keys."""
        damaged = [entry.key for entry in self.entries() if _decode(self._path(entry.key).read_bytes()) is None]
        for key in damaged:
            self._path(key).unlink(missing_ok=True)
        return damaged

    def collect(self, days: float) -> tuple[int, int]:
        """Remove entries older than `days`, and temporary files of killed runs. Returns (entries, bytes)."""
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
        header = json.loads(head)
        if header["sha256"] != hashlib.sha256(payload).hexdigest():
            return None
        return np.frombuffer(payload, dtype=np.dtype(header["dtype"])).reshape(header["shape"])
    except (ValueError, KeyError, TypeError):
        return None
