"""Conversion of the questionnaire on webMUSHRA's last page to questionnaire fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from musicgen.errors import InputError

from .. import questionnaire
from ..checks import shown
from .configuration import Page, name_of, plain_text
from .notes import Notes
from .page_types import Settings, option


def fields(page: Page, language: str, notes: Notes) -> list[Settings]:
    """The fields of a page `finish`.

    Args:
        page: the page.
        language: of its texts.
        notes: gets what has no counterpart.

    Returns:
        Settings of each field.

    Raises:
        InputError: the questionnaire is no list, or a field is not complete.
    """
    entries = page.options.get("questionnaire") or []
    if not isinstance(entries, list):
        raise InputError(f"page {page.id}: questionnaire is {shown(entries)}: a list of fields is needed")
    out: list[Settings] = []
    for number, entry in enumerate(entries, 1):
        kind = entry.get("type") if isinstance(entry, Mapping) else None
        if not isinstance(kind, str) or kind not in FIELDS:
            notes.add(f"field {number} of the questionnaire", f"is left out: its type is none of {', '.join(FIELDS)}")
            continue
        name = name_of(entry.get("name") or f"field {number}")
        text = plain_text(str(entry.get("label") or name)) or name
        if "default" in entry:
            notes.add(f"default {shown(entry['default'])} of the field {name}", "fields are empty at first")
        required = entry.get("optional") is not True
        out.append({"name": name, "text": {language: text}, "required": required} | FIELDS[kind](name, entry, language))
    if len(out) > questionnaire.MAX_FIELDS:
        notes.add(f"{len(out)} fields", f"a questionnaire has {questionnaire.MAX_FIELDS}; the others are left out")
    return out[: questionnaire.MAX_FIELDS]


def _text(_name: str, _entry: Mapping[str, Any], _language: str) -> Settings:
    return {"kind": "text"}


def _number(name: str, entry: Mapping[str, Any], _language: str) -> Settings:
    out: Settings = {"kind": "number"}
    for theirs, ours in (("min", "minimum"), ("max", "maximum")):
        value = entry.get(theirs)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise InputError(f"questionnaire: {theirs} of the field {name} is {shown(value)}: a number is needed")
        out[ours] = value
    return out


def _choice(name: str, entry: Mapping[str, Any], language: str) -> Settings:
    found = entry.get("response")
    if not isinstance(found, list):
        raise InputError(f"questionnaire: response of the field {name} is {shown(found)}: a list of options is needed")
    options = [option(f"questionnaire: field {name}", one) for one in found]
    labels = {language: [label for _, label in options]}
    return {"kind": "choice", "options": [value for value, _ in options], "labels": labels}


FIELDS: Mapping[str, Callable[[str, Mapping[str, Any], str], Settings]] = {
    "text": _text,
    "long_text": _text,
    "number": _number,
    "likert": _choice,
}
"""Type of a field -> the settings of the field that it becomes."""
