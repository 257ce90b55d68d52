"""Samples folders: the format in which the clips of a system are passed to evaluation and listening studies.

A folder contains audio files and `manifest.jsonl`, with one line per clip: id, prompt, seed, system, settings, audio (the
file's name) and sha256 (of the file). A line is written after its audio is on disk, so a folder of an interrupted run is
incomplete but never inconsistent. This module does not depend on metrics, studies or models.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from musicgen import audio, provenance, textfiles
from musicgen.errors import InputError

MANIFEST = "manifest.jsonl"
MAX_ID_LENGTH = 120

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


Sign = Callable[[bytes, str, Mapping[str, str]], bytes]
"""(a file, its extension, its tags) -> the signed file."""


@dataclass(frozen=True)
class Sample:
    """One clip. id: the same for every system that answers the same prompt; settings: those of the system;
    audio: the file's name inside the folder; sha256: of that file, in hexadecimal; seed: None for a recording."""

    id: str
    prompt: str
    system: str
    audio: str
    sha256: str
    seed: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.id or len(self.id) > MAX_ID_LENGTH:
            raise InputError(
                f"sample id {self.id[:40]!r} has {len(self.id)} characters: 1 to {MAX_ID_LENGTH} are allowed"
            )
        if not self.system:
            raise InputError(f"sample {self.id}: names no system")
        if not self.audio or Path(self.audio).name != self.audio or self.audio.startswith("."):
            raise InputError(f"sample {self.id}: audio {self.audio!r} is not the name of a file beside {MANIFEST}")
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise InputError(f"sample {self.id}: sha256 {self.sha256[:20]!r} is not 64 hexadecimal digits")


@dataclass(frozen=True)
class SamplesFolder:
    """A folder that `read` checked: every clip is there, under its own id."""

    path: Path
    samples: tuple[Sample, ...]

    def file(self, sample: Sample) -> Path:
        """Where the audio of `sample` lies."""
        return self.path / sample.audio

    def by_id(self) -> dict[str, Sample]:
        """id -> sample, in the manifest's order."""
        return {sample.id: sample for sample in self.samples}


def read(folder: str | os.PathLike[str], verify: bool = True, *, complete: bool = False) -> SamplesFolder:
    """Read a samples folder and check it.

    Args:
        folder: The folder with the samples and their manifest.
        verify: Compare every file with its sha256.
        complete: Refuse the folder of an interrupted run; otherwise the clip of an incomplete last line is left out with a
            warning.

    Raises:
        InputError: The folder is not a samples folder, or its files do not match the manifest.
    """
    folder = Path(folder)
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise InputError(f"{folder}: holds no {MANIFEST}: is it a samples folder?")
    samples, torn = _parse(manifest)
    if torn:
        if complete:
            raise InputError(
                f"{manifest}: the last line is incomplete: let the interrupted run go on, or delete the line"
            )
        warnings.warn(
            f"{manifest}: the last line is incomplete (an interrupted run?): its clip is left out", stacklevel=2
        )
    if not samples:
        raise InputError(f"{manifest}: lists no clip")
    for sample in samples:
        file = folder / sample.audio
        if not file.is_file():
            raise InputError(f"{manifest}: sample {sample.id}: {sample.audio} is missing")
        if verify and file_sha256(file) != sample.sha256:
            raise InputError(
                f"{file}: is not the file that {MANIFEST} lists (another sha256): changed after it was made?"
            )
    return SamplesFolder(folder, tuple(samples))


class Writer:
    """Writes a samples folder clip by clip, and resumes an interrupted run.

    Attributes:
        samples: Those that the folder has so far, by id.
    """

    def __init__(self, folder: str | os.PathLike[str], system: str, sign: Sign | None = None) -> None:
        self.folder, self._sign = Path(folder), sign
        self.system = system
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = "a file of this name is there" if self.folder.is_file() else error.strerror or error
            raise InputError(f"the folder {self.folder} cannot be made ({reason}): choose another") from error
        self._manifest = self.folder / MANIFEST
        found = _parse(self._manifest)[0] if self._manifest.is_file() else []
        self.samples = {sample.id: sample for sample in found}
        _mend_last_line(self._manifest)

    def __contains__(self, sample_id: str) -> bool:
        return sample_id in self.samples

    def add(
        self,
        sample_id: str,
        clip: audio.Audio,
        *,
        prompt: str,
        seed: int | None = None,
        settings: Mapping[str, Any] | None = None,
        comment: str = "",
        extension: str = ".flac",
    ) -> Sample:
        """Write one clip and its line; `comment` goes into the file. The audio comes first: a line always has its file. Clips
        with a seed are marked as a model's.
        """
        if sample_id in self.samples:
            raise InputError(f"{self.folder}: sample {sample_id} is there already")
        name = f"{_UNSAFE.sub('_', sample_id).lstrip('.')[:60]}-{hashlib.sha256(sample_id.encode()).hexdigest()[:8]}{extension}"
        made = {} if seed is None else provenance.system_tags(self.system, prompt)
        tags = provenance.tags(comment) if comment else made
        data = audio.encode(clip, audio.check_format(name), tags)
        if self._sign is not None and tags:
            data = self._sign(data, extension, tags)
        sample = Sample(
            id=sample_id,
            prompt=prompt,
            system=self.system,
            audio=name,
            sha256=hashlib.sha256(data).hexdigest(),
            seed=seed,
            settings=dict(settings or {}),
        )
        audio.write_bytes(self.folder / name, data)
        with self._manifest.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(sample), ensure_ascii=False, sort_keys=True) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.samples[sample_id] = sample
        return sample


def file_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parse(manifest: Path) -> tuple[list[Sample], bool]:
    """The samples, and whether a last line was left out that a killed run had not finished: its clip does not count."""
    lines = textfiles.contents(manifest).split(b"\n")
    torn = bool(lines[-1].strip()) and not _is_complete(lines[-1])
    if torn:
        del lines[-1]
    samples = [_parse_line(line, f"{manifest}:{number}") for number, line in enumerate(lines, 1) if line.strip()]
    seen: set[str] = set()
    for sample in samples:
        if sample.id in seen:
            raise InputError(f"{manifest}: sample {sample.id} is listed twice")
        seen.add(sample.id)
    return samples, torn


def _parse_line(line: bytes, where: str) -> Sample:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not a line of JSON ({error})") from error
    if not isinstance(entry, dict):
        raise InputError(f"{where}: a line must be a JSON object, not {type(entry).__name__}")
    texts = ("id", "prompt", "system", "audio", "sha256")
    missing = [name for name in texts if not isinstance(entry.get(name), str)]
    if missing:
        raise InputError(f"{where}: {', '.join(missing)} must be there, as text")
    seed, settings = entry.get("seed"), entry.get("settings", {})
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool)):
        raise InputError(f"{where}: seed is {seed!r}: a whole number or null")
    if not isinstance(settings, dict):
        raise InputError(f"{where}: settings must be a JSON object, not {type(settings).__name__}")
    try:
        return Sample(**{name: entry[name] for name in texts}, seed=seed, settings=settings)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _is_complete(last: bytes) -> bool:
    """Whether what stands behind the last newline is a whole line: editors leave the newline at the end of a file out. The torn
    line of a run that was killed lacks its closing brace, so it is no JSON."""
    try:
        return isinstance(json.loads(last), dict)
    except (ValueError, RecursionError):
        return False


def _mend_last_line(manifest: Path) -> None:
    """Give a whole last line its newline, and remove a torn one, so that lines can be appended."""
    if not manifest.is_file():
        return
    data = textfiles.contents(manifest)
    whole = data.rfind(b"\n") + 1
    if whole != len(data):
        audio.write_bytes(manifest, data + b"\n" if _is_complete(data[whole:]) else data[:whole])
