"""Rate-limited logging of failures that clients can cause at will: the first failure of a kind is logged with its traceback,
further ones with one line each, and only a few per minute."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable

from musicgen.errors import one_line
from musicgen.text_format import counted

MAX_LOGGED = 100
"""Kinds of failures that are logged with a traceback."""
MAX_LINES = 20
"""Lines of a minute; those beyond are counted."""
MINUTE = 60.0
MAX_TEXT = 200
"""Characters of what was asked for, and of the error's text."""


class FailureLog:
    """Logs with a traceback only the first failure of a kind, and MAX_LINES of the others a minute, so that strangers do not
    fill the log.

    Args:
        log: where it goes.
        clock: in seconds.
    """

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._clock = log, clock
        self._known: set[tuple[str, str, int]] = set()
        self._minute, self._lines, self._left_out = clock(), 0, 0

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
        elif not self._has_room():
            self._left_out += 1
            return
        text = one_line(f"{where[:MAX_TEXT]}: {type(error).__name__}: {str(error)[:MAX_TEXT]}")
        self._log.error("%s: %s", what, text, exc_info=error if first else None)

    def _has_room(self) -> bool:
        """Whether this minute has a line left; a new minute begins with the number of those that the last had no line for."""
        if self._clock() - self._minute >= MINUTE:
            if self._left_out:
                self._log.error(
                    "%s not logged", counted(self._left_out, "further failure was", "further failures were")
                )
            self._minute, self._lines, self._left_out = self._clock(), 0, 0
        self._lines += 1
        return self._lines <= MAX_LINES
