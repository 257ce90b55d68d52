"""The error response of a route: an HTTP status, a code that the page translates, and a line for the log."""

from __future__ import annotations

from musicgen.errors import MusicGenError


class RequestRefused(MusicGenError):
    """A request that is not carried out.

    Attributes:
        status: HTTP status.
        code: key of the page's texts.
        extra: further fields of the answer, such as the receipt of an earlier submission.
    """

    def __init__(self, status: int, code: str, message: str, **extra: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.extra = extra
