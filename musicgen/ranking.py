"""Rankings of several takes of one request, best first.

    melody   the share of chroma frames whose strongest pitch class is one of the melody's (paper section 4.2)
    clap     the CLAP score of audio and description; registered by the evaluation (`evaluation/rankers.py`)
    none     the order of the seeds

Other modules can add rankings with `register_ranker`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from musicgen import chroma, extras, optional_packages
from musicgen.audio import Audio
from musicgen.errors import InputError
from musicgen.registry import Registry
from musicgen.request import GenerationRequest
from musicgen.suggestions import did_you_mean

if TYPE_CHECKING:
    from musicgen.model import MusicGen

NONE = "none"
"""The ranking that orders takes by seed."""
PROVIDED = {"clap": ("evaluation.rankers", "evaluation")}
"""Ranking -> the module beside this package that registers it, and the extra with the packages that it needs."""


class Ranker(Protocol):
    """Scores takes of one request."""

    def check(self, request: GenerationRequest) -> None:
        """Refuse a request that cannot be ranked, before anything is generated.

        Raises:
            InputError: it has no description, no melody …
        """
        ...

    def label(self, model: MusicGen) -> str:
        """The name of the score, such as "CLAP (mini)"."""
        ...

    def score(self, clip: Audio, request: GenerationRequest, model: MusicGen) -> float:
        """The score of a take; higher is better.

        Args:
            clip: The take.
            request: A request for one clip; its conditions are already prepared (`Conditioner.prepare`).
            model: The model that generated it.
        """
        ...


RANKERS: Registry[Callable[[], Ranker]] = Registry("ranking")
"""Name -> what makes the ranker."""


def register_ranker(name: str, make: Callable[[], Ranker]) -> None:
    """Register a ranking for `rank` and `--rank`.

    Args:
        name: Its name.
        make: Makes the ranker; its networks may be loaded lazily, at the first score.

    Raises:
        InputError: Another ranking has that name.
    """
    RANKERS.add(name, make)


def ranker(name: str) -> Ranker | None:
    """The ranker of a name, None for `NONE`.

    Raises:
        InputError: There is no such ranking, or its packages are not installed.
    """
    if check(name) == NONE:
        return None
    if name in PROVIDED and name not in RANKERS:
        module, extra = PROVIDED[name]
        with extras.needed(extra, f"the ranking {name!r}"):
            optional_packages.load(module)
    return RANKERS[name]()


def check(name: str) -> str:
    """`name`, if it is that of a ranking."""
    names = dict.fromkeys((*PROVIDED, *RANKERS, NONE))
    if name not in names:
        raise InputError(f"unknown ranking {name!r}: {did_you_mean(name, names)}")
    return name


class MelodyRanker:
    """The share of a take's chroma frames whose strongest pitch class is one of the melody's: chroma cosine similarity (paper
    section 4.2), and for chords the share of frames that play one of their notes."""

    def check(self, request: GenerationRequest) -> None:
        value: Any = request.conditions.get("melody")
        if value is None or (isinstance(value, list) and not any(one is not None for one in value)):
            raise InputError(
                "the ranking 'melody' compares with a melody or chords, and there is none: rank by clap or none"
            )

    def label(self, model: MusicGen) -> str:  # noqa: ARG002
        return "chroma similarity"

    def score(self, clip: Audio, request: GenerationRequest, model: MusicGen) -> float:
        value = request.values("melody")
        melody = model.melody.prepare(value[0] if isinstance(value, list) else value, separate=request.separate)
        wave = clip.mono().resampled(chroma.SAMPLE_RATE).wave[0]
        frames = -(-len(wave) // chroma.HOP)
        strongest = chroma.chroma(wave)[:frames].argmax(dim=-1)
        expected = melody.chroma(len(strongest))
        return float((expected.gather(1, strongest[:, None]) > 0).float().mean())


register_ranker("melody", MelodyRanker)
