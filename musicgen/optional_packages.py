"""Imports of the sibling packages: `demo`, `evaluation` and `human_study` in a clone, `musicgen_demo` etc. when installed.

The folder names are too generic for a shared environment, so the wheel adds a prefix (setup.py). Imports inside a package are
relative; imports across packages use this module.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

_CLONE = Path(__file__).parents[1]


def name(package: str) -> str:
    """The name under which a sibling package can be imported here.

    Args:
        package: the name of its folder in the repository.
    """
    return package if (_CLONE / package / "__init__.py").is_file() else f"musicgen_{package}"


def available(package: str) -> bool:
    """Whether a sibling package can be imported."""
    return importlib.util.find_spec(name(package)) is not None


def load(module: str) -> ModuleType:
    """Import a module of a sibling package.

    Args:
        module: dotted, beginning with the folder's name: "evaluation.clips.clip".
    """
    package, _, rest = module.partition(".")
    return importlib.import_module(".".join(filter(None, (name(package), rest))))
