"""Compile every kernel of a step for a GPU that need not be present: `python -m tests.engine.compile_triton 90`.

Runs steps of the smallest published shape with launches that are only recorded. Prints name:spilled bytes.
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

from musicgen.engine import precision
from musicgen.engine.backends import triton as triton_backend
from musicgen.engine.backends.triton import attention, linear, pool
from musicgen.lm import LanguageModel, LMConfig

KERNELS = [(linear, name) for name in ("gemv", "gemv_int4", "gemm")]
KERNELS += [(attention, name) for name in ("attention_split", "combine_splits")]
TYPES = {
    torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16", torch.int8: "*i8", torch.uint8: "*u8",
    torch.int64: "*i64", torch.bool: "*i1",
}  # fmt: skip
OPTIONS = ("num_warps", "launch_pdl")
CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"


class Launch:
    """Stands for a kernel and records its launches in `recorded`."""

    def __init__(self, kernel, recorded: dict) -> None:
        self.kernel, self.recorded = kernel, recorded

    def __getitem__(self, grid):
        return self.record

    def record(self, *arguments, **constants) -> None:
        types = tuple(TYPES[one.dtype] if isinstance(one, torch.Tensor) else "i32" for one in arguments)
        self.recorded[self.kernel.fn.__name__, types, tuple(constants.items())] = self.kernel


def launches(capability: int) -> dict:
    """Of steps in every precision, with few and with many rows."""
    recorded: dict = {}
    pdl = {"PDL": True, "launch_pdl": True} if capability >= 90 else {"PDL": False}
    for module, name in KERNELS:
        setattr(module, name, Launch(getattr(module, name), recorded))
        module.pdl_options = lambda _: pdl
    for name in ("float32", "bfloat16", "float16", "int8", "int4"):
        lm = LanguageModel(LMConfig(1024, 16, 1, 4)).requires_grad_(False)
        precision.apply(lm, name, torch.device("cuda"))  # the weights of a GPU, in CPU memory
        for rows in (2, 8):
            steps = pool.TritonPool(lm, rows, 1503, 32)
            steps._forward(rows, 1503, 32)
    return recorded


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
    assert triton_backend.supports(LMConfig(1024, 16, 1, 4))
    found = [*launches(capability).items()]
    child = os.fork()  # two halves at the same time
    for (name, types, constants), kernel in found[child == 0 :: 2]:
        # In one piece, as two write here.
        os.write(1, f"{name}:{spilled(kernel, types, dict(constants), capability)}\n".encode())
    if child:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


if __name__ == "__main__":
    main()
