"""How Numba compiles what is here: without the interpreter's lock, with the processor's division by zero, kept on disk.

Numba looks whether the file of a function has changed, not those of the functions that it calls: what is kept lies in a
folder named by the contents of all files here.
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

_FAST = {"reassoc", "nsz", "contract"}

numba_cache.provide()


def compiled(*, parallel: bool = False, reorders: bool = False) -> Callable[[Any], Any]:
    """reorders: sums may be made in another order, as vectors do."""

    def decorate(function: Any) -> Any:
        with _kept_on_disk():
            options = {"parallel": parallel, "fastmath": _FAST if reorders else False}
            return numba.njit(cache=True, nogil=True, error_model="numpy", **options)(function)

    return decorate


def inlined(*, reorders: bool = False) -> Callable[[Any], Any]:
    """Part of what calls it."""
    fast = _FAST if reorders else False
    return numba.njit(nogil=True, inline="always", fastmath=fast, error_model="numpy")


@contextmanager
def _kept_on_disk() -> Iterator[None]:
    """For the functions decorated meanwhile."""
    if numba.config.CACHE_DIR:
        yield
        return
    numba.config.CACHE_DIR = str(_folder())
    try:
        yield
    finally:
        numba.config.CACHE_DIR = ""


@functools.cache
def _folder() -> Path:
    contents = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        contents.update(file.read_bytes())
    return numba_cache.user_cache() / "musicgen" / f"compiled-{contents.hexdigest()[:16]}"
