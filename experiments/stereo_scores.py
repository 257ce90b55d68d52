"""Stereo metrics that the evaluation does not have: coherence of the channels, and energy, FAD and KL of the side.

The evaluation's metrics use the mono mix, so their FAD and KL are those of the mid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.suites.items import Item
from experiments import references, stereo
from experiments.metric_names import SIDE
from musicgen import audio, samples

DIGITS = 5
_DISTANCES: Mapping[str, Callable[[Path], float]] = {
    "coherence": stereo.similarity,
    "side_energy": stereo.side_energy,
}
"""Metric → what is measured of a clip and of its reference; the score is the mean distance."""

Score = Callable[[Sequence[Item], Path, Sequence[str]], dict[str, Any]]
"""(items with references, samples folder, metrics) → their scores."""


def score_stereo(
    clips: Path,
    originals: Sequence[Item],
    compared: Sequence[Item],
    ids: Sequence[str],
    metrics: Sequence[str],
    score: Score,
) -> dict[str, Any]:
    """The scores of stereo clips, or of mono clips against stereo references.

    Args:
        clips: Their samples folder.
        originals: Items with the references as they were rendered, for the distances.
        compared: Items with the references that FAD and KL compare with.
        ids: The clips that are scored.
        metrics: Those of the plan; others are not computed.
        score: Computes metrics of the evaluation.

    Returns:
        Metric → score. Clips or references without a side have no FAD and KL of it.
    """
    found = samples.read(clips)
    files = {name: found.file(sample) for name, sample in found.by_id().items() if name in ids}
    heard = {item.id: item.file for item in originals}
    scores = {
        name: _mean(stereo.distances(measure, files, heard)) for name, measure in _DISTANCES.items() if name in metrics
    }
    of_side = [name.removeprefix(SIDE) for name in metrics if name.startswith(SIDE) and name not in _DISTANCES]
    every_file = [*files.values(), *(item.file for item in compared)]
    if of_side and all(audio.measure(file).channels == 2 for file in every_file):
        sides = stereo.write_part(clips, clips.with_name(f"{clips.name}-side"), "side")
        with_side = references.sides(compared)
        scores |= {f"{SIDE}{name}": value for name, value in score(with_side, sides, of_side).items()}
    return scores


def _mean(values: Mapping[str, float]) -> dict[str, Any]:
    """A score: the mean over the clips, with its interval."""
    each = list(values.values())
    mean = float(np.mean(each))
    half = 1.96 * float(np.std(each, ddof=1)) / len(each) ** 0.5
    return {"value": mean, "low": mean - half, "high": mean + half, "n": len(each), "direction": "lower",
            "version": "1", "clips": {name: round(value, DIGITS) for name, value in values.items()}}  # fmt: skip
