"""Why the server refuses a request: an HTTP status, a code that the page can translate, and one line for a person."""

from __future__ import annotations

from musicgen.errors import MusicGenError


class RequestRefused(MusicGenError):
    """A request that is not carried out. extra: further fields of the answer, such as the receipt that exists already."""

    def __init__(self, status: int, code: str, message: str, **extra: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.extra = extra
