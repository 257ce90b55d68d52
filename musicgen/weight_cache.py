"""A cache of one value that is computed from a module's weights and recomputed when they change."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import nn

Value = TypeVar("Value")


class WeightCache(Generic[Value]):
    """Computes a value on first use and keeps it while the weights and the number of threads stay the same.

    The value is neither copied nor pickled with its owner, and is freed with it.

    Args:
        module: The module whose parameters and buffers the value depends on.
        build: Computes the value from the module.
    """

    def __init__(self, module: nn.Module, build: Callable[[Any], Value]) -> None:
        self.module, self._build = module, build
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._entry: tuple[tuple[int, ...], Value] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"module": self.module, "_build": self._build}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._reset()

    def get(self) -> Value:
        """Returns the cached value, built anew if a tensor was replaced or modified in place or the thread count changed.

        The thread count matters because compiled graphs are built for it.
        """
        tensors = (*self.module.parameters(), *self.module.buffers())
        key = (torch.get_num_threads(), *(part for t in tensors for part in (t.data_ptr(), t._version)))
        with self._lock:
            if self._entry is None or self._entry[0] != key:
                self._entry = None
                self._entry = key, self._build(self.module)
            return self._entry[1]
