"""What a suite's references are: id, caption, file.

    manifest        references in this repository: a line of JSON each {id, caption, audio, sha256}, paths from the
                    manifest's folder
    folder          audio with captions.csv (file, caption), captions.jsonl {file, caption}, or NAME.txt beside NAME.wav
    musiccaps       musiccaps-public.csv from the hub or --data FOLDER; clips FOLDER/audio/YTID.wav, which `fetch` brings
    song_describer  song_describer.csv and audio/ as published, under --data FOLDER

A reference that the list names and the disk lacks is an exclusion with its reason, never a silently smaller set.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from musicgen.decoding import EXTENSIONS
from musicgen.errors import InputError

from .suites import Suite


@dataclass(frozen=True)
class Item:
    """One reference. sha256: "" where the list has none; labels: of the list, such as is_balanced_subset."""

    id: str
    caption: str
    file: Path
    sha256: str = ""
    labels: tuple[str, ...] = ()
    url: str = ""
    start: float = 0.0


def items(suite: Suite, data: Path | None = None, subset: str | None = None, limit: int | None = None) -> list[Item]:
    """A suite's references in their list's order. data: where the user keeps them; subset: a label, such as
    is_balanced_subset; limit: only the first."""
    kind = suite.data["kind"]
    if kind == "manifest":
        found = _manifest(suite.file.parent / suite.data["manifest"])
    elif data is None:
        raise InputError(f"suite {suite.name} needs --data FOLDER: where its references lie")
    elif kind == "folder":
        found = _folder(data)
    elif kind == "musiccaps":
        found = _musiccaps(suite, data)
    else:
        found = _song_describer(suite, data)
    if subset is not None:
        found = [item for item in found if subset in item.labels]
        if not found:
            raise InputError(f"suite {suite.name}: no item has the label {subset!r}")
    seen: set[str] = set()
    for item in found:
        if item.id in seen:
            raise InputError(f"suite {suite.name}: item {item.id} is listed twice")
        seen.add(item.id)
    return found[:limit]


def _manifest(file: Path) -> list[Item]:
    if not file.is_file():
        raise InputError(f"{file}: no such manifest")
    found = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            entry = json.loads(line)
            found.append(Item(entry["id"], entry["caption"], file.parent / entry["audio"], entry.get("sha256", "")))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{file}:{number}: must be a JSON object with id, caption and audio ({error})") from error
    return found


def _folder(folder: Path) -> list[Item]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    table, lines = folder / "captions.csv", folder / "captions.jsonl"
    if table.is_file():
        rows = [(row.get("file"), row.get("caption")) for row in _rows(table)]
    elif lines.is_file():
        rows = [(entry.get("file"), entry.get("caption")) for entry in _json_lines(lines)]
    else:
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in EXTENSIONS)
        rows = [
            (file.name, text.read_text(encoding="utf-8").strip() if text.is_file() else None)
            for file, text in ((file, file.with_suffix(".txt")) for file in files)
        ]
    found = []
    for name, caption in rows:
        if not name:
            raise InputError(f"{folder}: a line of captions names no file")
        if not caption:
            raise InputError(f"{folder}: {name} has no caption: captions.csv, captions.jsonl, or a .txt beside it")
        found.append(Item(Path(name).stem, caption, folder / name))
    if not found:
        raise InputError(f"{folder}: holds no audio ({', '.join(EXTENSIONS)})")
    return found


def _musiccaps(suite: Suite, data: Path) -> list[Item]:
    table = data if data.suffix == ".csv" else data / suite.data["file"]
    folder = table.parent / "audio"
    if not table.is_file():
        table = _from_hub(suite.data["repository"], suite.data["file"])
    found = []
    for row in _rows(table):
        try:
            labels = tuple(name for name in ("is_balanced_subset", "is_audioset_eval") if row[name] == "True")
            found.append(
                Item(
                    row["ytid"],
                    row["caption"],
                    folder / f"{row['ytid']}.wav",
                    labels=labels,
                    url=f"https://www.youtube.com/watch?v={row['ytid']}",
                    start=float(row["start_s"]),
                )
            )
        except (KeyError, ValueError) as error:
            raise InputError(f"{table}: not MusicCaps' table ({error})") from error
    return found


def _song_describer(suite: Suite, data: Path) -> list[Item]:
    found: dict[str, Item] = {}
    for row in _rows(data / suite.data["csv"]):
        try:
            file = data / suite.data["audio"] / Path(row["path"]).with_suffix(".2min.mp3")
            labels = ("is_valid_subset",) if row.get("is_valid_subset") == "True" else ()
            found.setdefault(row["track_id"], Item(row["track_id"], row["caption"], file, labels=labels))
        except KeyError as error:
            raise InputError(f"{data}: not Song Describer's table (no column {error})") from error
    return list(found.values())


def _rows(table: Path) -> Iterable[dict[str, str]]:
    try:
        return list(csv.DictReader(io.StringIO(table.read_text(encoding="utf-8-sig"))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table}: cannot be read as a table ({error})") from error


def _json_lines(file: Path) -> list[dict[str, str]]:
    try:
        entries = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except ValueError as error:
        raise InputError(f"{file}: not lines of JSON ({error})") from error
    if not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{file}: every line must be a JSON object")
    return entries


def _from_hub(repository: str, name: str) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repository, name, repo_type="dataset"))
    except (OSError, ValueError) as error:
        raise InputError(f"{repository}/{name} cannot be fetched ({error}): pass --data with the file in it") from error
