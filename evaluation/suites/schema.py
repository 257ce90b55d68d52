"""Validation of a suite's files by pydantic, with one line per error.

Classes are pydantic dataclasses with `STRICT`: unknown names are refused, types are not converted.
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from pydantic import ConfigDict, ValidationError

from musicgen.errors import InputError
from musicgen.suggestions import did_you_mean

STRICT = ConfigDict(extra="forbid", strict=True)
T = TypeVar("T")


def validate(cls: type[T], values: Any, where: str, **given: Any) -> T:
    """Build a pydantic dataclass from plain values.

    Args:
        cls: the class.
        values: what YAML or JSON gave.
        where: the file, the beginning of messages.
        **given: fields that are set by the program, which the file cannot set.

    Returns:
        The object.

    Raises:
        InputError: `values` is no mapping, a key is unknown or missing, or a value has the wrong type; one line.
    """
    if not isinstance(values, dict):
        raise InputError(f"{where}: must be a mapping of keys to values, not {type(values).__name__}")
    known = [field.name for field in dataclasses.fields(cls) if field.name not in given]  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise InputError(f"{where}: unknown key {name!r}: {did_you_mean(name, known)}")
    try:
        return cls(**values, **given)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        name = ".".join(map(str, fault["loc"]))
        if fault["type"] in ("missing", "missing_argument"):
            raise InputError(f"{where}: {name} is missing") from error
        message = fault["msg"].removeprefix("Value error, ").replace("Input should", "it should")
        raise InputError(f"{where}: {name} is {fault['input']!r}: {message}") from error
