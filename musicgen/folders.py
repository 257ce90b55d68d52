"""Names that users give, as folders."""

from __future__ import annotations

import os
from pathlib import Path


def is_folder(name: str | os.PathLike[str]) -> bool:
    """Whether a folder of this name is there. A name that no file can have (too long, say) is none, on every Python."""
    try:
        return Path(name).is_dir()
    except (OSError, ValueError):
        return False
