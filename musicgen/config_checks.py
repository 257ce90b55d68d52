"""Validation of a configuration's numbers against the tensors of its checkpoint, before modules are built from them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from musicgen.errors import CheckpointError

T = TypeVar("T")

MOST = 2**31
"""No number of a configuration is larger: what is built from it would not fit anywhere."""


def check_count(what: str, said: Any, pattern: str, names: Iterable[str], source: str) -> int:
    """How many there are of something, which the configuration says and the tensors' names show: `pattern` has their number
    as its group."""
    found = len({match[1] for name in names if (match := re.match(pattern, name))})
    if isinstance(said, bool) or said != found:
        raise CheckpointError(f"{source}: the configuration says {said!r} {what}, the weights hold {found}")
    return found


def check_positive_integer(what: str, said: Any, source: str) -> int:
    """A count or a width, if it can be one."""
    if isinstance(said, bool) or not isinstance(said, int) or not 0 < said < MOST:
        raise CheckpointError(f"{source}: {what} is {said!r}: it must be a whole number above 0")
    return said


def wrap_errors(make: Callable[[], T], source: str) -> T:
    """The result of a library call on a configuration, if the configuration is valid for it."""
    try:
        return make()
    except Exception as error:
        # Here, as the hub's library takes long to import, and a model on this machine does not need it.
        from huggingface_hub.errors import StrictDataclassError

        unusable = (
            TypeError,
            ValueError,
            LookupError,
            ArithmeticError,
            RuntimeError,
            AttributeError,
            StrictDataclassError,
        )
        if not isinstance(error, unusable):
            raise
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{source}: the configuration cannot be followed ({reason})") from error
