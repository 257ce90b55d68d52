"""Figure 2b: memorisation, measured on examples that are repeated in the training data ("planted").

OUTPUT/planted/         clips as long as a crop: first `pieces` for each number of repetitions, then the others
OUTPUT/tokens-planted/  their tokens, repeated
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset
from tqdm import tqdm

from evaluation.clips.window import Window
from evaluation.metrics import memorisation
from evaluation.suites.items import Item
from evaluation.systems import language_model
from experiments.plan import Planted
from musicgen.training.corpus.dataset import CorpusOptions
from musicgen.training.corpus.dataset import write as write_corpus
from musicgen.training.lm.shards import INDEX, Sample, encoded, iterate, read_index

SEED = 300_000
"""Of the first clip."""
SECONDS = 10.0
"""Of a clip, which is one crop, so that an example is always the same. It holds the longest prompt and its continuation."""


def compose(folder: Path, planted: Planted, workers: int) -> None:
    """Write the clips that do not exist yet."""
    count = planted.pieces * len(planted.times) + planted.others
    settings = CorpusOptions(output=folder, durations=(SECONDS, SECONDS), genres=(), captions=1)
    for _ in tqdm(write_corpus(settings, range(SEED, SEED + count), workers), total=count, desc="planted corpus"):
        pass


def repeat(once: Path, folder: Path, planted: Planted, lanes: int) -> None:
    """Write the tokens in `once` to the new folder `folder`, each clip as often as it is planted, in random order.

    A tenth of the clips that are not repeated is held out.
    """
    index = read_index(str(once))
    assert index is not None
    clips = [*iterate(str(once), index.train), *iterate(str(once), index.valid)]
    clips.sort(key=lambda sample: sample.metadata["seed"])
    held_out = max(1, planted.others // 10)
    train = [clip for place, clip in enumerate(clips[:-held_out]) for _ in range(_times(planted, place))]
    train = [train[i] for i in np.random.default_rng(SEED).permutation(len(train))]
    temporary = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    size = max(1, len(train) // lanes)
    index = replace(
        index,
        train=_write(temporary, "train", train, size),
        valid=_write(temporary, "valid", clips[-held_out:], size),
        frames=sum(clip.codes.shape[1] for clip in train),
    )
    (temporary / INDEX).write_text(index.text())
    temporary.replace(folder)


def _times(planted: Planted, place: int) -> int:
    group = place // planted.pieces
    return planted.times[group] if group < len(planted.times) else 1


def _write(folder: Path, name: str, clips: list[Sample], size: int) -> dict[str, int]:
    """Write shards of `size` clips. Returns name -> number of clips."""
    counts = {}
    for start in range(0, len(clips), size):
        part = clips[start : start + size]
        shard = f"{name}-{start // size:05d}.tar"
        with webdataset.TarWriter(str(folder / shard)) as writer:
            for number, clip in enumerate(part):
                writer.write(encoded(f"{start + number:07d}", clip))
        counts[shard] = len(part)
    return counts


@torch.inference_mode()
def measure(model: Any, folder: Path, planted: Planted) -> dict[str, Any]:
    """Repetitions → prompt length → examples, exact and partial matches of the greedy continuation."""
    found: dict[str, Any] = {}
    files = sorted(folder.glob("*.flac"))
    for group, times in enumerate(tqdm(planted.times, desc="memorisation")):
        part = files[group * planted.pieces : (group + 1) * planted.pieces]
        items = [
            Item(file.stem, json.loads(file.with_suffix(".json").read_text())["description"], file) for file in part
        ]
        codes = language_model.encode_references(model, items, Window("start", SECONDS))
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
