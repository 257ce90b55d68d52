"""What is computed once from a module's tensors, and again when they have changed.

It is made when it is first asked for. It is no part of a copy or a pickle of its owner, and goes with it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import nn

Made = TypeVar("Made")


class Derived(Generic[Made]):
    """build: module -> what is kept."""

    def __init__(self, module: nn.Module, build: Callable[[Any], Made]) -> None:
        self.module, self._build = module, build
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._made: tuple[tuple[int, ...], Made] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"module": self.module, "_build": self._build}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._forget()

    def get(self) -> Made:
        """It depends on the number of threads as well."""
        tensors = (*self.module.parameters(), *self.module.buffers())
        stamp = (torch.get_num_threads(), *(part for t in tensors for part in (t.data_ptr(), t._version)))
        with self._lock:
            if self._made is None or self._made[0] != stamp:
                self._made = None
                self._made = stamp, self._build(self.module)
            return self._made[1]
