"""The return types of the readers of other programs' results."""

from __future__ import annotations

from dataclasses import dataclass

from .ratings import StudyData


@dataclass(frozen=True)
class ImportedRatings:
    """The contents of a file.

    Attributes:
        data: ratings and preferences.
        told_apart_by: what told raters apart, in words for the person who imports them.
        left_out: what the file has besides, a line each.
    """

    data: StudyData
    told_apart_by: str
    left_out: tuple[str, ...] = ()
