"""What made a clip, as text inside its file: enough to make it again.

The settings are JSON in the audio file's comment. Files that the clip was made from (a melody, audio to continue) are
recorded by name and SHA-256, never by path: a shared clip tells nothing about the machine it was made on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from musicgen import audio
from musicgen.errors import InputError
from musicgen.options import GenerationOptions

KEY = "musicgen"
"""The comment is {KEY: {...}}: other programs' comments are not taken for settings."""


@dataclass(frozen=True)
class SourceFile:
    """A file that went into a clip."""

    name: str
    sha256: str

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> SourceFile:
        path = Path(path)
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
        return cls(path.name, digest)


@dataclass(frozen=True)
class Settings:
    """One clip's settings. loudness: LUFS, None where it was left as decoded; separate: Demucs on the melody."""

    version: str
    model: str
    prompt: str | None
    duration: float
    seed: int
    options: GenerationOptions = field(default_factory=GenerationOptions)
    loudness: float | None = audio.TARGET_LUFS
    melody: SourceFile | None = None
    separate: bool = True
    continue_from: SourceFile | None = None

    def comment(self) -> str:
        """The text that goes into the file."""
        return json.dumps({KEY: dataclasses.asdict(self)})

    @classmethod
    def from_comment(cls, comment: str, source: str) -> Settings:
        """The settings in a comment; `source` names the file in errors."""
        try:
            values: dict[str, Any] = json.loads(comment)[KEY]
            values["options"] = GenerationOptions.from_dict(values["options"])
            for name in ("melody", "continue_from"):
                values[name] = SourceFile(**values[name]) if values[name] is not None else None
            return cls(**values)
        except InputError:
            raise
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise InputError(
                f"{source}: holds no settings of this program (was it re-encoded or tagged since?)"
            ) from error

    @classmethod
    def of_file(cls, path: str | os.PathLike[str]) -> Settings:
        return cls.from_comment(audio.read_comment(path), str(path))
