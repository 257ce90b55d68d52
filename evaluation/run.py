"""Samples folders in, results out: what is scored is what every compared system has, and everything else is named.

Interrupted at any moment, a second run takes what is in the cache and goes on.
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

from . import embedding, scorers
from .clips import RATE, Inspection, Source
from .data import Item
from .embedders.cache import Cache
from .embedders.registry import Registry
from .metrics import diagnostics, resampling
from .results import Comparison, Results, SystemResult
from .scorers import METRICS, Pair, Scored, Task
from .suites import Suite
from .table import BOUNDS

TOLERANCE = round(0.1 * RATE)
"""Samples by which a generation may end before its reference."""
REFERENCES, SHUFFLED = BOUNDS
"""The bounds: every reference against itself, and against the caption and the reference of the next one."""

Embed = Callable[[Sequence[Source], Sequence[str]], None]
"""Brings embeddings of sources into the cache; may do so on other machines."""


@dataclass(frozen=True)
class Options:
    """How a run goes. bounds: also score the references themselves; batch: inputs a call (more than 1 on a GPU)."""

    seed: int = 0
    resamples: int = resampling.RESAMPLES
    bounds: bool = False
    batch: int = 1
    progress: bool = True


@dataclass(frozen=True)
class System:
    """Somebody's clips. files: id → clip; hashes: id → sha256 of the file."""

    name: str
    files: Mapping[str, Path]
    hashes: Mapping[str, str]
    settings: Mapping[str, object] = field(default_factory=dict)


def score(
    suite: Suite,
    items: Sequence[Item],
    folders: Sequence[Path],
    registry: Registry,
    cache: Cache,
    options: Options | None = None,
    metrics: Sequence[str] | None = None,
    embed: Embed | None = None,
) -> Results:
    """All metrics of a suite for the systems whose samples folders these are."""
    options = options if options is not None else Options()
    names = list(metrics if metrics is not None else suite.metrics)
    systems = [read_system(folder) for folder in folders]
    _distinct(systems)
    references, excluded = _references(items, cache, options)
    common, faults, seen = _common(items, references, systems, cache, options)
    excluded |= faults
    if len(common) < scorers.MIN_CLIPS:
        reasons = "; ".join(f"{name}: {why}" for name, why in list(excluded.items())[:3])
        raise InputError(f"only {len(common)} clips can be compared, {scorers.MIN_CLIPS} are needed ({reasons})")
    lineup = [(system.name, _pairs(items, references, system, common, seen)) for system in systems]
    if options.bounds:
        lineup = [*_bounds(items, references, common), *lineup]
    lineup = _as_long(lineup)

    needed = scorers.embedders_of(names)
    hear = embed if embed is not None else _embed_here(registry, cache, options)
    hear([references[name][0] for name in common], scorers.reference_embedders_of(names))
    memo: dict[object, object] = {}
    scored: dict[str, list[Scored]] = {}
    for name, pairs in lineup:
        hear([pair.generated for pair in pairs], needed)
        task = Task(pairs, registry, cache, memo, options.seed, options.resamples, excluded)
        scored[name] = [scorers.score(metric, task) for metric in names]
    by_name = {system.name: system for system in systems}
    return Results(
        suite=suite.label,
        metrics=names,
        systems=[
            SystemResult(
                name,
                [each.score for each in scored[name]],
                *_diagnosed({pair.id: seen[pair.generated.sha256] for pair in pairs}),
                settings=dict(by_name[name].settings) if name in by_name else {},
            )
            for name, pairs in lineup
        ],
        comparisons=_compared(scored, [system.name for system in systems], names, options),
        ids=common,
        excluded=excluded,
        environment={"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
    )


def read_system(folder: Path) -> System:
    """A samples folder as a system; all its clips must come from one."""
    found = samples.read(folder)
    names = sorted({sample.system for sample in found.samples})
    if len(names) != 1:
        raise InputError(f"{folder}: clips of several systems ({', '.join(names)}): one folder a system")
    return System(
        names[0],
        {sample.id: found.file(sample) for sample in found.samples},
        {sample.id: sample.sha256 for sample in found.samples},
        {"folder": folder.name, **dict(found.samples[0].settings)},
    )


def _distinct(systems: Sequence[System]) -> None:
    if not systems:
        raise InputError("no samples folder to score")
    names = [system.name for system in systems]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"two samples folders are of one system, {twice[0]}: generate under another --name")


def _references(
    items: Sequence[Item], cache: Cache, options: Options
) -> tuple[dict[str, tuple[Source, Inspection]], dict[str, str]]:
    """id → source and inspection of the references that count; and why others do not."""
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
        found = embedding.inspected(sources, cache, bar.update if bar else None)
    kept = {}
    for source in sources:
        seen = found[source.id]
        why = seen if isinstance(seen, str) else seen.fault()
        if why is not None:
            excluded[source.id] = f"reference: {why}"
        elif not isinstance(seen, str):
            kept[source.id] = (source, seen)
    return kept, excluded


def _common(
    items: Sequence[Item],
    references: Mapping[str, tuple[Source, Inspection]],
    systems: Sequence[System],
    cache: Cache,
    options: Options,
) -> tuple[list[str], dict[str, str], dict[str, Inspection]]:
    """The ids that all systems have, why others are out, and what decoding showed, by the file's sha256."""
    seen = {source.sha256: found for source, found in references.values()}
    excluded: dict[str, str] = {}
    for system in systems:
        present = [name for name in references if name in system.files]
        if not present:
            raise InputError(f"{system.name}: has no clip of this suite (its first is {next(iter(system.files))!r})")
        for name in references:
            if name not in system.files:
                excluded.setdefault(name, f"{system.name}: no clip")
        sources = [_generated(name, system, references) for name in present]
        with _bar(len(sources), system.name, options) as bar:
            found = embedding.inspected(sources, cache, bar.update if bar else None)
        for source in sources:
            result = found[source.id]
            why = result if isinstance(result, str) else result.fault()
            if why is not None:
                excluded.setdefault(source.id, f"{system.name}: {why}")
            elif not isinstance(result, str):
                seen[source.sha256] = result
    common = sorted(item.id for item in items if item.id in references and item.id not in excluded)
    return common, excluded, seen


def _generated(name: str, system: System, references: Mapping[str, tuple[Source, Inspection]]) -> Source:
    return Source(name, system.files[name], system.hashes[name], "generated", references[name][1].samples)


def _pairs(
    items: Sequence[Item],
    references: Mapping[str, tuple[Source, Inspection]],
    system: System,
    common: Sequence[str],
    seen: Mapping[str, Inspection],
) -> list[Pair]:
    captions = {item.id: item.caption for item in items}
    pairs = []
    for name in common:
        source, inspection = references[name]
        generated = _generated(name, system, references)
        missing = inspection.samples - seen[generated.sha256].samples
        short = f"{system.name}: ends {missing / RATE:.2f} s before its reference" if missing > TOLERANCE else ""
        pairs.append(Pair(name, captions[name], source, generated, inspection.samples, short))
    return pairs


def _bounds(
    items: Sequence[Item], references: Mapping[str, tuple[Source, Inspection]], common: Sequence[str]
) -> list[tuple[str, list[Pair]]]:
    captions = {item.id: item.caption for item in items}
    bounds = []
    for label, others in ((REFERENCES, list(common)), (SHUFFLED, [*common[1:], *common[:1]])):
        pairs = []
        for name, other in zip(common, others, strict=True):
            (source, inspection), (another, length) = references[name], references[other]
            generated = replace(another, role="generated", length=inspection.samples)
            missing = inspection.samples - length.samples
            short = f"{label}: ends {missing / RATE:.2f} s before its reference" if missing > TOLERANCE else ""
            pairs.append(Pair(name, captions[name], source, generated, inspection.samples, short))
        bounds.append((label, pairs))
    return bounds


def _as_long(lineup: Sequence[tuple[str, list[Pair]]]) -> list[tuple[str, list[Pair]]]:
    """Paired metrics, too, use the same clips for all systems: one that is short for one is out for all."""
    short: dict[str, str] = {}
    for _, pairs in lineup:
        for pair in pairs:
            if pair.short:
                short.setdefault(pair.id, pair.short)
    return [(name, [replace(pair, short=short.get(pair.id, "")) for pair in pairs]) for name, pairs in lineup]


def _diagnosed(found: Mapping[str, Inspection]) -> tuple[dict[str, float], dict[str, str]]:
    table = diagnostics.summary([each.diagnosis for each in found.values()])
    flags = {name: "silent" for name, each in found.items() if each.diagnosis.silent}
    same = diagnostics.duplicates({name: each.sound for name, each in found.items()})
    flags |= {name: f"the same sound as {first}" for name, first in same.items()}
    return {**table, "duplicates": float(len(same))}, flags


def _compared(
    scored: Mapping[str, list[Scored]], systems: Sequence[str], metrics: Sequence[str], options: Options
) -> list[Comparison]:
    """Every two systems by every metric."""
    found = []
    for place, metric in enumerate(metrics):
        rows = [
            _comparison(metric, first, second, scored[first][place], scored[second][place], options)
            for first, second in combinations(systems, 2)
        ]
        tested = [row for row in rows if row.p is not None]
        adjusted = statistics.holm([row.p for row in tested if row.p is not None])
        holm = {id(row): value for row, value in zip(tested, adjusted, strict=True)}
        found += [replace(row, adjusted=holm.get(id(row))) for row in rows]
    return found


def _comparison(metric: str, first: str, second: str, a: Scored, b: Scored, options: Options) -> Comparison:
    difference = a.score.value - b.score.value
    if a.replicates is not None and b.replicates is not None:
        # Both drew the same clips: the difference of the replicates is the paired one.
        low, high, _ = resampling.shifted_interval(difference, a.replicates - b.replicates)
        return Comparison(metric, first, second, difference, low, high, None, None)
    ids = [name for name in a.score.clips if name in b.score.clips]
    ours, theirs = (np.array([each.score.clips[name] for name in ids]) for each in (a, b))
    interval = resampling.ratio_interval(
        ours - theirs, np.ones(len(ids)), np.random.default_rng(options.seed), options.resamples
    )
    p = statistics.paired_permutation(ours, theirs, np.random.default_rng(options.seed))
    return Comparison(metric, first, second, difference, *interval, p, None)


def _embed_here(registry: Registry, cache: Cache, options: Options) -> Embed:
    def hear(sources: Sequence[Source], names: Sequence[str]) -> None:
        with _bar(len(sources), "embeddings", options) as bar:
            embedders = [registry[name] for name in names]
            embedding.embed(sources, embedders, cache, batch=options.batch, tick=bar.update if bar else None)

    return hear


def _bar(total: int, label: str, options: Options) -> AbstractContextManager[tqdm | None]:
    return tqdm(total=total, desc=label) if options.progress else nullcontext()


__all__ = ["METRICS", "Options", "System", "read_system", "score"]
