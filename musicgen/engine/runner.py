"""A loaded language model, run fast: on the CPU as a compiled graph, with packed weights as compiled steps; on CUDA as fused
kernels in a captured graph; elsewhere as static buffers of PyTorch's.

Each is a pool of rows (`Pool`), in which clips join and leave; one call of `generate` is a pool with one clip.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import torch

from musicgen.engine import convolutions, fused, graph, packed
from musicgen.engine.compiled import claim, compile_graph, serves
from musicgen.engine.derived import Derived
from musicgen.engine.fused.trial import agree
from musicgen.engine.paged import PagedPool
from musicgen.engine.pool import Seat, TorchPool
from musicgen.engine.precision import precision_of
from musicgen.lm import Conditions, LanguageModel
from musicgen.model import MusicGen
from musicgen.tokenizer import EncodecTokenizer, StereoTokenizer

if TYPE_CHECKING:
    import openvino

    from musicgen.engine.packed.weights import Table


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


class Engine:
    """Of one language model."""

    def __init__(self, lm: LanguageModel) -> None:
        self.lm = lm
        self._graph = Derived(lm, build)
        self._weights = Derived(lm, tables)
        self._fused = Derived(lm, agree)

    def pool(self, rows: int, capacity: int, text_capacity: int) -> Pool:
        """capacity: positions of a row, prefix included; text_capacity: vectors of a cross-attention condition."""
        device = self.lm.embedding.weight.device
        if device.type == "cuda" and fused.fits(self.lm.config) and self._fused.get():
            from musicgen.engine.fused.pool import FusedPool

            return FusedPool(self.lm, rows, capacity, text_capacity)
        if not serves(device):
            return TorchPool(self.lm, rows, capacity, text_capacity)
        table = self._table(rows)
        if table is not None:
            from musicgen.engine.packed.pool import PackedPool

            return PackedPool(table, self.lm, rows, capacity, text_capacity)
        return PagedPool(self._graph.get(), self.lm, rows, capacity)

    def _table(self, rows: int) -> Table | None:
        """For the compiled steps, where they serve this model and are the faster way."""
        precision = precision_of(self.lm)
        fits = packed.fits(self.lm.config, precision) and (precision != "float32" or rows <= packed.EXACT_ROWS)
        return self._weights.get() if fits else None

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


def accelerate(model: MusicGen) -> None:
    """Let the engine run what a model generates with, from here on. Its weights, and what it saves, stay as they are."""
    model.engine = Engine(model.lm)
    tokenizer = model.tokenizer.mono if isinstance(model.tokenizer, StereoTokenizer) else model.tokenizer
    if isinstance(tokenizer, EncodecTokenizer) and convolutions.fits(tokenizer):
        tokenizer.engine = convolutions.Upsampler(tokenizer)


def build(lm: LanguageModel) -> openvino.CompiledModel:
    """The graph of a language model, in the precision it was given."""
    precision = precision_of(lm)
    few_bits = precision in packed.FEW_BITS
    return compile_graph(
        graph.build(lm),
        {
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
            # Activations are rounded to 8 bits in groups of this many, where the weights have so few bits themselves.
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": "128" if few_bits else "0",
            "KV_CACHE_PRECISION": "u8" if few_bits else "bf16" if precision == "bfloat16" else "f32",
        },
    )


def tables(lm: LanguageModel) -> Table | None:
    """The weights of a language model as compiled steps read them; none of a float32 model that needs all its bits."""
    from musicgen.engine.packed.weights import Table, holds

    if precision_of(lm) == "float32" and not holds(lm):
        return None
    claim()
    return Table(lm)
