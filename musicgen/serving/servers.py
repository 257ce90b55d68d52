"""The servers that share a folder. Each holds a lock on a file as long as it runs, so that the others can see which have
ended."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from musicgen.serving import private_folder

_IDENTIFIER = re.compile(r"[0-9a-f]{32}")


class Servers:
    """The servers of a folder, this process among them.

    Args:
        folder: for the locks, created if necessary; None for a process that shares nothing.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder, self.own = folder, secrets.token_hex(16)
        self._descriptor: int | None = None
        if folder is not None:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = private_folder.lock(folder / self.own)

    def is_running(self, server: str) -> bool:
        """Whether a server still runs. Where the system has no locks, all but this one are taken for ended."""
        if server == self.own:
            return True
        if self._folder is None or not _IDENTIFIER.fullmatch(server):
            return False
        file = self._folder / server
        if not file.is_file():
            return False
        descriptor = private_folder.lock(file)
        if descriptor is None:
            return True
        file.unlink(missing_ok=True)
        os.close(descriptor)
        return False

    def close(self) -> None:
        """Let the others see that this server has ended."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
