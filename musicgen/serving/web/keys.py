"""API keys, which identify clients. The operator sets them in the environment and not on the command line, which other users of
the machine can read."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping

from starlette.requests import Request

from musicgen.errors import InputError
from musicgen.serving.web.errors import Refused

VARIABLE = "MUSICGEN_API_KEYS"
MIN_LENGTH = 16
"""Characters of a key."""
ANYBODY = "anybody"
"""The owner of everything where there are no keys."""
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,40}")


class Keys:
    """The keys of a server.

    Args:
        keys: name -> key; where there is none, every client is `ANYBODY`.
    """

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._keys = {name: key.encode() for name, key in keys.items()}

    def __bool__(self) -> bool:
        return bool(self._keys)

    def owner(self, request: Request) -> str:
        """The name of the key that a request has.

        Raises:
            Refused: it has none, or one that is not known.
        """
        if not self._keys:
            return ANYBODY
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        found = ""
        for name, key in self._keys.items():  # all of them, so that the time says nothing
            if hmac.compare_digest(key, given.strip().encode("utf-8", "replace")):
                found = name
        if scheme.lower() != "bearer" or not found:
            raise Refused(401, "unauthorized", "a key is needed: Authorization: Bearer KEY")
        return found


def read(environment: Mapping[str, str]) -> Keys:
    """The keys that the environment names: `MUSICGEN_API_KEYS="studio:KEY another:KEY"`.

    Raises:
        InputError: for what cannot be read, keys that are too short, and a name or a key that is given twice. The message
            does not show keys.
    """
    found: dict[str, str] = {}
    for number, part in enumerate(environment.get(VARIABLE, "").split(), 1):
        name, colon, key = part.partition(":")
        where = f"{VARIABLE}, entry {number}"
        if not colon or not _NAME.fullmatch(name):
            raise InputError(f"{where}: it must be NAME:KEY, the name of letters, digits, '_', '.' and '-'")
        if len(key) < MIN_LENGTH:
            raise InputError(f"{where}: the key of {name} has {len(key)} characters: {MIN_LENGTH} at least")
        if name in found or key in found.values():
            raise InputError(f"{where}: the name {name}, or its key, is given twice")
        found[name] = key
    return Keys(found)
