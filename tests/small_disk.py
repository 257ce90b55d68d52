"""A disk of a few megabytes, which a test can fill: a file system in memory that one program and its children alone see."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests import machine

_MOUNT = 'mount -t tmpfs -o size="$1",mode=700 tmpfs "$2" && shift 2 && exec "$@"'


def command(folder: Path, size: int) -> list[str]:
    """What runs a program for which `folder` is a disk of its own: as root, or where users may have namespaces; else skips.

    Args:
        folder: exists.
        size: of the disk, bytes.
    """
    namespaces = ["unshare", "--mount"] if os.getuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    before = [*namespaces, "sh", "-c", _MOUNT, "sh", str(size), str(folder)]
    try:
        tried = subprocess.run([*before, "true"], capture_output=True, text=True, timeout=20)
    except FileNotFoundError:
        machine.lacks("unshare is not installed (Debian: apt install util-linux)")
    if tried.returncode:
        machine.lacks(f"no disk of its own can be made here: {tried.stderr.strip()[:200]}")
    return before


def seen_by(process: subprocess.Popen[bytes], folder: Path) -> Path:
    """The disk, from outside of the program."""
    return Path(f"/proc/{process.pid}/root{folder}")


@contextlib.contextmanager
def full(disk: Path) -> Iterator[None]:
    """The disk without a free byte."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (2**20, 2**12):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
    try:
        yield
    finally:
        filler.unlink()
