"""Write a clip as a ZIP for a DAW: stems by Demucs, its notes as MIDI, tempo, key, and the settings."""

from __future__ import annotations

import argparse
from pathlib import Path

from musicgen.commands import outputs
from musicgen.errors import InputError
from musicgen.options import MAX_DURATION
from musicgen.text_format import counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="a clip, or any recording up to ten minutes")
    parser.add_argument(
        "--output", "-o", type=Path, metavar="FILE.zip", help="(default: beside the clip, with its name)"
    )
    outputs.add_force(parser)
    parser.add_argument("--stems", action=argparse.BooleanOptionalAction, default=True, help="drums, bass, other and vocals "
                        "by Demucs (default: on)")  # fmt: skip
    parser.add_argument("--transcriber", metavar="NAME", help="what hears the notes: pyin, one "
                        "voice, or basic-pitch, several voices, whose package is optional (default: pyin)")  # fmt: skip
    parser.add_argument("--device", default="cpu", help="of Demucs: cpu, cuda, mps (default: cpu)")


def run(arguments: argparse.Namespace) -> None:
    from musicgen import audio, transcribers
    from musicgen.daw import EXTENSION, packed, parts

    path = arguments.output if arguments.output is not None else arguments.file.with_suffix(EXTENSION)
    if path.suffix.lower() != EXTENSION:
        raise InputError(f"--output {path}: it must end in {EXTENSION}")
    transcriber = arguments.transcriber or transcribers.DEFAULT
    transcribers.find(transcriber)
    outputs.check([path], {"": arguments.file}, force=arguments.force)
    clip, tags = audio.read(arguments.file, MAX_DURATION), audio.read_tags(arguments.file)
    files, facts = parts(clip, tags, stems=arguments.stems, device=arguments.device, transcriber=transcriber)
    audio.write_bytes(path, packed(files, arguments.file.stem))
    tempo = "no beats heard" if facts["bpm"] is None else f"{facts['bpm']:.1f} bpm"
    print(
        f"{path}  {tempo}  {facts['key'] or 'no key'}  {counted(facts['notes'], 'note')}  {counted(len(files), 'file')}"
    )
