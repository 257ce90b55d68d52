"""Error responses of the API."""

from __future__ import annotations

from musicgen.errors import MusicGenError

RETRY_SECONDS = 5
"""When to try again after a refusal for lack of room."""


class Refused(MusicGenError):
    """A request that is not served.

    Args:
        status: of HTTP.
        code: for programs.
        message: for a person, in one line.
        retry: seconds after which to try again; None where that does not help.
    """

    def __init__(self, status: int, code: str, message: str, retry: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.retry = status, code, retry


def not_found(what: str, identifier: str) -> Refused:
    """The error for what does not exist, has expired, or belongs to another client; clients cannot tell which."""
    return Refused(404, "not_found", f"there is no {what} {identifier}: it has expired, or is not yours")
