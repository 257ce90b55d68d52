"""Plug-ins: a user's own Python modules, which register metrics, embedders or systems when they are imported.

    # my_metrics.py, chosen with `--plugin my_metrics` or `--plugin path/to/my_metrics.py`
    from evaluation.embedders.registry import register_embedder     # where installed: musicgen_evaluation.embedders…
    from evaluation.metrics.registry import register_metric
    from evaluation.systems.registry import register_system

docs/evaluation.md has a whole example. A module that must work in a clone and where installed gets them by
`musicgen.siblings.load("evaluation.metrics.registry")`.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from musicgen.errors import InputError


def load_plugins(names: Sequence[str]) -> None:
    """Import plug-ins; one that is already imported is left alone.

    Args:
        names: dotted module names, searched in the current folder too, or paths of .py files.

    Raises:
        InputError: there is no such module or file.
    """
    for name in names:
        if name.endswith(".py"):
            _load_file(Path(name))
        else:
            _load_module(name)


def _load_module(name: str) -> None:
    current = str(Path.cwd())
    if current not in sys.path and "" not in sys.path:
        sys.path.insert(0, current)
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # a package that the plug-in needs
        raise InputError(f"--plugin {name}: no such module in {current} or on Python's path") from error
    except ValueError as error:
        raise InputError(f"--plugin {name!r}: must be a module's name or a .py file") from error


def _load_file(file: Path) -> None:
    if not file.is_file():
        raise InputError(f"--plugin {file}: no such file")
    file = file.resolve()
    name = f"evaluation_plugin_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise InputError(f"--plugin {file}: cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
