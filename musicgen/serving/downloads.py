"""Which weights are on this machine, so that a request for them downloads nothing."""

from __future__ import annotations

from musicgen.serving.models import ModelInfo


def is_here(info: ModelInfo) -> bool:
    """Whether a model's files are here: in the hub's cache, for a published one."""
    from musicgen.checkpoint import hub

    return info.origin != "published" or hub.cached(info.source, "config.json") is not None


def has_multi_band_diffusion() -> bool:
    """Whether the file of the decoder "mbd" is in the hub's cache."""
    from musicgen import catalog
    from musicgen.checkpoint import hub

    return hub.cached(catalog.MULTI_BAND.name, catalog.MULTI_BAND.file) is not None
