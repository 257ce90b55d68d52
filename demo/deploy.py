"""Deploys the demo to a Hugging Face Space: creates the Space, uploads the files, and requests the hardware.

huggingface_hub asks the hub which files are binary and uploads those through Xet (through LFS where hf_xet is not installed).
All files are in one commit, so that the Space is built once. The git history of a clone is not uploaded: the hub refuses a
history with binaries that are in neither Xet nor LFS.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from musicgen.errors import InputError

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

ROOT = Path(__file__).parents[1]
FILES = ("app.py", "README.md", "LICENSE", "requirements.txt", "packages.txt")
PACKAGES = ("demo", "musicgen")
BYTECODE_FOLDER = "__pycache__"
_SPACE_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
GITATTRIBUTES = """\
*.png filter=lfs diff=lfs merge=lfs -text
*.ogg filter=lfs diff=lfs merge=lfs -text
*.safetensors filter=lfs diff=lfs merge=lfs -text
*.bin filter=lfs diff=lfs merge=lfs -text
"""
"""The Space's .gitattributes, because the hub refuses later pushes of binaries that are in neither LFS nor Xet. The repository
itself does not use LFS, so that cloning it needs only git."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of a deployment."""
    group = parser.add_argument_group("Hugging Face Spaces")
    group.add_argument(
        "--deploy",
        metavar="OWNER/NAME",
        default="",
        help="upload the demo to this Space, which is created if it does not exist",
    )
    group.add_argument("--hardware", default=None, help="hardware of that Space, for example zero-a10g or cpu-basic")


def files() -> list[Path]:
    """The files that a Space needs, relative to the repository.

    Raises:
        InputError: outside a clone of the repository.
    """
    missing = [name for name in (*FILES, *PACKAGES) if not (ROOT / name).exists()]
    if missing:
        raise InputError(f"a Space is deployed from a clone of the repository: {missing[0]} is not in {ROOT}")
    paths = [Path(name) for name in FILES]
    for package in PACKAGES:
        paths += [
            path.relative_to(ROOT)
            for path in sorted((ROOT / package).rglob("*"))
            if path.is_file() and BYTECODE_FOLDER not in path.parts
        ]
    return paths


def deploy(name: str, hardware: str | None = None) -> str:
    """Create a Space, or update an existing one.

    Args:
        name: OWNER/NAME of the Space.
        hardware: of the Space; None does not change it.

    Returns:
        The URL of the Space.

    Raises:
        InputError: for an invalid name, without a token of the hub, and for a request that the hub refuses.
    """
    if not _SPACE_NAME.fullmatch(name):
        raise InputError(f"--deploy {name!r}: a Space is named OWNER/NAME")
    uploaded = files()

    from huggingface_hub import CommitOperationAdd, HfApi, SpaceHardware
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

    try:
        space_hardware = None if hardware is None else SpaceHardware(hardware)
    except ValueError as error:
        known = ", ".join(value.value for value in SpaceHardware)
        raise InputError(f"--hardware {hardware!r} is unknown to the hub, which has {known}") from error
    api = HfApi()
    try:
        api.whoami(token=True)
        space = api.create_repo(
            name, repo_type="space", space_sdk="gradio", space_hardware=space_hardware, exist_ok=True, token=True
        )
        changes: list[CommitOperationAdd | CommitOperationDelete] = [
            CommitOperationAdd(path.as_posix(), ROOT / path) for path in uploaded
        ]
        changes.append(CommitOperationAdd(".gitattributes", GITATTRIBUTES.encode()))
        changes += _delete_stale(api.list_repo_files(name, repo_type="space", token=True), uploaded)
        api.create_commit(name, changes, commit_message="Deploy the demo", repo_type="space", token=True)
        if space_hardware is not None and api.get_space_runtime(name, token=True).requested_hardware != space_hardware:
            api.request_space_hardware(name, space_hardware, token=True)
    except LocalTokenNotFoundError as error:
        raise InputError(
            "there is no Hugging Face token here: `hf auth login` stores one, HF_TOKEN sets one"
        ) from error
    except OfflineModeIsEnabled as error:
        raise InputError("access to the hub is disabled here: HF_HUB_OFFLINE is set") from error
    except HfHubHTTPError as error:
        raise InputError(f"the hub refused to deploy {name}: {_one_line(error)}") from error
    except (httpx.HTTPError, OSError) as error:
        raise InputError(f"the hub cannot be reached to deploy {name}: {_one_line(error)}") from error
    return str(space)


def _delete_stale(remote: list[str], uploaded: list[Path]) -> list[CommitOperationDelete]:
    """Deletions of the packages' files that an earlier deployment uploaded and that no longer exist. Other files are kept."""
    from huggingface_hub import CommitOperationDelete

    current = {path.as_posix() for path in uploaded}
    return [
        CommitOperationDelete(path)
        for path in remote
        if path.split("/")[0] in PACKAGES and "/" in path and path not in current
    ]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
