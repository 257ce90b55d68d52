"""Serialisation of requests and clips for the index."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import TypeAdapter

from musicgen.serving.request import ClipRequest
from musicgen.serving.stored_clip import StoredClip

Value = TypeVar("Value", ClipRequest, StoredClip)

_ADAPTERS: dict[type, TypeAdapter[Any]] = {kind: TypeAdapter(kind) for kind in (ClipRequest, StoredClip)}


def dump(value: ClipRequest | StoredClip) -> str:
    """A request or a clip as JSON."""
    # Not pydantic's own JSON, in which the loudness of silence, -inf, is null.
    return json.dumps(_ADAPTERS[type(value)].dump_python(value, mode="json"))


def load(kind: type[Value], text: str) -> Value:
    """The request or the clip of a text that `dump` has made.

    Raises:
        ValueError: for a text of another version of this program.
    """
    value: Value = _ADAPTERS[kind].validate_json(text)
    return value
