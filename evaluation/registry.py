"""Registries: entries of one sort by name, to which plug-ins add theirs."""

from __future__ import annotations

from typing import TypeVar

from musicgen.errors import InputError
from musicgen.suggestions import did_you_mean

T = TypeVar("T")


class Registry(dict[str, T]):
    """The entries of one sort.

    Args:
        what: the sort in words, for messages: "metric".
    """

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    def add(self, name: str, entry: T) -> T:
        """Add an entry and return it.

        Raises:
            InputError: another entry has that name.
        """
        if self.setdefault(name, entry) != entry:
            raise InputError(f"there are two {self.what}s {name!r}: register yours under another name")
        return entry

    def find(self, name: str, where: str = "") -> T:
        """The entry of a name.

        Args:
            name: its name.
            where: what named it, the beginning of the message: "--metrics".

        Raises:
            InputError: there is none; the message names the nearest.
        """
        if name not in self:
            raise InputError(f"{f'{where}: ' if where else ''}unknown {self.what} {name!r}: {did_you_mean(name, self)}")
        return self[name]
