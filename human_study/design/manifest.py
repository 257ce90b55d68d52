"""The built study: a folder with manifest.json, audio/ under random names, and the secrets of its server.

`prepare` writes it, everything else reads it. This module does not know how a clip was made or who hears it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from musicgen.errors import InputError

from . import study_settings
from .study_settings import Question, StudySettings

FILE = "manifest.json"
AUDIO = "audio"
DATABASE = "study.db"
SECRET = "secret.key"
ADMIN_TOKEN = "admin.token"
VERSION = 1


@dataclass(frozen=True)
class StudyClip:
    """One audio clip of the study.

    Attributes:
        name: random; also the stem of its files.
        role: "system", "reference", "anchor", "melody", "practice", "headphone" or "attention".
        system: the system under test, or the name of the reference, anchor or test signal.
        item: id of the sample that the clip belongs to, "" for clips of the study itself.
        seconds: length.
        lufs: integrated loudness after normalisation.
        dbtp: true peak after normalisation.
        gain_db: gain of the normalisation.
        source_sha256: of the file in the samples folder.
        lossless_sha256: of the FLAC file.
        compressed_sha256: of the MP3 file.
        answer: the right answer to a headphone or attention check, None for other clips.
    """

    name: str
    role: str
    system: str
    item: str
    seconds: float
    lufs: float
    dbtp: float
    gain_db: float
    source_sha256: str
    lossless_sha256: str
    compressed_sha256: str
    answer: int | None = None

    @property
    def lossless(self) -> str:
        """File name of the lossless copy."""
        return f"{self.name}.flac"

    @property
    def compressed(self) -> str:
        """File name of the compressed copy."""
        return f"{self.name}.mp3"


@dataclass(frozen=True)
class StudyPage:
    """The clips that a rater sees on one page.

    Attributes:
        key: unique within the study.
        kind: "rating", "practice" or "attention".
        question: name of the question.
        method: "mushra", "rating" or "ab".
        item: id of the sample.
        prompt: text prompt of the sample.
        stimuli: names of the clips to rate.
        open_reference: name of the clip at the left, None where there is none.
    """

    key: str
    kind: str
    question: str
    method: str
    item: str
    prompt: str
    stimuli: tuple[str, ...]
    open_reference: str | None = None


@dataclass(frozen=True)
class Study:
    """A study folder that `read` checked.

    Attributes:
        path: the folder.
        settings: its settings.
        clips: name -> clip.
        pages: key -> page.
        target_lufs: loudness of every clip.
        sha256: of manifest.json, in hexadecimal.
    """

    path: Path
    settings: StudySettings
    clips: Mapping[str, StudyClip]
    pages: Mapping[str, StudyPage]
    target_lufs: float
    sha256: str

    def question(self, name: str) -> Question:
        """The question with this name."""
        return next(question for question in self.settings.questions if question.name == name)

    def audio_file(self, file_name: str) -> Path:
        """Path of an audio file.

        Args:
            file_name: `StudyClip.lossless` or `StudyClip.compressed`; never part of a request.
        """
        return self.path / AUDIO / file_name


def write(
    path: Path, settings: StudySettings, clips: list[StudyClip], pages: list[StudyPage], target_lufs: float
) -> None:
    """Write manifest.json into a folder.

    Args:
        path: the folder.
        settings: of the study.
        clips: all of its clips.
        pages: all of its pages.
        target_lufs: loudness of every clip.
    """
    document = {
        "version": VERSION,
        "settings": study_settings.as_document(settings),
        "target_lufs": target_lufs,
        "clips": [asdict(clip) for clip in clips],
        "pages": [asdict(page) for page in pages],
    }
    (path / FILE).write_text(json.dumps(document, ensure_ascii=False, indent=1), encoding="utf-8")


def read(path: str | Path) -> Study:
    """Read a study folder and check that its pages and clips match.

    Raises:
        InputError: the folder is not a built study, its version is another, or manifest.json is damaged.
    """
    path = Path(path)
    file = path / FILE
    if not file.is_file():
        hint = f": build it first (python -m human_study build {path})" if path.suffix in {".yaml", ".yml"} else ""
        raise InputError(f"{path}: not a built study ({FILE} is missing){hint}")
    data = file.read_bytes()
    try:
        document = json.loads(data)
        if document["version"] != VERSION:
            raise InputError(
                f"{file}: has version {document['version']}, and this program reads version {VERSION}: build the study again"
            )
        clips = {entry["name"]: StudyClip(**entry) for entry in document["clips"]}
        pages = {entry["key"]: StudyPage(**entry | {"stimuli": tuple(entry["stimuli"])}) for entry in document["pages"]}
        settings = study_settings.parse(document["settings"], str(file))
        target = float(document["target_lufs"])
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file}: is damaged ({type(error).__name__}: {error})") from error
    for page in pages.values():
        unknown = [name for name in (*page.stimuli, page.open_reference) if name is not None and name not in clips]
        if unknown:
            raise InputError(f"{file}: page {page.key} lists clips that are missing: {', '.join(unknown)}")
    return Study(path, settings, clips, pages, target, hashlib.sha256(data).hexdigest())


def check_audio(study: Study) -> None:
    """Compare every audio file with its hash.

    Raises:
        InputError: a file is missing or differs; the message names the first.
    """
    for clip in study.clips.values():
        for name, expected in ((clip.lossless, clip.lossless_sha256), (clip.compressed, clip.compressed_sha256)):
            file = study.audio_file(name)
            if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != expected:
                raise InputError(f"{file}: is missing, or differs from the hash in {FILE}: build the study again")


def to_json(value: Any) -> str:
    """Compact JSON for the database and the page."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
