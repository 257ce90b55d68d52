"""Scores reported in papers, for comparison with measured ones in tables; they are always marked as such.

Source: Copet et al. 2023, "Simple and Controllable Music Generation", table 1 (MusicCaps; FAD with Google's VGGish, KL
with PaSST, CLAP); and the model card of the released checkpoints, whose training data differ from the paper's: compare
released weights with the card.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class PaperRow:
    """One system's reported scores.

    Attributes:
        system: its name in the source.
        source: where the numbers are.
        values: metric of this package → the reported number.
    """

    system: str
    source: str
    values: Mapping[str, float]


def _row(system: str, source: str, fad: float | None, kl: float | None, clap: float | None) -> PaperRow:
    values = {"fad_vggish_tf": fad, "kl": kl, "clap": clap}
    return PaperRow(system, source, {name: value for name, value in values.items() if value is not None})


_PAPER, _CARD = "Copet et al. 2023, table 1", "model card of the released weights"

ROWS: Mapping[str, tuple[PaperRow, ...]] = {
    "musiccaps": (
        _row("Riffusion", _PAPER, 14.8, 2.06, 0.19),
        _row("Mousai", _PAPER, 7.5, 1.59, 0.23),
        _row("MusicLM", _PAPER, 4.0, None, None),
        _row("Noise2Music", _PAPER, 2.1, None, None),
        _row("MusicGen 300M, no melody", _PAPER, 3.1, 1.28, 0.31),
        _row("MusicGen 1.5B, no melody", _PAPER, 3.4, 1.23, 0.32),
        _row("MusicGen 3.3B, no melody", _PAPER, 3.8, 1.22, 0.31),
        _row("MusicGen 1.5B, random melody", _PAPER, 5.0, 1.31, 0.28),
        _row("musicgen-small", _CARD, 4.88, 1.42, 0.27),
        _row("musicgen-medium", _CARD, 5.14, 1.38, 0.28),
        _row("musicgen-large", _CARD, 5.48, 1.37, 0.28),
        PaperRow("musicgen-melody", _CARD, {"fad_vggish_tf": 4.93, "kl": 1.41, "clap": 0.27, "chroma": 0.44}),
    ),
}
"""Suite → rows, only of the same data and metrics; the paper's in-domain set is not public."""


def paper_rows(suite: str) -> tuple[PaperRow, ...]:
    """The rows of a suite, by its label such as `musiccaps v1`."""
    return ROWS.get(suite.split(" v")[0], ())
