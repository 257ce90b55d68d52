"""Drum parts: a groove bar after bar, a fill where a section ends, a crash where the next begins."""

from __future__ import annotations

from musicgen.training.corpus.composition import ScoreNote
from musicgen.training.corpus.form import ENDING, INTRO, Bar
from musicgen.training.corpus.genre import Groove
from musicgen.training.corpus.step_patterns import hits

DRUMS = {
    "kick": 36, "snare": 38, "rim": 37, "clap": 39, "hat": 42, "open": 46, "pedal": 44, "ride": 51, "crashride": 51,
    "crash": 49, "tomlow": 45, "tommid": 47, "tomhigh": 50, "tambourine": 54, "cowbell": 56, "shaker": 70, "cabasa": 69,
    "conga_mute": 62, "conga": 63, "conga_low": 64, "timbale": 65, "claves": 75,
}  # fmt: skip
"""Name -> General MIDI percussion key."""

FILLS: dict[str, tuple[tuple[str, str], ...]] = {
    "toms": (("snare", "xxx....."), ("tomhigh", "...xx..."), ("tommid", ".....x.."), ("tomlow", "......xX")),
    "snare": (("snare", "x.xxxoxX"), ("kick", "x...x...")),
    "claps": (("clap", "x.x.xxxx"),),
    "swing": (("snare", "x.xX.x"), ("kick", "x..x..")),
    "timbales": (("timbale", "x.xxxxxX"),),
    "roll": (("snare", "xxxxxxxX"), ("kick", "x...x...")),
}
"""Name -> lanes of the second half of a bar."""

_VELOCITIES = {"X": 112, "x": 90, "o": 54}
_HIT_BEATS = 0.4


def drums(bars: list[Bar], beats: int, groove: Groove) -> list[ScoreNote]:
    """The drum part in beats."""
    events: list[ScoreNote] = []
    for index, bar in enumerate(bars):
        start = float(index * beats)
        if bar.section == ENDING:
            events += [_stroke(start, "crash", "X"), _stroke(start, "kick", "X")]
            continue
        if index > 0 and bar.number == 0 and groove.fill is not None:
            events.append(_stroke(start, "crash", "x"))
        fills = bar.closes_section and groove.fill is not None and bar.section != INTRO
        half = beats / 2
        for drum, pattern in groove.lanes:
            for hit in hits(pattern, index, beats):
                if not (fills and hit.start >= half and drum in ("snare", "kick", "clap", "timbale")):
                    events.append(_stroke(start + hit.start, drum, hit.symbol))
        if fills and groove.fill is not None:
            for drum, pattern in FILLS[groove.fill]:
                step = half / len(pattern)
                events += [_stroke(start + half + i * step, drum, s) for i, s in enumerate(pattern) if s != "."]
    return events


def _stroke(start: float, drum: str, symbol: str) -> ScoreNote:
    return ScoreNote(start, _HIT_BEATS, DRUMS[drum], _VELOCITIES[symbol])
