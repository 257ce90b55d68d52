"""Steps of models with packed weights on processors that multiply 8-bit numbers (AVX-512 VNNI), compiled by Numba.

int8 and int4 round; float32 is packed where 16 bits lose nothing of any weight.
"""

from __future__ import annotations

import functools
import importlib.util
import platform

from musicgen.engine.linear import INT4_GROUP
from musicgen.lm import LMConfig

FEW_BITS = ("int8", "int4")
"""The precisions that round: weights, what they are multiplied with, keys and values."""
GROUP = INT4_GROUP
"""Numbers of an activation that share a scale: as many as weights do."""
HEAD = 64
"""Numbers of a head: as many bytes as a vector register has."""
TERMS = 8
"""Groups of an output whose zeros are read at a time; what is kept for an output is a multiple."""
LANES = 16
"""Positions that are scored at once."""
PAGE = 2 * LANES
"""Positions of keys and values that lie together; what is allocated for a row is a multiple."""
TOKENS = 128
"""That enter at once."""
RECENT = 2
"""Pages of the last positions, whose numbers have 8 bits. Those of the pages before have 4 (`cache`)."""
RING = TOKENS // PAGE + RECENT
"""Pages of 8 bits that are kept: all that tokens which enter at once attend to."""
RECENT_BYTES = PAGE * (HEAD + 2)
"""Of a head's keys or values in a page of 8 bits: the codes, and a scale of each position."""
SETTLED_BYTES = PAGE * HEAD // 2
"""Of the codes in a page of 4 bits."""
NOTES_BYTES = 2 * HEAD + 2 * 4
"""Of what its codes mean: a step and an offset of each number, and their two factors."""
_LINE = 64
"""Bytes that memory gives at once."""
EXACT_ROWS = 16
"""In float32, rows for which packed steps are faster: with more, the time is that of multiplying, and OpenVINO's better."""


def head_bytes(capacity: int) -> int:
    """Of a head's keys or values at a home, where they are rounded."""
    settled = max(-(-capacity // PAGE) - RECENT, 0)
    return -(-(RING * RECENT_BYTES + settled * (SETTLED_BYTES + NOTES_BYTES)) // _LINE) * _LINE


def bytes_read(positions: int) -> int:
    """Of them by a step that attends to so many."""
    settled = max(-(-positions // PAGE) - RECENT, 0)
    return settled * (SETTLED_BYTES + NOTES_BYTES) + (positions - settled * PAGE) * RECENT_BYTES // PAGE


def exact_bytes(capacity: int) -> int:
    """Of a head's keys or values in float32."""
    return -(-capacity // PAGE) * PAGE * HEAD * 4


def fits(config: LMConfig, precision: str) -> bool:
    """Whether the compiled step has this shape in this precision, and this processor its instructions. In float32 the weights
    have to allow it as well (`weights.holds`)."""
    widths = (config.dim, config.ffn_dim, config.num_codebooks * config.codebook_size)
    whole = all(width % (2 * GROUP) == 0 for width in widths)
    known = precision in (*FEW_BITS, "float32")
    return known and whole and config.dim == HEAD * config.num_heads and _has_instructions()


@functools.cache
def _has_instructions() -> bool:
    if platform.machine() not in ("x86_64", "AMD64") or importlib.util.find_spec("numba") is None:
        return False
    from llvmlite.binding import get_host_cpu_features

    return bool(get_host_cpu_features().get("avx512vnni", False))
