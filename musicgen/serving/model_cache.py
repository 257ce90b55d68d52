"""A least-recently-used cache of loaded models, each with its scheduler.

A model is loaded when it is first used. The least recently used model is unloaded when the limit of loaded models or the free
memory requires it.
"""

from __future__ import annotations

import gc
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from musicgen.catalog import DECODERS
from musicgen.errors import InputError, MusicGenError
from musicgen.serving.adapters import Weighted
from musicgen.serving.models import ModelCatalog

if TYPE_CHECKING:
    from musicgen.engine import Scheduler
    from musicgen.model import MusicGen


class Key(NamedTuple):
    """The key of a loaded model."""

    name: str
    precision: str
    adapters: Weighted = ()
    decoder: str = DECODERS[0]


LOAD_MEMORY_FACTOR = 1.5
"""Peak memory of loading a model, as a multiple of the size of its files."""


class ModelCache:
    """Loaded models, by name and precision.

    Args:
        catalog: the models that can be loaded.
        device: a PyTorch device, or "auto".
        max_models: number of models kept loaded.
        slots: clips that one model generates in one batch; fewer where memory is short.
        queue: clips that may wait for a slot; as many as slots if None.
        free_memory: returns the bytes of free memory; measured if None.
    """

    def __init__(
        self,
        catalog: ModelCatalog,
        device: str = "auto",
        *,
        max_models: int = 3,
        slots: int = 1,
        queue: int | None = None,
        free_memory: Callable[[], int] | None = None,
    ) -> None:
        self.catalog, self.device, self.max_models, self.slots = catalog, device, max_models, slots
        self._queue = slots if queue is None else queue
        self._free_memory = free_memory if free_memory is not None else self._measure_free_memory
        self._loaded: OrderedDict[Key, Scheduler] = OrderedDict()
        self._reference_counts: dict[Key, int] = {}
        self._changed = threading.Condition()
        self._loading: set[Key] = set()
        self._preloaded: dict[Key, MusicGen] = {}

    def preload(self, name: str, precision: str) -> None:
        """Load a model's weights and keep them.

        The scheduler, which starts threads, is created at the first use: that can be in a fork of this process.
        """
        from musicgen import checkpoint

        key = Key(name, self.resolve_precision(name, precision))
        self._preloaded[key] = checkpoint.load(self.catalog.get(name).source, self.device, key.precision)

    def is_preloaded(self, name: str, precision: str) -> bool:
        """Whether `preload` has loaded the model in this precision."""
        return Key(name, self.resolve_precision(name, precision)) in self._preloaded

    def loaded(self) -> list[tuple[str, str]]:
        """Name and precision of the loaded models, the least recently used one first."""
        with self._changed:
            return [(key.name, key.precision) for key in self._loaded]

    def resolve_precision(self, name: str, precision: str) -> str:
        """The precision in which a model is loaded on this device.

        Args:
            name: the model's name.
            precision: the requested precision, or "auto".

        Returns:
            For "auto" the model's precision on this device, or "auto" itself where only loading the model tells; any other
            precision unchanged.

        Raises:
            InputError: for a precision that is not available on this device.
        """
        from musicgen import checkpoint

        return checkpoint.resolve_precision(self.catalog.get(name).source, self.device, precision) or precision

    @contextmanager
    def use(
        self, name: str, precision: str, adapters: Weighted = (), decoder: str = DECODERS[0]
    ) -> Iterator[Scheduler]:
        """The scheduler of a model, which is loaded if necessary and stays loaded inside the `with` block.

        Args:
            name: the model's name.
            precision: the requested precision.
            adapters: LoRA adapters that are applied to it, with their weights.
            decoder: what turns its codes into waveforms.

        Raises:
            InputError: for an adapter or a decoder that does not fit the model.
        """
        key = Key(name, self.resolve_precision(name, precision), adapters, decoder)
        scheduler = self._acquire(key)
        try:
            yield scheduler
        finally:
            with self._changed:
                self._reference_counts[key] -= 1
                self._changed.notify_all()

    def _acquire(self, key: Key) -> Scheduler:
        info = self.catalog.get(key.name)
        with self._changed:
            self._changed.wait_for(lambda: key not in self._loading)
            if key in self._loaded:
                self._loaded.move_to_end(key)
                self._reference_counts[key] += 1
                return self._loaded[key]
            model = self._take_reweightable(key)
            if model is None:
                self._evict(int(info.size * LOAD_MEMORY_FACTOR))
            self._loading.add(key)
        scheduler: Scheduler | None = None
        try:
            scheduler = self._create_scheduler(self._load(key) if model is None else self._reweight(model, key))
        finally:
            with self._changed:  # one critical section: a waiting thread must find the model, or the failure
                self._loading.discard(key)
                if scheduler is not None:
                    self._loaded[key], self._reference_counts[key] = scheduler, 1
                self._changed.notify_all()
        return scheduler

    def _load(self, key: Key) -> MusicGen:
        from musicgen import checkpoint

        model = self._preloaded.get(key)
        if model is not None:
            return model
        source = self.catalog.get(key.name).source
        adapters = [*self.catalog.adapters.sources(key.adapters).items()]
        try:
            return checkpoint.load(source, self.device, key.precision, adapters=adapters, decoder=key.decoder)
        except MusicGenError as error:
            if not adapters:
                raise
            raise InputError(self.catalog.adapters.without_paths(error.told("page"))) from error

    def _take_reweightable(self, key: Key) -> MusicGen | None:
        """Take out of the cache an unused model that differs from the wanted one in the weights of its adapters alone."""
        names = [name for name, _ in key.adapters]
        for other, scheduler in self._loaded.items():
            same = other._replace(adapters=()) == key._replace(adapters=())
            same = same and [name for name, _ in other.adapters] == names
            if names and same and not self._reference_counts[other]:
                del self._loaded[other]
                scheduler.close()
                return scheduler.model
        return None

    def _reweight(self, model: MusicGen, key: Key) -> MusicGen:
        assert model.adapters is not None
        model.adapters.use(self.catalog.adapters.sources(key.adapters))
        return model

    def _create_scheduler(self, model: MusicGen) -> Scheduler:
        from musicgen.engine import Scheduler
        from musicgen.serving.generation import CHUNK_SECONDS

        slots = self.slots
        while True:
            try:
                # The job queue admits requests, so the scheduler's own queue never has to refuse one.
                return Scheduler(model, slots=slots, queue=self._queue, chunk=min(CHUNK_SECONDS, model.max_duration))
            except InputError:
                if slots == 1:
                    raise
                slots //= 2

    def close(self) -> None:
        """Unload all models."""
        with self._changed:
            schedulers = list(self._loaded.values())
            self._loaded.clear()
        for scheduler in schedulers:
            scheduler.close()

    def _evict(self, required_memory: int) -> None:
        """Unload unused models, the least recently used one first, until there is room for another one.

        Args:
            required_memory: bytes that the next model needs while it loads.
        """
        unused = [key for key in self._loaded if not self._reference_counts[key]]
        while unused and (len(self._loaded) >= self.max_models or self._free_memory() < required_memory):
            self._loaded.pop(unused.pop(0)).close()
            gc.collect()
            if self.device != "cpu":
                import torch

                if torch.cuda.is_available():
                    torch.cuda.empty_cache()

    def _measure_free_memory(self) -> int:
        import torch

        from musicgen.engine import memory

        cuda = self.device != "cpu" and torch.cuda.is_available()
        return memory.free(torch.device("cuda" if cuda else "cpu"))
