"""Which weights are already on this machine, so that a request that uses them downloads nothing."""

from __future__ import annotations

from musicgen.serving.models import ModelInfo

_FIRST_FILES = ("config.json", "state_dict.bin")
"""Of the layouts of transformers and of audiocraft: repositories may hold both, and either can be loaded."""
_WEIGHTS = (".safetensors", ".bin")


def is_downloaded(info: ModelInfo) -> bool:
    """Whether a model's files are here: in the hub's cache, for a published one."""
    from musicgen.checkpoint import hub

    if info.origin != "published":
        return True
    # A download that broke off may have left the configuration alone.
    found = [hub.cached(info.source, file) for file in _FIRST_FILES]
    return any(path.suffix in _WEIGHTS for file in found if file is not None for path in file.parent.iterdir())


def can_download() -> bool:
    """Whether what is not here can be downloaded."""
    from musicgen.checkpoint import hub

    return not hub.is_offline()


def has_multi_band_diffusion() -> bool:
    """Whether the file of the decoder "mbd" is in the hub's cache."""
    from musicgen import catalog
    from musicgen.checkpoint import hub

    return hub.cached(catalog.MULTI_BAND.name, catalog.MULTI_BAND.file) is not None
