"""The interface of metrics: registry entry, inputs, results, and the conversion of results to a `Score` with an interval.

A metric gets the clips that all compared systems have, sorted by id, so that results do not depend on shards, workers or the
order of folders. There are four kinds:

    set       compares the generations with the references as sets (FAD, KAD, KID, MAD)
    paired    compares each generation with its own reference (KL, chroma); clips that end before it are excluded
    text      compares each generation with its caption (CLAP)
    single    scores each generation alone (aesthetics)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import numpy as np
import numpy.typing as npt

from musicgen import statistics
from musicgen.errors import InputError

from ..clips.clip import UNPROCESSED_VIEWS, Source
from ..embedders.base import TextEmbedder
from ..embedders.cache import Cache
from ..embedders.embedding import read_embedding, text_embeddings
from ..embedders.registry import Embedders, find_embedder
from . import set_interval
from .score import Direction, Score
from .set_interval import Replicates, Resampled

if TYPE_CHECKING:
    from .fad import Gaussian

Array = npt.NDArray[np.float64]
T = TypeVar("T")

MIN_CLIPS = 2
"""Fewer clips are no set and have no covariance."""
RESAMPLES = 1000
"""Of the bootstraps."""
PAPER_PROTOCOL = "audiocraft: 32 kHz mono, generations at −14 LUFS, cut to their references"
RAW_PROTOCOL = "the files as they are, mono"

Kind = Literal["set", "paired", "text", "single"]


class ClipTooShort(InputError):
    """An embedder has no input that fits into a clip."""


@dataclass(frozen=True)
class Pair:
    """A generation with its reference and caption.

    Attributes:
        id: id of the suite's item.
        caption: caption of the item.
        reference: the reference's file; None if statistics of the references are used instead of their audio.
        generated: the generation's file.
        samples: length of the reference at 32 kHz, or the requested length.
        short: why paired metrics exclude the clip, "" if they do not.
        whole_reference: all of the reference, for metrics of sets, where `reference` is a part of it; None for the same.
    """

    id: str
    caption: str
    reference: Source | None
    generated: Source
    samples: int
    short: str = ""
    whole_reference: Source | None = None

    @property
    def set_reference(self) -> Source | None:
        """The reference that set metrics compare with."""
        return self.whole_reference if self.whole_reference is not None else self.reference


@dataclass(frozen=True)
class MetricInputs:
    """The inputs of a metric: the clips of one system.

    Attributes:
        pairs: the generations, ordered by id.
        embedders: embedders by name.
        cache: contains all embeddings that the metric needs.
        memo: values shared by systems, such as statistics of the references (`shared`).
        seed: seed of the interval.
        resamples: number of bootstrap resamples.
        excluded: id → why the clip is excluded for all metrics.
        statistics: embedder → statistics of the references from a file, instead of their audio.
    """

    pairs: Sequence[Pair]
    embedders: Embedders
    cache: Cache
    memo: dict[Any, Any]
    seed: int = 0
    resamples: int = RESAMPLES
    excluded: Mapping[str, str] = field(default_factory=dict)
    statistics: Mapping[str, Gaussian] = field(default_factory=dict)

    def rng(self) -> np.random.Generator:
        """A new generator with the same seed for every system and metric: bootstraps of two systems draw the same clips."""
        return np.random.default_rng(self.seed)

    def embedding(self, embedder: str, source: Source | None) -> Array:
        """The rows of one clip [rows, d], float64.

        Raises:
            ClipTooShort: the embedder has no input that fits into it.
            InputError: it is a reference whose audio is not here.
        """
        if source is None:
            raise InputError("it takes the audio of the references, of which only statistics are here")
        rows = read_embedding(source, self.embedders[embedder], self.cache)
        if not len(rows):
            raise ClipTooShort(f"{source.file}: too short for {embedder}")
        return rows.astype(np.float64)

    def too_short(self, metric: Metric) -> dict[str, str]:
        """Id → why the metric cannot take the pair: one of its clips is too short for an embedder."""
        found: dict[str, str] = {}
        for pair in self.pairs:
            references = {"paired": pair.reference, "set": pair.set_reference}
            sources = [source for source in (pair.generated, references.get(metric.kind)) if source is not None]
            for source in sources:
                for embedder in metric.embedders:
                    if not len(read_embedding(source, self.embedders[embedder], self.cache)):
                        found[pair.id] = f"too short for {embedder}"
        return found

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
        excluded = {pair.id: pair.short for pair in self.pairs if pair.short}
        if len(pairs) < MIN_CLIPS:
            name, reason = next(iter(excluded.items()))
            raise InputError(
                f"only {len(pairs)} of {len(self.pairs)} generations have a reference and last as long, and {MIN_CLIPS} are "
                f"needed ({name}: {reason})"
            )
        return pairs, excluded


@dataclass(frozen=True)
class SetResult:
    """The result of a set metric. Its interval is computed by `set_interval`, from resamples of the generations.

    Attributes:
        value: the metric.
        resampled: computes the metric on R resamples from the counts of each generation in them, [R, n] → [R]; None for no
            interval.
        details: further numbers by name.
        clips: id → the clip's contribution, if the metric defines one.
    """

    value: float
    resampled: Resampled | None = None
    details: Mapping[str, float] = field(default_factory=dict)
    clips: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ClipResult:
    """The result of a metric with a value for each clip. Its interval is `statistics.ratio_interval` of Σ totals / Σ sizes, and
    comparisons of systems are of the same ratio.

    Attributes:
        value: the metric, Σ totals / Σ sizes.
        clips: id → the clip's own value.
        totals: the numerators of the clips in `clips`, in order.
        sizes: the denominators: their numbers of windows, segments or frames.
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
        name: name in suites, results and on the command line.
        title: title in tables and plots.
        kind: what a generation is compared with.
        embedders: names of the embedders that it needs, also for the references if the kind is set or paired.
        direction: whether lower or higher values are better.
        version: version of its code and definition.
        compute: computes it for one system; returns a `ClipResult` if each clip has a value, otherwise a `SetResult`.
        minimum, maximum: the lowest and the highest possible value, to which its interval is clipped; None for none.
        names_outliers: whether tables list outliers among the clips.
        takes_statistics: whether mean and covariance of the references are enough, without their audio.
    """

    name: str
    title: str
    kind: Kind
    embedders: tuple[str, ...]
    direction: Direction
    version: str
    compute: Callable[[MetricInputs], SetResult | ClipResult]
    minimum: float | None = None
    maximum: float | None = None
    names_outliers: bool = False
    takes_statistics: bool = False

    @property
    def widest_difference(self) -> float:
        """The largest possible difference of two systems; infinite unless the metric is bounded on both sides."""
        return math.inf if self.minimum is None or self.maximum is None else self.maximum - self.minimum

    def cut(self, end: float) -> float:
        """An end of an interval, no further than the possible values."""
        low = -math.inf if self.minimum is None else self.minimum
        return min(max(end, low), math.inf if self.maximum is None else self.maximum)


@dataclass(frozen=True)
class SystemScore:
    """One metric of one system.

    Attributes:
        score: what is reported.
        replicates: of a metric of sets, for comparisons of systems; None without an interval, and with a value per clip.
        parts: clip id → (total, size) of a metric with a value per clip; empty for metrics of sets.
    """

    score: Score
    replicates: Replicates | None = None
    parts: Mapping[str, tuple[float, float]] = field(default_factory=dict)


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
    if not isinstance(result, (SetResult, ClipResult)):
        raise InputError(
            f"metric {metric.name}: compute returned {type(result).__name__}: it must return a SetResult or a ClipResult"
        )
    details = dict(result.details)
    replicates, interval, parts = None, None, {}
    excluded, n = dict(inputs.excluded), len(inputs.pairs)
    if isinstance(result, SetResult):
        if result.resampled is not None:
            resamples = min(inputs.resamples, set_interval.RESAMPLES)
            replicates = set_interval.replicate(result.resampled, n, inputs.rng(), resamples)
        interval = None if replicates is None else replicates.interval()
    else:
        interval = statistics.ratio_interval(result.totals, result.sizes, inputs.rng(), resamples=inputs.resamples)
        parts = dict(
            zip(result.clips, zip(map(float, result.totals), map(float, result.sizes), strict=True), strict=True)
        )
        excluded |= result.excluded
        n = len(result.clips)
    low, high = (None, None) if interval is None else (metric.cut(interval.low), metric.cut(interval.high))
    embedders = {name: inputs.embedders[name] for name in metric.embedders}
    hashes = {find_embedder(name).network: embedder.weights for name, embedder in embedders.items()}
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
    return SystemScore(score, replicates, parts)
