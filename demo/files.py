"""The folder of clips: names that cannot be guessed, formats on demand, deletion in time. Knows nothing of models."""

from __future__ import annotations

import secrets
import threading
import time
from pathlib import Path

from musicgen.errors import InputError

FORMATS = ("flac", "wav", "mp3", "ogg")


class Files:
    """`folder` is emptied of what is older than `hours`, by a thread that looks every few minutes."""

    def __init__(self, folder: Path, hours: float) -> None:
        self.folder, self.seconds = folder, hours * 3600
        folder.mkdir(parents=True, exist_ok=True)
        self._closed = threading.Event()
        threading.Thread(target=self._watch, daemon=True, name="files").start()

    def new(self, extension: str) -> Path:
        """A path nobody knows yet."""
        folder = self.folder / "clips" / secrets.token_hex(16)
        folder.mkdir(parents=True)
        return folder / f"musicgen.{extension}"

    def convert(self, clip: Path, extension: str) -> Path:
        """The same clip, settings included, in another format, beside it."""
        from musicgen import audio

        if extension not in FORMATS:
            raise InputError(f"unknown format {extension!r}: one of {', '.join(FORMATS)}")
        target = clip.with_suffix(f".{extension}")
        if not target.is_file():
            if not clip.is_file():
                raise InputError("the clip has expired on the server: make it again from its settings")
            audio.write(target, audio.read(clip), audio.read_comment(clip))
        return target

    def sweep(self, now: float | None = None) -> int:
        """Delete what is too old, and folders left empty; how many files went."""
        limit, gone = (time.time() if now is None else now) - self.seconds, 0
        for path in sorted(self.folder.rglob("*"), key=lambda one: len(one.parts), reverse=True):
            try:
                if path.is_symlink() or path.is_file():
                    if path.lstat().st_mtime < limit:
                        path.unlink()
                        gone += 1
                elif path.stat().st_mtime < limit:
                    path.rmdir()  # fails unless it is empty
            except OSError:
                pass
        return gone

    def close(self) -> None:
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(min(300.0, max(1.0, self.seconds / 4))):
            self.sweep()
