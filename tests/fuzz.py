"""Values that nobody expects, for what strangers' files hold: whatever is there, it is read or refused in one line."""

from __future__ import annotations

import copy
import csv
import io
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

from musicgen.errors import MusicGenError

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


def tables(columns: Sequence[str], values: Sequence[str]) -> st.SearchStrategy[bytes]:
    """CSV files with some of the columns, rows of any length, likely values among others, and noise behind them."""

    def written(names: list[str], rows: list[list[str]], noise: bytes) -> bytes:
        buffer = io.StringIO(newline="")
        csv.writer(buffer).writerows([names, *rows])
        return buffer.getvalue().encode() + noise

    several = st.lists(CELLS | st.sampled_from(values), max_size=len(columns))
    names = st.lists(st.sampled_from(columns), max_size=len(columns), unique=True)
    return st.builds(written, names, st.lists(several, max_size=3), st.binary(max_size=2))


def changed(values: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """`values` with some of its fields, also inner ones, gone, renamed or of any other value."""
    places = list(_places(values))

    @st.composite
    def draw(pick: Callable[[st.SearchStrategy], Any]) -> dict[str, Any]:
        made = copy.deepcopy(values)
        for *parents, last in pick(st.lists(st.sampled_from(places), min_size=1, max_size=3)):
            inner: Any = made
            for parent in parents:
                inner = inner.get(parent) if isinstance(inner, dict) else None
            if isinstance(inner, dict):
                if pick(st.booleans()):
                    inner[last] = pick(JSON)
                else:
                    inner.pop(last, None)
        return made

    return draw()


def _places(values: dict[str, Any], above: tuple[str, ...] = ()) -> Any:
    for name, value in values.items():
        yield (*above, name)
        if isinstance(value, dict):
            yield from _places(value, (*above, name))


def refused(read: Callable[[], object]) -> bool:
    """Whether `read` refuses, which it must do in one line that says why. Every other exception is a fault."""
    try:
        read()
    except MusicGenError as error:
        message = str(error)
        assert message.strip()
        assert len(message.splitlines()) == 1, message
        return True
    return False
