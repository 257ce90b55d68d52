"""The items of a suite: id, caption and reference of each.

    manifest        JSON Lines {id, caption, audio, sha256, seed}, the last two optional; paths relative to the manifest's
                    folder
    folder          audio with captions.csv (file, caption, optionally id), captions.jsonl {file, caption, id}, or NAME.txt
                    beside NAME.wav; without an id it is the file's name without its extension
    musiccaps       musiccaps-public.csv from the hub or --data FOLDER; clips FOLDER/audio/YTID.wav, downloaded by `fetch`
    song_describer  song_describer.csv and audio/ as published, under --data FOLDER; of each track the first caption with
                    the label of --subset

A listed reference whose file is missing is excluded with a reason; the set never shrinks silently.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pydantic.dataclasses

from musicgen import textfiles
from musicgen.decoding import EXTENSIONS
from musicgen.errors import InputError

from .schema import STRICT, validate
from .suite import FolderData, ManifestData, MusicCapsData, SongDescriberData, Suite


@dataclass(frozen=True)
class Item:
    """One item of a suite.

    Attributes:
        id: unique in the suite.
        caption: the prompt.
        file: of the reference.
        sha256: of the file, "" if the list has none.
        labels: of the list, such as is_balanced_subset.
        url: where the clip was published, "" if unknown.
        start: second at which the clip starts there.
    """

    id: str
    caption: str
    file: Path
    sha256: str = ""
    labels: tuple[str, ...] = ()
    url: str = ""
    start: float = 0.0


@pydantic.dataclasses.dataclass(frozen=True, config=STRICT)
class ManifestLine:
    """A line of a suite's manifest. audio: path from the manifest's folder; seed: of the composition, for information."""

    id: str
    caption: str
    audio: str
    sha256: str = ""
    seed: int | None = None


def load_items(
    suite: Suite, data: Path | None = None, subset: str | None = None, limit: int | None = None
) -> list[Item]:
    """The items of a suite, in the order of its list.

    Args:
        suite: the suite.
        data: where the user's copy of the references is; needed unless the suite has a manifest.
        subset: only items with this label, such as is_balanced_subset.
        limit: only the first items.

    Raises:
        InputError: the list is missing or faulty, an id is listed twice, or no item has the label.
    """
    kind = suite.data
    if isinstance(kind, ManifestData):
        items = _manifest(suite.file.parent / kind.manifest)
    elif data is None:
        raise InputError(f"suite {suite.name} needs --data FOLDER, the folder of its references")
    elif isinstance(kind, FolderData):
        items = _folder(data)
    elif isinstance(kind, MusicCapsData):
        items = _musiccaps(kind, data)
    else:
        items = _song_describer(kind, data)
    if subset is not None:
        items = [item for item in items if subset in item.labels]
        if not items:
            raise InputError(f"suite {suite.name}: no item has the label {subset!r}")
    if isinstance(kind, SongDescriberData):
        # After the filter: a track whose first caption lacks the label may have another one with it.
        items = list({item.id: item for item in reversed(items)}.values())[::-1]
    files: dict[str, Path] = {}
    for item in items:
        if item.id in files:
            raise InputError(_listed_twice(suite, item, files[item.id]))
        files[item.id] = item.file
    return items[:limit]


def _listed_twice(suite: Suite, item: Item, first: Path) -> str:
    message = f"suite {suite.name}: item {item.id} is listed twice"
    if first == item.file:
        return message
    return f"{message}, {first} and {item.file}: tell them apart by a column id in captions.csv or captions.jsonl"


def _manifest(file: Path) -> list[Item]:
    if not file.is_file():
        raise InputError(f"{file}: no such manifest")
    items = []
    for where, values in textfiles.json_lines(file):
        line = validate(ManifestLine, values, where)
        items.append(Item(line.id, line.caption, file.parent / line.audio, line.sha256))
    return items


def _folder(folder: Path) -> list[Item]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    table, lines = folder / "captions.csv", folder / "captions.jsonl"
    if table.is_file():
        rows = [(row.get("file"), row.get("caption"), row.get("id")) for row in textfiles.table(table)]
    elif lines.is_file():
        rows = [_captioned(entry, where) for where, entry in textfiles.json_lines(lines)]
    else:
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in EXTENSIONS)
        rows = [
            (file.name, textfiles.read(text).strip() if text.is_file() else None, None)
            for file, text in ((file, file.with_suffix(".txt")) for file in files)
        ]
    items = []
    for name, caption, own_id in rows:
        if not name:
            raise InputError(f"{folder}: a line of captions names no file")
        if not caption:
            raise InputError(f"{folder}: {name} has no caption: captions.csv, captions.jsonl, or a .txt beside it")
        items.append(Item(own_id or Path(name).stem, caption, folder / name))
    if not items:
        raise InputError(f"{folder}: holds no audio ({', '.join(EXTENSIONS)})")
    return items


def _musiccaps(kind: MusicCapsData, data: Path) -> list[Item]:
    table = data if data.suffix == ".csv" else data / kind.file
    folder = table.parent / "audio"
    if not table.is_file():
        table = _from_hub(kind.repository, kind.file)
    items = []
    for row in textfiles.table(table):
        try:
            labels = tuple(name for name in ("is_balanced_subset", "is_audioset_eval") if row[name] == "True")
            items.append(
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
    return items


def _song_describer(kind: SongDescriberData, data: Path) -> list[Item]:
    items = []
    for row in textfiles.table(data / kind.csv):
        try:
            file = data / kind.audio / Path(row["path"]).with_suffix(".2min.mp3")
            labels = ("is_valid_subset",) if row.get("is_valid_subset") == "True" else ()
            items.append(Item(row["track_id"], row["caption"], file, labels=labels))
        except (KeyError, ValueError) as error:
            raise InputError(f"{data / kind.csv}: not Song Describer's table ({error})") from error
    return items


def _captioned(entry: object, where: str) -> tuple[str, str, str]:
    values = [entry.get("file"), entry.get("caption"), entry.get("id", "")] if isinstance(entry, dict) else [None]
    if not all(isinstance(value, str) for value in values):
        raise InputError(f'{where}: not a JSON object with the texts "file" and "caption", and optionally "id"')
    file, caption, own_id = map(str, values)
    return file, caption, own_id


def _from_hub(repository: str, name: str) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repository, name, repo_type="dataset"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{repository}/{name} cannot be downloaded ({error}): pass --data with the file in it"
        ) from error
