"""Files of a hub repository: from this machine's cache, or downloaded. The only module that touches the network."""

from __future__ import annotations

import os
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from musicgen import catalog
from musicgen.errors import CheckpointError


def download(name: str, files: list[str]) -> Path:
    """The folder with a repository's `files` (patterns), fetched where they are not in the cache."""
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=files))
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        if isinstance(error, (RepositoryNotFoundError, GatedRepoError)):
            raise CheckpointError(
                f"the hub has no model {name!r} that is open to you: {catalog.did_you_mean(name)}"
            ) from error
        if isinstance(error, HfHubHTTPError) and error.response is not None and error.response.status_code < 500:
            raise CheckpointError(f"the hub refused {name!r}: {error}") from error
        if not isinstance(error, (LocalEntryNotFoundError, OfflineModeIsEnabled, ConnectionError)) and error.errno:
            raise CheckpointError(f"cannot store {name!r}: {error.strerror or error}") from error
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
        doubt = "" if name in catalog.names() else f". If the name is wrong: {catalog.did_you_mean(name)}"
        raise CheckpointError(
            f"{name!r} is not on this machine and the hub cannot be reached{offline}: connect to the network once, "
            f"or pass the path of a folder that holds the model{doubt}"
        ) from error
    except HFValidationError as error:
        raise CheckpointError(f"unknown model {name!r}: {catalog.did_you_mean(name)}") from error


def cached(name: str, file: str) -> Path | None:
    """A repository's file in the cache, None if it is not there."""
    path = huggingface_hub.try_to_load_from_cache(name, file)
    return Path(path) if isinstance(path, str) else None
