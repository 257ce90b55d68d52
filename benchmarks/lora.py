"""python -m benchmarks.lora: whether an adapter that is trained on a folder of clips brings the model closer to them.

The recipe `page-lora` trains an adapter on held-out compositions of one genre. The same number of other compositions of the
genre is not used in training. Measured without and with the adapter:

    loss   cross-entropy of a code of the other compositions, given their captions, in nats
    FAD    Fréchet distance in the embedded network's space, of clips with those captions to the folder

The interval of the loss difference is over compositions; that of the FAD difference is over generated clips with the same
seeds.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import musicgen
from benchmarks import machine
from benchmarks.store import command, publish, rounded
from evaluation.clips.clip import Clip, Role, Source
from evaluation.embedders.mini import MiniEmbedder, Network
from evaluation.metrics import fad
from evaluation.metrics.set_interval import RESAMPLES, Replicates, replicate
from evaluation.systems.language_model import cross_entropy
from musicgen.audio import Audio
from musicgen.model import MusicGen
from musicgen.statistics import ratio_interval
from musicgen.training import recipe
from musicgen.training.corpus import Composition, compose, describe, render
from musicgen.training.corpus.dataset import CorpusOptions, write
from musicgen.training.corpus.renderer import SAMPLE_RATE
from musicgen.training.lm.config import LMRecipe
from musicgen.training.lm.trainer import train
from musicgen.training.quality import HELD_OUT_SEED
from musicgen.training.trainer import ADAPTER

RECIPE = "page-lora"
DURATION = 10.0
"""Seconds of each clip."""

Array = npt.NDArray[np.float64]


def embedded(clips: Sequence[Audio], role: Role, embedder: MiniEmbedder) -> list[Array]:
    """Embeddings [windows, 64] of each clip, prepared as an evaluation prepares it."""
    found = []
    for index, clip in enumerate(clips):
        wave = Clip(Source(str(index), Path(str(index)), "", role), clip).view(embedder.view, embedder.rate)
        rows = [embedder.embed(one[None])[0] for one in embedder.prepare(wave, str(index))]
        found.append(np.concatenate(rows).astype(np.float64))
    return found


def losses(model: MusicGen, clips: Sequence[Audio], captions: Sequence[str]) -> Array:
    """The cross-entropy of a code of each clip [n], in nats."""
    found = []
    for clip, caption in zip(clips, captions, strict=True):
        codes = model.tokenizer.encode(clip.resampled(model.sample_rate).mono().wave[None]).cpu()
        found.append(float(cross_entropy(model, codes, [caption]).means.mean()))
    return np.array(found)


def generated(model: MusicGen, captions: Sequence[str], takes: int, seed: int) -> list[Audio]:
    """`takes` clips of each caption; clip i has seed + i, whatever the model."""
    prompts = [caption for caption in captions for _ in range(takes)]
    clips = []
    for start in range(0, len(prompts), len(captions)):
        part = prompts[start : start + len(captions)]
        clips += [Audio(wave, model.sample_rate) for wave in model.generate(part, DURATION, seed=seed + start)]
        print(f"{len(clips)} of {len(prompts)} clips", file=sys.stderr, flush=True)
    return clips


def rendered(compositions: Sequence[Composition]) -> list[Audio]:
    return [Audio(torch.from_numpy(render(one)), SAMPLE_RATE) for one in compositions]


def processor_seconds() -> float:
    """Of this process and of those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def trained(name: str, music: Path, output: Path, steps: int) -> dict[str, float]:
    """Train an adapter into `output`; what it took."""
    values = recipe.read(recipe.locate(RECIPE))
    values["start"] |= {"model": name}
    values["data"] |= {"path": str(music)}
    values["optimisation"] |= {"steps": steps}
    values["every"] |= {"validate": steps, "samples": steps, "checkpoint": steps}
    wall, processor = time.perf_counter(), processor_seconds()
    train(LMRecipe.from_dict(values), output, "cpu")
    size = sum(file.stat().st_size for file in (output / ADAPTER).iterdir())
    return {
        "wall_seconds": round(time.perf_counter() - wall, 1),
        "processor_seconds": round(processor_seconds() - processor, 1),
        "adapter_bytes": size,
    }


def distances(reference: fad.Reference, clips: Sequence[Array], seed: int) -> Replicates:
    """The FAD of generated clips, with what its interval needs; the same samples for the same number of clips."""
    found = replicate(partial(fad.resampled, reference, clips), len(clips), np.random.default_rng(seed), RESAMPLES)
    assert found is not None  # `main` asks for enough clips
    return found


def measure(name: str, genre: str, count: int, steps: int, takes: int, seed: int) -> dict[str, Any]:
    """Loss and distance without and with the adapter, and what its training took."""
    seeds = range(HELD_OUT_SEED, HELD_OUT_SEED + count)
    folder = [compose(one, duration=DURATION, genre=genre) for one in seeds]
    others = [compose(one + count, duration=DURATION, genre=genre) for one in seeds]
    captions, sounds = [describe(one, seed) for one in others], rendered(others)
    embedder = MiniEmbedder("mini", Network())
    with tempfile.TemporaryDirectory() as place:
        music, output = Path(place) / "music", Path(place) / "run"
        list(write(CorpusOptions(music, (DURATION, DURATION), (genre,)), seeds))
        took = trained(name, music, output, steps)
        models = {"without": musicgen.load(name), "with": musicgen.load(name, adapters=[(str(output / ADAPTER), 1.0)])}
    reference = fad.reference(fad.merge(fad.gaussian(one) for one in embedded(rendered(folder), "reference", embedder)))
    loss = {way: losses(model, sounds, captions) for way, model in models.items()}
    clips = {way: generated(model, captions, takes, seed) for way, model in models.items()}
    far = {way: distances(reference, embedded(own, "generated", embedder), seed) for way, own in clips.items()}
    ones, rng = np.ones(count), np.random.default_rng(seed)
    pair = np.stack([loss["with"], loss["without"]], axis=1)
    difference = (far["with"] - far["without"]).interval()
    return {
        "model": name,
        "recipe": RECIPE,
        "genre": genre,
        "n": count,
        "seconds": DURATION,
        "steps": steps,
        "generated": count * takes,
        "seed": seed,
        "training": took,
        "loss": {way: rounded(ratio_interval(own, ones, rng)) for way, own in loss.items()}
        | {"difference": rounded(ratio_interval(pair, np.ones((count, 2)), rng))},
        "fad": {way: rounded(own.interval()) for way, own in far.items()} | {"difference": rounded(difference)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lora", description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="mini")
    parser.add_argument("--genre", default="bossa nova", help="of the folder (default: bossa nova)")
    parser.add_argument(
        "--count", type=int, default=20, help="clips of the folder, and of what it is measured on (default 20)"
    )
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--takes", type=int, default=2, help="generated clips of each caption (default 2)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="store the result here")
    options = parser.parse_args()
    if options.count < 20:
        parser.error(f"--count {options.count}: an interval of the FAD takes 20 clips or more")
    made = measure(options.model, options.genre, options.count, options.steps, options.takes, options.seed)
    made |= {"machine": machine.describe("cpu", torch.get_num_threads())}
    made["command"] = command("lora")
    publish(made, options.json)


if __name__ == "__main__":
    main()
