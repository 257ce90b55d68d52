"""The metric registry: name → `Metric`.

Modules of this folder list their metrics in `METRICS` and are registered by the loop below; other modules call
`register_metric` (`musicgen.plugins`).
"""

from __future__ import annotations

from collections.abc import Sequence

from musicgen.errors import InputError
from musicgen.registry import Registry

from . import aesthetics, chroma_similarity, clap, fad, inception, kad, kid, kl, mad, precision_recall
from .base import Metric

METRICS: Registry[Metric] = Registry("metric")
"""All registered metrics, by the name that suites and results use."""
_INCOMPARABLE = {"fad_vggish_tf", "fad_vggish_torch"}


def register_metric(metric: Metric) -> Metric:
    """Add a metric, so that suites and the command line can name it.

    Args:
        metric: its name, title, direction, embedders and computation.

    Returns:
        The same metric.

    Raises:
        InputError: another metric has that name.
    """
    return METRICS.add(metric.name, metric)


def find_metric(name: str, where: str = "") -> Metric:
    """A registered metric by its name.

    Args:
        name: its name.
        where: what named it, the beginning of the message: "--metrics".

    Raises:
        InputError: there is none; the message names the nearest.
    """
    return METRICS.find(name, where)


def check_metrics(names: Sequence[str], where: str) -> None:
    """Refuse unknown metrics, and the two FADs on VGGish in one table.

    Args:
        names: of metrics.
        where: what named them, the beginning of the message.

    Raises:
        InputError: one is unknown, or both FADs are there.
    """
    for name in names:
        find_metric(name, where)
    if set(names) >= _INCOMPARABLE:
        raise InputError(f"{where}: fad_vggish_tf and fad_vggish_torch are two scales: choose one for a table")


def embedders_of(names: Sequence[str]) -> list[str]:
    """The embedders that metrics need for the generations, each once."""
    return list(dict.fromkeys(embedder for name in names for embedder in find_metric(name).embedders))


def reference_embedders_of(names: Sequence[str]) -> list[str]:
    """The embedders that metrics need for the references, each once."""
    return embedders_of([name for name in names if find_metric(name).kind in ("set", "paired")])


for _module in (fad, kad, kid, mad, kl, clap, aesthetics, chroma_similarity, precision_recall, inception):
    for _metric in _module.METRICS:
        register_metric(_metric)
