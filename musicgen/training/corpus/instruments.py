"""The instruments: General MIDI programs, their ranges, and their names in captions.

`low` and `high` bound the melody when the instrument leads, in MIDI pitches. In this range its fundamental is strong, so that
the chroma of the mix follows the melody. For the same reason, `cutoff` low-pass filters lead instruments whose third harmonic
is stronger than the fundamental.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Instrument:
    """program: General MIDI, from 0; names: for captions, the usual one first; low, high: MIDI pitches of a melody;
    cutoff: Hz of a low-pass when it leads, or None; drums: the program is a drum kit's."""

    program: int
    names: tuple[str, ...]
    low: int = 62
    high: int = 82
    cutoff: float | None = None
    drums: bool = False


INSTRUMENTS: dict[str, Instrument] = {
    "piano": Instrument(0, ("piano", "grand piano", "acoustic piano"), 64, 86),
    "electric piano": Instrument(4, ("electric piano", "Rhodes", "e-piano"), 62, 82),
    "harpsichord": Instrument(6, ("harpsichord",), 60, 84),
    "clavinet": Instrument(7, ("clavinet", "clav")),
    "celesta": Instrument(8, ("celesta",), 67, 91),
    "music box": Instrument(10, ("music box",), 67, 91),
    "vibraphone": Instrument(11, ("vibraphone", "vibes"), 62, 82),
    "marimba": Instrument(12, ("marimba",), 60, 82),
    "organ": Instrument(18, ("organ", "Hammond organ", "electric organ"), 62, 79, 2500.0),
    "accordion": Instrument(21, ("accordion",), 62, 82, 1500.0),
    "harmonica": Instrument(22, ("harmonica", "blues harp", "mouth organ"), 60, 76, 800.0),
    "bandoneon": Instrument(23, ("bandoneon", "tango accordion"), 62, 82, 1000.0),
    "nylon guitar": Instrument(24, ("nylon-string guitar", "classical guitar", "nylon guitar"), 62, 81, 1000.0),
    "acoustic guitar": Instrument(25, ("acoustic guitar", "steel-string guitar"), 60, 79),
    "jazz guitar": Instrument(26, ("jazz guitar", "hollow-body guitar"), 62, 79, 1500.0),
    "clean guitar": Instrument(27, ("clean electric guitar", "electric guitar"), 62, 79, 900.0),
    "muted guitar": Instrument(28, ("palm-muted guitar", "muted electric guitar"), 52, 70),
    "overdriven guitar": Instrument(
        29, ("overdriven guitar", "crunchy electric guitar", "overdriven electric guitar"), 62, 79, 900.0
    ),
    "distorted guitar": Instrument(
        30, ("distorted guitar", "distortion guitar", "heavy electric guitar"), 64, 81, 900.0
    ),
    "double bass": Instrument(32, ("double bass", "upright bass", "acoustic bass")),
    "electric bass": Instrument(33, ("electric bass", "bass guitar")),
    "picked bass": Instrument(34, ("picked bass", "bass guitar")),
    "slap bass": Instrument(36, ("slap bass",)),
    "synth bass": Instrument(38, ("synth bass", "bass synth")),
    "violin": Instrument(40, ("violin", "solo violin"), 64, 86),
    "viola": Instrument(41, ("viola",), 57, 76),
    "cello": Instrument(42, ("cello", "solo cello"), 53, 72),
    "pizzicato strings": Instrument(45, ("pizzicato strings", "plucked strings")),
    "harp": Instrument(46, ("harp",), 60, 84),
    "timpani": Instrument(47, ("timpani", "kettledrums")),
    "strings": Instrument(48, ("strings", "string section", "string ensemble"), 60, 84),
    "choir": Instrument(52, ("choir", "choir pad", "voices")),
    "trumpet": Instrument(56, ("trumpet",), 64, 82, 1800.0),
    "trombone": Instrument(57, ("trombone",), 55, 72, 1500.0),
    "tuba": Instrument(58, ("tuba",)),
    "french horn": Instrument(60, ("French horn", "horn"), 57, 74),
    "brass section": Instrument(61, ("brass section", "horn section", "brass"), 62, 79, 1200.0),
    "soprano saxophone": Instrument(64, ("soprano sax", "soprano saxophone"), 64, 82),
    "tenor saxophone": Instrument(66, ("tenor sax", "saxophone", "tenor saxophone"), 57, 76, 900.0),
    "oboe": Instrument(68, ("oboe",), 64, 84, 1000.0),
    "clarinet": Instrument(71, ("clarinet",), 62, 82, 800.0),
    "piccolo": Instrument(72, ("piccolo", "fife"), 74, 93),
    "flute": Instrument(73, ("flute",), 67, 88),
    "recorder": Instrument(74, ("recorder", "wooden recorder"), 67, 88),
    "pan flute": Instrument(75, ("pan flute", "panpipes"), 64, 84),
    "tin whistle": Instrument(78, ("tin whistle", "penny whistle", "whistle"), 69, 90),
    "square lead": Instrument(80, ("square-wave lead", "8-bit square lead", "pulse-wave synth"), 64, 88),
    "synth lead": Instrument(81, ("synth lead", "saw lead", "synthesizer lead"), 62, 84),
    "synth pad": Instrument(89, ("synth pad", "pad", "pad synth")),
    "polysynth": Instrument(90, ("polysynth", "synth chords", "analog synth")),
    "banjo": Instrument(105, ("banjo",), 62, 80, 900.0),
    "fiddle": Instrument(110, ("fiddle",), 64, 86),
    "steel drums": Instrument(114, ("steel drums", "steel pans", "steelpan"), 62, 84, 1200.0),
    "drums": Instrument(0, ("drums", "drum kit", "acoustic drums"), drums=True),
    "rock drums": Instrument(16, ("drums", "drum kit", "rock drums"), drums=True),
    "electronic drums": Instrument(24, ("electronic drums", "programmed drums", "drums"), drums=True),
    "drum machine": Instrument(25, ("drum machine", "808 drums"), drums=True),
    "jazz drums": Instrument(32, ("jazz drums", "drums", "drum kit"), drums=True),
    "brushed drums": Instrument(40, ("brushed drums", "brushes"), drums=True),
    "latin percussion": Instrument(0, ("latin percussion", "congas and timbales", "hand percussion"), drums=True),
    "orchestral percussion": Instrument(48, ("orchestral percussion", "percussion"), drums=True),
    "marching drums": Instrument(48, ("marching drums", "snare drums", "field drums"), drums=True),
}
"""Name -> instrument. The names are the sidecar's."""
