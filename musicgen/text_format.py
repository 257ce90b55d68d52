"""Helpers for the wording of messages, such as lists and plurals."""

from __future__ import annotations

from collections.abc import Sequence


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun in the singular or plural, such as "1 rater" and "2 raters".

    Args:
        number: how many.
        noun: in the singular.
        plural: of the noun; None for the noun with an s.
    """
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def listed(names: Sequence[str]) -> str:
    """One name or more as words: "a, b and c"."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
