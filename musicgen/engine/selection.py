"""Selection of a back end for a loaded language model.

    CUDA                                  Triton kernels in a CUDA graph; plain PyTorch if the self-check fails
    x86-64 with AVX2, int8 or int4        Numba kernels
    the same, float32 exact in float16    Numba kernels up to FLOAT32_MAX_ROWS rows
    other x86-64                          OpenVINO graph with paged attention
    all else (MPS, ARM, forks)            plain PyTorch

Every `Backend` allocates pools of slots (`SlotPool`); one call of `MusicGen.generate` is a pool with one slot.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

from musicgen.engine.backends.base import Backend
from musicgen.engine.backends.openvino import encodec
from musicgen.engine.backends.openvino.backend import OpenVinoBackend
from musicgen.engine.backends.torch.backend import TorchBackend
from musicgen.engine.backends.triton.backend import TritonBackend
from musicgen.engine.backends.x86.backend import X86Backend
from musicgen.engine.slot_pool import SlotPool
from musicgen.lm import Conditions, LanguageModel
from musicgen.model import MusicGen

BackendClass = TypeVar("BackendClass", bound=type[Backend])

_BACKENDS: list[type[Backend]] = [TritonBackend, X86Backend, OpenVinoBackend, TorchBackend]
"""In the order of preference: the first that supports a model runs it."""
_DECODER_COMPILERS: dict[str, Callable[[Any], None]] = {"encodec": encodec.accelerate}
"""Kind of an audio tokeniser -> what lets it decode with compiled code, in place, where that is supported."""


def register_backend(backend: BackendClass) -> BackendClass:
    """Prefer a back end to those that are known so far, for models that are loaded from now on. Usable as a decorator."""
    _BACKENDS.insert(0, backend)
    return backend


class Engine:
    """Runs one language model on the first back end that supports it.

    Args:
        lm: The language model, in any precision and on any device.
        adds: Whether conditions are added to the embeddings (`Conditions.added`), which not every back end can do.

    Attributes:
        backends: Name -> back end, in the order of preference.
    """

    def __init__(self, lm: LanguageModel, *, adds: bool = False) -> None:
        self.lm = lm
        self.backends = {one.name: one(lm) for one in _BACKENDS if one.adds or not adds}

    @classmethod
    def of(cls, model: MusicGen) -> Engine:
        """An engine for the language model of a model."""
        return cls(model.lm, adds=bool(model.fuser.names("sum")))

    def select(self, rows: int) -> Backend:
        """The back end that runs pools with this number of rows."""
        return next(one for one in self.backends.values() if one.supports(rows))

    def is_batch_invariant(self, *rows: int) -> bool:
        """Whether a row has the same logits bit for bit in pools of any of these numbers of rows: one back end runs them all,
        and it is batch invariant."""
        backends = {one.name: one for one in map(self.select, rows)}
        return len(backends) == 1 and all(one.batch_invariant for one in backends.values())

    def pool(self, rows: int, capacity: int, text_capacity: int) -> SlotPool:
        """Allocate a slot pool on the selected back end.

        Args:
            rows: Number of rows.
            capacity: Positions per row, prefix included.
            text_capacity: Vectors per row of a cross-attention condition.
        """
        return self.select(rows).pool(rows, capacity, text_capacity)

    def start(
        self, conditions: Conditions, rows: int, capacity: int, clips: int = 1
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        """Start the generation of one batch of clips; see `LanguageModel.start`.

        Each clip is admitted alone and without the padding of longer conditions, as in continuous batching: a prefill of
        all clips would round each in a way that depends on the others.

        Args:
            conditions: The conditions of all rows.
            rows: Number of rows.
            capacity: Number of steps, the prefix not included.
            clips: Number of clips; row r belongs to clip r % clips.

        Returns:
            A function from the next codes [rows, K, S] (many steps at first, then one) to the logits [rows, K, N] of the last.
        """
        text_length = 0 if conditions.cross is None else conditions.cross.shape[1]
        pool = self.pool(rows, conditions.prefix_length + capacity, text_length)
        # Of each row of the pool, its row here; and the other way round.
        device = self.lm.embedding.weight.device
        row_of, pool_row_of = torch.zeros(2, rows, dtype=torch.int64, device=device)

        def admit(inputs: torch.Tensor) -> torch.Tensor:
            logits = []
            for clip in range(clips):
                own = slice(clip, None, clips)
                slot, computed = pool.admit(inputs[own], conditions.of(own))
                row_of[slot.rows] = torch.arange(rows, device=device)[own]
                logits.append(computed)
            pool_row_of[row_of] = torch.arange(rows, device=device)
            return torch.stack(logits, dim=1).flatten(0, 1)

        def predict(inputs: torch.Tensor) -> torch.Tensor:
            if not pool.used:
                return admit(inputs)
            logits = pool.step(inputs[row_of])[pool_row_of]
            pool.advance()
            return logits

        return predict


def accelerate(model: MusicGen) -> None:
    """Make a model generate with the engine. Its weights, and what `save` writes, do not change.

    Args:
        model: Modified in place: its language model and, where supported, its decoder of codes use compiled code.
    """
    if model.generator.autoregressive:
        model.engine = Engine.of(model)
    side = model.tokenizer.sides[0]
    compiler = _DECODER_COMPILERS.get(side.kind)
    if compiler is not None:
        compiler(side)
