"""Suggestions ("did you mean …?") for unknown names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def closest(name: object, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The most similar known name, None if no name is similar.

    Args:
        name: What the user wrote.
        known: The names that exist.
        cutoff: The least similarity, 0 to 1.
    """
    return next(iter(difflib.get_close_matches(str(name), list(known), 1, cutoff)), None)


def first_few(names: Iterable[str], most: int = 8) -> str:
    """Names as a list that stays a line: "a, b, c and 13 more"."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """The most similar known name as a question, or all known names.

    Args:
        name: What the user wrote.
        known: The names that exist.

    Returns:
        "did you mean chroma?", or "one of chroma, clap, …" if no name is similar.
    """
    names = list(known)
    close = closest(name, names)
    return f"did you mean {close}?" if close is not None else f"one of {', '.join(names)}"
