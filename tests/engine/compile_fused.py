"""Compile every kernel of a step for a GPU that need not be there: `python -m tests.engine.compile_fused 90`.

Steps of the smallest published shape are made with launches that only note what would be launched. Prints name:spilled bytes.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from musicgen.engine import fused, precision
from musicgen.engine.fused import attention, pool, products
from musicgen.lm import LanguageModel, LMConfig

KERNELS = [(products, name) for name in ("pairs", "pairs_of_groups", "tiles")]
KERNELS += [(attention, name) for name in ("attend_split", "join_splits")]
TYPES = {
    torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16", torch.int8: "*i8", torch.uint8: "*u8",
    torch.int64: "*i64", torch.bool: "*i1",
}  # fmt: skip
OPTIONS = ("num_warps", "launch_pdl")
CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"


class Launch:
    """Stands for a kernel; `noted` gets what it is launched with."""

    def __init__(self, kernel, noted: dict) -> None:
        self.kernel, self.noted = kernel, noted

    def __getitem__(self, grid):
        return self.note

    def note(self, *arguments, **constants) -> None:
        types = tuple(TYPES[one.dtype] if isinstance(one, torch.Tensor) else "i32" for one in arguments)
        self.noted[self.kernel.fn.__name__, types, tuple(constants.items())] = self.kernel


def launches(capability: int) -> dict:
    """Of steps in every precision, alone and in a crowd."""
    noted: dict = {}
    overlap = {"OVERLAP": True, "launch_pdl": True} if capability >= 90 else {"OVERLAP": False}
    for module, name in KERNELS:
        setattr(module, name, Launch(getattr(module, name), noted))
        module.overlapping = lambda _: overlap
    for name in ("float32", "bfloat16", "float16", "int8", "int4"):
        lm = LanguageModel(LMConfig(1024, 16, 1, 4)).requires_grad_(False)
        precision.apply(lm, name, torch.device("cuda"))  # as it is there, in this machine's memory
        for rows in (2, 8):
            steps = pool.FusedPool(lm, rows, 1503, 32)
            steps._forward(rows, 1503, 32)
    return noted


def spilled(kernel, types: tuple[str, ...], constants: dict, capability: int) -> int:
    """Compile it; bytes of local memory."""
    options = {name: constants.pop(name) for name in OPTIONS if name in constants}
    signature = dict(zip(kernel.arg_names, types, strict=False)) | dict.fromkeys(constants, "constexpr")
    values = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    aligned = {(at,): [["tt.divisibility", 16]] for at, kind in enumerate(types) if kind.startswith("*")}
    source = ASTSource(kernel, signature, values, aligned)
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(made.asm["cubin"])
        file.flush()
        usage = subprocess.run([CUOBJDUMP, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    return int(re.search(r"STACK:(\d+)", usage).group(1))


def main() -> None:
    capability = int(sys.argv[1])
    assert fused.fits(LMConfig(1024, 16, 1, 4))
    noted = [*launches(capability).items()]
    child = os.fork()  # two halves at the same time
    for (name, types, constants), kernel in noted[child == 0 :: 2]:
        # In one piece, as two write here.
        os.write(1, f"{name}:{spilled(kernel, types, dict(constants), capability)}\n".encode())
    if child:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


if __name__ == "__main__":
    main()
