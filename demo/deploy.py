"""The demo as a Hugging Face Space: create it, upload what it runs on, ask for its hardware.

huggingface_hub does the work: it asks the hub which files are binary and sends those through Xet (LFS where hf_xet is missing);
all of them appear in one commit, so that the Space is built once. The history of a clone is not sent: the hub refuses binaries
in it that have not gone through Xet or LFS.
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
MADE_BY_PYTHON = "__pycache__"
_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
ATTRIBUTES = """\
*.png filter=lfs diff=lfs merge=lfs -text
*.safetensors filter=lfs diff=lfs merge=lfs -text
*.bin filter=lfs diff=lfs merge=lfs -text
"""
"""The Space's .gitattributes: the hub refuses binaries outside LFS and Xet in whatever is pushed there later. In the
repository itself nothing goes through LFS, so that a clone needs no more than git."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of a deployment."""
    group = parser.add_argument_group("Hugging Face Spaces")
    group.add_argument(
        "--deploy", metavar="OWNER/NAME", default="", help="upload the demo to this Space, which is created if need be"
    )
    group.add_argument("--hardware", default=None, help="what that Space runs on, such as zero-a10g or cpu-basic")


def files() -> list[Path]:
    """What a Space runs on, relative to the repository. Raises InputError outside a clone."""
    missing = [name for name in (*FILES, *PACKAGES) if not (ROOT / name).exists()]
    if missing:
        raise InputError(f"a Space is deployed from a clone of the repository: {missing[0]} is not in {ROOT}")
    found = [Path(name) for name in FILES]
    for package in PACKAGES:
        found += [
            path.relative_to(ROOT)
            for path in sorted((ROOT / package).rglob("*"))
            if path.is_file() and MADE_BY_PYTHON not in path.parts
        ]
    return found


def deploy(name: str, hardware: str | None = None) -> str:
    """Create the Space `name` (OWNER/NAME) or bring it up to date; its address.

    Raises InputError for a name that is none, without a token, and for whatever the hub refuses.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"--deploy {name!r}: a Space is named OWNER/NAME")
    uploaded = files()

    from huggingface_hub import CommitOperationAdd, HfApi, SpaceHardware
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

    try:
        wanted = None if hardware is None else SpaceHardware(hardware)
    except ValueError as error:
        known = ", ".join(one.value for one in SpaceHardware)
        raise InputError(f"--hardware {hardware!r} is none of the hub's: {known}") from error
    api = HfApi()
    try:
        api.whoami(token=True)
        space = api.create_repo(
            name, repo_type="space", space_sdk="gradio", space_hardware=wanted, exist_ok=True, token=True
        )
        changes: list[CommitOperationAdd | CommitOperationDelete] = [
            CommitOperationAdd(path.as_posix(), ROOT / path) for path in uploaded
        ]
        changes.append(CommitOperationAdd(".gitattributes", ATTRIBUTES.encode()))
        changes += _stale(api.list_repo_files(name, repo_type="space", token=True), uploaded)
        api.create_commit(name, changes, commit_message="Deploy the demo", repo_type="space", token=True)
        if wanted is not None and api.get_space_runtime(name, token=True).requested_hardware != wanted:
            api.request_space_hardware(name, wanted, token=True)
    except LocalTokenNotFoundError as error:
        raise InputError("there is no token of the hub here: `hf auth login` stores one, HF_TOKEN names one") from error
    except OfflineModeIsEnabled as error:
        raise InputError("the hub is switched off here: HF_HUB_OFFLINE is set") from error
    except HfHubHTTPError as error:
        raise InputError(f"the hub refused to deploy {name}: {_line(error)}") from error
    except (httpx.HTTPError, OSError) as error:
        raise InputError(f"the hub cannot be reached to deploy {name}: {_line(error)}") from error
    return str(space)


def _stale(remote: list[str], uploaded: list[Path]) -> list[CommitOperationDelete]:
    """Files of an earlier deployment that are gone from the packages; what else lies in the Space stays."""
    from huggingface_hub import CommitOperationDelete

    kept = {path.as_posix() for path in uploaded}
    return [
        CommitOperationDelete(path)
        for path in remote
        if path.split("/")[0] in PACKAGES and "/" in path and path not in kept
    ]


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
