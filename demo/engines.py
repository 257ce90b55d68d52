"""Loaded models, a scheduler each: loaded when first asked for, the least recently used one unloaded when memory or their
number asks for it."""

from __future__ import annotations

import gc
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from musicgen.errors import InputError

from .models import Shelf

if TYPE_CHECKING:
    from musicgen.engine import Scheduler
    from musicgen.model import MusicGen

Key = tuple[str, str]
"""A model's name and its precision."""

HEADROOM = 1.5
"""Memory that a model takes while it loads, as a multiple of its files."""


class Engines:
    """most: models kept; slots: clips that one model makes at once, fewer where memory is short; free: bytes of memory
    that are free now (for tests; measured when None)."""

    def __init__(
        self,
        shelf: Shelf,
        device: str = "auto",
        *,
        most: int = 3,
        slots: int = 1,
        free: Callable[[], int] | None = None,
    ) -> None:
        self.shelf, self.device, self.most, self.slots = shelf, device, most, slots
        self._free = free if free is not None else self._measure_free
        self._loaded: OrderedDict[Key, Scheduler] = OrderedDict()
        self._users: dict[Key, int] = {}
        self._changed = threading.Condition()
        self._loading: set[Key] = set()
        self._preloaded: dict[Key, MusicGen] = {}

    def preload(self, name: str, precision: str) -> None:
        """Load a model's weights alone and keep them: its scheduler, which has threads, is made where it is first used, in a
        fork of this process it may be."""
        from musicgen import checkpoint

        key = (name, self.precision(name, precision))
        self._preloaded[key] = checkpoint.load(self.shelf.find(name).source, self.device, key[1])

    def preloaded(self, name: str, precision: str) -> bool:
        """Whether `preload` keeps that model."""
        return (name, self.precision(name, precision)) in self._preloaded

    def loaded(self) -> list[Key]:
        """The least recently used one first."""
        with self._changed:
            return list(self._loaded)

    def precision(self, name: str, precision: str) -> str:
        """What "auto" is for a model here, "auto" itself where only loading tells; any other is itself, if it is to be had."""
        from musicgen import checkpoint

        return checkpoint.resolve_precision(self.shelf.find(name).source, self.device, precision) or precision

    @contextmanager
    def use(self, name: str, precision: str) -> Iterator[Scheduler]:
        """The model's scheduler, which stays loaded inside the block."""
        key = (name, self.precision(name, precision))
        engine = self._enter(key)
        try:
            yield engine
        finally:
            with self._changed:
                self._users[key] -= 1
                self._changed.notify_all()

    def _enter(self, key: Key) -> Scheduler:
        offer = self.shelf.find(key[0])
        with self._changed:
            self._changed.wait_for(lambda: key not in self._loading)
            if key in self._loaded:
                self._loaded.move_to_end(key)
                self._users[key] += 1
                return self._loaded[key]
            self._make_room(int(offer.size * HEADROOM))
            self._loading.add(key)
        engine: Scheduler | None = None
        try:
            from musicgen import checkpoint

            model = self._preloaded.get(key)
            if model is None:
                model = checkpoint.load(offer.source, self.device, key[1])
            engine = self._scheduler(model)
        finally:
            with self._changed:  # at once: who waited for it must find it
                self._loading.discard(key)
                if engine is not None:
                    self._loaded[key], self._users[key] = engine, 1
                self._changed.notify_all()
        return engine

    def _scheduler(self, model: MusicGen) -> Scheduler:
        from musicgen.engine import Scheduler

        from .making import CHUNK

        slots = self.slots
        while True:
            try:
                # Requests already passed the job queue: none is refused here.
                return Scheduler(model, slots=slots, queue=self.slots, chunk=min(CHUNK, model.max_duration))
            except InputError:
                if slots == 1:
                    raise
                slots //= 2

    def close(self) -> None:
        """Unload everything."""
        with self._changed:
            engines = list(self._loaded.values())
            self._loaded.clear()
        for engine in engines:
            engine.close()

    def _make_room(self, needed: int) -> None:
        """Unload idle models, the least recently used one first, until there is room; what is in use stays."""
        idle = [key for key in self._loaded if not self._users[key]]
        while idle and (len(self._loaded) >= self.most or self._free() < needed):
            self._loaded.pop(idle.pop(0)).close()
            gc.collect()
            if self.device != "cpu":
                import torch

                if torch.cuda.is_available():
                    torch.cuda.empty_cache()

    def _measure_free(self) -> int:
        import torch

        from musicgen.engine import memory

        cuda = self.device != "cpu" and torch.cuda.is_available()
        return memory.free(torch.device("cuda" if cuda else "cpu"))
