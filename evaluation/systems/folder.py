"""A folder of clips that were generated elsewhere, as a system."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from musicgen import audio
from musicgen.audio import Audio
from musicgen.decoding import EXTENSIONS
from musicgen.errors import InputError
from musicgen.folders import is_folder

from .base import Request


class FolderSystem:
    """Clips in a folder: ID.wav (or .flac, .m4a …) for the suite's item ID.

    Args:
        name: in samples folders and tables.
        folder: the clips.

    Raises:
        InputError: two files have one id.
    """

    batch = 1

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.settings = name, {"folder": folder.name}
        self._files: dict[str, Path] = {}
        for file in sorted(folder.iterdir()):
            if file.suffix.lower() in EXTENSIONS:
                if file.stem in self._files:
                    raise InputError(
                        f"{folder}: {self._files[file.stem].name} and {file.name} are both clip {file.stem}"
                    )
                self._files[file.stem] = file

    def __contains__(self, sample_id: str) -> bool:
        return sample_id in self._files

    def generate(self, requests: Sequence[Request]) -> list[Audio]:
        """The decoded files."""
        return [audio.read(self._files[request.id]) for request in requests]


def is_audio_folder(folder: Path) -> bool:
    """Whether there is such a folder with an audio file in it."""
    return is_folder(folder) and any(file.suffix.lower() in EXTENSIONS for file in folder.iterdir())
