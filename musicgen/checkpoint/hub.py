"""Files of a hub repository: from this machine's cache, or downloaded. The only module of this package that uses the network.

huggingface_hub does the transfer: it shows the progress, and resumes interrupted downloads. This module downloads only the
files that are needed, verifies them with the hub's checksums, and turns failures into one-line errors.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import (
    CacheNotFound,
    HfApi,
    ResolvedRevision,
    constants,
    scan_cache_dir,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is there and not declared
    DisabledRepoError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
    XetDownloadError,
)
from huggingface_hub.hf_api import RepoFile

from musicgen import catalog
from musicgen.errors import CheckpointError

logger = logging.getLogger(__name__)

Choice = Callable[[Sequence[str]], list[str]]
"""The names of a repository's files -> those that are needed."""

MODEL, ADAPTER = "model", "LoRA adapter"
"""Repositories that users name. Others are named by models and by this package."""
_TRIES = 3
"""Attempts of a download that fails temporarily; finished files are kept between them."""


def download(name: str, choose: Choice, what: str = MODEL) -> Path:
    """The folder with the files of a repository that `choose` picks, fetched where they are not in the cache.

    Args:
        name: Of the repository.
        choose: The files that are needed.
        what: What it holds. Only where that is a model can a misspelt name have meant one of the published ones.

    Raises CheckpointError where the repository cannot be had: unknown, closed, unreachable, damaged on the way, no space.
    """
    with _explained(name, what):
        try:
            revision = HfApi().resolve_revision(name)
            tree = HfApi().list_repo_tree(name, recursive=True, revision=revision.resolved)
            files = {file.path: file for file in tree if isinstance(file, RepoFile)}
        except (HTTPError, OfflineModeIsEnabled, RevisionResolutionError) as error:
            kept = _kept(name)
            if kept is None:
                raise
            logger.debug("%s: from the cache, because the hub gave no list of its files (%s)", name, error)
            return kept
        needed = choose(list(files))
        kept = _kept(name, revision)
        missing = [file for file in needed if kept is None or not (kept / file).is_file()]
        if kept is not None and not missing:
            return kept
        _check_space(name, sum(files[file].size for file in missing))
        folder = _fetch(name, revision, needed)
        _verify(name, revision, folder, missing)
        return folder


def is_offline() -> bool:
    """Whether nothing is downloaded (HF_HUB_OFFLINE)."""
    return bool(constants.is_offline_mode())


def cached(name: str, file: str) -> Path | None:
    """A repository's file in the cache, None if it is not there, and for what is no repository's name."""
    try:
        path = try_to_load_from_cache(name, file)
    except HFValidationError:
        return None
    return Path(path) if isinstance(path, str) else None


def cached_with(file: str) -> dict[str, Path]:
    """The repositories in the cache whose newest copy has a file of this name at its top: name -> the copy's folder."""
    try:
        repositories = scan_cache_dir().repos
    except CacheNotFound:
        return {}
    found = {}
    for repository in repositories:
        revisions = sorted(repository.revisions, key=lambda revision: revision.last_modified)
        if repository.repo_type == "model" and revisions and (revisions[-1].snapshot_path / file).is_file():
            found[repository.repo_id] = revisions[-1].snapshot_path
    return dict(sorted(found.items()))


def _kept(name: str, revision: ResolvedRevision | None = None) -> Path | None:
    """The files of a repository that are in the cache, perhaps not all of them."""
    try:
        # No pattern: the folder is wanted, whatever is in it.
        return Path(snapshot_download(name, revision=revision, allow_patterns=[], local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def _fetch(name: str, revision: ResolvedRevision, files: list[str]) -> Path:
    for attempt in range(1, _TRIES):
        try:
            return Path(snapshot_download(name, revision=revision, allow_patterns=files))
        except HTTPError as error:
            if isinstance(error, HfHubHTTPError) and error.response.status_code < 500:
                raise
            logger.warning("%s: %s: trying again", name, _line(error))
            time.sleep(attempt)
    return Path(snapshot_download(name, revision=revision, allow_patterns=files))


def _check_space(name: str, needed: int) -> None:
    cache = Path(constants.HF_HUB_CACHE)
    existing = next(folder for folder in (cache, *cache.parents) if folder.is_dir())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise CheckpointError(
            f"{name!r} needs {needed / 1e9:.2f} GB more in the cache {cache}, where {free / 1e9:.2f} GB are free: make "
            "room, or set HF_HOME to a folder on another disk"
        )


def _verify(name: str, revision: ResolvedRevision, folder: Path, fetched: list[str]) -> None:
    """Compare files that have just arrived with the hub's checksums. A damaged one is deleted: nothing else would notice."""
    found = HfApi().verify_repo_checksums(name, revision=revision.resolved).mismatches
    damaged = [folder / mismatch["path"] for mismatch in found if mismatch["path"] in fetched]
    if not damaged:
        return
    try:
        for path in damaged:
            path.resolve().unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        advice = "it has been deleted, so load the model again"
    except OSError:
        advice = f"delete {damaged[0].resolve()} and load the model again"
    raise CheckpointError(
        f"{name!r}: {damaged[0].name} was damaged on the way (its bytes are not those that the hub names): {advice}"
    )


@contextmanager
def _explained(name: str, what: str) -> Iterator[None]:
    """Convert errors of a download to a CheckpointError of one line."""
    try:
        yield
    except HFValidationError as error:
        raise CheckpointError(f"unknown {what} {name!r}{_meant(name, what)}") from error
    except GatedRepoError as error:
        raise CheckpointError(
            f"the hub keeps {name!r} behind terms: accept them at {constants.ENDPOINT}/{name}, then log in with "
            "'hf auth login' (or set HF_TOKEN)"
        ) from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(f"the hub has no {what} {name!r} that is open to you{_meant(name, what)}") from error
    except (DisabledRepoError, RevisionNotFoundError) as error:
        raise CheckpointError(f"the hub holds {name!r} no more: {_line(error)}") from error
    except (RevisionResolutionError, LocalEntryNotFoundError, OfflineModeIsEnabled, HTTPError) as error:
        cause = error.__cause__ if isinstance(error.__cause__, HfHubHTTPError) else error
        if isinstance(cause, HfHubHTTPError):
            raise CheckpointError(_refused(name, cause)) from error
        if isinstance(error.__cause__, FileMetadataError):
            raise CheckpointError(
                f"what answers at {constants.ENDPOINT} is no hub ({name!r}): check HF_ENDPOINT, and the network's proxy"
            ) from error
        offline = " (HF_HUB_OFFLINE is set)" if is_offline() else ""
        lacking = f"{name!r} is not on this machine and the hub cannot be reached{offline}: "
        if what not in (MODEL, ADAPTER):
            raise CheckpointError(
                f"{lacking}it holds the {what}, so connect to the network once, or do without"
            ) from error
        doubt = "" if name in catalog.names() or what != MODEL else f". If the name is wrong{_meant(name, what)}"
        raise CheckpointError(
            lacking,
            python=f"connect to the network once, or pass the path of a folder that holds the {what}{doubt}",
            shell=f"connect to the network once, or name a folder that holds the {what}{doubt}",
            page=f"choose another {what}, or ask the operator, who connects the machine once or starts the page with "
            + ("--folder" if what == MODEL else "--adapters"),
        ) from error
    except (OSError, XetDownloadError) as error:
        if isinstance(error, OSError) and error.errno:
            raise CheckpointError(
                f"cannot store {name!r} in {constants.HF_HUB_CACHE}: {error.strerror or error}"
            ) from error
        raise CheckpointError(f"{name!r} did not arrive whole ({_line(error)}): load it again") from error


def _meant(name: str, what: str) -> str:
    return f": {catalog.did_you_mean(name)}" if what == MODEL else ""


def _refused(name: str, error: HfHubHTTPError) -> str:
    status = error.response.status_code
    if status == 401:
        return f"the hub refused your token for {name!r}: log in again with 'hf auth login', or unset HF_TOKEN"
    if status >= 500 or status == 429:
        return f"the hub is overloaded or down (HTTP {status} for {name!r}): try again later"
    return f"the hub refused {name!r} (HTTP {status}): {_line(error)}"


def _line(error: Exception) -> str:
    """The first line of what an error says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
