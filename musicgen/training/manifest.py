"""Collections of audio files and their metadata: a folder, or a manifest.

    manifest.jsonl   a JSON object a line with the field "path" (or "file_name", "audio"); other fields describe the clip.
                     Paths are relative to the manifest or to the working directory. manifest.jsonl.gz is read too, and
                     manifest.csv or manifest.tsv with these columns
    metadata.csv     in a folder, or metadata.jsonl: the same with the column "file_name", as audio-folder data sets have it
    clip.json        beside clip.flac: the same fields, which come before the others (audiocraft's names: description,
                     genre, bpm, key, instrument, keywords, moods, title, artist …)
    clip.txt         beside clip.flac: its description, if the others have none

This module does not read audio.
"""

from __future__ import annotations

import json
import logging
import os
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musicgen import textfiles
from musicgen.decoding import EXTENSIONS
from musicgen.errors import InputError
from musicgen.folders import is_file, is_folder
from musicgen.options import check_text
from musicgen.text_format import counted
from musicgen.training.descriptions import described

logger = logging.getLogger(__name__)

TABLES = (".csv", ".tsv")
METADATA = ("metadata.csv", "metadata.jsonl")
SIDECARS = (".json", ".txt")
NAMES = ("path", "file_name", "audio")
"""The fields that name a clip's file, in the order in which they are looked for."""


@dataclass(frozen=True)
class Entry:
    """One audio file and the fields that a list of the collection gives."""

    path: Path
    fields: dict[str, Any]

    def metadata(self) -> dict[str, Any]:
        """All that is known of the clip, its texts under "description" or "descriptions".

        Raises:
            InputError: a sidecar or a text is damaged.
        """
        fields = self.fields
        sidecar, text = (self.path.with_suffix(suffix) for suffix in SIDECARS)
        if is_file(sidecar):
            values = textfiles.json_value(sidecar)
            if not isinstance(values, dict):
                raise InputError(f"{sidecar}: not a JSON object")
            fields = fields | values
        fields = described(fields, str(self.path))
        if "description" not in fields and "descriptions" not in fields and is_file(text):
            fields = described(fields | {"description": " ".join(textfiles.read(text).split())}, str(text))
        # A text that cannot be written would end the training at the first batch that has it.
        check_text(f"{self.path}: its metadata", json.dumps(fields, ensure_ascii=False))
        return fields


def read(path: Path) -> list[Entry]:
    """The audio of a folder (with its subfolders), or what a manifest lists, in a fixed order. Files may be missing; what a
    folder holds besides audio and what describes it is counted in the log."""
    # In FIELD=VALUE and in YAML no shell has expanded it.
    path = Path(os.path.expanduser(path))  # noqa: PTH111 (its own raises where there is no home)
    return _of_folder(path) if is_folder(path) else _of_manifest(path)


def find(path: Path) -> list[Path]:
    """The files of `read`."""
    return [entry.path for entry in read(path)]


def _of_folder(folder: Path) -> list[Entry]:
    files = _files(folder)
    tables = [file for file in files if file.name in METADATA]
    fields: dict[Path, dict[str, Any]] = {file: {} for file in files if file.suffix.lower() in EXTENSIONS}
    for table in tables:
        for where, row in _rows(table):
            file, values = _named(row, where, [table.parent])
            fields[file] = fields.get(file, {}) | values
    if not fields:
        raise InputError(f"{folder}: no audio in this folder ({', '.join(EXTENSIONS)})")
    sidecars = {file.with_suffix(suffix) for file in fields for suffix in SIDECARS}
    others = Counter(
        file.suffix.lower() or file.name
        for file in files
        if file not in fields and file not in sidecars and file not in tables
    )
    if others:
        named = ", ".join(f"{count} {name}" for name, count in others.most_common(10))
        unused = counted(others.total(), "file is", "files are")
        logger.warning("%s: %s no audio by the name, and not used: %s", folder, unused, named)
    return [Entry(file, fields[file]) for file in sorted(fields)]


def _files(folder: Path) -> list[Path]:
    """All files of a folder but hidden ones. Links to folders are followed, each folder once."""
    found: list[Path] = []
    seen: set[str] = set()

    def skipped(error: OSError) -> None:
        logger.warning("%s: cannot be read (%s), and is not used", error.filename, error.strerror)

    for place, folders, names in os.walk(folder, followlinks=True, onerror=skipped):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        found += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted(found)


def _of_manifest(path: Path) -> list[Entry]:
    if not is_file(path):
        raise InputError(f"data.path is {str(path)!r}: neither a folder nor a readable manifest (no such file)")
    if path.suffix.lower() in EXTENSIONS:
        raise InputError(f"data.path is {str(path)!r}, an audio file: name its folder, or a manifest that lists it")
    # The second place is where audiocraft looks.
    places = [path.parent, Path()]
    found = [Entry(*_named(row, where, places)) for where, row in _rows(path)]
    if not found:
        raise InputError(f"{path}: the manifest lists no audio")
    return found


def _rows(path: Path) -> list[tuple[str, Any]]:
    if path.suffix.lower() in TABLES:
        # Spreadsheets' columns are often capitalised.
        rows = [{name.lower(): cell for name, cell in row.items()} for row in textfiles.table(path)]
        return [(f"{path}:{number}", row) for number, row in enumerate(rows, 2)]
    try:
        return list(textfiles.json_lines(path))
    except InputError as error:
        raise InputError(
            f"{error}: a manifest has a JSON object a line, or is a table ({', '.join(TABLES)})"
        ) from error


def _named(row: Any, where: str, places: list[Path]) -> tuple[Path, dict[str, Any]]:
    """The file that a row names, and its other fields."""
    fields = row if isinstance(row, dict) else {}
    key = next((name for name in NAMES if fields.get(name)), None)
    name = fields.get(key) if key else None
    if isinstance(name, dict):  # a data set's own form: {"path": ..., "bytes": ...}
        name = name.get("path")
    if not isinstance(name, str):
        given = "the fields " + ", ".join(fields) if fields else type(row).__name__
        raise InputError(
            f"{where}: {given[:200]}: names no file: a manifest has a JSON object a line, or is a table "
            f'({", ".join(TABLES)}), with the field "path" (or {", ".join(NAMES[1:])})'
        )
    values = {field: value for field, value in fields.items() if field != key and value not in (None, "")}
    return _located(name, places), values


def _located(name: str, places: list[Path]) -> Path:
    """The file of a name in one of the places, also where another system wrote it; in the first place if there is none."""
    spellings = dict.fromkeys(
        spelling
        for slashes in (name, name.replace("\\", "/"))
        for spelling in (slashes, unicodedata.normalize("NFC", slashes), unicodedata.normalize("NFD", slashes))
    )
    candidates = [place / spelling for place in places for spelling in spellings]
    return next(filter(is_file, candidates), candidates[0])
