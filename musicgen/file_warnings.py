"""Warnings about files that can be read, but not perfectly: Python warnings, or texts for a caller that collects them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_COLLECTED: ContextVar[list[str] | None] = ContextVar("collected", default=None)


def warn(text: str) -> None:
    """Say a line of a file: to the `collected` around this call, or as a warning of Python."""
    lines = _COLLECTED.get()
    if lines is None:
        warnings.warn(text, stacklevel=3)
    elif text not in lines:
        lines.append(text)


@contextmanager
def collected() -> Iterator[list[str]]:
    """Collect what is said in the `with` block, in this thread or task, in place of warnings."""
    lines: list[str] = []
    token = _COLLECTED.set(lines)
    try:
        yield lines
    finally:
        _COLLECTED.reset(token)
