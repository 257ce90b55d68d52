"""The log of failures that strangers can cause as often as they like: each is a line, and the first of a kind a traceback."""

from __future__ import annotations

import logging
import traceback

from musicgen.errors import one_line

MAX_LOGGED = 100
"""Kinds of failures that are logged with a traceback."""
MAX_TEXT = 200
"""Characters of what was asked for, and of the error's text."""


class FailureLog:
    """Logs with a traceback only the first failure of a kind, so that strangers do not fill the log.

    Args:
        log: where it goes.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._known: set[tuple[str, str, int]] = set()

    def add(self, what: str, where: str, error: Exception) -> None:
        """Log a failure.

        Args:
            what: failed.
            where: the request's own words for it.
            error: its reason.
        """
        place = traceback.extract_tb(error.__traceback__)[-1]
        kind = (type(error).__name__, place.filename, place.lineno or 0)
        first = kind not in self._known and len(self._known) < MAX_LOGGED
        if first:
            self._known.add(kind)
        text = one_line(f"{where[:MAX_TEXT]}: {type(error).__name__}: {str(error)[:MAX_TEXT]}")
        self._log.error("%s: %s", what, text, exc_info=error if first else None)
