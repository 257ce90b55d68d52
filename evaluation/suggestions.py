"""The hint behind an unknown name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """The most similar known name as a question, or all known names.

    Args:
        name: what the user wrote.
        known: the names that exist.

    Returns:
        "did you mean chroma?", or "one of chroma, clap, …" if no name is similar.
    """
    names = list(known)
    close = difflib.get_close_matches(str(name), names, 1)
    return f"did you mean {close[0]}?" if close else f"one of {', '.join(names)}"
