"""Selection of a back end for a loaded language model.

    CUDA                                  Triton kernels in a CUDA graph; plain PyTorch if the self-check fails
    x86-64, int8 or int4, AVX-512 VNNI    Numba kernels
    x86-64, float32 exact in float16      Numba kernels up to FLOAT32_MAX_ROWS rows
    other x86-64                          OpenVINO graph with paged attention
    all else (MPS, ARM, forks)            plain PyTorch

Every back end is a `SlotPool`; one call of `MusicGen.generate` is a pool with one slot.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from musicgen.engine.backends import avx512, triton
from musicgen.engine.backends.openvino import encodec
from musicgen.engine.backends.openvino.lm import build_graph
from musicgen.engine.backends.openvino.pool import OpenVinoPool
from musicgen.engine.backends.openvino.runtime import compile_graph, has_bfloat16
from musicgen.engine.backends.torch.pool import TorchPool
from musicgen.engine.backends.triton.selfcheck import matches_reference
from musicgen.engine.cpu_support import claim_process, is_usable
from musicgen.engine.precision import precision_of
from musicgen.engine.slot_pool import SlotPool
from musicgen.engine.weight_cache import WeightCache
from musicgen.lm import Conditions, LanguageModel
from musicgen.model import MusicGen
from musicgen.tokenizer import EncodecTokenizer, StereoTokenizer

if TYPE_CHECKING:
    import openvino

    from musicgen.engine.backends.avx512.weights import WeightTable


class Engine:
    """Runs one language model on the fastest back end that supports it.

    Args:
        lm: The language model, in any precision and on any device.
    """

    def __init__(self, lm: LanguageModel) -> None:
        self.lm = lm
        self._openvino_model = WeightCache(lm, compile_lm)
        self._weight_table = WeightCache(lm, build_weight_table)
        self._triton_check = WeightCache(lm, matches_reference)

    def pool(self, rows: int, capacity: int, text_capacity: int) -> SlotPool:
        """Allocate a slot pool on the selected back end.

        Args:
            rows: Number of rows.
            capacity: Positions per row, prefix included.
            text_capacity: Vectors per row of a cross-attention condition.
        """
        device = self.lm.embedding.weight.device
        if device.type == "cuda" and triton.supports(self.lm.config) and self._triton_check.get():
            from musicgen.engine.backends.triton.pool import TritonPool

            return TritonPool(self.lm, rows, capacity, text_capacity)
        if not is_usable(device):
            return TorchPool(self.lm, rows, capacity, text_capacity)
        table = self._avx512_weights(rows)
        if table is not None:
            from musicgen.engine.backends.avx512.pool import Avx512Pool

            return Avx512Pool(table, self.lm, rows, capacity, text_capacity)
        return OpenVinoPool(self._openvino_model.get(), self.lm, rows, capacity)

    def _avx512_weights(self, rows: int) -> WeightTable | None:
        """The weights for the AVX-512 kernels; None where these do not support the model or are slower."""
        precision = precision_of(self.lm)
        supported = avx512.supports(self.lm.config, precision)
        faster = precision != "float32" or rows <= avx512.FLOAT32_MAX_ROWS
        return self._weight_table.get() if supported and faster else None

    def start(self, conditions: Conditions, rows: int, capacity: int) -> Callable[[torch.Tensor], torch.Tensor]:
        """Start the generation of one batch of clips; see `LanguageModel.start`.

        Args:
            conditions: The conditions of all rows.
            rows: Number of rows.
            capacity: Number of steps, the prefix not included.

        Returns:
            A function from the next codes [rows, K, S] (many steps at first, then one) to the logits [rows, K, N] of the last.
        """
        text_length = 0 if conditions.cross is None else conditions.cross.shape[1]
        pool = self.pool(rows, conditions.prefix_length + capacity, text_length)

        def predict(inputs: torch.Tensor) -> torch.Tensor:
            if not pool.used:
                return pool.admit(inputs, conditions)[1]
            logits = pool.step(inputs)
            pool.advance()
            return logits

        return predict


def accelerate(model: MusicGen) -> None:
    """Let a model generate with the engine. Its weights, and what is saved of it, do not change.

    Args:
        model: Modified in place: its language model and, where supported, its EnCodec decoder use compiled code.
    """
    model.engine = Engine(model.lm)
    tokenizer = model.tokenizer.mono if isinstance(model.tokenizer, StereoTokenizer) else model.tokenizer
    if isinstance(tokenizer, EncodecTokenizer) and encodec.supports(tokenizer):
        tokenizer.engine = encodec.Upsampler(tokenizer)


def compile_lm(lm: LanguageModel) -> openvino.CompiledModel:
    """Compile the OpenVINO graph of a language model in its precision."""
    precision = precision_of(lm)
    quantized = precision in avx512.QUANTIZED
    floating = "bf16" if precision == "bfloat16" and has_bfloat16() else "f32"
    return compile_graph(
        build_graph(lm),
        {
            "INFERENCE_PRECISION_HINT": floating,
            # With quantised weights the activations are quantised to int8, in groups of this size.
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": "128" if quantized else "0",
            "KV_CACHE_PRECISION": "u8" if quantized else floating,
        },
    )


def build_weight_table(lm: LanguageModel) -> WeightTable | None:
    """The weights of a language model for the AVX-512 kernels; None for a float32 model that is not exact in float16."""
    from musicgen.engine.backends.avx512.weights import WeightTable, fp16_lossless

    if precision_of(lm) == "float32" and not fp16_lossless(lm):
        return None
    claim_process()
    return WeightTable(lm)
