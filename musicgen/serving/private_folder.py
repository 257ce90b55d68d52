"""A folder for the clips of one program: only its owner can read it, and it is deleted at the program's end.

The system's temporary folder is shared by all users of a machine.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from musicgen.errors import InputError

_PREFIX = "musicgen-clips-"
LOCK = ".lock"
"""The file that the program holds locked, in its private folder, as long as it runs."""


def create(parent: Path | None = None) -> tempfile.TemporaryDirectory[str]:
    """Create a folder that only its owner can read. It is deleted by `cleanup`, at the latest when the program exits.

    Folders of programs that were killed, and could not delete them, are deleted first.

    Args:
        parent: where to create the folder; the system's temporary folder if None.

    Raises:
        InputError: where no folder can be created.
    """
    _delete_abandoned(Path(tempfile.gettempdir()) if parent is None else parent)
    try:
        folder = tempfile.TemporaryDirectory(prefix=_PREFIX, dir=parent, ignore_cleanup_errors=True)
    except OSError as error:
        raise InputError(
            f"no folder can be created in {parent or tempfile.gettempdir()} ({error.strerror}): set another folder with "
            "--temporary"
        ) from error
    Path(folder.name).chmod(0o700)
    lock(Path(folder.name) / LOCK)
    return folder


def lock(file: Path) -> int | None:
    """Lock a file, which is created if necessary, for as long as this process runs.

    Returns:
        The lock's file descriptor, None where another process holds the lock or the system has no locks.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _delete_abandoned(parent: Path) -> None:
    """Delete this user's private folders whose lock nobody holds. One without a lock may just be being created."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid() or not (folder / LOCK).is_file():
                continue
            descriptor = lock(folder / LOCK)
            if descriptor is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(descriptor)
