"""Checks of a request against the files of models and adapters, for engines whose files are on this machine."""

from __future__ import annotations

from musicgen.errors import InputError, MusicGenError
from musicgen.serving.models import ModelCatalog
from musicgen.serving.request import ClipRequest

SHORT = 200
"""Bytes, fewer than the tokens that a description may have: a token has one at least. Most requests are then answered before
PyTorch has been imported."""


def check_files(catalog: ModelCatalog, request: ClipRequest) -> None:
    """Check a request.

    Args:
        catalog: the models and adapters.
        request: what to generate.

    Raises:
        MusicGenError: a description is too long, or an adapter is damaged or does not fit the model.
    """
    texts = [request.prompt, request.options.negative_prompt or "", *(entry.prompt for entry in request.timeline)]
    if not request.adapters and all(len(text.encode()) < SHORT for text in texts):
        return
    from musicgen.checkpoint import compatibility  # imports PyTorch
    from musicgen.engine.memory import MAX_TOKENS

    source = catalog.get(request.model).source
    compatibility.check_texts(source, texts, MAX_TOKENS)
    try:
        compatibility.check_adapters(
            source, [catalog.adapters.path(name) for name, _ in request.adapters], request.model
        )
    except MusicGenError as error:
        raise InputError(catalog.adapters.without_paths(error.told("page"))) from error
