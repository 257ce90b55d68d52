"""The service's private folder of clips: unguessable paths, conversion between formats, and expiry.

The folder holds all temporary files, Gradio's uploads and cached files included. The system's temporary folder is shared by all
users of a machine, and Gradio's default folder inside it belongs to the user who created it first.
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
GRADIO_FOLDERS = {"GRADIO_TEMP_DIR": "gradio", "GRADIO_EXAMPLES_CACHE": "examples"}
"""Gradio's environment variables, and the subfolder of the private folder that each is set to."""
_OWNER_ONLY = ((0x01, 7), (0x04, 0), (0x20, 0))
"""POSIX access control list: the tags of owner, group and others, and their permissions."""
_UNDEFINED_ID = 0xFFFFFFFF
"""The id of an entry that names no user or group (ACL_UNDEFINED_ID)."""


def private_folder(parent: Path | None = None) -> tempfile.TemporaryDirectory[str]:
    """Create a folder that only its owner can read. It is deleted by `cleanup`, at the latest when the program exits.

    Args:
        parent: where to create the folder; the system's temporary folder if None.

    Raises:
        InputError: where no folder can be created.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="musicgen-demo-", dir=parent, ignore_cleanup_errors=True)
    except OSError as error:
        raise InputError(
            f"no folder can be created in {parent or tempfile.gettempdir()} ({error.strerror}): set another folder with "
            "--temporary"
        ) from error
    Path(folder.name).chmod(0o700)
    return folder


def set_private_acl(folder: Path) -> None:
    """Give a folder a default access control list, where the file system supports it.

    New files in the folder then have mode 0600 and new folders 0700, whichever process creates them and whatever its umask is.
    """
    entries = b"".join(struct.pack("<HHI", tag, permissions, _UNDEFINED_ID) for tag, permissions in _OWNER_ONLY)
    if hasattr(os, "setxattr"):
        with contextlib.suppress(OSError):
            os.setxattr(folder, "system.posix_acl_default", struct.pack("<I", 2) + entries)


class ClipStore:
    """The clips in a private folder. A background thread deletes expired ones.

    Until `close`, Gradio's temporary files are in the folder too: its environment variables are set.

    Args:
        folder: the private folder, which is created if necessary.
        hours: the time after which a clip expires.
    """

    def __init__(self, folder: Path, hours: float) -> None:
        self.folder, self.seconds = folder, hours * 3600
        folder.mkdir(parents=True, exist_ok=True)
        set_private_acl(folder)
        self._clips = folder / "clips"
        # Gradio reads the variables at its import and again with each use; `close` restores them.
        self._previous_environment = {name: os.environ.get(name) for name in GRADIO_FOLDERS}
        os.environ.update({name: str(folder / subfolder) for name, subfolder in GRADIO_FOLDERS.items()})
        self._closed = threading.Event()
        threading.Thread(target=self._delete_expired_periodically, daemon=True, name="clip-expiry").start()

    def new_path(self, name: str) -> Path:
        """A new path that cannot be guessed: its folder's name has 128 random bits.

        Args:
            name: of the file, under which visitors download it.
        """
        folder = self._clips / secrets.token_hex(16)
        folder.mkdir(parents=True)
        return folder / name

    def write(self, path: Path, clip: Audio, comment: str) -> None:
        """Write a clip to a file that only its owner can read.

        Args:
            path: the file; its suffix selects the format.
            clip: the audio.
            comment: the text of the file's comment tag.
        """
        from musicgen import audio

        audio.write(path, clip, comment)
        path.chmod(0o600)

    def convert(self, clip: Path, extension: str) -> Path:
        """Convert a clip, its comment included, to another format.

        Args:
            clip: the clip's file.
            extension: one of FORMATS.

        Returns:
            The converted file, beside the clip. An existing one is reused.

        Raises:
            InputError: for an unknown format and an expired clip.
        """
        from musicgen import audio

        if extension not in FORMATS:
            raise InputError(f"unknown format {extension!r}: one of {', '.join(FORMATS)}")
        target = clip.with_suffix(f".{extension}")
        if not target.is_file():
            if not clip.is_file():
                raise InputError("the clip has expired on the server: make it again from its settings")
            self.write(target, audio.read(clip), audio.read_comment(clip))
        return target

    def delete_expired(self, now: float | None = None) -> int:
        """Delete expired files and empty folders.

        Args:
            now: seconds since the epoch; the current time if None.

        Returns:
            The number of deleted files.
        """
        oldest, deleted = (time.time() if now is None else now) - self.seconds, 0
        for path in sorted(self._clips.rglob("*"), key=lambda path: len(path.parts), reverse=True):
            try:
                if path.is_symlink() or path.is_file():
                    if path.lstat().st_mtime < oldest:
                        path.unlink()
                        deleted += 1
                elif path.stat().st_mtime < oldest:
                    path.rmdir()  # fails unless it is empty
            except OSError:
                pass
        return deleted

    def close(self) -> None:
        """End the background thread and restore Gradio's environment variables."""
        self._closed.set()
        for name, value in self._previous_environment.items():
            if os.environ.get(name) == str(self.folder / GRADIO_FOLDERS[name]):
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value

    def _delete_expired_periodically(self) -> None:
        while not self._closed.wait(min(300.0, max(1.0, self.seconds / 4))):
            self.delete_expired()
