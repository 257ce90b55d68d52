"""The system registry: name → loader.

    NAME                    anything that `musicgen.load` accepts: an embedded name, a hub name, a folder
    riffusion, audioldm2, musicldm, stable-audio-open
                            published diffusers pipelines (`diffusers_pipelines.py`)
    mousai                  a checkpoint of audio-diffusion-pytorch that the user names (`mousai.py`; none is public)
    FOLDER of audio         clips that were generated elsewhere: files named after the suite's ids (`folder.py`)

Modules of this folder list their loaders in `SYSTEMS`; other modules call `register_system`. Heavy libraries are imported when
a system is loaded. Systems that cannot be run appear in tables as rows from papers.
"""

from __future__ import annotations

from pathlib import Path

from musicgen.errors import CheckpointError, InputError
from musicgen.registry import Registry
from musicgen.suggestions import closest

from . import diffusers_pipelines, mousai
from .base import System, SystemLoader, SystemOptions, default_label
from .folder import FolderSystem, is_audio_folder
from .musicgen_model import MusicGenSystem

SYSTEMS: Registry[SystemLoader] = Registry("system")
"""All registered systems by name; folders and models of this project need no entry."""


def register_system(name: str, load: SystemLoader) -> None:
    """Add a system, so that `--system` can name it.

    Args:
        name: its name.
        load: loads it.

    Raises:
        InputError: another system has that name.
    """
    SYSTEMS.add(name, load)


def load_system(name: str, options: SystemOptions | None = None, label: str | None = None) -> System:
    """Load a system.

    Args:
        name: a registered name, a folder of audio, or whatever `musicgen.load` takes.
        options: device, batch and settings.
        label: its name in samples folders and tables; by default the last part of `name`.

    Raises:
        InputError: there is no such system, or a setting is invalid.
    """
    options = options if options is not None else SystemOptions()
    if name in SYSTEMS:
        return SYSTEMS[name](label or name, options)
    folder = Path(name)
    if is_audio_folder(folder):
        return FolderSystem(label or default_label(str(folder)), folder)
    try:
        return MusicGenSystem(label, name, options)
    except CheckpointError as error:
        close = closest(name, SYSTEMS)
        raise InputError(f"{error}{f', or {close}?' if close else ''}") from error


for _module in (diffusers_pipelines, mousai):
    for _name, _load in _module.SYSTEMS.items():
        register_system(_name, _load)
