"""python -m benchmarks.rescore: time and peak memory of scoring a set whose embeddings are all cached.

The set has the size of MusicCaps, and the embeddings are random numbers with the networks' shapes. The audio files contain
random bytes, so that decoding one would raise an error. 1,000 bootstrap FADs are also measured separately.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks import machine, store
from evaluation.clips.clip import Inspection, Source
from evaluation.clips.diagnostics import Diagnosis
from evaluation.embedders.base import embedding_key, text_key
from evaluation.embedders.cache import Cache
from evaluation.embedders.embedding import inspection_key
from evaluation.embedders.registry import Embedders
from evaluation.embedders.weights import Weights
from evaluation.metrics import fad
from evaluation.pipeline import scoring
from evaluation.suites.items import Item
from evaluation.suites.suite import load_suite
from musicgen import samples, statistics

SHAPES = {"vggish_torch": (10, 128), "passt": (1, 527), "clap": (1, 512)}
METRICS = ("fad_vggish_torch", "kl", "clap")
SEEN = Inspection(320_000, "", Diagnosis(10.0, 1, 32_000, -14.0, -1.0, 0.0, 0.0))


def fill(folder: Path, clips: int, embedders: Embedders, cache: Cache) -> list[Item]:
    """A samples folder, its references, and everything that the networks would say."""
    rng = np.random.default_rng(0)
    items, lines = [], []
    for place, window in (("references", load_suite("folder").window), ("ours", None)):
        (folder / place).mkdir()
        for number in range(clips):
            file = folder / place / f"{number:04d}.wav"
            file.write_bytes(rng.bytes(64))
            sha256 = samples.file_sha256(file)
            role = "generated" if place == "ours" else "reference"
            source = Source(file.stem, file, sha256, role, 320_000 if place == "ours" else None, window)  # type: ignore[arg-type]
            cache.put(inspection_key(source), SEEN.to_array(), "inspection")
            for name, shape in SHAPES.items():
                cache.put(embedding_key(embedders[name], source), rng.normal(size=shape).astype(np.float32), name)
            if place == "references":
                items.append(Item(file.stem, f"caption {number}", file, sha256))
                cache.put(text_key(embedders["clap"], f"caption {number}"), rng.normal(size=512), "text")  # type: ignore[arg-type]
            else:
                line = {"id": file.stem, "prompt": "", "system": "ours", "audio": file.name, "sha256": sha256}
                lines.append(json.dumps(line))
    (folder / "ours" / samples.MANIFEST).write_text("\n".join(lines) + "\n")
    return items


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rescore", description=__doc__)
    parser.add_argument("--clips", type=int, default=5469)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the result here")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "weights").write_bytes(b"stand-in")
        weights = Weights(dict.fromkeys(("vggish", "passt", "clap"), folder / "weights"))
        embedders, cache = Embedders(weights), Cache(folder / "cache")
        items = fill(folder, options.clips, embedders, cache)
        start, worked = time.perf_counter(), time.process_time()
        settings = scoring.ScoringOptions(progress=False)
        scoring.score(load_suite("folder"), items, [folder / "ours"], embedders, cache, settings, METRICS)
        seconds, worked = time.perf_counter() - start, time.process_time() - worked
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rng = np.random.default_rng(1)
    clips = [rng.normal(size=(19, 128)) for _ in range(options.clips)]
    reference = fad.reference(fad.merge(map(fad.gaussian, clips)))
    start = time.perf_counter()
    fad.resampled(reference, clips, np.concatenate(list(statistics.counts(len(clips), 1000, rng))))
    report = {
        "command": store.command("rescore"),
        "machine": machine.describe("cpu", options.threads),
        "clips": options.clips,
        "rescore_s": seconds,
        "rescore_processor_s": worked,
        "bootstrap_1000_fads_s": time.perf_counter() - start,
        "peak_memory_mb": peak,
    }
    store.publish(report, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
