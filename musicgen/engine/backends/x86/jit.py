"""Numba compilation options of the kernels: without the GIL, IEEE division by zero, and with an on-disk cache.

Numba's cache checks whether the file of a function has changed, but not the files of the functions that it calls. So
the cache folder is named by a hash of all files of this package.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba

from musicgen import numba_cache

_FASTMATH = {"reassoc", "nsz", "contract"}

numba_cache.provide()


def jit(*, parallel: bool = False, fastmath: bool = False) -> Callable[[Any], Any]:
    """A decorator that compiles a kernel on its first call.

    Args:
        parallel: Run loops over `numba.prange` on several threads.
        fastmath: Allow sums to be reordered, so that LLVM can vectorise them.
    """

    def decorate(function: Any) -> Any:
        with _disk_cache():
            options = {"parallel": parallel, "fastmath": _FASTMATH if fastmath else False}
            return numba.njit(cache=True, nogil=True, error_model="numpy", **options)(function)

    return decorate


def inline_jit() -> Callable[[Any], Any]:
    """A decorator for device functions that are always inlined into their callers."""
    return numba.njit(nogil=True, inline="always", fastmath=False, error_model="numpy")


@contextmanager
def _disk_cache() -> Iterator[None]:
    """Functions decorated within are cached in our folder, unless the user has set NUMBA_CACHE_DIR."""
    if numba.config.CACHE_DIR:
        yield
        return
    numba.config.CACHE_DIR = str(_cache_folder())
    try:
        yield
    finally:
        numba.config.CACHE_DIR = ""


@functools.cache
def _cache_folder() -> Path:
    contents = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        contents.update(file.read_bytes())
    return numba_cache.user_cache() / "musicgen" / f"compiled-{contents.hexdigest()[:16]}"
