"""How much memory a model takes: weights by precision, keys and values by slots. Stated before anything is allocated."""

from __future__ import annotations

import torch

from musicgen.engine import packed
from musicgen.engine.compiled import supports
from musicgen.engine.linear import INT4_GROUP
from musicgen.engine.paged import BLOCK
from musicgen.engine.pool import whole
from musicgen.errors import InputError
from musicgen.lm import LMConfig
from musicgen.model import MusicGen
from musicgen.tokenizer import frames_of

ROWS_OF_A_SLOT = 2
"""A clip with its null condition. Separate guidance of text and melody takes three rows, no guidance one."""
MAX_TOKENS = 256
"""The longest text that a scheduler takes unless told otherwise."""
_ELEMENT = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 4, "int4": 4}
"""Bytes of a norm or a table's entry."""


def rows_of(slots: int) -> int:
    """Rows to allocate. One slot alone can still serve a clip of three rows."""
    return max(ROWS_OF_A_SLOT * slots, ROWS_OF_A_SLOT + 1)


def positions(model: MusicGen, max_tokens: int) -> int:
    """Positions that a row may reach: the prefix with the longest text, and all steps of a window."""
    prefix = 0 if model.lm.config.cross_attention else max_tokens
    if model.melody is not None:
        prefix += model.melody.length
    return prefix + model.pattern.layout(frames_of(model.tokenizer, model.max_duration)).num_steps


def weight_bytes(config: LMConfig, precision: str) -> int:
    """Of a language model's weights in that precision."""
    c, element = config, _ELEMENT[precision]
    layer = [(3 * c.dim, c.dim), (c.dim, c.dim), (c.ffn_dim, c.dim), (c.dim, c.ffn_dim)]
    if c.cross_attention:
        layer += [(c.dim, c.dim), (2 * c.dim, c.dim), (c.dim, c.dim)]
    linear = c.num_layers * sum(_linear(*shape, precision) for shape in layer)
    heads = _linear(c.num_codebooks * c.codebook_size, c.dim, "int8" if precision == "int4" else precision)
    norms = (c.num_layers * (3 if c.cross_attention else 2) + 1) * 2 * c.dim
    tables = c.num_codebooks * (c.codebook_size + 1) * c.dim
    return linear + heads + (norms + tables) * element


def table_bytes(config: LMConfig, precision: str) -> int:
    """At most of what the compiled step keeps beside a model's weights: norms in float32; what each group's zero stands for in
    int4; a copy of the weights in 16 bits in float32, where they lose nothing by it."""
    if not packed.fits(config, precision):
        return 0
    c = config
    layer = [(3 * c.dim, c.dim), (c.dim, c.dim), (c.ffn_dim, c.dim), (c.dim, c.ffn_dim)]
    norms = 2
    if c.cross_attention:
        layer += [(c.dim, c.dim), (2 * c.dim, c.dim), (c.dim, c.dim)]
        norms = 3
    kept = 4 * (norms * c.num_layers + 1) * 2 * c.dim
    if precision == "int4":
        kept += 4 * c.num_layers * sum(outputs * whole(inputs // INT4_GROUP, packed.TERMS) for outputs, inputs in layer)
    if precision == "float32":
        kept += 2 * (
            c.num_layers * sum(outputs * inputs for outputs, inputs in layer)
            + c.num_codebooks * c.codebook_size * c.dim
        )
    return kept


def cache_bytes(config: LMConfig, precision: str, rows: int, capacity: int, device: torch.device) -> int:
    """Of the keys and values of `rows` rows, those of the text not included."""
    head, element = config.dim // config.num_heads, _element(precision, device)
    if not supports(device):
        key = value = capacity * head * element
    elif packed.fits(config, precision):
        key = value = (packed.exact_bytes if precision == "float32" else packed.head_bytes)(capacity)
    else:
        blocks = -(-capacity // BLOCK)
        key = value = blocks * BLOCK * head * element
        if precision in ("int8", "int4"):
            # 8 bits each, and a scale and a zero point in float32: of a channel's keys in a block, of a position's values.
            key, value = blocks * (BLOCK + 8) * head, blocks * BLOCK * (head + 8)
    return config.num_layers * rows * config.num_heads * (key + value)


def cache_bytes_read(config: LMConfig, precision: str, rows: int, positions: int, device: torch.device) -> int:
    """Of them by a step that attends to so many positions."""
    if supports(device) and precision in packed.FEW_BITS and packed.fits(config, precision):
        return 2 * config.num_layers * rows * config.num_heads * packed.bytes_read(positions)
    return cache_bytes(config, precision, rows, positions, device)


def text_bytes(config: LMConfig, precision: str, rows: int, text_capacity: int, device: torch.device) -> int:
    """At most of the keys and values of the texts of `rows` rows."""
    if not config.cross_attention:
        return 0
    # Where the graph is compiled: float32, a clip's own, and once more side by side.
    element = 2 * 4 if supports(device) else _element(precision, device)
    return 2 * config.num_layers * rows * text_capacity * config.dim * element


def free(device: torch.device) -> int:
    """Bytes that a new allocation could have; where nothing says so, plenty."""
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
    """Refuse more slots than there is memory for."""
    available = free(device)
    if needed > available:
        raise InputError(
            f"{slots} slots need {needed / 1e9:.2f} GB for keys and values, and {available / 1e9:.2f} GB are free on "
            f"{device.type}: at most {available * slots // needed} slots fit"
        )


def _element(precision: str, device: torch.device) -> int:
    """Bytes of one number of a key or a value, where those are not packed."""
    return 2 if device.type == "cuda" and precision in ("int8", "int4") else _ELEMENT[precision]


def _linear(outputs: int, inputs: int, precision: str) -> int:
    weights = outputs * inputs
    if precision == "int4" and inputs % (2 * INT4_GROUP) == 0:
        groups = outputs * inputs // INT4_GROUP
        return weights // 2 + groups // 2 + 4 * groups
    if precision in ("int8", "int4"):
        return weights + 4 * outputs
    return weights * _ELEMENT[precision]
