"""Packages that only some commands need, grouped by the extras of pyproject.toml; a missing one gives a one-line error."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from musicgen.errors import InputError


@contextmanager
def needed(extra: str, what: str) -> Iterator[None]:
    """Name the pip line where a package of an extra turns out to be missing inside the block.

    Args:
        extra: the extra that holds the package: "demo".
        what: what cannot be done without it, the subject of the message: "the page".

    Raises:
        InputError: in the place of a ModuleNotFoundError. A missing module of a package that is there is a fault, not a
            choice, and stays what it is.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if not package or is_installed(package):
            raise
        raise InputError(f'{what} needs {package}, which is not installed: pip install "musicgen[{extra}]"') from error


def load(module: str, extra: str, what: str) -> ModuleType:
    """Import a module of an extra's package; arguments and errors as of `needed`."""
    with needed(extra, what):
        return importlib.import_module(module)


def is_installed(package: str) -> bool:
    """Whether a package is there."""
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # of a finder that says no for all
        return False
