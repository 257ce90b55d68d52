"""Seeds -> a folder of FLAC files with sidecars, and audiocraft's manifest.

The audio is written before its sidecar and each file whole or not at all, so a sidecar means that its piece is done: a second
run goes on where the first was stopped. Pieces of other settings in the same folder are an error, never overwritten.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch

from musicgen import audio
from musicgen.errors import InputError
from musicgen.training.corpus.composer import compose
from musicgen.training.corpus.randomness import pick, stream
from musicgen.training.corpus.renderer import SAMPLE_RATE, check, render, soundfont_path
from musicgen.training.corpus.sidecar import VERSION, sidecar
from musicgen.training.corpus.styles import GENRES

MANIFEST = "manifest.jsonl"


@dataclass(frozen=True)
class Settings:
    """output: folder; durations: seconds, shortest and longest, drawn to tenths; genres: those to write, or all if empty;
    captions: how many a piece; sequenced: as in `compose`."""

    output: Path
    durations: tuple[float, float] = (30.0, 30.0)
    genres: tuple[str, ...] = ()
    captions: int = 4
    sequenced: bool = False

    def __post_init__(self) -> None:
        if self.durations[0] > self.durations[1]:
            raise InputError(
                f"durations run from {self.durations[0]} s down to {self.durations[1]} s: the shorter one comes first"
            )
        unknown = [genre for genre in self.genres if genre not in GENRES]
        if unknown:
            raise InputError(f"no genre {unknown[0]!r}: one of {', '.join(GENRES)}")
        if self.captions < 1:
            raise InputError(f"captions is {self.captions}: it must be 1 or more")


def write(settings: Settings, seeds: range, workers: int = 1) -> Iterator[dict[str, object]]:
    """Write the pieces of `seeds`, yielding each one's manifest line as it is done, in the order of the seeds; the manifest
    of them all appears at the end."""
    check()  # so that what is missing is one error now, not one a worker
    lines = []
    for line in _lines(settings, seeds, workers):
        lines.append(line)
        yield line
    text = "".join(json.dumps(line) + "\n" for line in lines)
    audio.write_bytes(settings.output / MANIFEST, text.encode())


def _lines(settings: Settings, seeds: range, workers: int) -> Iterator[dict[str, object]]:
    task = partial(write_piece, settings)
    if workers == 1:
        yield from map(task, seeds)
        return
    with ProcessPoolExecutor(max_workers=workers, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        yield from pool.map(task, seeds)


def write_piece(settings: Settings, seed: int) -> dict[str, object]:
    """Write one piece, unless it is there; returns its line of the manifest."""
    name = f"{seed:08d}"
    sound, facts = settings.output / f"{name}.flac", settings.output / f"{name}.json"
    rng = stream(seed, "dataset")
    low, high = settings.durations
    duration = round(float(rng.uniform(low, high)), 1)
    piece = compose(
        seed,
        duration=duration,
        genre=pick(rng, settings.genres) if settings.genres else None,
        sequenced=settings.sequenced,
    )
    content = sidecar(
        piece, name=name, sample_rate=SAMPLE_RATE, soundfont=soundfont_path().name, captions=settings.captions
    )
    if facts.is_file() and sound.is_file():
        _check_same(facts, content)
    else:
        wave = render(piece)
        audio.write_bytes(sound, audio.encode(audio.Audio(torch.from_numpy(wave), SAMPLE_RATE), ".flac"))
        audio.write_bytes(facts, json.dumps(content, indent=1).encode())
    return {
        "path": str(sound),
        "duration": duration,
        "sample_rate": SAMPLE_RATE,
        "amplitude": None,
        "weight": None,
        "info_path": None,
    }


def _check_same(facts: Path, content: dict[str, object]) -> None:
    there = {"sequenced": False} | json.loads(facts.read_text())  # older ones do not say
    for field in ("version", "seed", "duration", "genre", "soundfont", "sequenced"):
        if there.get(field) != content[field]:
            raise InputError(
                f"{facts} was written with {field} {there.get(field)!r}, not {content[field]!r}: "
                f"use another folder, or delete it (this is version {VERSION} of the corpus)"
            )


def _one_thread() -> None:
    # Each worker has a core to itself; more threads would only get in each other's way.
    torch.set_num_threads(1)
