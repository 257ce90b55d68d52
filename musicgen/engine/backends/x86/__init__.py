"""Decoding steps and prefill on x86-64 CPUs with AVX2 or AVX-512 VNNI, as Numba kernels.

Supported are int8 and int4 models, and float32 models whose weights are all exact in float16.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import platform

from musicgen.engine.linear import INT4_GROUP
from musicgen.lm import LMConfig

QUANTIZED = ("int8", "int4")
"""Precisions with quantised weights, activations and KV cache."""
GROUP_SIZE = INT4_GROUP
"""Numbers of an activation that share a scale: the same groups as those of int4 weights."""
HEAD_DIM = 64
"""Supported head size: the bytes of a vector."""
GROUP_MULTIPLE = 8
"""The shifts and sums of groups are read this many at a time; their arrays are padded to a multiple of it."""
LANES = 16
"""float32 or int32 lanes of a vector: positions that are scored at once."""
PAGE_SIZE = 2 * LANES
"""Positions per page of the KV cache."""
MAX_BATCHED_TOKENS = 128
"""Tokens per call of the kernels; longer prefills are split into chunks."""
RECENT_PAGES = 2
"""Pages of the latest positions, which are int8; earlier pages are requantised to int4 (`kv_cache`)."""
RING_PAGES = MAX_BATCHED_TOKENS // PAGE_SIZE + RECENT_PAGES
"""int8 pages in the ring buffer: all recent pages that the tokens of one call attend to."""
INT8_PAGE_BYTES = PAGE_SIZE * (HEAD_DIM + 2)
"""Bytes of an int8 page of one head's keys or values: the codes, and a bfloat16 scale per position."""
INT4_PAGE_BYTES = PAGE_SIZE * HEAD_DIM // 2
"""Bytes of the codes of an int4 page."""
QPARAMS_BYTES = 2 * HEAD_DIM + 2 * 4
"""Bytes of the quantisation parameters of an int4 page: a scale and an offset per channel, in 8 bits, and their float32
factors."""
_CACHE_LINE = 64
"""Bytes."""
_AVX2 = "avx2", "fma", "f16c"
FEATURES = {"avx512": ("avx512f", "avx512bw", "avx512vnni"), "avxvnni": (*_AVX2, "avxvnni"), "avx2": _AVX2}
"""Instruction set -> LLVM's names of what a processor needs for it; the fastest first."""
WIDE = "avx512"
"""Of these the one with 32 registers that hold a whole vector; the others have 16 that hold half of one."""
FLOAT32_MAX_ROWS = 16
"""Most rows for which the float32 kernels are faster than OpenVINO; above that, decoding is compute-bound."""


def quantized_bytes(capacity: int) -> int:
    """Returns the bytes of one head's keys or values in one cache row of `capacity` positions, int8 and int4."""
    int4_pages = max(-(-capacity // PAGE_SIZE) - RECENT_PAGES, 0)
    size = RING_PAGES * INT8_PAGE_BYTES + int4_pages * (INT4_PAGE_BYTES + QPARAMS_BYTES)
    return -(-size // _CACHE_LINE) * _CACHE_LINE


def quantized_bytes_read(positions: int) -> int:
    """Returns how many of these bytes a step that attends to `positions` positions reads."""
    int4_pages = max(-(-positions // PAGE_SIZE) - RECENT_PAGES, 0)
    recent = positions - int4_pages * PAGE_SIZE
    return int4_pages * (INT4_PAGE_BYTES + QPARAMS_BYTES) + recent * INT8_PAGE_BYTES // PAGE_SIZE


def float32_bytes(capacity: int) -> int:
    """Returns the bytes of one head's keys or values in one cache row of `capacity` positions, float32."""
    return -(-capacity // PAGE_SIZE) * PAGE_SIZE * HEAD_DIM * 4


def supports(config: LMConfig, precision: str) -> bool:
    """Whether the kernels support a model's shape and precision, and this processor has the instructions.

    A float32 model must also be exact in float16 (`weights.fp16_lossless`).
    """
    widths = (config.dim, config.ffn_dim, config.num_codebooks * config.codebook_size)
    whole = all(width % (2 * GROUP_SIZE) == 0 for width in widths)
    known = precision in (*QUANTIZED, "float32")
    return known and whole and config.dim == HEAD_DIM * config.num_heads and instruction_set() is not None


@functools.cache
def instruction_set() -> str | None:
    """The fastest instruction set that Numba compiles for, a key of `FEATURES`; None for none, or without Numba.

    That is the fastest of this processor, unless Numba's own variables name other features.
    """
    if platform.machine() not in ("x86_64", "AMD64") or importlib.util.find_spec("numba") is None:
        return None
    from llvmlite.binding import get_host_cpu_features

    generic = "" if os.environ.get("NUMBA_CPU_NAME", "").lower() == "generic" else None
    named = os.environ.get("NUMBA_CPU_FEATURES", generic)
    host = (name for name, present in get_host_cpu_features().items() if present)
    has = set(host if named is None else (one[1:] for one in named.split(",") if one.startswith("+")))
    return next((name for name, needed in FEATURES.items() if has.issuperset(needed)), None)
