"""Reading user-written YAML and JSON files: any error in them is one line with the file's name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from musicgen import yaml_text
from musicgen.errors import InputError

MAX_BYTES = 64 * 2**20
"""Of one document: a manifest of 100,000 clips has half of it."""


def read_yaml(path: Path, mend: Callable[[str], str] = str) -> Any:
    """Read a YAML file.

    Args:
        path: the file.
        mend: changes the text before it is parsed.

    Returns:
        What it holds: mappings, lists, texts, numbers.

    Raises:
        InputError: the file cannot be read, is not UTF-8, or is not YAML.
    """
    return _parsed(path, _read(path), "YAML", lambda text: yaml_text.parse(mend(text)))


def read_json(path: Path) -> tuple[Any, str]:
    """Read a JSON file.

    Args:
        path: the file.

    Returns:
        What it holds, and the SHA-256 of the file in hexadecimal.

    Raises:
        InputError: the file cannot be read, is not UTF-8, or is not JSON.
    """
    data = _read(path)
    return _parsed(path, data, "JSON", json.loads), hashlib.sha256(data).hexdigest()


def read_secret(path: Path, at_least: int) -> str:
    """Read a secret: one line of printable characters.

    Args:
        path: the file.
        at_least: number of characters.

    Returns:
        The secret, without spaces and newlines around it.

    Raises:
        InputError: the file is missing, or what it holds is no secret. The message does not show it.
    """
    if not path.is_file():
        raise InputError(f"{path}: is missing: build the study again, or restore the file from a copy of the folder")
    try:
        text = _read(path).decode("ascii").strip()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: holds other characters than ASCII: is it the file that `build` wrote?") from error
    if len(text) < at_least or not text.isprintable() or " " in text:
        raise InputError(
            f"{path}: holds {len(text)} characters, and a secret is one line of at least {at_least}: "
            "was the file emptied or shortened?"
        )
    return text


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{path}: cannot be read: {reason}") from error
    if len(data) > MAX_BYTES:
        raise InputError(f"{path}: has more than {MAX_BYTES} bytes: is it the right file?")
    return data


def _parsed(path: Path, data: bytes, form: str, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(data.decode("utf-8-sig"))
    except RecursionError as error:
        raise InputError(f"{path}: is not valid {form}: it is nested too deeply") from error
    # PyYAML and json let the errors of Python's own types through: a 13th month, a number of 5,000 digits.
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, AttributeError, KeyError, IndexError) as error:
        raise InputError(f"{path}: is not valid {form} ({' '.join(str(error).split())[:300]})") from error
