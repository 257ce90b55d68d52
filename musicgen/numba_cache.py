"""The folder of Numba's compiled code: also where the home folder is not writable, and when writing to disk fails."""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

_lock = threading.RLock()


def provide() -> None:
    """Before Numba's first function with `cache=True`, ours or librosa's.

    It imports Numba in one thread while others wait: Numba's modules import each other in a circle, and a second thread that
    imports them at the same time sees one of them half initialised.

    Numba refuses such a function where neither the folder of its file nor the user's cache can be written, as in a container
    that runs under a user without a home. This process then gets a folder of its own until it ends: what is kept is pickled,
    so no folder that others may write.

    A cache that is damaged or cannot be written costs a compilation and nothing else.
    """
    with _lock:
        _provide_once()


@functools.cache
def _provide_once() -> None:
    _forgive()
    if os.environ.get("NUMBA_CACHE_DIR") or _may_be_written(user_cache()):
        return
    folder = tempfile.mkdtemp(prefix="musicgen-compiled-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["NUMBA_CACHE_DIR"] = folder
    if "numba" in sys.modules:
        # It has read the environment.
        sys.modules["numba"].config.CACHE_DIR = folder


def _forgive() -> None:
    """Make Numba compile where its cache fails: it would raise what unpickling a cut file or writing to a full disk raises."""
    from numba.core import caching

    load, save = caching.Cache.load_overload, caching.Cache.save_overload

    def load_or_forget(cache: Any, signature: Any, context: Any) -> Any:
        try:
            return load(cache, signature, context)
        except Exception as error:  # unpickling damaged bytes may raise anything
            logger.debug("%s: damaged (%r), and written anew", cache.cache_path, error)
            with contextlib.suppress(OSError):
                cache.flush()
            return None

    def save_or_not(cache: Any, signature: Any, compiled: Any) -> None:
        try:
            save(cache, signature, compiled)
        except Exception as error:  # an index that could not be flushed raises what loading it did
            logger.debug("%s: compiled code is not kept (%r)", cache.cache_path, error)

    caching.Cache.load_overload, caching.Cache.save_overload = load_or_forget, save_or_not


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
