"""Scoring of samples folders against a suite's references. All systems are scored on the clips that all of them have, and every
other clip is excluded with a reason.

After an interruption, a second run takes what is in the cache and goes on.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from musicgen import samples, statistics
from musicgen.errors import InputError

from ..clips import diagnostics
from ..clips.clip import RATE, Inspection, Source
from ..embedders.cache import Cache
from ..embedders.embedding import compute_embeddings, inspect_sources
from ..embedders.registry import Embedders
from ..metrics import resampling
from ..metrics.base import MIN_CLIPS, MetricInputs, Pair, SystemScore, score_metric
from ..metrics.registry import check_metrics, embedders_of, find_metric, reference_embedders_of
from ..reports.results import REFERENCES, SHUFFLED_REFERENCES, Comparison, Results, SystemResult
from ..suites.items import Item
from ..suites.suite import Suite

TOLERANCE = round(0.1 * RATE)
"""Samples by which a generation may end before its reference."""

Embed = Callable[[Sequence[Source], Sequence[str]], None]
"""Computes the embeddings of sources by the embedders of these names into the cache, here or on other machines."""
References = Mapping[str, tuple[Source, Inspection]]
"""id → a reference that can be scored against."""


@dataclass(frozen=True)
class ScoringOptions:
    """How a scoring run goes.

    Attributes:
        seed: of the intervals.
        resamples: of the bootstrap.
        bounds: whether to score the references themselves, too, in order and shuffled.
        batch: inputs of one call of a network; more than 1 only on a GPU.
        progress: whether to show progress bars.
    """

    seed: int = 0
    resamples: int = resampling.RESAMPLES
    bounds: bool = False
    batch: int = 1
    progress: bool = True


@dataclass(frozen=True)
class ClipSet:
    """The clips of one system.

    Attributes:
        name: of the system.
        files: id → clip.
        hashes: id → sha256 of the file.
        settings: of the generation.
    """

    name: str
    files: Mapping[str, Path]
    hashes: Mapping[str, str]
    settings: Mapping[str, object] = field(default_factory=dict)


def score(
    suite: Suite,
    items: Sequence[Item],
    folders: Sequence[Path],
    embedders: Embedders,
    cache: Cache,
    options: ScoringOptions | None = None,
    metrics: Sequence[str] | None = None,
    embed: Embed | None = None,
) -> Results:
    """Score systems by all metrics of a suite.

    Args:
        suite: gives the metrics.
        items: of the suite, with the references.
        folders: a samples folder of each system.
        embedders: the networks.
        cache: of embeddings.
        options: seed, bootstrap, bounds.
        metrics: in place of the suite's.
        embed: computes the embeddings; by default in this process.

    Returns:
        Scores, comparisons of every two systems, exclusions.

    Raises:
        InputError: a metric is unknown, a samples folder is faulty, fewer than MIN_CLIPS clips remain, or a metric cannot be
            computed of them.
    """
    options = options if options is not None else ScoringOptions()
    names = list(metrics if metrics is not None else suite.metrics)
    check_metrics(names, suite.label if metrics is None else "metrics")
    systems = [read_clip_set(folder) for folder in folders]
    _check_names(systems)
    references, excluded = _inspect_references(items, cache, options)
    common, system_exclusions, inspections = _common_clips(items, references, systems, cache, options)
    excluded |= system_exclusions
    if len(common) < MIN_CLIPS:
        reasons = "; ".join(f"{name}: {why}" for name, why in list(excluded.items())[:3])
        raise InputError(f"only {len(common)} clips can be compared, {MIN_CLIPS} are needed ({reasons})")
    pairs_of = [(system.name, _pairs(items, references, system, common, inspections)) for system in systems]
    if options.bounds:
        pairs_of = [*_bounds(items, references, common), *pairs_of]
    pairs_of = _share_short_clips(pairs_of)

    embed = embed if embed is not None else _local_embedding(embedders, cache, options)
    embed([references[name][0] for name in common], reference_embedders_of(names))
    memo: dict[object, object] = {}
    scores: dict[str, list[SystemScore]] = {}
    for name, pairs in pairs_of:
        embed([pair.generated for pair in pairs], embedders_of(names))
        inputs = MetricInputs(pairs, embedders, cache, memo, options.seed, options.resamples, excluded)
        scores[name] = [score_metric(find_metric(metric), inputs) for metric in names]
    by_name = {system.name: system for system in systems}
    return Results(
        suite=suite.label,
        metrics=names,
        systems=[
            SystemResult(
                name,
                [each.score for each in scores[name]],
                *_diagnostics_and_flags({pair.id: inspections[pair.generated.sha256] for pair in pairs}),
                settings=dict(by_name[name].settings) if name in by_name else {},
            )
            for name, pairs in pairs_of
        ],
        comparisons=_comparisons(scores, [system.name for system in systems], names, options),
        ids=common,
        excluded=excluded,
        environment={"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
    )


def read_clip_set(folder: Path) -> ClipSet:
    """Read a samples folder, all of whose clips must be of one system.

    Raises:
        InputError: they are not, or the folder is faulty.
    """
    contents = samples.read(folder)
    names = sorted({sample.system for sample in contents.samples})
    if len(names) != 1:
        raise InputError(f"{folder}: clips of several systems ({', '.join(names)}): one folder per system")
    return ClipSet(
        names[0],
        {sample.id: contents.file(sample) for sample in contents.samples},
        {sample.id: sample.sha256 for sample in contents.samples},
        {"folder": folder.name, **dict(contents.samples[0].settings)},
    )


def _check_names(systems: Sequence[ClipSet]) -> None:
    if not systems:
        raise InputError("no samples folder to score")
    names = [system.name for system in systems]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"two samples folders are of one system, {repeated[0]}: generate under another --name")


def _inspect_references(
    items: Sequence[Item], cache: Cache, options: ScoringOptions
) -> tuple[dict[str, tuple[Source, Inspection]], dict[str, str]]:
    """(the references that can be scored against, id → why the others cannot)."""
    excluded = {item.id: "no reference file" for item in items if not item.file.is_file()}
    sources = []
    for item in items:
        if item.id in excluded:
            continue
        actual = samples.file_sha256(item.file)
        if item.sha256 and actual != item.sha256:
            raise InputError(f"{item.file}: is not the file that the suite lists (another sha256)")
        sources.append(Source(item.id, item.file, actual, "reference"))
    with _bar(len(sources), "references", options) as bar:
        inspections = inspect_sources(sources, cache, bar.update if bar else None)
    references = {}
    for source in sources:
        inspection = inspections[source.id]
        reason = inspection if isinstance(inspection, str) else inspection.exclusion()
        if reason is not None:
            excluded[source.id] = f"reference: {reason}"
        elif not isinstance(inspection, str):
            references[source.id] = (source, inspection)
    return references, excluded


def _common_clips(
    items: Sequence[Item],
    references: References,
    systems: Sequence[ClipSet],
    cache: Cache,
    options: ScoringOptions,
) -> tuple[list[str], dict[str, str], dict[str, Inspection]]:
    """(ids that all systems have, id → why others are excluded, sha256 of a file → its inspection)."""
    inspections = {source.sha256: inspection for source, inspection in references.values()}
    excluded: dict[str, str] = {}
    for system in systems:
        present = [name for name in references if name in system.files]
        if not present:
            raise InputError(f"{system.name}: has no clip of this suite (its first is {next(iter(system.files))!r})")
        for name in references:
            if name not in system.files:
                excluded.setdefault(name, f"{system.name}: no clip")
        sources = [_generated_source(name, system, references) for name in present]
        with _bar(len(sources), system.name, options) as bar:
            by_id = inspect_sources(sources, cache, bar.update if bar else None)
        for source in sources:
            inspection = by_id[source.id]
            reason = inspection if isinstance(inspection, str) else inspection.exclusion()
            if reason is not None:
                excluded.setdefault(source.id, f"{system.name}: {reason}")
            elif not isinstance(inspection, str):
                inspections[source.sha256] = inspection
    common = sorted(item.id for item in items if item.id in references and item.id not in excluded)
    return common, excluded, inspections


def _generated_source(name: str, system: ClipSet, references: References) -> Source:
    return Source(name, system.files[name], system.hashes[name], "generated", references[name][1].samples)


def _pairs(
    items: Sequence[Item],
    references: References,
    system: ClipSet,
    common: Sequence[str],
    inspections: Mapping[str, Inspection],
) -> list[Pair]:
    captions = {item.id: item.caption for item in items}
    pairs = []
    for name in common:
        source, inspection = references[name]
        generated = _generated_source(name, system, references)
        short = _short(system.name, inspection, inspections[generated.sha256])
        pairs.append(Pair(name, captions[name], source, generated, inspection.samples, short))
    return pairs


def _bounds(items: Sequence[Item], references: References, common: Sequence[str]) -> list[tuple[str, list[Pair]]]:
    captions = {item.id: item.caption for item in items}
    bounds = []
    for label, others in ((REFERENCES, list(common)), (SHUFFLED_REFERENCES, [*common[1:], *common[:1]])):
        pairs = []
        for name, other in zip(common, others, strict=True):
            (source, inspection), (other_source, other_inspection) = references[name], references[other]
            generated = replace(other_source, role="generated", length=inspection.samples)
            short = _short(label, inspection, other_inspection)
            pairs.append(Pair(name, captions[name], source, generated, inspection.samples, short))
        bounds.append((label, pairs))
    return bounds


def _short(system: str, reference: Inspection, generated: Inspection) -> str:
    """Why paired metrics exclude a generation that ends before its reference, "" if it does not."""
    missing = reference.samples - generated.samples
    return f"{system}: ends {missing / RATE:.2f} s before its reference" if missing > TOLERANCE else ""


def _share_short_clips(pairs_of: Sequence[tuple[str, list[Pair]]]) -> list[tuple[str, list[Pair]]]:
    """Paired metrics, too, use the same clips for all systems: one that is short for one is excluded for all."""
    short: dict[str, str] = {}
    for _, pairs in pairs_of:
        for pair in pairs:
            if pair.short:
                short.setdefault(pair.id, pair.short)
    return [(name, [replace(pair, short=short.get(pair.id, "")) for pair in pairs]) for name, pairs in pairs_of]


def _diagnostics_and_flags(inspections: Mapping[str, Inspection]) -> tuple[dict[str, float], dict[str, str]]:
    summary = diagnostics.summary([each.diagnosis for each in inspections.values()])
    flags = {name: "silent" for name, each in inspections.items() if each.diagnosis.silent}
    duplicates = diagnostics.duplicates({name: each.sound for name, each in inspections.items()})
    flags |= {name: f"the same sound as {first}" for name, first in duplicates.items()}
    return {**summary, "duplicates": float(len(duplicates))}, flags


def _comparisons(
    scores: Mapping[str, list[SystemScore]], systems: Sequence[str], metrics: Sequence[str], options: ScoringOptions
) -> list[Comparison]:
    """Every two systems by every metric."""
    comparisons = []
    for index, metric in enumerate(metrics):
        rows = [
            _comparison(metric, first, second, scores[first][index], scores[second][index], options)
            for first, second in combinations(systems, 2)
        ]
        tested = [row for row in rows if row.p is not None]
        adjusted = statistics.holm([row.p for row in tested if row.p is not None])
        holm = {id(row): value for row, value in zip(tested, adjusted, strict=True)}
        comparisons += [replace(row, adjusted=holm.get(id(row))) for row in rows]
    return comparisons


def _comparison(
    metric: str, first: str, second: str, a: SystemScore, b: SystemScore, options: ScoringOptions
) -> Comparison:
    difference = a.score.value - b.score.value
    if a.replicates is not None and b.replicates is not None:
        # Both drew the same clips: the difference of the replicates is the paired one.
        low, high, _ = resampling.shifted_interval(difference, a.replicates - b.replicates)
        return Comparison(metric, first, second, difference, low, high, None, None)
    ids = [name for name in a.score.clips if name in b.score.clips]
    if not ids:  # a metric of sets without a bootstrap
        return Comparison(metric, first, second, difference, None, None, None, None)
    values_a, values_b = (np.array([each.score.clips[name] for name in ids]) for each in (a, b))
    interval = resampling.ratio_interval(
        values_a - values_b, np.ones(len(ids)), np.random.default_rng(options.seed), options.resamples
    )
    p = statistics.paired_permutation(values_a, values_b, np.random.default_rng(options.seed))
    return Comparison(metric, first, second, difference, *interval, p, None)


def _local_embedding(embedders: Embedders, cache: Cache, options: ScoringOptions) -> Embed:
    def embed(sources: Sequence[Source], names: Sequence[str]) -> None:
        with _bar(len(sources), "embeddings", options) as bar:
            loaded = [embedders[name] for name in names]
            compute_embeddings(sources, loaded, cache, batch=options.batch, progress=bar.update if bar else None)

    return embed


def _bar(total: int, label: str, options: ScoringOptions) -> AbstractContextManager[tqdm | None]:
    return tqdm(total=total, desc=label) if options.progress else nullcontext()
