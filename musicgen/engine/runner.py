"""A loaded language model, run fast: on the CPU as a compiled graph, elsewhere as static buffers of PyTorch's.

Both are a pool of rows (`Pool`), in which clips join and leave; one call of `generate` is a pool with one clip.
"""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import torch

from musicgen.engine import graph
from musicgen.engine.paged import PagedPool
from musicgen.engine.pool import Seat, TorchPool
from musicgen.engine.precision import precision_of
from musicgen.lm import Conditions, LanguageModel

if TYPE_CHECKING:
    import openvino


class Pool(Protocol):
    """Rows in a running batch, each at a position of its own."""

    @property
    def rows(self) -> int: ...

    @property
    def used(self) -> int: ...

    @property
    def bytes(self) -> int: ...

    def join(self, inputs: torch.Tensor, conditions: Conditions) -> tuple[Seat, torch.Tensor]: ...

    def step(self, sequence: torch.Tensor) -> torch.Tensor: ...

    def advance(self) -> None: ...

    def leave(self, seat: Seat) -> None: ...

    def clear(self) -> None: ...


class Engine:
    """Of one language model. What it compiles is made when it is first needed, again after a fork or when weights have
    changed, and is no part of a copy or a pickle."""

    def __init__(self, lm: LanguageModel) -> None:
        self.lm = lm
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._compiled: tuple[tuple[int, ...], openvino.CompiledModel] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"lm": self.lm}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.lm = state["lm"]
        self._forget()

    def pool(self, rows: int, capacity: int, text_capacity: int) -> Pool:
        """capacity: positions of a row, prefix included; text_capacity: vectors of a cross-attention condition."""
        if compiles(self.lm.embedding.weight.device):
            return PagedPool(self._graph(), self.lm, rows, capacity)
        return TorchPool(self.lm, rows, capacity, text_capacity)

    def start(self, conditions: Conditions, rows: int, capacity: int) -> Callable[[torch.Tensor], torch.Tensor]:
        """As `LanguageModel.start`."""
        texts = 0 if conditions.cross is None else conditions.cross.shape[1]
        pool = self.pool(rows, conditions.prefix_length + capacity, texts)

        def advance(inputs: torch.Tensor) -> torch.Tensor:
            if not pool.used:
                return pool.join(inputs, conditions)[1]
            logits = pool.step(inputs)
            pool.advance()
            return logits

        return advance

    def _graph(self) -> openvino.CompiledModel:
        tensors = (*self.lm.parameters(), *self.lm.buffers())
        stamp = (os.getpid(), torch.get_num_threads(), *(part for t in tensors for part in (t.data_ptr(), t._version)))
        with self._lock:
            if self._compiled is None or self._compiled[0] != stamp:
                self._compiled = None
                self._compiled = stamp, _compile(self.lm)
            return self._compiled[1]


def compiles(device: torch.device) -> bool:
    """Whether language models are compiled for this device."""
    return device.type == "cpu" and platform.machine() in ("x86_64", "AMD64")


def _compile(lm: LanguageModel) -> openvino.CompiledModel:
    import openvino

    precision = precision_of(lm)
    packed = precision in ("int8", "int4")
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
        # Activations are rounded to 8 bits in groups of this many, where the weights have so few bits themselves.
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": "128" if packed else "0",
        "KV_CACHE_PRECISION": "u8" if packed else "bf16" if precision == "bfloat16" else "f32",
        "INFERENCE_NUM_THREADS": str(torch.get_num_threads()),
        "NUM_STREAMS": "1",
        "ENABLE_CPU_PINNING": "NO",
    }
    return openvino.Core().compile_model(graph.build(lm), "CPU", settings)
