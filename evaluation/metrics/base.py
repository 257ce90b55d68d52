"""What a metric is: its registry entry, its inputs, its result, and how results become a `Score` with an interval.

A metric gets the clips that every compared system has, in the order of their ids, so that neither shards nor workers
nor the order of folders change a digit. Four kinds:

    set       compares the generations with the references as sets (FAD, KAD, MAD)
    paired    compares each generation with its own reference (KL, chroma); clips that end before it are excluded
    text      compares each generation with its caption (CLAP)
    single    scores each generation alone (aesthetics)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, cast

import numpy as np
import numpy.typing as npt

from musicgen.errors import InputError

from ..clips.clip import UNPROCESSED_VIEWS, Source
from ..embedders.base import TextEmbedder
from ..embedders.cache import Cache
from ..embedders.embedding import read_embedding, text_embeddings
from ..embedders.registry import Embedders, find_embedder
from . import resampling
from .score import Direction, Score

Array = npt.NDArray[np.float64]
T = TypeVar("T")

MIN_CLIPS = 2
"""Fewer clips have no interval, and no covariance."""
PAPER_PROTOCOL = "audiocraft: 32 kHz mono, generations at −14 LUFS, cut to their references"
RAW_PROTOCOL = "the files as they are, mono"

Kind = Literal["set", "paired", "text", "single"]


@dataclass(frozen=True)
class Pair:
    """A generation with its reference and caption.

    Attributes:
        id: of the suite's item.
        caption: of the item.
        reference: the reference's file.
        generated: the generation's file.
        samples: length of the reference at 32 kHz.
        short: why paired metrics exclude the clip, "" if they do not.
    """

    id: str
    caption: str
    reference: Source
    generated: Source
    samples: int
    short: str = ""


@dataclass(frozen=True)
class MetricInputs:
    """What a metric computes from: the clips of one system.

    Attributes:
        pairs: the generations, in the order of their ids.
        embedders: by name.
        cache: holds all embeddings that the metric names.
        memo: what systems share, such as statistics of the references (`shared`).
        seed: of the interval.
        resamples: of the bootstrap.
        excluded: id → why the clip is excluded for all metrics.
    """

    pairs: Sequence[Pair]
    embedders: Embedders
    cache: Cache
    memo: dict[Any, Any]
    seed: int = 0
    resamples: int = resampling.RESAMPLES
    excluded: Mapping[str, str] = field(default_factory=dict)

    def rng(self) -> np.random.Generator:
        """A new generator, the same for every system and metric: bootstraps of two systems draw the same clips."""
        return np.random.default_rng(self.seed)

    def embedding(self, embedder: str, source: Source) -> Array:
        """The rows of one clip [rows, d], float64."""
        return read_embedding(source, self.embedders[embedder], self.cache).astype(np.float64)

    def text_embeddings(self, embedder: str) -> npt.NDArray[np.float32]:
        """The embeddings [n, d] of all captions, in the order of `pairs`."""
        captions = [pair.caption for pair in self.pairs]
        return text_embeddings(captions, cast(TextEmbedder, self.embedders[embedder]), self.cache)

    def shared(self, key: tuple[str, ...], compute: Callable[[], T]) -> T:
        """`compute()`, called once for all systems. key: the metric, the embedder, and what else it depends on."""
        if key not in self.memo:
            self.memo[key] = compute()
        return cast(T, self.memo[key])

    def full_length_pairs(self) -> tuple[list[Pair], dict[str, str]]:
        """The pairs whose generation is as long as its reference; and id → why the others are excluded.

        Raises:
            InputError: there are fewer than MIN_CLIPS.
        """
        pairs = [pair for pair in self.pairs if not pair.short]
        if len(pairs) < MIN_CLIPS:
            raise InputError(f"only {len(pairs)} generations last as long as their references: {MIN_CLIPS} are needed")
        return pairs, {pair.id: pair.short for pair in self.pairs if pair.short}


@dataclass(frozen=True)
class SetResult:
    """The result of a metric of sets. Its interval is the replicates' percentiles, shifted by their bias.

    Attributes:
        value: the metric.
        replicates: of the bootstrap over clips [R], drawn with `MetricInputs.rng()`; None for no interval.
        details: further numbers by name.
        clips: id → the clip's contribution, if there is such a thing.
    """

    value: float
    replicates: Array | None = None
    details: Mapping[str, float] = field(default_factory=dict)
    clips: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ClipResult:
    """The result of a metric with a value for each clip. Its interval is the percentile bootstrap over clips of
    Σ totals / Σ sizes.

    Attributes:
        value: the metric, Σ totals / Σ sizes.
        clips: id → the clip's own value.
        totals: of each clip in `clips`, in order.
        sizes: of each clip: its windows, segments or frames.
        details: further numbers by name.
        excluded: id → why this metric excludes the clip.
    """

    value: float
    clips: Mapping[str, float]
    totals: Sequence[float]
    sizes: Sequence[float]
    details: Mapping[str, float] = field(default_factory=dict)
    excluded: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def mean(clips: Mapping[str, float], details: Mapping[str, float] | None = None) -> ClipResult:
        """The mean over clips, each of the same weight.

        Args:
            clips: id → the clip's value.
            details: further numbers by name.
        """
        values = list(clips.values())
        return ClipResult(float(np.mean(values)), clips, values, [1.0] * len(values), details or {})


@dataclass(frozen=True)
class Metric:
    """An entry of the metric registry.

    Its interval follows from what `compute` returns: see `SetResult` and `ClipResult`.

    Attributes:
        name: in suites, results and on the command line.
        title: in tables and plots.
        kind: what a generation is compared with.
        embedders: names of the embedders whose embeddings it needs, of the references too for kinds set and paired.
        direction: which way is better.
        version: of its code and definition.
        compute: computes it for one system; a `SetResult` for kind set, a `ClipResult` for the other kinds.
        minimum: the lowest possible value of a metric of sets, at which its interval is cut; None for none.
    """

    name: str
    title: str
    kind: Kind
    embedders: tuple[str, ...]
    direction: Direction
    version: str
    compute: Callable[[MetricInputs], SetResult | ClipResult]
    minimum: float | None = None


@dataclass(frozen=True)
class SystemScore:
    """One metric of one system.

    Attributes:
        score: what is reported.
        replicates: of a set metric's bootstrap [R], for comparisons of systems; None for metrics with a value per clip.
    """

    score: Score
    replicates: Array | None = None


def score_metric(metric: Metric, inputs: MetricInputs) -> SystemScore:
    """Compute one metric of one system, with its interval.

    Args:
        metric: the metric.
        inputs: the clips of the system.

    Raises:
        InputError: there are too few clips, the metric cannot be computed of them, or `compute` returned the wrong type.
    """
    if len(inputs.pairs) < MIN_CLIPS:
        raise InputError(f"{metric.name} needs at least {MIN_CLIPS} clips, and has {len(inputs.pairs)}")
    result = metric.compute(inputs)
    expected = SetResult if metric.kind == "set" else ClipResult
    if not isinstance(result, expected):
        raise InputError(
            f"metric {metric.name}: compute returned {type(result).__name__}: a metric of kind {metric.kind} returns "
            f"{expected.__name__}"
        )
    details = dict(result.details)
    replicates, excluded, n = None, dict(inputs.excluded), len(inputs.pairs)
    if isinstance(result, SetResult):
        replicates = result.replicates
        low = high = None
        if replicates is not None:
            low, high, bias = resampling.shifted_interval(result.value, replicates)
            low = low if metric.minimum is None else max(metric.minimum, low)
            details = {"bias": bias, **details}
    else:
        low, high = resampling.ratio_interval(result.totals, result.sizes, inputs.rng(), inputs.resamples)
        excluded |= result.excluded
        n = len(result.clips)
    embedders = {name: inputs.embedders[name] for name in metric.embedders}
    hashes = {find_embedder(name).network or name: embedder.weights for name, embedder in embedders.items()}
    raw = any(embedder.view in UNPROCESSED_VIEWS for embedder in embedders.values())
    score = Score(
        metric=metric.name,
        value=result.value,
        low=low,
        high=high,
        n=n,
        direction=metric.direction,
        version=f"{metric.version}/" + ",".join(f"{name} {embedder.version}" for name, embedder in embedders.items()),
        seed=inputs.seed,
        protocol=RAW_PROTOCOL if raw else PAPER_PROTOCOL,
        excluded=excluded,
        weights={name: value for name, value in hashes.items() if value},
        details=details,
        clips=dict(result.clips),
    )
    return SystemScore(score, replicates)
