"""The descriptions of a clip, found under the field names of common fine-tuning tools."""

from __future__ import annotations

from typing import Any

from musicgen.errors import InputError

FIELDS = ("descriptions", "description", "captions", "caption", "text", "prompt")
"""Fields that describe a clip, the preferred one first: audiocraft's, and those of captioned data sets."""


def described(fields: dict[str, Any], source: str) -> dict[str, Any]:
    """A clip's fields with its texts under audiocraft's names.

    Args:
        fields: the clip's metadata.
        source: the clip, for errors.

    Returns:
        The fields with "description", a text, or "descriptions", a list of several; neither where there is none.

    Raises:
        InputError: a field of a description holds something that is neither text nor a list of texts.
    """
    texts = {name: _texts(fields[name], name, source) for name in FIELDS if name in fields}
    found = next((name for name, several in texts.items() if several), None)
    rest = {name: value for name, value in fields.items() if name not in ("description", "descriptions")}
    if found is None:
        return rest
    own = texts.get("description", [])
    if found == "descriptions" or len(texts[found]) > 1:
        rest["descriptions"] = texts[found]
    elif found != "description":
        own = texts[found]
    return rest | {"description": own[0]} if len(own) == 1 else rest


def _texts(value: Any, name: str, source: str) -> list[str]:
    """The texts of a field; nothing for null, blank text and a table's empty cell (NaN)."""
    if value is None or value != value:
        return []
    if isinstance(value, str):
        return [value] if value.strip() else []
    if isinstance(value, list) and all(one is None or isinstance(one, str) for one in value):
        return [one for one in value if one and one.strip()]
    raise InputError(f'{source}: its "{name}" is {str(value)[:60]!r}: it must be text, or a list of texts')
