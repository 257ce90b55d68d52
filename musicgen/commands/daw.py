"""Write a clip as a ZIP for a DAW: stems by Demucs, the melody as MIDI, tempo, key, and the settings."""

from __future__ import annotations

import argparse
import io
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicgen.errors import InputError
from musicgen.options import MAX_DURATION

if TYPE_CHECKING:
    from musicgen.audio import Audio

EXTENSION = ".zip"
FACTS = "clip.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="a clip, or any recording up to ten minutes")
    parser.add_argument(
        "--output", "-o", type=Path, metavar="FILE.zip", help="(default: beside the clip, with its name)"
    )
    parser.add_argument("--stems", action=argparse.BooleanOptionalAction, default=True, help="drums, bass, other and vocals "
                        "by Demucs (default: on)")  # fmt: skip
    parser.add_argument("--device", default="cpu", help="of Demucs: cpu, cuda, mps (default: cpu)")


def run(arguments: argparse.Namespace) -> None:
    from musicgen import audio

    path = arguments.output if arguments.output is not None else arguments.file.with_suffix(EXTENSION)
    if path.suffix.lower() != EXTENSION:
        raise InputError(f"--output {path}: it must end in {EXTENSION}")
    clip, tags = audio.read(arguments.file, MAX_DURATION), audio.read_tags(arguments.file)
    files, facts = parts(clip, tags, stems=arguments.stems, device=arguments.device)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(f"{arguments.file.stem}/{name}", data)
    audio.write_bytes(path, buffer.getvalue())
    tempo = "no beats heard" if facts["bpm"] is None else f"{facts['bpm']:.1f} bpm"
    print(f"{path}  {tempo}  {facts['key'] or 'no key'}  {facts['notes']} notes  {len(files)} files")


def parts(
    clip: Audio, tags: dict[str, str], *, stems: bool = True, device: str = "cpu"
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files of the ZIP.

    Args:
        clip: float32 [C, T].
        tags: of its file: what says where it is from goes into every file, and into the facts.
        stems: whether to separate it.
        device: of Demucs.

    Returns:
        Name -> contents, and the facts that `clip.json` holds: bpm, first_beat (seconds), key, notes (of the melody), melody_of
        (what it was heard in), tags, settings.

    Raises:
        CheckpointError: Demucs' weights are not on this machine and cannot be downloaded.
    """
    from musicgen import audio, melody_notes, provenance, rhythm, tonality
    from musicgen.conditioners.separation import KEPT, DemucsSeparator

    origin = provenance.of_tags(tags)
    comment = origin.get("comment", "")
    files = {"mix.wav": audio.encode(clip, ".wav", origin)}
    melody, source = clip, "the mix"
    if stems:
        # A stem is no clip of its own settings: it says where it is from, and not how to make it again.
        said = {name: text for name, text in origin.items() if name != "comment"}
        separated = DemucsSeparator(device).stems(clip)
        files |= {f"stems/{name}.wav": audio.encode(stem, ".wav", said) for name, stem in separated.items()}
        sung, played = (separated[name] for name in KEPT)
        melody, source = audio.Audio(sung.wave + played.wave, sung.rate), " and ".join(KEPT)
    beats, notes = rhythm.measure(clip), melody_notes.transcribe(melody)
    bpm = None if beats is None else beats.bpm
    files["melody.mid"] = melody_notes.midi_bytes(notes, bpm)
    facts: dict[str, Any] = {
        "bpm": None if bpm is None else round(bpm, 2),
        "first_beat": None if beats is None else round(beats.first, 4),
        "key": tonality.measure(clip),
        "notes": len(notes),
        "melody_of": source,
        "tags": {name: text for name, text in origin.items() if name != "comment"},
        "settings": _settings(comment),
    }
    files[FACTS] = (json.dumps(facts, indent=1, ensure_ascii=False) + "\n").encode()
    return files, facts


def _settings(comment: str) -> Any:
    """The settings in a comment, None where it holds none."""
    from musicgen.settings import KEY, Settings

    try:
        Settings.from_comment(comment, "")
    except InputError:
        return None
    return json.loads(comment)[KEY]
