"""The synthetic corpus: algorithmically composed, captioned music with exact ground truth, without recordings.

    composition = compose(seed=7, duration=30)        # notes, chords, form
    wave = render(composition)                        # float32 [2, T] at 32 kHz
    text = describe(composition, seed=0)              # a caption

composer (genre, key, tempo → form → melody, accompaniment, drums → timing) → renderer (stems) → mixing.
Only `render` needs a soundfont (Debian: fluid-soundfont-gm) and the tinysoundfont package.
"""

from musicgen.notes import Note
from musicgen.training.corpus.caption import describe, descriptions
from musicgen.training.corpus.composer import compose
from musicgen.training.corpus.composition import Composition, Part
from musicgen.training.corpus.genres import GENRES
from musicgen.training.corpus.instruments import INSTRUMENTS
from musicgen.training.corpus.renderer import SAMPLE_RATE, render, soundfont_path, stem

__all__ = [
    "GENRES",
    "INSTRUMENTS",
    "SAMPLE_RATE",
    "Composition",
    "Note",
    "Part",
    "compose",
    "describe",
    "descriptions",
    "render",
    "soundfont_path",
    "stem",
]
