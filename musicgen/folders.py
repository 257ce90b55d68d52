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


def is_file(name: str | os.PathLike[str]) -> bool:
    """Whether a file of this name is there; as `is_folder`."""
    try:
        return Path(name).is_file()
    except (OSError, ValueError):
        return False
