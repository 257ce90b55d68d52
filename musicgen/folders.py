"""Names that users give, as folders and files."""

from __future__ import annotations

import os
from pathlib import Path


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
    """What a clip says of a folder: its own name, never the path to it."""
    return name_text(Path(path).resolve().name)


def is_file(name: str | os.PathLike[str]) -> bool:
    """Whether a file of this name is there; as `is_folder`."""
    try:
        return Path(name).is_file()
    except (OSError, ValueError):
        return False
