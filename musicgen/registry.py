"""Registries of kinds: a name in a checkpoint's configuration -> the class that implements it.

A kind is registered when its module is imported. A package may also name its modules as entry points: these are imported the
first time a kind is looked up that nobody has registered.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from musicgen.errors import CheckpointError

Class = TypeVar("Class", bound=type)


class Registry(Generic[Class]):
    """The classes of one sort by the name of their kind.

    Args:
        what: The sort in words, for errors: "conditioner".
        group: The entry point group of modules that register further kinds.
    """

    def __init__(self, what: str, group: str) -> None:
        self.what, self.group = what, group
        self._classes: dict[str, Class] = {}
        self._entry_points_loaded = False

    def register(self, kind: str) -> Callable[[Class], Class]:
        """Return a decorator that registers a class, and sets its attribute `kind`.

        Args:
            kind: The name in the configuration of checkpoints.

        Raises:
            ValueError: Another class has this name already.
        """

        def add(cls: Class) -> Class:
            known = self._classes.get(kind)
            if known is not None and known.__qualname__ != cls.__qualname__:
                raise ValueError(f"the {self.what} {kind!r} is registered already, by {known.__module__}")
            cls.kind = kind  # type: ignore[attr-defined]
            self._classes[kind] = cls
            return cls

        return add

    def find(self, kind: object, source: str) -> Class:
        """Return the class of a kind.

        Args:
            kind: As in a checkpoint's configuration.
            source: The checkpoint, for errors.

        Raises:
            CheckpointError: Nobody has registered this kind.
        """
        if kind not in self._classes and not self._entry_points_loaded:
            self._entry_points_loaded = True
            for entry_point in entry_points(group=self.group):
                entry_point.load()
        if not isinstance(kind, str) or kind not in self._classes:
            raise CheckpointError(
                f"{source}: the {self.what} is of the kind {kind!r}: the registered kinds are "
                f"{', '.join(sorted(self._classes))}",
                python=" (is the package that registers it imported?)",
                shell=" (--plugin MODULE imports one that registers it)",
                page=": choose another model, or tell the operator of the page, who installs the package that registers it",
            )
        return self._classes[kind]
