"""Plug-ins: a user's own Python modules, which register what they define when they are imported.

A plug-in of `musicgen` registers conditioners (`musicgen.conditioners.registry`), joint embeddings
(`musicgen.conditioners.joint_embedding`), tokenisers (`musicgen.tokenizers`) or back ends (`musicgen.engine.selection`);
docs/architecture.md has an example. A plug-in of the evaluation registers metrics,
embedders or systems; docs/evaluation.md has an example. Both are chosen with `--plugin my_module` or
`--plugin path/to/my_module.py`.

A module that must work both in a clone and where the package is installed imports the evaluation's modules by
`musicgen.optional_packages.load("evaluation.metrics.registry")`.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from musicgen.errors import InputError


def add_argument(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the option `--plugin`, which may be repeated, to a command.

    Args:
        parser: Of the command; its attribute `plugin` is the list for `load_plugins`.
        what: What such a module registers, for the help: "metrics, embedders or systems".
    """
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="MODULE",
        help=f"a Python module or .py file that registers {what}; may be repeated",
    )


def load_plugins(names: Sequence[str]) -> None:
    """Import plug-ins; one that is already imported is left alone.

    Args:
        names: Dotted module names, searched in the current folder too, or paths of .py files.

    Raises:
        InputError: There is no such module or file.
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
    name = f"plugin_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
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
