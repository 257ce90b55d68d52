"""Where Numba keeps compiled code when it may not write into the home folder."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import sys
import tempfile
from pathlib import Path


@functools.cache
def provide() -> None:
    """Before Numba's first function with `cache=True`, ours or librosa's.

    Numba refuses such a function where neither the folder of its file nor the user's cache can be written, as in a container
    that runs under a user without a home. This process then gets a folder of its own until it ends: what is kept is pickled,
    so no folder that others may write.
    """
    if os.environ.get("NUMBA_CACHE_DIR") or _may_be_written(user_cache()):
        return
    folder = tempfile.mkdtemp(prefix="musicgen-compiled-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["NUMBA_CACHE_DIR"] = folder
    if "numba" in sys.modules:
        # It has read the environment.
        sys.modules["numba"].config.CACHE_DIR = folder


def user_cache() -> Path:
    """$XDG_CACHE_HOME, else `.cache` in the home folder; what cannot be a folder where there is no home."""
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base)
    try:
        return Path.home() / ".cache"
    except RuntimeError:
        # Neither HOME nor the list of users names one.
        return Path(os.devnull)


def _may_be_written(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
