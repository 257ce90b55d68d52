"""Records: the metadata of generations and uploaded files, as JSON files beside their audio, so that a restarted server, and
other servers that share the folder, can read them.

A record is the file `record.json` in a folder of the clip store that is named by the record's identifier. It expires as clips
do.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from musicgen.serving.api_schema import ClipState, Failure, GenerationBody, Status
from musicgen.serving.clip_store import ClipStore, writing

_NAME = "record.json"
_IDENTIFIER = re.compile(r"[0-9a-f]{32}")


def is_identifier(text: str) -> bool:
    """Whether a text has the form of an identifier."""
    return _IDENTIFIER.fullmatch(text) is not None


class FileRecord(BaseModel):
    """A file that a client has sent; it lies beside its record."""

    kind: Literal["file"] = "file"
    owner: str
    name: str
    seconds: float | None = None


class StoredSound(BaseModel):
    """A clip of a generation: where its file is inside the store's folder, and what clients are told."""

    path: str
    state: ClipState


class GenerationRecord(BaseModel):
    """A generation: what was asked for, and its end once there is one."""

    kind: Literal["generation"] = "generation"
    owner: str
    server: str
    """The one that generates it."""
    taken_up: int = 0
    """How often a server has begun with it because the one before had ended."""
    created: float
    """Seconds since the epoch."""
    body: GenerationBody
    seed: int
    """Drawn when the request was accepted, so that a repetition makes the same clip."""
    status: Status = "queued"
    precision: str | None = None
    clips: list[StoredSound] = Field(default_factory=list)
    error: Failure | None = None


Record = FileRecord | GenerationRecord


class Records:
    """Reads and writes records.

    Args:
        store: in whose folder they are.
    """

    def __init__(self, store: ClipStore) -> None:
        self._store = store

    def create(self, record: Record, network: str = "") -> str:
        """Store a new record.

        Args:
            record: to store.
            network: for whose share of the disk its files count.

        Returns:
            Its identifier.

        Raises:
            InputError: the disk is full.
        """
        path = self._store.new_path(_NAME, network)
        self._write(path, record)
        return path.parent.name

    def update(self, identifier: str, record: Record) -> None:
        """Replace a record; nothing happens where it has expired."""
        path = self._path(identifier)
        if path.parent.is_dir():
            self._write(path, record)

    def read(self, identifier: str) -> Record | None:
        """The record of that identifier, None where there is none."""
        if not is_identifier(identifier):
            return None
        try:
            values: Any = json.loads(self._path(identifier).read_bytes())
            kind = GenerationRecord if values.get("kind") == "generation" else FileRecord
            return kind.model_validate(values)
        except (OSError, ValueError, AttributeError, ValidationError, RecursionError):
            return None

    def folder(self, identifier: str) -> Path:
        """The folder of a record."""
        return self._path(identifier).parent

    def delete(self, identifier: str) -> None:
        """Delete a record and what lies beside it."""
        self._store.delete(self._path(identifier))

    def generations(self) -> Iterator[tuple[str, GenerationRecord]]:
        """All generations with their identifiers, in the order in which they were accepted."""
        found = []
        for path in self._store.clips_folder.glob(f"*/{_NAME}"):
            record = self.read(path.parent.name)
            if isinstance(record, GenerationRecord):
                found.append((record.created, path.parent.name, record))
        yield from ((identifier, record) for _, identifier, record in sorted(found, key=lambda one: one[:2]))

    def _path(self, identifier: str) -> Path:
        return self._store.clips_folder / identifier / _NAME

    def _write(self, path: Path, record: Record) -> None:
        """Write a record so that a reader sees the old one or the new one, also after a power failure."""
        with writing():
            temporary = path.with_name(f".{secrets.token_hex(4)}")
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(record.model_dump_json().encode())
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
