"""Scoring of samples folders against a suite's references. All systems are scored on the clips that all of them have; all other
clips are excluded with a reason.

After an interruption, a second run uses the cached embeddings and continues.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from musicgen import samples
from musicgen.errors import InputError
from musicgen.text_format import counted

from ..clips import diagnostics
from ..clips.clip import RATE, Inspection, Source
from ..embedders.cache import Cache
from ..embedders.embedding import compute_embeddings, inspect_sources
from ..embedders.registry import Embedders
from ..metrics.base import MIN_CLIPS, RESAMPLES, ClipTooShort, Metric, MetricInputs, Pair, SystemScore, score_metric
from ..metrics.registry import check_metrics, embedders_of, find_metric, reference_embedders_of
from ..reports.results import REFERENCES, SHUFFLED_REFERENCES, Results, SystemResult
from ..suites.items import Item
from ..suites.suite import Suite
from .comparisons import compare_systems
from .progress import Stages
from .references import Reference, References, inspect_references, read_statistics, set_reference

TOLERANCE = round(0.1 * RATE)
"""Samples by which a generation may end before its reference."""

Embed = Callable[[Sequence[Source], Sequence[str]], None]
"""Computes the embeddings of sources by the embedders of these names into the cache, here or on other machines."""
NO_AUDIO = "no audio of its reference"


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
    resamples: int = RESAMPLES
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


@dataclass(frozen=True)
class ScoredSet:
    """The clips of one system, or of one bound, that are scored.

    Attributes:
        name: of the system.
        pairs: in the order of their ids.
        inspections: id → of the generation.
    """

    name: str
    pairs: Sequence[Pair]
    inspections: Mapping[str, Inspection]


def score(
    suite: Suite,
    items: Sequence[Item],
    folders: Sequence[Path],
    embedders: Embedders,
    cache: Cache,
    options: ScoringOptions | None = None,
    metrics: Sequence[str] | None = None,
    embed: Embed | None = None,
    statistics_files: Sequence[Path] = (),
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
        statistics_files: statistics of the references (`reference_statistics`), in place of audio that is not here.

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
    embedders.check(embedders_of(names))
    # References, each system's clips, the references' embeddings and those of each set, metrics.
    stages = Stages(3 + 2 * len(systems) + 2 * options.bounds, show=options.progress)
    known = read_statistics(statistics_files, embedders, names)
    references, excluded = inspect_references(suite, items, cache, stages, audio_needed=not known)
    common, system_exclusions, inspections = _common_clips(items, references, systems, cache, stages)
    excluded |= system_exclusions
    if len(common) < MIN_CLIPS:
        reasons = "; ".join(f"{name}: {why}" for name, why in list(excluded.items())[:3])
        raise InputError(f"only {counted(len(common), 'clip')} can be compared, {MIN_CLIPS} are needed ({reasons})")
    sets = [_pairs(suite, items, references, system, common, inspections[system.name]) for system in systems]
    if options.bounds:
        sets = [*_bounds(suite, items, references, common), *sets]
    sets = _share_short_clips(sets)

    embed = embed if embed is not None else _local_embedding(embedders, cache, options.batch, stages)
    embed(_embedded_references(sets[0].pairs, names), reference_embedders_of(names))
    for each in sets:
        embed([pair.generated for pair in each.pairs], embedders_of(names))
    common_inputs = MetricInputs((), embedders, cache, {}, options.seed, options.resamples, excluded, known)
    scores: dict[str, dict[str, SystemScore]] = {each.name: {} for each in sets}
    missing: dict[str, str] = {}
    with stages.bar(len(names), "metrics") as bar:
        for name in names:
            try:
                for system_name, found in _score_all(find_metric(name), sets, common_inputs).items():
                    scores[system_name][name] = found
            except InputError as error:
                missing[name] = str(error)
            if bar:
                bar.update()
    if len(missing) == len(names):
        raise InputError("; ".join(f"{name}: {reason}" for name, reason in missing.items()))
    by_name = {system.name: system for system in systems}
    return Results(
        suite=suite.label,
        metrics=names,
        systems=[
            SystemResult(
                each.name,
                [found.score for found in scores[each.name].values()],
                *_diagnostics_and_flags(each.inspections),
                settings=dict(by_name[each.name].settings) if each.name in by_name else {},
            )
            for each in sets
        ],
        comparisons=compare_systems(
            scores,
            [system.name for system in systems],
            [name for name in names if name not in missing],
            options.seed,
            options.resamples,
        ),
        ids=common,
        excluded=excluded,
        environment={"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        missing=missing,
    )


def _score_all(metric: Metric, sets: Sequence[ScoredSet], inputs: MetricInputs) -> dict[str, SystemScore]:
    """One metric of all systems, on the same clips: what it excludes for one system is excluded for all."""

    def compute() -> dict[str, SystemScore]:
        return {each.name: score_metric(metric, replace(inputs, pairs=each.pairs)) for each in sets}

    try:
        scores = compute()
    except ClipTooShort:  # rare, and to look for them takes reading every embedding once more
        short: dict[str, str] = {}
        for each in sets:
            short |= replace(inputs, pairs=each.pairs).too_short(metric)
        inputs = replace(inputs, excluded={**inputs.excluded, **short})
        sets = [replace(each, pairs=[pair for pair in each.pairs if pair.id not in short]) for each in sets]
        scores = compute()
    dropped: dict[str, str] = {}
    for name, found in scores.items():
        for clip in found.score.excluded.keys() - inputs.excluded.keys():
            reason = found.score.excluded[clip]
            dropped.setdefault(clip, reason if reason.startswith(f"{name}: ") else f"{name}: {reason}")
    if all(dropped.keys() <= found.score.excluded.keys() for found in scores.values()):
        return scores
    sets = [
        replace(each, pairs=[replace(pair, short=pair.short or dropped.get(pair.id, "")) for pair in each.pairs])
        for each in sets
    ]
    return compute()


def _embedded_references(pairs: Sequence[Pair], metrics: Sequence[str]) -> list[Source]:
    """The sources to embed for the references: the parts for paired metrics, and whole references if set metrics use them."""
    kinds = {find_metric(name).kind for name in metrics}
    sources = [pair.reference for pair in pairs] if "paired" in kinds else []
    if "set" in kinds:
        sources += [pair.set_reference for pair in pairs]
    return list({(source.id, source.window): source for source in sources if source is not None}.values())


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


def _common_clips(
    items: Sequence[Item],
    references: References,
    systems: Sequence[ClipSet],
    cache: Cache,
    stages: Stages,
) -> tuple[list[str], dict[str, str], dict[str, dict[str, Inspection]]]:
    """(ids that all systems have, id → why others are excluded, system → id → inspection of its clip)."""
    inspections: dict[str, dict[str, Inspection]] = {}
    excluded: dict[str, str] = {}
    for system in systems:
        present = [name for name in references if name in system.files]
        if not present:
            raise InputError(f"{system.name}: has no clip of this suite (its first is {next(iter(system.files))!r})")
        for name in references:
            if name not in system.files:
                excluded.setdefault(name, f"{system.name}: no clip")
        sources = [_generated_source(name, system, references) for name in present]
        with stages.bar(len(sources), system.name) as bar:
            by_id = inspect_sources(sources, cache, bar.update if bar else None)
        own = inspections[system.name] = {}
        for name, inspection in by_id.items():
            reason = inspection if isinstance(inspection, str) else inspection.exclusion()
            if reason is not None:
                excluded.setdefault(name, f"{system.name}: {reason}")
            elif not isinstance(inspection, str):
                own[name] = inspection
    common = sorted(item.id for item in items if item.id in references and item.id not in excluded)
    return common, excluded, inspections


def _generated_source(name: str, system: ClipSet, references: References) -> Source:
    return Source(name, system.files[name], system.hashes[name], "generated", references[name].samples)


def _pairs(
    suite: Suite,
    items: Sequence[Item],
    references: References,
    system: ClipSet,
    common: Sequence[str],
    inspections: Mapping[str, Inspection],
) -> ScoredSet:
    captions = {item.id: item.caption for item in items}
    pairs = []
    for name in common:
        reference = references[name]
        generated = _generated_source(name, system, references)
        short = _short(system.name, reference, inspections[name])
        whole = set_reference(suite, reference.source)
        pairs.append(Pair(name, captions[name], reference.source, generated, reference.samples, short, whole))
    return ScoredSet(system.name, pairs, {name: inspections[name] for name in common})


def _bounds(suite: Suite, items: Sequence[Item], references: References, common: Sequence[str]) -> list[ScoredSet]:
    captions = {item.id: item.caption for item in items}
    bounds = []
    for label, others in ((REFERENCES, list(common)), (SHUFFLED_REFERENCES, [*common[1:], *common[:1]])):
        pairs, inspections = [], {}
        for name, other in zip(common, others, strict=True):
            own, generated = references[name], references[other]
            if own.source is None or generated.source is None or generated.inspection is None:
                raise InputError(
                    "--bounds scores the references themselves: it takes their audio, not statistics alone"
                )
            clip = replace(generated.source, role="generated", length=own.samples)
            short = _short(label, own, generated.inspection)
            whole = set_reference(suite, own.source)
            pairs.append(Pair(name, captions[name], own.source, clip, own.samples, short, whole))
            inspections[name] = generated.inspection
        bounds.append(ScoredSet(label, pairs, inspections))
    return bounds


def _short(system: str, reference: Reference, generated: Inspection) -> str:
    """Why paired metrics exclude a generation, "" if they do not: it ends before its reference, or there is none."""
    if reference.source is None:
        return NO_AUDIO
    missing = reference.samples - generated.samples
    return f"{system}: ends {missing / RATE:.2f} s before its reference" if missing > TOLERANCE else ""


def _share_short_clips(sets: Sequence[ScoredSet]) -> list[ScoredSet]:
    """Paired metrics, too, use the same clips for all systems: one that is short for one is excluded for all."""
    short: dict[str, str] = {}
    for each in sets:
        for pair in each.pairs:
            if pair.short:
                short.setdefault(pair.id, pair.short)
    return [replace(each, pairs=[replace(pair, short=short.get(pair.id, "")) for pair in each.pairs]) for each in sets]


def _diagnostics_and_flags(inspections: Mapping[str, Inspection]) -> tuple[dict[str, float], dict[str, str]]:
    summary = diagnostics.summary([each.diagnosis for each in inspections.values()])
    flags = {name: "silent" for name, each in inspections.items() if each.diagnosis.silent}
    duplicates = diagnostics.duplicates({name: each.sound for name, each in inspections.items()})
    flags |= {name: f"the same sound as {first}" for name, first in duplicates.items()}
    return {**summary, "duplicates": float(len(duplicates))}, flags


def _local_embedding(embedders: Embedders, cache: Cache, batch: int, stages: Stages) -> Embed:
    def embed(sources: Sequence[Source], names: Sequence[str]) -> None:
        with stages.bar(len(sources), "embeddings") as bar:
            loaded = [embedders[name] for name in names]
            compute_embeddings(sources, loaded, cache, batch=batch, progress=bar.update if bar else None)

    return embed
