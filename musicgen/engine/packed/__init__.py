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
CACHE_BITS = 6
"""Of a number of a key or a value."""
PAGE_BYTES = PAGE * (HEAD * CACHE_BITS // 8 + 2)
"""Of a head's keys or values in a page, and a scale of each."""
EXACT_PAGE_BYTES = PAGE * HEAD * 4
"""In float32."""


EXACT_ROWS = 16
"""In float32, rows for which packed steps are faster: with more, the time is that of multiplying, and OpenVINO's better."""


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
