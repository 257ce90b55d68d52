"""Memory planning: bytes of the weights by precision and of the KV cache by slots, known before anything is allocated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from musicgen.engine.backends import x86
from musicgen.engine.backends.openvino.pool import BLOCK_SIZE
from musicgen.engine.backends.openvino.runtime import has_bfloat16
from musicgen.engine.cpu_support import is_supported
from musicgen.engine.linear import INT4_GROUP
from musicgen.engine.precision import precision_of
from musicgen.engine.slot_pool import round_up
from musicgen.errors import InputError
from musicgen.guidance import MAX_ROWS
from musicgen.lm import LMConfig
from musicgen.model import MusicGen
from musicgen.tokenizers import frames_of

if TYPE_CHECKING:
    from musicgen.engine.selection import Engine

ROWS_PER_SLOT = 2
"""A conditional and a null row. Separate guidance of text and melody takes three rows, no guidance one."""
MAX_TOKENS = 256
"""The longest text, in tokens, that a scheduler accepts by default."""
_ELEMENT_SIZE = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 4, "int4": 4}
"""Bytes per element of norms and embeddings."""


def rows_of(slots: int) -> int:
    """Returns the number of rows to allocate for a number of slots: at least three, as separate guidance needs."""
    return max(ROWS_PER_SLOT * slots, MAX_ROWS)


def condition_lengths(model: MusicGen, max_tokens: int) -> dict[str, int]:
    """Returns the most vectors of each condition that are accepted.

    Args:
        model: The loaded model.
        max_tokens: The limit where a conditioner's own is higher and it has no fixed length.
    """
    return {
        name: min(one.max_length, max(max_tokens, one.min_length)) for name, one in model.named_conditioners.items()
    }


def fused_length(model: MusicGen, lengths: Mapping[str, int], fusion: str) -> int:
    """Returns the most vectors that reach the language model in one way, "cross" or "prefix".

    Args:
        model: The loaded model.
        lengths: From `condition_lengths`.
        fusion: The way.
    """
    return sum(lengths[name] for name in model.fuser.names(fusion))


def positions(model: MusicGen, lengths: Mapping[str, int]) -> int:
    """Returns the most positions that a row can reach: the longest prefix, and all steps of a window.

    Args:
        model: The loaded model.
        lengths: From `condition_lengths`.
    """
    steps = model.pattern.layout(frames_of(model.tokenizer, model.max_duration)).num_steps
    return fused_length(model, lengths, "prefix") + steps


def weight_bytes(config: LMConfig, precision: str) -> int:
    """Returns the bytes of a language model's weights in a precision."""
    c, element = config, _ELEMENT_SIZE[precision]
    linear = c.num_layers * sum(_linear_bytes(*shape, precision) for shape in _layer_shapes(c))
    embeddings = c.num_codebooks * (c.codebook_size + 1) * c.dim
    return linear + _heads_bytes(c, precision) + (_norms(c) + embeddings) * element


def weight_bytes_read(config: LMConfig, precision: str, device: torch.device) -> int:
    """Returns the bytes of a language model's weights that one step reads.

    Keys and values of cross-attention are computed once a clip, so their weights are not among them; of the embeddings a step
    reads one vector a codebook. A float32 model is taken to be exact in float16, as the published ones are.

    Args:
        config: Shape of the language model.
        precision: Its precision.
        device: Where the model runs.
    """
    c, element, stored = config, _ELEMENT_SIZE[precision], precision
    shapes = _layer_shapes(c, cross_key_values=False)
    kernels = is_supported(device) and x86.supports(c, precision)
    layer = 0
    if kernels:  # they read other tables beside the codes
        element, stored = 4, "float16" if precision == "float32" else precision
        if precision == "int4":
            layer = sum(_shift_bytes(*shape) - _zero_bytes(*shape) for shape in shapes)
    layer += sum(_linear_bytes(*shape, stored) for shape in shapes)
    return c.num_layers * layer + _heads_bytes(c, stored) + (_norms(c) + c.num_codebooks * c.dim) * element


def table_bytes(config: LMConfig, precision: str) -> int:
    """Returns an upper bound of what the x86-64 kernels allocate beside a model's weights, in bytes.

    That is the norms in float32; in int4 the shift of each group; in float32 a float16 copy of the weights, which is
    made only if all of them are exact in float16.
    """
    if not x86.supports(config, precision):
        return 0
    c, layer = config, _layer_shapes(config)
    size = 4 * _norms(c)
    if precision == "int4":
        size += c.num_layers * sum(_shift_bytes(*shape) for shape in layer)
    if precision == "float32":
        size += 2 * (
            c.num_layers * sum(outputs * inputs for outputs, inputs in layer)
            + c.num_codebooks * c.codebook_size * c.dim
        )
    return size


def cache_bytes(config: LMConfig, precision: str, rows: int, capacity: int, device: torch.device) -> int:
    """Returns the bytes of the KV cache of self-attention.

    Args:
        config: Shape of the language model.
        precision: Its precision.
        rows: Number of rows.
        capacity: Positions per row, prefix included.
        device: Where the model runs.
    """
    head_dim, element = config.dim // config.num_heads, _kv_element_size(precision, device)
    if not is_supported(device):
        key = value = capacity * head_dim * element
    elif x86.supports(config, precision):
        key = value = (x86.float32_bytes if precision == "float32" else x86.quantized_bytes)(capacity)
    else:
        blocks = -(-capacity // BLOCK_SIZE)
        key = value = blocks * BLOCK_SIZE * head_dim * element
        if precision in ("int8", "int4"):
            # OpenVINO's uint8 cache, with a float32 scale and zero point per channel and block of keys, and per
            # position of values.
            key, value = blocks * (BLOCK_SIZE + 8) * head_dim, blocks * BLOCK_SIZE * (head_dim + 8)
    return config.num_layers * rows * config.num_heads * (key + value)


def cache_bytes_read(config: LMConfig, precision: str, rows: int, positions: int, device: torch.device) -> int:
    """Returns the bytes of the KV cache that one step reads.

    Args:
        config: Shape of the language model.
        precision: Its precision.
        rows: Number of rows.
        positions: Positions per row that the step attends to.
        device: Where the model runs.
    """
    if is_supported(device) and precision in x86.QUANTIZED and x86.supports(config, precision):
        return 2 * config.num_layers * rows * config.num_heads * x86.quantized_bytes_read(positions)
    return cache_bytes(config, precision, rows, positions, device)


def text_bytes(config: LMConfig, precision: str, rows: int, text_capacity: int, device: torch.device) -> int:
    """Returns an upper bound of the bytes of the keys and values of cross-attention.

    Args:
        config: Shape of the language model.
        precision: Its precision.
        rows: Number of rows.
        text_capacity: Vectors per row of the conditions of cross-attention.
        device: Where the model runs.
    """
    # The CPU back ends keep them twice: for each clip, and side by side for the batch.
    copies = 2 if is_supported(device) else 1
    return copies * text_bytes_read(config, precision, rows, text_capacity, device)


def text_bytes_read(config: LMConfig, precision: str, rows: int, text_length: int, device: torch.device) -> int:
    """Returns the bytes of the keys and values of cross-attention that one step reads.

    Args:
        config: Shape of the language model.
        precision: Its precision.
        rows: Number of rows that have a condition.
        text_length: Vectors of each.
        device: Where the model runs.
    """
    if not config.cross_attention:
        return 0
    element = 4 if is_supported(device) else _kv_element_size(precision, device)
    return 2 * config.num_layers * rows * text_length * config.dim * element


def pool_shape(model: MusicGen, slots: int, max_tokens: int = MAX_TOKENS) -> tuple[int, int, int]:
    """Returns the rows of a pool with this number of slots, the positions of a row, and its vectors of cross-attention.

    Args:
        model: The loaded model.
        slots: Number of clips that are generated at the same time.
        max_tokens: As of `condition_lengths`.
    """
    lengths = condition_lengths(model, max_tokens)
    return rows_of(slots), positions(model, lengths), fused_length(model, lengths, "cross")


def pool_bytes(model: MusicGen, engine: Engine, shape: tuple[int, int, int]) -> int:
    """Returns the bytes that a slot pool would allocate: as its back end says, or of the built-in layout.

    Args:
        model: The loaded model.
        engine: What selects the back end.
        shape: From `pool_shape`.
    """
    rows, capacity, cross = shape
    own = engine.select(rows).pool_bytes(*shape)
    if own is not None:
        return own
    config, precision = model.lm.config, precision_of(model.lm)
    needed = cache_bytes(config, precision, rows, capacity, model.device)
    return needed + text_bytes(config, precision, rows, cross, model.device)


def free(device: torch.device) -> int:
    """Returns the bytes that can still be allocated on a device; a very large number where the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        with open("/proc/meminfo") as file:  # noqa: PTH123
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 1 << 50


def check(needed: int, slots: int, device: torch.device) -> None:
    """Check that the KV cache of `slots` slots, `needed` bytes, fits into free memory.

    Raises:
        InputError: If it does not; the message says how many slots fit.
    """
    available = free(device)
    if needed > available:
        raise InputError(
            f"{slots} slots need {needed / 1e9:.2f} GB for keys and values, and {available / 1e9:.2f} GB are free on "
            f"{device.type}: at most {available * slots // needed} slots fit"
        )


def _kv_element_size(precision: str, device: torch.device) -> int:
    """Bytes per element of an unquantised KV cache."""
    if precision == "bfloat16" and is_supported(device) and not has_bfloat16():
        return 4
    return 2 if device.type == "cuda" and precision in ("int8", "int4") else _ELEMENT_SIZE[precision]


def _layer_shapes(config: LMConfig, *, cross_key_values: bool = True) -> list[tuple[int, int]]:
    """(outputs, inputs) of the linear layers of one block."""
    dim, ffn_dim = config.dim, config.ffn_dim
    shapes = [(3 * dim, dim), (dim, dim), (ffn_dim, dim), (dim, ffn_dim)]
    if config.cross_attention:
        shapes += [(dim, dim), (dim, dim)]
        if cross_key_values:
            shapes.append((2 * dim, dim))
    return shapes


def _norms(config: LMConfig) -> int:
    """Weights and biases of all norms."""
    return (config.num_layers * (3 if config.cross_attention else 2) + 1) * 2 * config.dim


def _heads_bytes(config: LMConfig, precision: str) -> int:
    outputs = config.num_codebooks * config.codebook_size
    return _linear_bytes(outputs, config.dim, "int8" if precision == "int4" else precision)


def _shift_bytes(outputs: int, inputs: int) -> int:
    """Bytes of the shifts of int4 groups, which the x86-64 kernels read in place of their zeros."""
    return 4 * outputs * round_up(inputs // INT4_GROUP, x86.GROUP_MULTIPLE)


def _zero_bytes(outputs: int, inputs: int) -> int:
    """Bytes of the zeros of int4 groups, two in a byte."""
    return outputs * inputs // INT4_GROUP // 2


def _linear_bytes(outputs: int, inputs: int, precision: str) -> int:
    weights = outputs * inputs
    if precision == "int4" and inputs % (2 * INT4_GROUP) == 0:
        return weights // 2 + _zero_bytes(outputs, inputs) + 4 * (weights // INT4_GROUP)
    if precision in ("int8", "int4"):
        return weights + 4 * outputs
    return weights * _ELEMENT_SIZE[precision]
