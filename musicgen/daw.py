"""A clip as a ZIP for a DAW: stems by Demucs, its notes as MIDI, tempo, key, and the settings."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import torch

from musicgen import audio, provenance, rhythm, tonality, transcribers
from musicgen.audio import Audio
from musicgen.conditioners.separation import DemucsSeparator
from musicgen.settings import KEY, ClipComment
from musicgen.text_format import listed

EXTENSION = ".zip"
FACTS = "clip.json"
_WITHOUT = {
    "python": " pass stems=False",
    "shell": " pass --no-stems",
    "page": " ask the operator, who downloads it",
}
"""How a ZIP does without Demucs."""


def packed(files: dict[str, bytes], folder: str) -> bytes:
    """A ZIP of files, name -> contents, in a folder."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(f"{folder}/{name}", data)
    return buffer.getvalue()


def parts(
    clip: Audio,
    tags: dict[str, str],
    *,
    stems: bool = True,
    device: str = "cpu",
    transcriber: str = transcribers.DEFAULT,
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files of the ZIP.

    Args:
        clip: float32 [C, T].
        tags: of its file: what says where it is from goes into every file, and into the facts.
        stems: whether to separate it.
        device: of Demucs.
        transcriber: what hears the notes, of `transcribers.names()`.

    Returns:
        Name -> contents, and the facts that `clip.json` holds: bpm, first_beat (seconds), key, transcriber, notes (how many),
        notes_of (what they were heard in), tags, settings.

    Raises:
        InputError: There is no such transcriber, or it is not installed.
        CheckpointError: Demucs' weights are not on this machine and cannot be downloaded.
    """
    chosen = transcribers.find(transcriber)
    origin = provenance.of_tags(tags)
    stored = ClipComment.parse_whole(origin.get("comment", ""))
    files = {"mix.wav": audio.encode(clip, ".wav", origin)}
    heard, source = clip, "the mix"
    if stems:
        # A stem is no clip of its own settings: it says where it is from, and not how to make it again.
        said = {name: text for name, text in origin.items() if name != "comment"}
        separated = DemucsSeparator(device, _WITHOUT).stems(clip)
        files |= {f"stems/{name}.wav": audio.encode(stem, ".wav", said) for name, stem in separated.items()}
        own = [separated[name] for name in chosen.stems]
        heard, source = Audio(torch.stack([stem.wave for stem in own]).sum(dim=0), own[0].rate), listed(chosen.stems)
    beats, notes = rhythm.measure(clip), chosen.transcribe(heard)
    bpm = None if beats is None else beats.bpm
    files[chosen.file] = transcribers.midi_bytes(notes, bpm)
    facts: dict[str, Any] = {
        "bpm": None if bpm is None else round(bpm, 2),
        "first_beat": None if beats is None else round(beats.first, 4),
        "key": tonality.measure(clip),
        "transcriber": chosen.name,
        "notes": len(notes),
        "notes_of": source,
        "tags": {name: text for name, text in origin.items() if name != "comment"},
        "settings": None if stored is None else stored.values[KEY],
    }
    files[FACTS] = (json.dumps(facts, indent=1, ensure_ascii=False) + "\n").encode()
    return files, facts
