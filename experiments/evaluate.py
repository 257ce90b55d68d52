"""Evaluation of a trained model: perplexity on the references, and scores of clips generated for their captions."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from evaluation.clips.window import Window
from evaluation.embedders.cache import Cache
from evaluation.embedders.registry import Embedders
from evaluation.embedders.weights import Weights
from evaluation.metrics import perplexity
from evaluation.pipeline import generation, scoring
from evaluation.reports.results import Results
from evaluation.suites.items import Item, load_items
from evaluation.suites.suite import load_suite
from evaluation.systems import language_model
from evaluation.systems.base import SystemOptions
from evaluation.systems.musicgen_model import MusicGenSystem
from experiments import references, stereo
from experiments.plan import Plan, Row, Scale
from experiments.rewording import composed, reworded
from experiments.stereo_scores import score_stereo
from experiments.training_data import Paths
from musicgen import audio
from musicgen.training.lm.caption_augmentation import normalise
from musicgen.training.lm.config import LMRecipe

SUITE = "synth"
DIGITS = 5
"""Significant digits after the point of stored values of clips."""


def measure(
    paths: Paths, plan: Plan, recipe: LMRecipe, folder: Path, row: Row, name: str, scale: Scale
) -> dict[str, Any]:
    """Evaluate the model in `folder`, where its clips are stored too. Returns the fields of the result."""
    suite = load_suite(SUITE)
    # Every run has its own seed of generation.
    suite = dataclasses.replace(suite, seed=suite.seed + 100_000 * recipe.seed, duration=scale.clip_seconds)
    system = MusicGenSystem(None, str(folder / "model"), SystemOptions(paths.device, scale.batch))
    items = [
        dataclasses.replace(item, caption=_caption(item, plan, recipe)) for item in load_items(suite, limit=scale.clips)
    ]
    rendered = references.folder(paths.output, plan, scale)
    originals = references.originals(rendered, items, suite.duration, stereo=plan.stereo)
    entropies = _entropies(system.model, suite.duration, originals, row)
    compared = originals
    if plan.references == references.TOKENISED:
        kept = rendered.with_name(f"{rendered.name}-tokenised-{system.model.channels}")
        compared = references.tokenised(kept, originals, system.model)
    started = time.monotonic()
    requests = generation.make_requests(suite, compared, melody=row.melody)
    clips = clips_folder(folder, name)
    new = generation.generate(clips, requests, lambda: system, "ours")
    seconds = time.monotonic() - started
    if row.mono:
        clips = stereo.write_part(clips, mixed_down(clips), "mid")
    embedders = Embedders(Weights({}, download=False), "cpu")
    shown = [metric for metric in suite.metrics if metric in plan.metrics]
    cache = Cache(paths.output / "cache")
    results = scoring.score(suite, compared, [clips], embedders, cache, metrics=shown)
    scores = _scores(results)
    if plan.stereo:

        def score(items: Sequence[Item], folder: Path, metrics: Sequence[str]) -> dict[str, Any]:
            return _scores(scoring.score(suite, items, [folder], embedders, cache, metrics=metrics))

        scores |= score_stereo(clips, originals, compared, results.ids, plan.metrics, score)
    figures = perplexity.perplexity(list(entropies.values()))
    return {
        "clips": len(results.ids),
        "excluded": dict(results.excluded),
        "steps": system.model.pattern.layout(round(suite.duration * system.model.frame_rate)).num_steps,
        "generate_seconds": round(seconds, 1) if new == len(requests) else None,
        "perplexity": {
            "value": figures.pooled,
            "codebooks": list(figures.codebooks),
            "nats": {name: round(float(entropy.means.mean()), DIGITS) for name, entropy in entropies.items()},
        },
        "scores": scores,
    }


def clips_folder(folder: Path, row: str) -> Path:
    """The samples folder of a row whose model lies in `folder`."""
    return folder / f"samples-{row.replace(' ', '-')}"


def mixed_down(clips: Path) -> Path:
    """The samples folder of the same clips, mixed down to mono."""
    return clips.with_name(f"{clips.name}-mixed-down")


def test_conditions(plan: Plan, row: Row, scale: Scale) -> dict[str, Any]:
    """The conditions of the test: only results with equal conditions are comparable."""
    return {
        "suite": SUITE, "clips": scale.clips, "seconds": scale.clip_seconds, "references": plan.references,
        "stereo": plan.stereo, "reworded": plan.reworded, "melody": row.melody, "mono": row.mono,
    }  # fmt: skip


def _caption(item: Item, plan: Plan, recipe: LMRecipe) -> str:
    """The caption, reworded if the plan says so, and normalised if training texts were."""
    text = reworded(composed(item)) if plan.reworded else item.caption
    return normalise(text) if recipe.text.normalise else text


def _entropies(model: Any, seconds: float, items: Sequence[Item], row: Row) -> dict[str, perplexity.CrossEntropy]:
    """The cross-entropy of each reference."""
    found = {}
    for item in tqdm(items, desc="perplexity"):
        codes = language_model.encode_references(model, [item], Window("start", seconds))
        given = [audio.read(item.file)] if model.melody is not None and row.melody else None
        found[item.id] = language_model.cross_entropy(model, codes, [item.caption], given)
    return found


def _scores(results: Results) -> dict[str, Any]:
    return {
        score.metric: {"value": score.value, "low": score.low, "high": score.high, "n": score.n,
                       "direction": score.direction, "version": score.version,
                       "clips": {name: round(value, DIGITS) for name, value in score.clips.items()}}
        for score in results.systems[0].scores
    }  # fmt: skip
