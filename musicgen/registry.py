"""Registries: entries by name, to which modules outside the package can add their own.

`Registry` contains entries of one type, such as the evaluation's metrics, embedders and systems. `KindRegistry` contains the
classes that the configuration of a checkpoint names. A class is registered when its module is imported. A package may also
declare its modules as entry points, which are imported when an unregistered kind is looked up for the first time.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import TypeVar

from musicgen.errors import CheckpointError, InputError
from musicgen.suggestions import did_you_mean

Entry = TypeVar("Entry")
Class = TypeVar("Class", bound=type)


class Registry(dict[str, Entry]):
    """The entries of one type.

    Args:
        what: The type in words, for messages: "metric".
    """

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    def add(self, name: str, entry: Entry) -> Entry:
        """Add an entry and return it.

        Raises:
            InputError: Another entry has that name.
        """
        if self.setdefault(name, entry) != entry:
            raise InputError(f"there are two {self.what}s {name!r}: register yours under another name")
        return entry

    def find(self, name: str, where: str = "") -> Entry:
        """Return the entry of a name.

        Args:
            name: Its name.
            where: What named it, the beginning of the message: "--metrics".

        Raises:
            InputError: There is none; the message names the nearest.
        """
        if name not in self:
            raise InputError(f"{f'{where}: ' if where else ''}unknown {self.what} {name!r}: {did_you_mean(name, self)}")
        return self[name]


class KindRegistry(Registry[Class]):
    """The classes of one type by the name of their kind.

    Args:
        what: The type in words, for errors: "conditioner".
        group: The entry point group of modules that register further kinds.
    """

    def __init__(self, what: str, group: str) -> None:
        super().__init__(what)
        self.group = group
        self._entry_points_loaded = False

    def register(self, kind: str) -> Callable[[Class], Class]:
        """Return a decorator that registers a class, and sets its attribute `kind`.

        Args:
            kind: The name in the configuration of checkpoints.

        Raises:
            InputError: Another class has this name already.
        """

        def decorate(cls: Class) -> Class:
            known = self.get(kind)
            if known is not None and known.__qualname__ == cls.__qualname__:  # its module was imported anew
                del self[kind]
            cls.kind = kind  # type: ignore[attr-defined]
            return self.add(kind, cls)

        return decorate

    def of(self, kind: object, source: str) -> Class:
        """Return the class of a kind.

        Args:
            kind: As in a checkpoint's configuration.
            source: The checkpoint, for errors.

        Raises:
            CheckpointError: This kind is not registered.
        """
        if isinstance(kind, str) and kind not in self and not self._entry_points_loaded:
            self._entry_points_loaded = True
            for entry_point in entry_points(group=self.group):
                entry_point.load()
        if not isinstance(kind, str) or kind not in self:
            raise CheckpointError(
                f"{source}: the {self.what} is of the kind {kind!r}: the registered kinds are {', '.join(sorted(self))}",
                python=" (is the package that registers it imported?)",
                shell=" (--plugin MODULE imports one that registers it)",
                page=": choose another model, or tell the operator of the page, who installs the package that registers it",
            )
        return self[kind]
