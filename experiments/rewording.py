"""Captions of the suite's compositions in a wording that does not occur in the training captions (paper table A.2).

Sentences, tempo words and the order of the facts differ from those of `corpus/caption.py`.
"""

from __future__ import annotations

from evaluation.suites.items import Item
from musicgen.training.corpus import INSTRUMENTS, Composition, compose
from musicgen.training.corpus.genres import find_genre
from musicgen.training.quality import DURATION, HELD_OUT_SEED

_PACE = ((80, "leisurely"), (108, "walking"), (134, "lively"), (1000, "racing"))
"""Upper limit of the perceived bpm -> word."""
_SHAPES = (
    "Somebody performs on the {lead}, the style being {genre}; expect {pace} music that comes across as {mood}.",
    "{lead} out in front, {others} underneath. Think {genre}, rather {mood}, {pace}.",
    "For a film scene that wants {genre}: {mood} sounds, {pace} beats, the {lead} singing above everything else.",
    "Background music. Style: {genre}. Solo voice: {lead}. Also heard: {others}. Pulse: {pace}, {bpm} to the minute.",
)


def composed(item: Item) -> Composition:
    """The composition of an item of the suite: its id is the offset of the seed."""
    return compose(HELD_OUT_SEED + int(item.id), duration=DURATION)


def reworded(composition: Composition) -> str:
    """A caption of the composition, the same on every call."""
    genre = find_genre(composition.genre)
    others = [INSTRUMENTS[name].names[0] for name in composition.instruments if name != composition.lead.instrument]
    return _SHAPES[composition.seed % len(_SHAPES)].format(
        lead=INSTRUMENTS[composition.lead.instrument].names[0],
        genre=genre.words[0],
        mood=composition.moods[0],
        pace=next(word for limit, word in _PACE if composition.bpm * genre.feel < limit),
        others=" plus ".join(others[:2]) or "nothing else",
        bpm=composition.bpm,
    )
