"""Gradio's temporary files, moved to the private folder of the page.

Gradio's default folder in the system's temporary folder belongs to the first user of the machine that created it.
"""

from __future__ import annotations

import os
from pathlib import Path

_FOLDERS = {"GRADIO_TEMP_DIR": "gradio", "GRADIO_EXAMPLES_CACHE": "examples"}
"""Gradio's environment variables, and the subfolder of the private folder that each is set to."""


class GradioFolders:
    """Sets Gradio's environment variables, which it reads at its import and again with each use, until `close`.

    Args:
        folder: the private folder.
    """

    def __init__(self, folder: Path) -> None:
        self._values = {name: str(folder / subfolder) for name, subfolder in _FOLDERS.items()}
        self._previous = {name: os.environ.get(name) for name in _FOLDERS}
        os.environ.update(self._values)

    @property
    def copies(self) -> Path:
        """The folder into which Gradio copies the files that it serves."""
        return Path(self._values["GRADIO_TEMP_DIR"])

    def close(self) -> None:
        """Restore the environment variables, unless other code has set them since."""
        for name, value in self._previous.items():
            if os.environ.get(name) == self._values[name]:
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
