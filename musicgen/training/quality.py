"""python -m musicgen.training.quality MODEL: measure how well a model trained on the corpus follows its conditions.

The test set are held-out compositions of 10 s, with seeds that no training corpus uses. The model gets the caption of each, and
its audio as the melody if it is a melody model. The same is measured without the melody, with shuffled captions, and on the
rendered references, both unchanged and reconstructed by the model's tokeniser. A linear tagger, trained on both kinds of
rendered audio, predicts genre and lead instrument of a clip.

    melody   share of chroma frames whose pitch class is the reference's
    genre, lead, tempo (within 8 %, octaves allowed), key (of 24)    share of clips that have what the caption says
    faults   clips that are silent, clipped, or a single note         side dB     energy of left - right under left + right
"""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm import tqdm

from musicgen import audio, chroma, commandline
from musicgen.audio import Audio
from musicgen.checkpoint import load
from musicgen.errors import InputError
from musicgen.folders import check_writable_file
from musicgen.model import MusicGen
from musicgen.options import GenerationOptions
from musicgen.training.corpus import INSTRUMENTS, Composition, compose, describe, render
from musicgen.training.corpus.analysis import classifier, estimated_key, features, tempo_is_heard
from musicgen.training.corpus.genres import find_genre

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

HELD_OUT_SEED = 10_000_000
"""Seed of the first held-out composition; training corpora have smaller seeds."""
BATCH = 20
"""Clips generated at a time."""
VERSIONS = ("rendered", "through the tokeniser")
TAGGER_SEED = 20_000_000
"""Seed of the first composition that the tagger is trained on."""
DURATION = 10.0
"""Seconds."""
SILENT_LUFS = -50.0
CLIPPED_SHARE = 1e-3
"""Of samples at full scale."""
ONE_NOTE_SHARE = 0.95
"""Of frames with one pitch class."""
_CAPTION_TRIES = 2000


@dataclass(frozen=True)
class Tagger:
    """genre, lead: classifiers of a mono wave's features."""

    genre: Pipeline
    lead: Pipeline

    def tags(self, mono: np.ndarray) -> tuple[str, str]:
        """(genre, lead instrument) of a mono wave at 32 kHz."""
        vector = features(mono)[None]
        return str(self.genre.predict(vector)[0]), str(self.lead.predict(vector)[0])


@dataclass(frozen=True)
class ClipScores:
    """The measurements of one clip against the composition that its caption describes."""

    melody: float
    genre: bool
    lead: bool
    tempo: bool
    key: bool
    silent: bool
    clipped: bool
    one_note: bool
    side_db: float | None


def full_caption(composition: Composition) -> str:
    """The first caption of a composition that names all that is measured: genre, lead instrument, tempo in bpm and key."""
    words = [
        find_genre(composition.genre).words,
        INSTRUMENTS[composition.lead.instrument].names,
        (f"{composition.bpm} bpm", f"{composition.bpm}bpm"),
    ]
    tonic, quality = composition.key.name.split()
    spoken = tonic[0] + {"": "", "#": " sharp", "b": " flat"}[tonic[1:]]
    words.append((f"{tonic} {quality}", f"{spoken} {quality}"))
    for seed in range(_CAPTION_TRIES):
        caption = describe(composition, seed)
        if all(any(word.lower() in caption.lower() for word in names) for names in words):
            return caption
    raise InputError(f"no caption of the composition {composition.seed} names genre, lead, tempo and key")


def examine(wave: Audio, reference: Audio, composition: Composition, tagger: Tagger) -> ClipScores:
    """Measure a clip. reference: the rendered composition."""
    mono = wave.mono().resampled(chroma.SAMPLE_RATE)
    samples = mono.wave[0].numpy()
    ours, theirs = chroma.of_audio(wave).argmax(-1), chroma.of_audio(reference).argmax(-1)
    frames = min(len(ours), len(theirs))
    genre, lead = tagger.tags(samples)
    silent = audio.loudness(wave) < SILENT_LUFS  # estimators return arbitrary tempo and key
    counts = torch.bincount(ours, minlength=chroma.NUM_CHROMA)
    return ClipScores(
        melody=float((ours[:frames] == theirs[:frames]).float().mean()),
        genre=genre == composition.genre,
        lead=lead == composition.lead.instrument,
        tempo=not silent and tempo_is_heard(composition, samples),
        key=not silent and estimated_key(samples) == composition.key.name,
        silent=silent,
        clipped=float((wave.wave.abs() >= 0.999).float().mean()) > CLIPPED_SHARE,
        one_note=float(counts.max() / counts.sum()) >= ONE_NOTE_SHARE,
        side_db=_side_db(wave),
    )


def summary(clips: Sequence[ClipScores]) -> dict[str, float | int | None]:
    """Means over clips; faults are counted."""
    sides = [clip.side_db for clip in clips if clip.side_db is not None]
    shares = ("melody", "genre", "lead", "tempo", "key")
    table: dict[str, float | int | None] = {name: float(np.mean([getattr(c, name) for c in clips])) for name in shares}
    for fault in ("silent", "clipped", "one_note"):
        table[fault] = sum(getattr(clip, fault) for clip in clips)
    table["side_db"] = float(np.mean(sides)) if sides else None
    return table | {"n": len(clips)}


def train_tagger(
    name: str, count: int, workers: int, kept: Path | None = None
) -> tuple[Tagger, dict[str, dict[str, float]]]:
    """A tagger from `count` rendered compositions, a fifth of them held out; and its accuracy on those.

    It is trained on every composition twice: as rendered, and as the tokeniser of the model `name` reconstructs it, because
    generated clips went through that tokeniser; both accuracies are returned. Rendering takes most of the time: `kept` is a
    file (.npz) that stores the features for the next model with the same tokeniser.
    """
    if kept is not None and kept.is_file():
        with np.load(kept, allow_pickle=False) as stored:
            genres, leads, vectors = stored["genres"], stored["leads"], stored["vectors"]
        if len(vectors) != count:
            raise InputError(
                f"{kept} keeps the features of {len(vectors)} compositions, not {count}: choose another file"
            )
    else:
        rows = _tagged_compositions(name, range(TAGGER_SEED, TAGGER_SEED + count), workers)
        genres, leads = (np.array([row[i] for row in rows]) for i in (0, 1))
        vectors = np.array([row[2] for row in rows])
        if kept is not None:
            buffer = io.BytesIO()
            np.savez(buffer, genres=genres, leads=leads, vectors=vectors)
            audio.write_bytes(kept, buffer.getvalue())
    cut = count - count // 5
    fitted, accuracies = [], {}
    for kind, labels in (("genre", genres), ("lead", leads)):
        model = classifier().fit(np.concatenate([*vectors[:cut].swapaxes(0, 1)]), np.tile(labels[:cut], len(VERSIONS)))
        accuracies[kind] = {
            version: float(model.score(vectors[cut:, i], labels[cut:])) for i, version in enumerate(VERSIONS)
        }
        fitted.append(model)
    return Tagger(*fitted), accuracies


def measure(
    model: MusicGen,
    count: int,
    tagger_count: int,
    workers: int = 1,
    kept: Path | None = None,
    guidance: float | None = None,
    first: int = HELD_OUT_SEED,
) -> dict[str, Any]:
    """All figures of a model on `count` held-out compositions, whose seeds begin at `first`.

    guidance: scale; None for the model's own.
    """
    tagger, accuracies = train_tagger(model.name, tagger_count, workers, kept)
    seeds = list(range(first, first + count))
    compositions = [compose(seed, duration=DURATION) for seed in seeds]
    captions = [full_caption(composition) for composition in compositions]
    references = [Audio(torch.from_numpy(render(composition)), chroma.SAMPLE_RATE) for composition in compositions]
    shuffled = captions[1:] + captions[:1]
    options = model.generator.completed(GenerationOptions(guidance_scale=guidance))

    takes = {
        "references": iter(references),
        "references, through the tokeniser": (_through(model, reference) for reference in references),
    }
    if model.melody is not None:
        takes["caption and melody"] = _generated(model, captions, seeds, references, options)
    takes["caption"] = _generated(model, captions, seeds, None, options)
    takes["shuffled captions"] = _generated(model, shuffled, seeds, None, options)
    rows = {}
    for name, take in takes.items():
        waves = zip(take, references, compositions, strict=True)
        clips = [examine(*three, tagger) for three in tqdm(waves, total=count, desc=name)]
        rows[name] = {"summary": summary(clips), "clips": [asdict(clip) for clip in clips]}
    return {
        "model": model.name,
        "seeds": [seeds[0], seeds[-1]],
        "duration": DURATION,
        "guidance_scale": options.guidance_scale,
        "tagger": {"pieces": tagger_count, "held_out_accuracy": accuracies},
        "rows": rows,
    }


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown."""
    columns = ("melody", "genre", "lead", "tempo", "key", "silent", "clipped", "one_note", "side_db", "n")
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, row in results["rows"].items():
        lines.append(f"| {name} | " + " | ".join(_cell(row["summary"][column]) for column in columns) + " |")
    accuracies = results["tagger"]["held_out_accuracy"]
    tagger = ", ".join(
        f"{name} {value:.3f} {version}" for name, each in accuracies.items() for version, value in each.items()
    )
    return "\n".join(
        [*lines, "", f"Tagger, held out: {tagger} ({results['tagger']['pieces']} compositions, a fifth held out)."]
    )


@dataclass(frozen=True)
class Threshold:
    """A value that a model should reach."""

    name: str
    value: float
    least: float

    @property
    def met(self) -> bool:
        return self.value >= self.least


def thresholds(results: dict[str, Any]) -> list[Threshold]:
    """The thresholds of embedded models. results: of `measure`, or with its summaries only."""
    rows = {name: row.get("summary", row) for name, row in results["rows"].items()}
    accuracies = results["tagger"]["held_out_accuracy"]
    asked = [
        Threshold(f"tagger, {name}, held out, {version}", accuracies[name][version], 0.85)
        for name in ("genre", "lead")
        for version in VERSIONS
    ]
    caption, best = rows["caption"], rows.get("caption and melody", rows["caption"])
    if "caption and melody" in rows:
        asked.append(Threshold("melody, as given", best["melody"], 0.50))
        asked.append(Threshold("melody, above the same model without it", best["melody"] - caption["melody"], 0.30))
    else:
        asked += [Threshold(f"{name}, as the caption says", caption[name], 0.60) for name in ("genre", "lead")]
        asked.append(Threshold("tempo, as the caption says", caption["tempo"], 0.50))
        asked.append(Threshold("key, as the caption says", caption["key"], 0.40))
    faults = sum(best[fault] for fault in ("silent", "clipped", "one_note"))
    asked.append(Threshold("clips without a fault", 1 - faults / best["n"], 1.0))
    if best["side_db"] is not None:
        distance = abs(best["side_db"] - rows["references"]["side_db"])
        asked.append(Threshold("side energy, dB from the references' (negative: no further than 6)", -distance, -6.0))
    return asked


def thresholds_table(results: dict[str, Any]) -> str:
    """The thresholds and what was measured, as a Markdown table."""
    lines = ["| asked of the model | measured | at least | |", "|---|---|---|---|"]
    lines += [
        f"| {threshold.name} | {threshold.value:.3f} | {threshold.least:g} | {'met' if threshold.met else 'missed'} |"
        for threshold in thresholds(results)
    ]
    return "\n".join(lines)


@commandline.entry()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = commandline.Parser(prog="python -m musicgen.training.quality", description=__doc__)
    parser.add_argument("model", help="embedded name, hub name or folder")
    parser.add_argument("--count", type=int, default=100, help="held-out compositions (default 100)")
    parser.add_argument(
        "--tagger", type=int, default=1500, help="compositions that the tagger learns from (default 1500)"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes that render for the tagger (default 1)")
    parser.add_argument(
        "--features", type=Path, help="a file (.npz) that keeps the tagger's features for the next model"
    )
    parser.add_argument("--guidance", type=float, help="guidance scale (default: the model's own)")
    parser.add_argument(
        "--seed",
        type=int,
        default=HELD_OUT_SEED,
        help=f"seed of the first held-out composition (default {HELD_OUT_SEED}; settings are chosen on others)",
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, help="write every figure here")
    options = parser.parse_args(arguments)
    for file in filter(None, (options.json, options.features)):
        check_writable_file(file)
    model = load(options.model, options.device, "float32")
    results = measure(
        model, options.count, options.tagger, options.workers, options.features, options.guidance, options.seed
    )
    if options.json:
        audio.write_bytes(options.json, (json.dumps(results, indent=1) + "\n").encode())
    print(table(results))
    print(f"\n{thresholds_table(results)}")


def _generated(
    model: MusicGen, captions: list[str], seeds: list[int], melodies: list[Audio] | None, options: GenerationOptions
) -> Iterator[Audio]:
    """Clips in order, generated in batches; each depends on its own seed only."""
    for start in range(0, len(captions), BATCH):
        part = slice(start, start + BATCH)
        # Not separated: training conditioned on the chroma of the full mix.
        waves = model.generate(
            captions[part],
            DURATION,
            seed=seeds[part],
            melody=melodies and melodies[part],
            separate=False,
            options=options,
        )
        yield from (Audio(wave.cpu(), model.sample_rate) for wave in waves)


def _through(model: MusicGen, clip: Audio) -> Audio:
    """The reconstruction by the model's tokeniser, an upper bound on the quality of its clips."""
    wave = clip.with_channels(model.channels).resampled(model.sample_rate).wave[None].to(model.device)
    return Audio(model.tokenizer.decode(model.tokenizer.encode(wave))[0, :, : wave.shape[-1]].cpu(), model.sample_rate)


_worker: list[MusicGen] = []
"""In a worker process of the tagger's training data, the model."""


def _start_worker(name: str) -> None:
    torch.set_num_threads(1)
    _worker.append(load(name, "cpu", "float32"))


def _tagged(seed: int) -> tuple[str, str, np.ndarray]:
    """(genre, lead, features [versions, d]) of a composition."""
    composition = compose(seed, duration=DURATION)
    rendered = Audio(torch.from_numpy(render(composition)), chroma.SAMPLE_RATE)
    versions = (rendered, _through(_worker[0], rendered))
    waves = [clip.mono().resampled(chroma.SAMPLE_RATE).wave[0].numpy() for clip in versions]
    return composition.genre, composition.lead.instrument, np.stack([features(wave) for wave in waves])


def _tagged_compositions(name: str, seeds: range, workers: int) -> list[tuple[str, str, np.ndarray]]:
    context = get_context("spawn")
    with ProcessPoolExecutor(max(1, workers), context, _start_worker, (name,)) as pool:
        return list(tqdm(pool.map(_tagged, seeds, chunksize=4), total=len(seeds), desc="tagger"))


def _side_db(clip: Audio) -> float | None:
    """Energy of left minus right relative to left plus right, dB, at least -100; None for mono."""
    if clip.wave.shape[0] != 2:
        return None
    left, right = clip.wave.double()
    middle, side = float((left + right).square().sum()), float((left - right).square().sum())
    return max(-100.0, 10 * math.log10(max(side, 1e-20) / max(middle, 1e-20)))


def _cell(value: float | int | None) -> str:
    return "–" if value is None else (f"{value:.3f}" if isinstance(value, float) else str(value))


if __name__ == "__main__":
    sys.exit(main())
