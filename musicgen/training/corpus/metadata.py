"""The JSON beside a clip: audiocraft's fields, then the ground truth of the composition.

Times are seconds from the start of the audio, pitches MIDI numbers, pitch classes semitones above C.
"""

from __future__ import annotations

from musicgen.training.corpus.caption import descriptions
from musicgen.training.corpus.composition import Composition
from musicgen.training.corpus.instruments import INSTRUMENTS

VERSION = 1
"""Version of the composer: with it, a seed defines a composition."""
ARTIST = "musicgen corpus"


def metadata_of(
    composition: Composition, *, name: str, sample_rate: int, soundfont: str, captions: int = 4
) -> dict[str, object]:
    """name: of the audio file, without its extension; sample_rate: Hz; soundfont: its file name; captions: how many."""
    texts = descriptions(composition, captions)
    names = [INSTRUMENTS[instrument].names[0] for instrument in composition.instruments]
    return {
        "name": name,
        "title": composition.title,
        "artist": ARTIST,
        "description": texts[0],
        "genre": composition.genre,
        "moods": list(composition.moods),
        "keywords": [composition.genre, *composition.moods, *names],
        "instrument": ", ".join(dict.fromkeys(names)),
        "key": composition.key.name,
        "bpm": round(60 / (composition.beats[1] - composition.beats[0])),
        "duration": composition.duration,
        "sample_rate": sample_rate,
        "descriptions": list(texts),
        "mode": composition.key.mode,
        "tonic": composition.key.tonic,
        "time_signature": composition.metre,
        "lead_instrument": composition.lead.instrument,
        "instruments": list(composition.instruments),
        "parts": [
            {
                "role": part.role,
                "instrument": part.instrument,
                "program": INSTRUMENTS[part.instrument].program,
                "notes": len(part.notes),
            }
            for part in composition.parts
        ],
        "form": composition.form,
        "sections": [{"name": s.name, "onset": s.onset, "offset": s.offset} for s in composition.sections],
        "chords": [
            {
                "symbol": span.chord.symbol(composition.key),
                "root": span.chord.root,
                "pitch_classes": list(span.chord.pitch_classes),
                "onset": span.onset,
                "offset": span.offset,
            }
            for span in composition.chords
        ],
        "melody": [
            {"pitch": n.pitch, "onset": n.onset, "offset": n.offset, "velocity": n.velocity}
            for n in composition.lead.notes
        ],
        "beats": list(composition.beats),
        "downbeats": list(composition.downbeats),
        "seed": composition.seed,
        "sequenced": composition.sequenced,
        "soundfont": soundfont,
        "version": VERSION,
    }
