"""The kinds of rating pages: what a page shows, and the type of its answer.

A kind is one entry here. Its answer is validated by `sessions/answers.py`, and its inputs are shown by a module of
`web/static/answers.js`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SLIDER_SCALE = (1, 100)
"""The rating scale of the paper (section 3.3), both ends included. BS.1534-3 has 0 to 100."""

BANDS = ("bad", "poor", "fair", "good", "excellent")
"""The five equal bands beside the sliders, from the bottom (BS.1534-3, figure 2), and the grades of ITU-T P.800's absolute
category rating (table B.1)."""

ANSWERS = ("slider", "label", "preference", "match")
"""What a page takes: a value of SLIDER_SCALE or a labelled grade for each clip, the better of two clips, or which of two clips
a third one is a copy of."""

CONFIDENCE = (1, 3)
"""How sure a rater is of a match: guessed, fairly sure, certain."""


@dataclass(frozen=True)
class Method:
    """A kind of rating pages.

    Attributes:
        name: in STUDY.yaml.
        answer: one of ANSWERS.
        compares: a page has two systems; all pairs of systems get pages.
        recordings: with a hidden reference, the pairs are the recording and each system.
        references: open and hidden reference and anchors are part of it unless a question says otherwise.
        single: a page may show a single clip.
    """

    name: str
    answer: str
    compares: bool = False
    recordings: bool = False
    references: bool = False
    single: bool = False

    @property
    def rates(self) -> bool:
        """Whether every clip of a page gets a value."""
        return self.answer in {"slider", "label"}


METHODS: Mapping[str, Method] = {
    method.name: method
    for method in (
        Method("mushra", "slider", references=True),
        Method("rating", "slider", single=True),
        Method("likert", "label", single=True),
        Method("ab", "preference", compares=True),
        Method("abx", "match", compares=True, recordings=True),
    )
}
