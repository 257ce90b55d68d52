"""The servers that share a folder: each holds a file locked as long as it runs, so that others see which have ended."""

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
        folder: for the locks, created if necessary.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder, self.own = folder, secrets.token_hex(16)
        private_folder.lock(folder / self.own)

    def is_running(self, server: str) -> bool:
        """Whether a server still runs. Where the system has no locks, all but this one are taken for ended."""
        if server == self.own:
            return True
        file = self._folder / server
        if not _IDENTIFIER.fullmatch(server) or not file.is_file():
            return False
        descriptor = private_folder.lock(file)
        if descriptor is None:
            return True
        file.unlink(missing_ok=True)
        os.close(descriptor)
        return False
