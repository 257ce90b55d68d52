"""The metrics by name: which embeddings each needs, and how clips become one `Score`.

A metric gets the clips that every compared system has, in the order of their ids, so that neither shards nor workers
nor the order of folders change a digit. Set metrics (FAD, KAD, MAD) compare the generations with the references as
sets; paired metrics (KL, chroma) compare each generation with its own reference and leave out clips that end before it;
text metrics (CLAP) compare it with its caption; single metrics (aesthetics) hear it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from musicgen import statistics
from musicgen.errors import InputError

from .clips import AS_IT_IS, Source
from .embedders.aesthetics import AXES
from .embedders.base import TextEmbedder
from .embedders.cache import Cache
from .embedders.mini import MiniEmbedder
from .embedders.registry import NEEDS, Registry
from .embedding import embedding, text_embeddings
from .metrics import chroma_similarity, clap, fad, kad, kl, mad, resampling
from .metrics.score import Direction, Score

Array = npt.NDArray[np.float64]

MIN_CLIPS = 2
"""A set of one clip is no set."""
EXACT_SHARES = 500
"""Clips up to which a clip's share of FAD is found by leaving it out; beyond, to first order."""
PAPER = "audiocraft: 32 kHz mono, generations at −14 LUFS, cut to their references"
FIELD = "the files as they are, mono"


@dataclass(frozen=True)
class Pair:
    """A generation, its reference, its caption. samples: of the reference at 32 kHz; short: why paired metrics leave it
    out, "" where they do not."""

    id: str
    caption: str
    reference: Source
    generated: Source
    samples: int
    short: str = ""


@dataclass(frozen=True)
class Task:
    """One system. memo: what systems share, such as the reference's statistics."""

    pairs: Sequence[Pair]
    registry: Registry
    cache: Cache
    memo: dict[Any, Any]
    seed: int = 0
    resamples: int = resampling.RESAMPLES
    excluded: Mapping[str, str] = field(default_factory=dict)

    def rng(self) -> np.random.Generator:
        """The same for every system and metric: resamples of two systems draw the same clips."""
        return np.random.default_rng(self.seed)

    def rows(self, name: str, source: Source) -> Array:
        return embedding(source, self.registry[name], self.cache).astype(np.float64)


@dataclass(frozen=True)
class Scored:
    """replicates: of a set metric's bootstrap, for comparing systems; None for metrics with a value for each clip."""

    score: Score
    replicates: Array | None = None


@dataclass(frozen=True)
class Metric:
    """title: for tables; kind: what a generation is compared with; embedders: by name."""

    title: str
    kind: Literal["set", "paired", "text", "single"]
    embedders: tuple[str, ...]
    direction: Direction
    version: str
    compute: Callable[[str, Task], Scored]


def score(name: str, task: Task) -> Scored:
    """One metric of one system."""
    metric = METRICS[name]
    if len(task.pairs) < MIN_CLIPS:
        raise InputError(f"{name} needs at least {MIN_CLIPS} clips, and has {len(task.pairs)}")
    return metric.compute(name, task)


def embedders_of(names: Sequence[str]) -> list[str]:
    """The embedders that metrics need, each once."""
    return list(dict.fromkeys(embedder for name in names for embedder in METRICS[name].embedders))


def reference_embedders_of(names: Sequence[str]) -> list[str]:
    """Those that must hear the references, too."""
    return embedders_of([name for name in names if METRICS[name].kind in ("set", "paired")])


def _fad(name: str, task: Task) -> Scored:
    (embedder,) = METRICS[name].embedders
    reference = _shared(task, ("fad", embedder), lambda: fad.reference(_gaussian(task, embedder)))
    clips = [task.rows(embedder, pair.generated) for pair in task.pairs]
    generated = fad.merge(fad.gaussian(clip) for clip in clips)
    value = fad.distance(reference, generated)
    replicates = fad.bootstrap(reference, clips, task.rng(), task.resamples)
    low, high, bias = resampling.shifted_interval(value, replicates)
    shares = fad.per_clip if len(clips) <= EXACT_SHARES else fad.influence
    details = {"bias": bias, "windows": float(generated.n), "reference_windows": float(reference.gaussian.n)}
    if generated.n >= 1000:
        details["infinity"], details["infinity_r2"] = fad.extrapolated(reference, np.concatenate(clips), task.rng())
    each = dict(zip(_ids(task.pairs), map(float, shares(reference, clips, generated)), strict=True))
    return Scored(_score(name, task, task.pairs, value, max(0.0, low), high, details, each), replicates)


def _kad(name: str, task: Task) -> Scored:
    (embedder,) = METRICS[name].embedders
    reference = _shared(
        task,
        ("kad", embedder),
        lambda: kad.reference(np.concatenate([task.rows(embedder, pair.reference) for pair in task.pairs])),
    )
    sums = kad.sums(reference, [task.rows(embedder, pair.generated) for pair in task.pairs])
    value = kad.distance(reference, sums)
    replicates = kad.bootstrap(reference, sums, task.rng(), task.resamples)
    low, high, bias = resampling.shifted_interval(value, replicates)
    details = {"bias": bias, "bandwidth": reference.bandwidth, "windows": float(sums.sizes.sum())}
    return Scored(_score(name, task, task.pairs, value, low, high, details), replicates)


def _mad(name: str, task: Task) -> Scored:
    (embedder,) = METRICS[name].embedders
    reference, generated = (
        np.stack([mad.vector(task.rows(embedder, getattr(pair, side))) for pair in task.pairs])
        for side in ("reference", "generated")
    )
    cells = mad.cells(reference, generated)
    value = mad.distance(cells)
    replicates = mad.bootstrap(cells, task.rng(), task.resamples)
    low, high, bias = resampling.shifted_interval(value, replicates)
    details = {"bias": bias, "cells": float(cells.count)}
    return Scored(_score(name, task, task.pairs, value, max(0.0, low), high, details), replicates)


def _aesthetics(name: str, task: Task) -> Scored:
    axis = AXES.index(name.rsplit("_", 1)[1].upper())
    rows = [task.rows("aesthetics", pair.generated) for pair in task.pairs]
    values = np.array([np.average(each[:, axis], weights=each[:, -1]) for each in rows])
    low, high = resampling.ratio_interval(values, np.ones(len(values)), task.rng(), task.resamples)
    clips = dict(zip(_ids(task.pairs), map(float, values), strict=True))
    return Scored(_score(name, task, task.pairs, float(values.mean()), low, high, {}, clips))


def _kl(name: str, task: Task) -> Scored:
    pairs, excluded = _whole(task)
    (embedder,) = METRICS[name].embedders
    each, kept = [], []
    for pair in pairs:
        ours, theirs = task.rows(embedder, pair.reference), task.rows(embedder, pair.generated)
        if ours.shape != theirs.shape:
            excluded[pair.id] = f"{len(theirs)} segments against {len(ours)} of the reference"
            continue
        each.append(_divergence(name, task, ours, theirs))
        kept.append(pair)
    forward, reverse, both = kl.merge(each).means
    low, high = resampling.ratio_interval(
        [d.forward for d in each], [d.segments for d in each], task.rng(), task.resamples
    )
    clips = {pair.id: d.means[0] for pair, d in zip(kept, each, strict=True)}
    details = {"reverse": reverse, "both": both, "segments": float(sum(d.segments for d in each))}
    return Scored(_score(name, task, kept, forward, low, high, details, clips, excluded))


def _divergence(name: str, task: Task, ours: Array, theirs: Array) -> kl.Divergence:
    if name != "kl_mini":
        return kl.divergence(ours, theirs)
    genres = cast(MiniEmbedder, task.registry["mini_tags"]).genres
    genre, lead = (
        kl.divergence(ours[:, :genres], theirs[:, :genres]),
        kl.divergence(ours[:, genres:], theirs[:, genres:]),
    )
    # Independent labels: their divergences add up, over the same segments.
    return kl.Divergence(genre.forward + lead.forward, genre.reverse + lead.reverse, genre.segments)


def _clap(name: str, task: Task) -> Scored:
    (embedder,) = METRICS[name].embedders
    captions = [pair.caption for pair in task.pairs]
    texts = text_embeddings(captions, cast(TextEmbedder, task.registry[embedder]), task.cache)
    sounds = [task.rows(embedder, pair.generated) for pair in task.pairs]
    values = np.array([clap.similarity(text, sound) for text, sound in zip(texts, sounds, strict=True)])
    shuffled = np.array(
        [clap.similarity(text, sound) for text, sound in zip(np.roll(texts, -1, 0), sounds, strict=True)]
    )
    low, high = resampling.ratio_interval(values, np.ones(len(values)), task.rng(), task.resamples)
    details = {
        "shuffled": float(shuffled.mean()),
        "beats_shuffled": float(np.mean(values > shuffled)),
        "p_shuffled": statistics.paired_permutation(values, shuffled, task.rng()),
    }
    clips = dict(zip(_ids(task.pairs), map(float, values), strict=True))
    return Scored(_score(name, task, task.pairs, float(values.mean()), low, high, details, clips))


def _chroma(name: str, task: Task) -> Scored:
    pairs, excluded = _whole(task)
    each = [
        chroma_similarity.agreement(
            task.rows("chroma", pair.reference), task.rows("chroma", pair.generated), pair.samples
        )
        for pair in pairs
    ]
    whole = chroma_similarity.merge(each)
    low, high = resampling.ratio_interval(
        [part.matches for part in each], [part.frames for part in each], task.rng(), task.resamples
    )
    details = {
        "frames": float(whole.frames),
        "silent_reference": whole.silent_reference / whole.frames,
        "silent_generated": whole.silent_generated / whole.frames,
        "sounding": whole.sounding_similarity,
    }
    clips = {pair.id: part.similarity for pair, part in zip(pairs, each, strict=True)}
    return Scored(_score(name, task, pairs, whole.similarity, low, high, details, clips, excluded))


def _whole(task: Task) -> tuple[list[Pair], dict[str, str]]:
    """The pairs whose generation lasts as long as its reference, and why the others do not count."""
    pairs = [pair for pair in task.pairs if not pair.short]
    if len(pairs) < MIN_CLIPS:
        raise InputError(f"only {len(pairs)} generations last as long as their references: {MIN_CLIPS} are needed")
    return pairs, {pair.id: pair.short for pair in task.pairs if pair.short}


def _gaussian(task: Task, embedder: str) -> fad.Gaussian:
    return fad.merge(fad.gaussian(task.rows(embedder, pair.reference)) for pair in task.pairs)


def _shared(task: Task, key: tuple[str, str], make: Callable[[], Any]) -> Any:
    if key not in task.memo:
        task.memo[key] = make()
    return task.memo[key]


def _ids(pairs: Sequence[Pair]) -> list[str]:
    return [pair.id for pair in pairs]


def _score(
    name: str,
    task: Task,
    pairs: Sequence[Pair],
    value: float,
    low: float | None,
    high: float | None,
    details: Mapping[str, float],
    clips: Mapping[str, float] | None = None,
    excluded: Mapping[str, str] | None = None,
) -> Score:
    metric = METRICS[name]
    hashes = {NEEDS.get(used, used): task.registry[used].weights for used in metric.embedders}
    raw = any(task.registry[used].view in AS_IT_IS for used in metric.embedders)
    return Score(
        metric=name,
        value=value,
        low=low,
        high=high,
        n=len(pairs),
        direction=metric.direction,
        version=f"{metric.version}/" + ",".join(f"{used} {task.registry[used].version}" for used in metric.embedders),
        seed=task.seed,
        protocol=FIELD if raw else PAPER,
        excluded={**task.excluded, **(excluded or {})},
        weights={used: value for used, value in hashes.items() if value},
        details=details,
        clips=clips or {},
    )


METRICS: dict[str, Metric] = {
    "fad_vggish_tf": Metric("FAD (VGGish, the paper's)", "set", ("vggish_tf",), "lower", fad.VERSION, _fad),
    "fad_vggish_torch": Metric("FAD (VGGish, torch)", "set", ("vggish_torch",), "lower", fad.VERSION, _fad),
    "fad_clap_music": Metric("FAD (CLAP music)", "set", ("clap_windowed",), "lower", fad.VERSION, _fad),
    "fad_mini": Metric("FAD (mini)", "set", ("mini",), "lower", fad.VERSION, _fad),
    "kad_vggish_torch": Metric("KAD (VGGish, torch)", "set", ("vggish_torch",), "lower", kad.VERSION, _kad),
    "kad_clap_music": Metric("KAD (CLAP music)", "set", ("clap_windowed",), "lower", kad.VERSION, _kad),
    "kad_mini": Metric("KAD (mini)", "set", ("mini",), "lower", kad.VERSION, _kad),
    "mad": Metric("MAD (MERT)", "set", ("mert",), "lower", mad.VERSION, _mad),
    "mad_mini": Metric("MAD (mini)", "set", ("mini",), "lower", mad.VERSION, _mad),
    "kl": Metric("KL (PaSST)", "paired", ("passt",), "lower", kl.VERSION, _kl),
    "kl_mini": Metric("KL (mini)", "paired", ("mini_tags",), "lower", kl.VERSION, _kl),
    "clap": Metric("CLAP", "text", ("clap",), "higher", clap.VERSION, _clap),
    "clap_windowed": Metric("CLAP (windowed)", "text", ("clap_windowed",), "higher", clap.VERSION, _clap),
    "clap_mini": Metric("CLAP (mini)", "text", ("mini_clap",), "higher", clap.VERSION, _clap),
    "aesthetics_ce": Metric("Enjoyment (Audiobox)", "single", ("aesthetics",), "higher", "1", _aesthetics),
    "aesthetics_cu": Metric("Usefulness (Audiobox)", "single", ("aesthetics",), "higher", "1", _aesthetics),
    "aesthetics_pc": Metric("Complexity (Audiobox)", "single", ("aesthetics",), "neither", "1", _aesthetics),
    "aesthetics_pq": Metric("Quality (Audiobox)", "single", ("aesthetics",), "higher", "1", _aesthetics),
    "chroma": Metric("Chroma", "paired", ("chroma",), "higher", chroma_similarity.VERSION, _chroma),
}
"""By the name that suites and results use."""
