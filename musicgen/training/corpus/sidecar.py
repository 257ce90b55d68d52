"""A piece -> the JSON beside its audio: audiocraft's fields, then everything that the piece was written from.

Times are seconds from the start of the audio, pitches MIDI numbers, pitch classes semitones above C.
"""

from __future__ import annotations

from musicgen.training.corpus.caption import descriptions
from musicgen.training.corpus.instruments import INSTRUMENTS
from musicgen.training.corpus.piece import Piece

VERSION = 1
"""Of the composer: the same version and seed give the same piece."""
ARTIST = "musicgen corpus"


def sidecar(piece: Piece, *, name: str, sample_rate: int, soundfont: str, captions: int = 4) -> dict[str, object]:
    """name: of the audio file, without its extension; sample_rate: Hz; soundfont: its file name; captions: how many."""
    texts = descriptions(piece, captions)
    names = [INSTRUMENTS[instrument].names[0] for instrument in piece.instruments]
    return {
        "name": name,
        "title": piece.title,
        "artist": ARTIST,
        "description": texts[0],
        "genre": piece.genre,
        "moods": list(piece.moods),
        "keywords": [piece.genre, *piece.moods, *names],
        "instrument": ", ".join(dict.fromkeys(names)),
        "key": piece.key.name,
        "bpm": round(60 / (piece.beats[1] - piece.beats[0])),
        "duration": piece.duration,
        "sample_rate": sample_rate,
        "descriptions": list(texts),
        "mode": piece.key.mode,
        "tonic": piece.key.tonic,
        "time_signature": piece.metre,
        "lead_instrument": piece.lead.instrument,
        "instruments": list(piece.instruments),
        "parts": [
            {
                "role": part.role,
                "instrument": part.instrument,
                "program": INSTRUMENTS[part.instrument].program,
                "notes": len(part.notes),
            }
            for part in piece.parts
        ],
        "form": piece.form,
        "sections": [{"name": s.name, "onset": s.onset, "offset": s.offset} for s in piece.sections],
        "chords": [
            {
                "symbol": span.chord.symbol(piece.key),
                "root": span.chord.root,
                "pitch_classes": list(span.chord.pitch_classes),
                "onset": span.onset,
                "offset": span.offset,
            }
            for span in piece.chords
        ],
        "melody": [
            {"pitch": n.pitch, "onset": n.onset, "offset": n.offset, "velocity": n.velocity} for n in piece.lead.notes
        ],
        "beats": list(piece.beats),
        "downbeats": list(piece.downbeats),
        "seed": piece.seed,
        "sequenced": piece.sequenced,
        "soundfont": soundfont,
        "version": VERSION,
    }
