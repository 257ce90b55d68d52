"""The service's private folder: clips under names that cannot be guessed, formats on demand, deletion in time. Knows nothing
of models.

Everything temporary is in it, what Gradio keeps as well: the system's folder for temporary files is everybody's, and on a
machine with several users Gradio's own folder there belongs to whoever started it first.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import struct
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from musicgen.errors import InputError

if TYPE_CHECKING:
    from musicgen.audio import Audio

FORMATS = ("flac", "wav", "mp3", "ogg")
GRADIO = {"GRADIO_TEMP_DIR": "gradio", "GRADIO_EXAMPLES_CACHE": "examples"}
"""Gradio's variables -> where in the private folder it keeps uploads and its copies of clips, and cached examples."""
_OWNER_ONLY = ((0x01, 7), (0x04, 0), (0x20, 0))
"""POSIX access control list: the tags of owner, group and others, and their permissions."""
_NOBODY = 0xFFFFFFFF
"""The id of an entry that has none."""


def private(parent: Path | None = None) -> tempfile.TemporaryDirectory[str]:
    """A new folder that its owner alone can read, in `parent` or where the system keeps temporary files. It goes when it is
    cleaned up, at the latest when the program ends. Raises InputError where none can be made."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="musicgen-demo-", dir=parent, ignore_cleanup_errors=True)
    except OSError as error:
        raise InputError(
            f"no folder can be made in {parent or tempfile.gettempdir()} ({error.strerror}): name another place with "
            "--temporary"
        ) from error
    Path(folder.name).chmod(0o700)
    return folder


def keep_private(folder: Path) -> None:
    """Files made in this folder from now on are 0600 and folders 0700, whoever makes them and whatever the umask is: by its
    default access control list, where the file system has such lists."""
    entries = b"".join(struct.pack("<HHI", tag, permissions, _NOBODY) for tag, permissions in _OWNER_ONLY)
    if hasattr(os, "setxattr"):
        with contextlib.suppress(OSError):
            os.setxattr(folder, "system.posix_acl_default", struct.pack("<I", 2) + entries)


class Files:
    """Clips in `folder`; those older than `hours` are deleted by a thread that looks every few minutes. Gradio's files, from
    now on, are in `folder` too."""

    def __init__(self, folder: Path, hours: float) -> None:
        self.folder, self.seconds = folder, hours * 3600
        folder.mkdir(parents=True, exist_ok=True)
        keep_private(folder)
        self._clips = folder / "clips"
        # Gradio reads them when it is imported and again whenever it needs them; a service that ends gives them back.
        self._before = {name: os.environ.get(name) for name in GRADIO}
        os.environ.update({name: str(folder / place) for name, place in GRADIO.items()})
        self._closed = threading.Event()
        threading.Thread(target=self._watch, daemon=True, name="files").start()

    def new(self, extension: str) -> Path:
        """A path nobody knows yet."""
        folder = self._clips / secrets.token_hex(16)
        folder.mkdir(parents=True)
        return folder / f"musicgen.{extension}"

    def write(self, path: Path, clip: Audio, comment: str) -> None:
        """Write a clip that its owner alone can read."""
        from musicgen import audio

        audio.write(path, clip, comment)
        path.chmod(0o600)

    def convert(self, clip: Path, extension: str) -> Path:
        """The same clip, settings included, in another format, beside it."""
        from musicgen import audio

        if extension not in FORMATS:
            raise InputError(f"unknown format {extension!r}: one of {', '.join(FORMATS)}")
        target = clip.with_suffix(f".{extension}")
        if not target.is_file():
            if not clip.is_file():
                raise InputError("the clip has expired on the server: make it again from its settings")
            self.write(target, audio.read(clip), audio.read_comment(clip))
        return target

    def sweep(self, now: float | None = None) -> int:
        """Delete what is too old, and folders left empty; how many files went."""
        limit, gone = (time.time() if now is None else now) - self.seconds, 0
        for path in sorted(self._clips.rglob("*"), key=lambda one: len(one.parts), reverse=True):
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
        for name, value in self._before.items():
            if os.environ.get(name) == str(self.folder / GRADIO[name]):
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value

    def _watch(self) -> None:
        while not self._closed.wait(min(300.0, max(1.0, self.seconds / 4))):
            self.sweep()
