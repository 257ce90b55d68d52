"""Loaded models: loaded when first asked for, the least recently used one unloaded when memory or their number asks for it."""

from __future__ import annotations

import gc
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from demo.models import Shelf

if TYPE_CHECKING:
    from musicgen.model import MusicGen

Key = tuple[str, str]
"""A model's name and its precision."""

HEADROOM = 1.5
"""Memory that a model takes while it loads, as a multiple of its files."""


class Engines:
    """most: models kept; free: bytes of memory that are free now (for tests; measured when None)."""

    def __init__(
        self, shelf: Shelf, device: str = "auto", *, most: int = 3, free: Callable[[], int] | None = None
    ) -> None:
        self.shelf, self.device, self.most = shelf, device, most
        self._free = free if free is not None else self._measure_free
        self._loaded: OrderedDict[Key, MusicGen] = OrderedDict()
        self._users: dict[Key, int] = {}
        self._changed = threading.Condition()
        self._loading: set[Key] = set()

    def loaded(self) -> list[Key]:
        """The least recently used one first."""
        with self._changed:
            return list(self._loaded)

    @contextmanager
    def use(self, name: str, precision: str) -> Iterator[MusicGen]:
        """The model, which stays loaded inside the block."""
        key = (name, precision)
        model = self._enter(key)
        try:
            yield model
        finally:
            with self._changed:
                self._users[key] -= 1
                self._changed.notify_all()

    def _enter(self, key: Key) -> MusicGen:
        offer = self.shelf.find(key[0])
        with self._changed:
            self._changed.wait_for(lambda: key not in self._loading)
            if key in self._loaded:
                self._loaded.move_to_end(key)
                self._users[key] += 1
                return self._loaded[key]
            self._make_room(int(offer.size * HEADROOM))
            self._loading.add(key)
        try:
            from musicgen import checkpoint

            model = checkpoint.load(offer.source, self.device, key[1])
        finally:
            with self._changed:
                self._loading.discard(key)
                self._changed.notify_all()
        with self._changed:
            self._loaded[key], self._users[key] = model, 1
        return model

    def _make_room(self, needed: int) -> None:
        """Unload idle models, the least recently used one first, until there is room; what is in use stays."""
        idle = [key for key in self._loaded if not self._users[key]]
        while idle and (len(self._loaded) >= self.most or self._free() < needed):
            del self._loaded[idle.pop(0)]
            gc.collect()
            if self.device != "cpu":
                import torch

                if torch.cuda.is_available():
                    torch.cuda.empty_cache()

    def _measure_free(self) -> int:
        import torch

        if self.device != "cpu" and torch.cuda.is_available():
            return int(torch.cuda.mem_get_info()[0])
        return _free_memory()


def _free_memory() -> int:
    """Bytes that Linux says a new program could have; where nothing says so, plenty."""
    try:
        with open("/proc/meminfo") as file:  # noqa: PTH123
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 1 << 50
