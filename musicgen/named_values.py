"""Parsing of NAME=VALUE arguments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from musicgen.errors import InputError

_SHOWN = 40
"""Most characters of user input that a message quotes."""


def parse(
    texts: Iterable[str], what: str, example: str = "energy=0.5", elsewhere: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Read texts such as "energy=0.5".

    Args:
        texts: of the form NAME=VALUE.
        what: they are, the beginning of messages: "--condition", "the condition".
        example: of one.
        elsewhere: name -> how it is given instead.

    Returns:
        Name -> value, in their order, without spaces around them.

    Raises:
        InputError: a text has another form, or its name is given twice or in another way.
    """
    values: dict[str, str] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not name:
            raise InputError(f"{what} {text.strip()[:_SHOWN]!r}: it must be NAME=VALUE, such as {example}")
        if name in (elsewhere or {}):
            raise InputError(f"{what} {name!r} {(elsewhere or {})[name]}")
        if name in values:
            raise InputError(
                f"{what} {name[:_SHOWN]!r} is given twice: {values[name][:_SHOWN]!r} and {value[:_SHOWN]!r}"
            )
        values[name] = value
    return values
