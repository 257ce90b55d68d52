"""Seeds -> a folder of FLAC files with sidecars, and audiocraft's manifest.

Files are written atomically, the audio before its metadata: a JSON file means that the clip is complete, and an interrupted run
resumes from there. Clips of other options in the same folder raise InputError; they are never overwritten.
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
from musicgen.training.corpus.genres import GENRES
from musicgen.training.corpus.metadata import VERSION, metadata_of
from musicgen.training.corpus.randomness import pick, stream
from musicgen.training.corpus.renderer import SAMPLE_RATE, check, render, soundfont_path

MANIFEST = "manifest.jsonl"


@dataclass(frozen=True)
class CorpusOptions:
    """output: folder; durations: seconds, shortest and longest, drawn to tenths; genres: those to write, or all if empty;
    captions: how many a composition; sequenced: as in `compose`."""

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


def write(settings: CorpusOptions, seeds: range, workers: int = 1) -> Iterator[dict[str, object]]:
    """Write the compositions of `seeds` in that order, and at the end the manifest of all of them.

    Yields:
        The manifest's entry of each composition when it is written.
    """
    check()  # one error now instead of one in each worker
    lines = []
    for line in _lines(settings, seeds, workers):
        lines.append(line)
        yield line
    text = "".join(json.dumps(line) + "\n" for line in lines)
    audio.write_bytes(settings.output / MANIFEST, text.encode())


def _lines(settings: CorpusOptions, seeds: range, workers: int) -> Iterator[dict[str, object]]:
    task = partial(write_composition, settings)
    if workers == 1:
        yield from map(task, seeds)
        return
    with ProcessPoolExecutor(max_workers=workers, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        yield from pool.map(task, seeds)


def write_composition(settings: CorpusOptions, seed: int) -> dict[str, object]:
    """Write one composition, unless it is there; returns its line of the manifest."""
    name = f"{seed:08d}"
    sound, facts = settings.output / f"{name}.flac", settings.output / f"{name}.json"
    rng = stream(seed, "dataset")
    low, high = settings.durations
    duration = round(float(rng.uniform(low, high)), 1)
    composition = compose(
        seed,
        duration=duration,
        genre=pick(rng, settings.genres) if settings.genres else None,
        sequenced=settings.sequenced,
    )
    content = metadata_of(
        composition, name=name, sample_rate=SAMPLE_RATE, soundfont=soundfont_path().name, captions=settings.captions
    )
    if facts.is_file() and sound.is_file():
        _check_same(facts, content)
    else:
        wave = render(composition)
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
    there = {"sequenced": False} | json.loads(facts.read_bytes())  # older ones do not say
    for field in ("version", "seed", "duration", "genre", "soundfont", "sequenced"):
        if there.get(field) != content[field]:
            raise InputError(
                f"{facts} was written with {field} {there.get(field)!r}, not {content[field]!r}: "
                f"use another folder, or delete it (this is version {VERSION} of the corpus)"
            )


def _one_thread() -> None:
    # Each worker has a core to itself; more threads would only get in each other's way.
    torch.set_num_threads(1)
