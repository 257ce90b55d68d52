"""The built study: a folder with manifest.json, audio/ under random names, and the secrets of its server.

`prepare` writes it, all other modules read it. This module does not depend on how clips were generated or who rates them.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from musicgen.errors import InputError
from musicgen.text_format import counted

from . import checks, documents, study_settings
from .methods import METHODS
from .questions import Question
from .study_settings import StudySettings

FILE = "manifest.json"
AUDIO = "audio"
DATABASE = "study.db"
SECRET = "secret.key"
ADMIN_TOKEN = "admin.token"
VERSION = 1
SECRET_LENGTH = 16
"""Characters of a secret at least; `build` makes 43."""

ROLES = ("system", "reference", "anchor", "melody", "practice", "headphone", "attention")
KINDS = ("rating", "practice", "attention")

MAX_STIMULI = 19
"""Clips of a page besides the open reference: what one request of the server takes."""

_HEX = re.compile(r"[0-9a-f]*")


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
        method: name of the kind of page, see `methods.METHODS`.
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
    if not _is_file(file):
        hint = f": build it first (python -m human_study build {path})" if path.suffix in {".yaml", ".yml"} else ""
        raise InputError(f"{path}: not a built study ({FILE} is missing){hint}")
    document, sha256 = documents.read_json(file)
    try:
        if not isinstance(document, Mapping):
            raise InputError(f"a JSON object is needed, not {type(document).__name__}")
        lacking = [name for name in ("version", "settings", "target_lufs", "clips", "pages") if name not in document]
        if lacking:
            raise InputError(f"{', '.join(lacking)} is missing")
        if document["version"] != VERSION:
            raise InputError(
                f"has version {str(document['version'])[:20]!r}, and this program reads version {VERSION}: "
                "build the study again"
            )
        clips = {clip.name: clip for clip in map(_clip, _entries(document, "clips"))}
        pages = {page.key: page for page in map(_page, _entries(document, "pages"))}
        target = document["target_lufs"]
        if isinstance(target, bool) or not isinstance(target, (int, float)) or not -200 < target <= 0:
            raise InputError(f"target_lufs is {str(target)[:20]!r}: a loudness in LUFS is needed")
    except InputError as error:
        raise InputError(f"{file}: is damaged: {error}") from error
    except ValueError as error:  # a whole number of more digits than Python writes
        raise InputError(f"{file}: is damaged: {str(error)[:160]}") from error
    settings = study_settings.parse(document["settings"], str(file))
    questions = {question.name for question in settings.questions}
    for page in pages.values():
        unknown = [name for name in (*page.stimuli, page.open_reference) if name is not None and name not in clips]
        if unknown:
            raise InputError(f"{file}: page {page.key} lists clips that are missing: {', '.join(unknown)[:160]}")
        if page.kind == "rating" and page.question not in questions:
            raise InputError(f"{file}: page {page.key} asks the question {page.question!r}, which the settings lack")
    return Study(path, settings, clips, pages, float(target), sha256)


def secret(path: Path, name: str) -> str:
    """A secret of a study folder.

    Args:
        path: the study folder.
        name: SECRET or ADMIN_TOKEN.

    Raises:
        InputError: the file is missing, empty or too short: anybody could guess it.
    """
    return documents.read_secret(path / name, SECRET_LENGTH)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _entries(document: Mapping[str, Any], name: str) -> list[Any]:
    if not isinstance(document[name], list) or not document[name]:
        raise InputError(f"{name} must be a list with at least one entry")
    return list(document[name])


def _clip(entry: Any) -> StudyClip:
    clip = StudyClip(**checks.values(StudyClip, entry, "a clip"))
    # The name becomes part of a path.
    if len(clip.name) != 32 or not _HEX.fullmatch(clip.name):
        raise InputError(f"a clip has the name {clip.name[:40]!r}: 32 hexadecimal digits are needed")
    if clip.role not in ROLES:
        raise InputError(f"clip {clip.name}: role is {clip.role[:20]!r}: one of {', '.join(ROLES)}")
    if not 0 < clip.seconds <= 3600:
        raise InputError(f"clip {clip.name}: seconds is {clip.seconds:g}: above 0, and at most 3600")
    if clip.role in {"headphone", "attention"} and clip.answer is None:
        raise InputError(f"clip {clip.name}: a {clip.role} clip needs an answer")
    return clip


def _page(entry: Any) -> StudyPage:
    values = checks.values(StudyPage, entry, "a page")
    for name in values["stimuli"]:
        if not isinstance(name, str):
            raise InputError(f"a page lists {str(name)[:40]!r} among its stimuli: names of clips are needed")
    page = StudyPage(**values | {"stimuli": tuple(values["stimuli"])})
    if page.kind not in KINDS:
        raise InputError(f"page {page.key[:40]}: kind is {page.kind[:20]!r}: one of {', '.join(KINDS)}")
    if page.method not in METHODS:
        raise InputError(f"page {page.key[:40]}: method is {page.method[:20]!r}: one of {', '.join(METHODS)}")
    pair = METHODS[page.method].compares
    if not page.stimuli or len(page.stimuli) > MAX_STIMULI or (pair and len(page.stimuli) != 2):
        raise InputError(
            f"page {page.key[:40]}: has {counted(len(page.stimuli), 'clip')}: 1 to {MAX_STIMULI}, and "
            "2 where two systems are compared"
        )
    return page


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


def make_private(*paths: Path) -> None:
    """Take folders and files from all other users of the machine: 0700 and 0600. What another user owns is left as it is.

    Args:
        *paths: those that are missing are left out.
    """
    for path in paths:
        try:
            found = path.stat()
            special = not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode))
            if found.st_mode & 0o077 and found.st_uid == os.geteuid() and not special:
                path.chmod(0o700 if stat.S_ISDIR(found.st_mode) else 0o600)
        except (FileNotFoundError, PermissionError):
            continue
        except OSError as error:
            if error.errno != errno.EROFS:
                raise


def to_json(value: Any) -> str:
    """Compact JSON for the database and the page."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
