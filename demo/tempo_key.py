"""A text with the estimated tempo and key of a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from musicgen.audio import Audio


def tempo_and_key(recording: Audio, digits: int = 0) -> list[str]:
    """Tempo and key, as far as there are any: ["92 bpm", "A minor"].

    Args:
        recording: the sound.
        digits: of the tempo, behind the point.
    """
    from musicgen import rhythm, tonality

    beats, key = rhythm.measure(recording), tonality.measure(recording)
    return [*([f"{beats.bpm:.{digits}f} bpm"] if beats else []), *([key] if key else [])]
