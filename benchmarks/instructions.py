"""Simulation of processors with fewer instruction sets: all libraries, including those of the peers, are restricted to an
instruction set.

Each library reads its own environment variable when it is loaded, so the command is restarted with these variables.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping

ONEDNN = {"avx2": "AVX2", "avxvnni": "AVX2_VNNI"}
"""Instruction set -> oneDNN's name for it, in PyTorch as in OpenVINO."""
_MASKED = {
    "avx2": ("avx512", "avx10", "amx", "avxvnni", "avxifma", "avxneconvert"),
    "avxvnni": ("avx512", "avx10", "amx"),
}
"""Instruction set -> how LLVM's names of the features begin that it lacks."""


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add `--instructions`."""
    parser.add_argument(
        "--instructions",
        choices=ONEDNN,
        help="restrict all libraries to this instruction set (default: that of the processor)",
    )


def apply(options: argparse.Namespace) -> None:
    """Start this command again with the variables that `--instructions` asks for, unless it runs with them already."""
    if options.instructions is None:
        return
    wanted = variables(options.instructions)
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | wanted)


def variables(instructions: str) -> Mapping[str, str]:
    """What the libraries read.

    Args:
        instructions: A key of `ONEDNN`.

    Returns:
        Name of an environment variable -> its value: of PyTorch's own kernels (also those that it compiles), of oneDNN in
        PyTorch and OpenVINO, of MKL, and of Numba.
    """
    from llvmlite.binding import get_host_cpu_features

    has = get_host_cpu_features()
    for name in has:
        has[name] &= not name.startswith(_MASKED[instructions])
    return {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": ONEDNN[instructions],
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "NUMBA_CPU_FEATURES": has.flatten(),
    }
