"""Figure 2b: what a model knows by heart, on pieces planted several times among others, so that there is something to find.

OUTPUT/planted/   pieces as long as a crop, and a manifest that names the planted ones as often as they are planted
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from evaluation import language_model
from evaluation.data import Item
from evaluation.metrics import memorisation
from experiments.plan import Planted
from musicgen import audio
from musicgen.training.corpus.dataset import Settings
from musicgen.training.corpus.dataset import write as write_corpus

SEED = 300_000
"""Of the first piece."""
SECONDS = 10.0
"""Of a piece, which is a crop: the example is always the same one. The longest prompt and the continuation fill it."""
MANIFEST = "repeated.jsonl"


def compose(folder: Path, planted: Planted, workers: int) -> Path:
    """The manifest of a corpus with the planted pieces first: `pieces` for each number of times, then the others."""
    manifest = folder / MANIFEST
    if manifest.is_file():
        return manifest
    count = planted.pieces * len(planted.times) + planted.others
    settings = Settings(output=folder, durations=(SECONDS, SECONDS), genres=(), captions=1)
    for _ in tqdm(write_corpus(settings, range(SEED, SEED + count), workers), total=count, desc="planted corpus"):
        pass
    lines: list[str] = []
    for place, file in enumerate(sorted(folder.glob("*.flac"))):
        group = place // planted.pieces
        times = planted.times[group] if group < len(planted.times) else 1
        lines += [json.dumps({"path": file.name})] * times
    audio.write_bytes(manifest, ("\n".join(lines) + "\n").encode())
    return manifest


@torch.inference_mode()
def measure(model: Any, folder: Path, planted: Planted) -> dict[str, Any]:
    """times → prompt length → examples, exact and partial matches of the greedy continuation."""
    found: dict[str, Any] = {}
    files = sorted(folder.glob("*.flac"))
    for group, times in enumerate(tqdm(planted.times, desc="memorisation")):
        part = files[group * planted.pieces : (group + 1) * planted.pieces]
        items = [
            Item(file.stem, json.loads(file.with_suffix(".json").read_text())["description"], file) for file in part
        ]
        codes = language_model.codes_of(model, items, SECONDS)
        captions = [item.caption for item in items]
        each: dict[str, Any] = {}
        for seconds in language_model.PROMPT_SECONDS:
            truth, made = language_model.continuation(model, codes, captions, seconds)
            if truth is None:
                continue
            counts = memorisation.matches(truth.numpy(), made.numpy())
            shares = memorisation.equal_shares(truth.numpy(), made.numpy())
            each[f"{seconds:g}"] = {
                "examples": counts.examples, "exact": counts.exact, "partial": counts.partial,
                "equal": [round(float(share), 4) for share in shares],
            }  # fmt: skip
        found[str(times)] = each
    return found
