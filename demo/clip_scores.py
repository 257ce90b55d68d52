"""Scores of a clip: CLAP score and chroma similarity, where the evaluation package is installed.

The CLAP score is computed with the small CLAP model of the evaluation package. If its weights are already on this machine, it
is also computed with LAION's CLAP, which papers report; scoring a clip never downloads weights.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

from musicgen import optional_packages

if TYPE_CHECKING:
    from evaluation.rankers import ClapScores


@dataclass(frozen=True)
class Score:
    """A metric's name, its value, and how to read the value."""

    name: str
    value: float
    description: str


def is_available() -> bool:
    """Whether the packages that scoring needs are installed."""
    return optional_packages.available("evaluation") and all(
        importlib.util.find_spec(name) is not None for name in ("julius", "scipy")
    )


def ranking_score(scores: Sequence[Score], embedded: bool) -> Score | None:
    """The score that takes are ordered by.

    Args:
        scores: of a clip, from `ClipScorer`: those of CLAP first, the embedded one before LAION's.
        embedded: whether an embedded model made it, whose descriptions the embedded CLAP was trained on.

    Returns:
        None where there are none.
    """
    clap = [score for score in scores if score.name.startswith("CLAP")]
    if clap:
        return clap[0] if embedded else clap[-1]
    return scores[0] if scores else None


class ClipScorer:
    """Computes scores of clips. The networks stay loaded and process one clip at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def score(self, clip: Path, prompt: str, chroma_similarity: float | None) -> list[Score]:
        """The scores of one clip.

        Args:
            clip: the clip's file.
            prompt: the description for the CLAP score, which is left out if it is empty.
            chroma_similarity: share of the frames that have the melody's pitch class, 0 to 1; None without a melody.
        """
        scores: list[Score] = []
        if prompt:
            from musicgen import audio

            rankers, sound = optional_packages.load("evaluation.rankers"), audio.read(clip)
            with self._lock:
                readings = {rankers.MINI: "sound and description, −1 to 1"}
                if self._clap.has_laion:
                    readings[rankers.LAION] = "as papers report it, −1 to 1"
                for name, reading in readings.items():
                    scores.append(Score(rankers.LABELS[name], self._clap.score(name, sound, prompt), reading))
        if chroma_similarity is not None:
            scores.append(
                Score("Chroma similarity", chroma_similarity, "1: every pitch class of the melody; chance: 0.08")
            )
        return scores

    @cached_property
    def _clap(self) -> ClapScores:
        return cast("ClapScores", optional_packages.load("evaluation.rankers").ClapScores())
