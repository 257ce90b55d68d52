"""Collections of audio files: a folder, or a manifest whose lines name them; and what is known of a clip.

    manifest.jsonl   a JSON object a line with the field "path", relative to the manifest; other fields describe the clip
    clip.json        beside clip.flac: the same fields, which come before the manifest's (audiocraft's names: description,
                     genre, bpm, key, instrument, keywords, moods, title, artist …)

It reads no audio.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musicgen.decoding import EXTENSIONS
from musicgen.errors import InputError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One audio file and the fields that its line of the manifest gives."""

    path: Path
    fields: dict[str, Any]

    def metadata(self) -> dict[str, Any]:
        """All that is known of the clip; InputError if the sidecar is damaged."""
        sidecar = self.path.with_suffix(".json")
        if not sidecar.is_file():
            return self.fields
        try:
            values = json.loads(sidecar.read_text())
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise InputError(f"{sidecar}: not readable as JSON ({error})") from error
        if not isinstance(values, dict):
            raise InputError(f"{sidecar}: not a JSON object")
        return self.fields | values


def read(path: Path) -> list[Entry]:
    """The audio of a folder (with its subfolders), or what a manifest lists, in a fixed order. Files may be missing; what a
    folder holds besides audio and its sidecars is counted in the log."""
    if path.is_dir():
        files = [file for file in sorted(path.rglob("*")) if file.is_file() and not file.name.startswith(".")]
        found = [Entry(file, {}) for file in files if file.suffix.lower() in EXTENSIONS]
        if not found:
            raise InputError(f"{path}: no audio in this folder ({', '.join(EXTENSIONS)})")
        others = Counter(
            file.suffix.lower() or file.name for file in files if file.suffix.lower() not in (*EXTENSIONS, ".json")
        )
        if others:
            named = ", ".join(f"{count} {name}" for name, count in others.most_common(10))
            logger.warning("%s: %d files are no audio by their names, and not used: %s", path, others.total(), named)
        return found
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"data.path is {str(path)!r}: neither a folder nor a readable manifest ({error})") from error
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
            file = path.parent / fields.pop("path")
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f'{path}, line {number}: not a JSON object with the field "path" ({error})') from error
        found.append(Entry(file, {name: value for name, value in fields.items() if value is not None}))
    if not found:
        raise InputError(f"{path}: the manifest lists no audio")
    return found


def find(path: Path) -> list[Path]:
    """The files of `read`."""
    return [entry.path for entry in read(path)]
