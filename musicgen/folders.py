"""User-supplied names of folders and files, and whether they are writable."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from musicgen.errors import InputError


def is_folder(name: str | os.PathLike[str]) -> bool:
    """Whether a folder of this name is there. A name that no file can have (too long, say) is none, on every Python."""
    try:
        return Path(name).is_dir()
    except (OSError, ValueError):
        return False


def name_text(name: str) -> str:
    """A file's name as text: bytes that are no UTF-8 become replacement characters."""
    return os.fsencode(name).decode(errors="replace")


def folder_name(path: str | os.PathLike[str]) -> str:
    """The name of a folder for a clip's settings: its last component, never the path."""
    return name_text(Path(path).resolve().name)


def is_file(name: str | os.PathLike[str]) -> bool:
    """Whether a file of this name is there; as `is_folder`."""
    try:
        return Path(name).is_file()
    except (OSError, ValueError):
        return False


def check_writable_file(path: Path) -> None:
    """Refuse a file that cannot be written, before the work that it is for. Nothing is made: what fails later must leave
    nothing behind.

    Args:
        path: the file to come, whose folders need not be there.

    Raises:
        InputError: a folder has its name, a file stands in the place of a folder, or the place is not writable.
    """
    if is_folder(path):
        raise InputError(f"cannot write {path}: a folder of this name is there")
    _check_writable(path, path)


def check_writable_folder(path: Path) -> None:
    """Refuse a folder in which nothing can be written; as `check_writable_file`. The folder need not be there."""
    _check_writable(path / "file", path)


def _check_writable(file: Path, named: Path) -> None:
    try:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            file.lstat()  # a name that no file can have
        nearest = next(one for one in file.absolute().parents if one.exists())
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise InputError(f"cannot write {named}: {error.strerror or error}") from error
