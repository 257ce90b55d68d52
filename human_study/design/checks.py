"""Validation of user-written settings: names of settings, types of values, ranges. Every error is one line.

A group of settings is a dataclass; its fields are the settings, and their annotations define the types that YAML may contain
there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from musicgen.errors import InputError
from musicgen.options import check_text
from musicgen.suggestions import did_you_mean

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.+()-]{0,59}")
"""Names of studies, systems, questions and fields: they become names of columns, and parts of keys."""

_TYPES: Mapping[str, tuple[tuple[type[Any], ...], str]] = {
    "str": ((str,), "text"),
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "bool": ((bool,), "true or false"),
    "Mapping": ((Mapping,), "a mapping of names to values"),
    "tuple": ((list, tuple), "a list"),
    "Questionnaire": ((Mapping,), "a mapping of names to values"),
    "ProlificSettings": ((Mapping,), "a mapping of names to values"),
}
"""First word of a field's annotation -> the types that YAML may hold there, and their name in error messages."""


def values(cls: type[Any], document: Any, what: str, defaults: Iterable[str] = ()) -> dict[str, Any]:
    """Check a mapping against the fields of a data class: names, and the types that their annotations name.

    Args:
        cls: the data class.
        document: what YAML or JSON was read into.
        what: start of error messages.
        defaults: fields that may be missing although the class has no default for them.

    Returns:
        The mapping as a dictionary.

    Raises:
        InputError: a name is unknown or missing, or a value has the wrong type.
    """
    if not isinstance(document, Mapping):
        raise InputError(f"{what} must be a mapping of names to values, not {type(document).__name__}")
    allowed = {f.name: f for f in fields(cls)}
    for name in document:
        if name not in allowed:
            raise InputError(f"{what} has no setting {shown(name)}: {did_you_mean(name, allowed)}")
    found = dict(document)
    for name, setting in allowed.items():
        required = setting.default is MISSING and setting.default_factory is MISSING
        if required and name not in found and name not in defaults:
            raise InputError(f"{what} needs '{name}:'")
        if name in found:
            _check_type(f"{what}: {name}", str(setting.type), found[name])
    return found


def _check_type(name: str, annotation: str, value: Any) -> None:
    # YAML reads "no" as False and 5.0 as a float; unchecked, the error would appear far from its cause.
    first = annotation.split("|")[0].split("[")[0].strip()
    if value is None and "None" in annotation:
        return
    kinds, words = _TYPES[first]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise InputError(f"{name} is {shown(value)}: expected {words}{_quotes(value) if str in kinds else ''}")
    if isinstance(value, (int, float)):
        _check_finite(name, value)
    if isinstance(value, str):
        _check_text(name, value)


def _quotes(value: Any) -> str:
    """The advice if YAML read a boolean or a number where a text was meant."""
    if isinstance(value, bool):
        return " (YAML reads on, yes, off and no as true and false: put quotes around the word)"
    return "" if value is None or isinstance(value, (Mapping, list, tuple)) else " (put quotes around it)"


def _check_finite(name: str, value: float) -> None:
    # A whole number can have more digits than a float, and more than Python writes.
    if abs(value) > 2**63 or not math.isfinite(value):
        raise InputError(f"{name} is {shown(value)}: a finite number is needed")


def _check_text(name: str, value: str) -> None:
    check_text(name, value)
    if "\0" in value:
        raise InputError(f"{name} is {shown(value)}: a zero byte is not allowed in a text")


def names_and_texts(name: str, texts: Mapping[Any, Any]) -> None:
    """Check that a mapping has texts as keys and values.

    Raises:
        InputError: it has others, such as `yes`, which YAML reads as true.
    """
    for key, value in texts.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise InputError(f"{name}: {shown(key)} is {shown(value)}: expected texts (put quotes around them)")
        _check_text(f"{name}: the name {key[:20]!r}", key)
        _check_text(f"{name}: {key[:20]}", value)


def texts(name: str, listed: Sequence[Any]) -> None:
    """Check that a list holds texts alone.

    Raises:
        InputError: it holds something else.
    """
    for value in listed:
        if not isinstance(value, str):
            raise InputError(f"{name}: {shown(value)} is no text (put quotes around it)")
        _check_text(name, value)


def lists_of_texts(name: str, lists: Mapping[Any, Any]) -> dict[str, tuple[str, ...]]:
    """Check a mapping of languages to lists of texts.

    Returns:
        Language -> texts.

    Raises:
        InputError: it holds something else.
    """
    out = {}
    for language, listed in lists.items():
        texts(name, [language])
        found = entries(f"{name}: {language[:20]}", listed)
        texts(f"{name}: {language[:20]}", found)
        out[language] = tuple(found)
    return out


def by_language(setting: str, languages: Iterable[str], example: str = "…") -> str:
    """How a setting with an entry for each of some languages is written, such as `text: {fr: …}`."""
    return f"{setting}: {{{', '.join(f'{language}: {example}' for language in languages)}}}"


def shown(value: Any) -> str:
    """A value for an error message: one short line, whatever it is."""
    try:
        text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    except (ValueError, RecursionError):  # a whole number of more than 4,300 digits, a list within itself
        text = f"a value of type {type(value).__name__} that is too long to show"
    return text if len(text) <= 60 else f"{text[:57]}…"


def entries(name: str, value: Any) -> list[Any]:
    """The entries of a list.

    Raises:
        InputError: the value is no list.
    """
    if not isinstance(value, (list, tuple)):
        raise InputError(f"{name} must be a list, not {type(value).__name__}")
    return list(value)


def one_of(name: str, value: str, allowed: Iterable[str]) -> None:
    """Check that a value is one of a few.

    Raises:
        InputError: it is another.
    """
    if value not in allowed:
        raise InputError(f"{name} is {shown(value)}: one of {', '.join(allowed)}")


def within(name: str, value: float, limits: tuple[float, float]) -> None:
    """Check that a number is in a range, both ends included.

    Raises:
        InputError: it is outside.
    """
    low, high = limits
    if not low <= value <= high:
        raise InputError(f"{name} is {shown(value)}: from {low:,} to {high:,}")
