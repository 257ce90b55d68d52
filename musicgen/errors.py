"""The errors that the package raises on purpose.

Each message is one line that gives the value, the limit and the likely cause. The command line prints it and exits with code 2;
the demo shows it in the page. Where the remedy differs between the library, the command line and the page, the error has one
for each: a visitor of the page has no arguments, and a shell has no check boxes.
"""

from __future__ import annotations

import re

_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Characters that end a line or control a terminal."""


def one_line(text: str) -> str:
    """`text` with line breaks and control characters as escapes: names of files and columns, which messages quote, may hold
    any."""
    return _BREAKS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class MusicGenError(Exception):
    """Anything the package refuses to do.

    Args:
        message: what is wrong.
        python, shell, page: what to do about it, for the caller of a function, at the command line and at the demo's page; ""
            for a message that is the same for all.
    """

    def __init__(self, message: str = "", *, python: str = "", shell: str = "", page: str = "") -> None:
        super().__init__(one_line(f"{message}{python}"))
        self._others = {"shell": one_line(f"{message}{shell}"), "page": one_line(f"{message}{page}")} if python else {}

    def told(self, place: str) -> str:
        """The message for one place.

        Args:
            place: "shell" or "page".
        """
        return self._others.get(place, str(self))

    def has_message_for(self, place: str) -> bool:
        """Whether the message for one place was written for it: "shell" or "page"."""
        return place in self._others


class InputError(MusicGenError, ValueError):
    """A value that the caller passed: a prompt, a duration, a melody, an option."""


class CheckpointError(MusicGenError):
    """Weights that are unknown, missing, damaged, unsafe to read, or of another shape than their configuration."""
