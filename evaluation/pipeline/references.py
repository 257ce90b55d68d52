"""The references of a suite for scoring: inspected audio files, or their statistics if the audio is not available."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

from musicgen import samples
from musicgen.errors import InputError

from ..clips.clip import RATE, Inspection, Source
from ..embedders.cache import Cache
from ..embedders.embedding import compute_embeddings, inspect_sources, read_embedding
from ..embedders.registry import Embedders
from ..metrics.base import MIN_CLIPS
from ..metrics.fad import Gaussian, gaussian, merge
from ..metrics.reference_statistics import ReferenceStatistics, load_statistics
from ..metrics.registry import embedders_of, find_metric
from ..suites.items import Item
from ..suites.suite import Suite
from .progress import Stages


@dataclass(frozen=True)
class Reference:
    """A reference that can be scored against.

    Attributes:
        source: its file; None where statistics stand for its audio.
        samples: its length at 32 kHz, or that which was asked for.
        inspection: of its file.
    """

    source: Source | None
    samples: int
    inspection: Inspection | None = None


References = Mapping[str, Reference]
"""id → a reference that can be scored against."""


def inspect_references(
    suite: Suite, items: Sequence[Item], cache: Cache, stages: Stages, *, audio_needed: bool = True
) -> tuple[dict[str, Reference], dict[str, str]]:
    """Read the references.

    Args:
        suite: gives the part of them that is scored.
        items: of the suite.
        cache: of inspections.
        stages: shows progress.
        audio_needed: whether items whose reference has no file are excluded.

    Returns:
        (id → reference that can be scored against, id → why the others cannot).

    Raises:
        InputError: a file is not the one that the suite lists.
    """
    excluded: dict[str, str] = {}
    references: dict[str, Reference] = {}
    sources = []
    for item in items:
        if not item.file.is_file():
            if audio_needed:
                excluded[item.id] = "no reference file"
            else:
                references[item.id] = Reference(None, round(suite.duration * RATE))
            continue
        actual = samples.file_sha256(item.file)
        if item.sha256 and actual != item.sha256:
            raise InputError(f"{item.file}: is not the file that the suite lists (another sha256)")
        sources.append(Source(item.id, item.file, actual, "reference", window=suite.window))
    with stages.bar(len(sources), "references") as bar:
        inspections = inspect_sources(sources, cache, bar.update if bar else None)
    for source in sources:
        inspection = inspections[source.id]
        reason = inspection if isinstance(inspection, str) else inspection.exclusion()
        if reason is not None:
            excluded[source.id] = f"reference: {reason}"
        elif not isinstance(inspection, str):
            references[source.id] = Reference(source, inspection.samples, inspection)
    return references, excluded


@overload
def set_reference(suite: Suite, source: Source) -> Source: ...
@overload
def set_reference(suite: Suite, source: Source | None) -> Source | None: ...
def set_reference(suite: Suite, source: Source | None) -> Source | None:
    """The reference for set metrics, which may be longer than that of the pair."""
    return replace(source, window=None) if source is not None and suite.reference_window == "all" else source


def read_statistics(files: Sequence[Path], embedders: Embedders, metrics: Sequence[str]) -> dict[str, Gaussian]:
    """Embedder → statistics of the references.

    Raises:
        InputError: a file is faulty, of another network or preparation, or of an embedder that no metric takes statistics of.
    """
    usable = embedders_of([name for name in metrics if find_metric(name).takes_statistics])
    found = {}
    for file in files:
        stored = load_statistics(file)
        if stored.embedder not in usable:
            raise InputError(
                f"{file}: statistics of {stored.embedder}: the metrics use those of {', '.join(usable) or 'none'}"
            )
        stored.check(embedders[stored.embedder], str(file))
        found[stored.embedder] = stored.gaussian
    return found


def write_statistics(
    suite: Suite,
    items: Sequence[Item],
    folder: Path,
    embedders: Embedders,
    cache: Cache,
    metrics: Sequence[str] | None = None,
    batch: int = 1,
    *,
    progress: bool = True,
) -> list[Path]:
    """Write the statistics of a suite's references, a file EMBEDDER.npz for each embedder that takes them.

    Args:
        suite: gives the metrics.
        items: of the suite, with the references.
        folder: for the files.
        embedders: the networks.
        cache: of embeddings.
        metrics: in place of the suite's.
        batch: inputs of one call of a network.
        progress: whether to show progress bars.

    Returns:
        The files.

    Raises:
        InputError: no metric takes statistics, or fewer than MIN_CLIPS references can be read.
    """
    metrics = list(metrics if metrics is not None else suite.metrics)
    names = embedders_of([name for name in metrics if find_metric(name).takes_statistics])
    if not names:
        raise InputError(f"none of {', '.join(metrics)} takes statistics of references: name a FAD")
    stages = Stages(2, show=progress)
    references, excluded = inspect_references(suite, items, cache, stages)
    sources = [set_reference(suite, one.source) for _, one in sorted(references.items()) if one.source is not None]
    if len(sources) < MIN_CLIPS:
        reasons = "; ".join(f"{name}: {why}" for name, why in list(excluded.items())[:3])
        raise InputError(f"only {len(sources)} references can be read, {MIN_CLIPS} are needed ({reasons})")
    with stages.bar(len(sources), "embeddings") as bar:
        loaded = [embedders[name] for name in names]
        compute_embeddings(sources, loaded, cache, batch=batch, progress=bar.update if bar else None)
    files = []
    for name in names:
        whole = merge(gaussian(read_embedding(source, embedders[name], cache)) for source in sources)
        ReferenceStatistics.of(whole, embedders[name], suite.label).save(folder / f"{name}.npz")
        files.append(folder / f"{name}.npz")
    return files
