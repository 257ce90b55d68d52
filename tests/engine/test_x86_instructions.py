"""The instructions of each instruction set: compiled for processors that have it, and run where this one has, against NumPy."""

import ctypes
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from llvmlite import binding, ir

from benchmarks import instructions
from musicgen.engine.backends import x86
from musicgen.engine.backends.x86.instructions import INSTRUCTION_SETS, InstructionSet

binding.initialize_native_target()
binding.initialize_native_asmprinter()
X86 = binding.Target.from_default_triple().name.startswith("x86")
pytestmark = pytest.mark.skipif(not X86, reason="not an x86 processor")
BYTES, INTS, FLOATS = (
    ir.VectorType(kind, count) for kind, count in ((ir.IntType(8), 64), (ir.IntType(32), 16), (ir.FloatType(), 16))
)
FUNCTIONS = {
    "dot": [INTS, BYTES, BYTES],
    "dot_nibbles": [INTS, BYTES, BYTES, BYTES, BYTES],
    "dot_int8": [INTS, BYTES, BYTES],
    "offset_int8": [BYTES],
    "round": [FLOATS],
}
PROCESSORS = {
    "avx512": ("sapphirerapids", "vpdpbusd", "zmm"),
    "avxvnni": ("alderlake", "vpdpbusd", "ymm"),
    "avx2": ("haswell", "vpmaddubsw", "ymm"),
}


def module(one: InstructionSet) -> str:
    """A function (addresses of vectors ..., address of the result) for each instruction."""
    made = ir.Module()
    for name, kinds in FUNCTIONS.items():
        pointers = [kind.as_pointer() for kind in kinds]
        result = BYTES if name == "offset_int8" else INTS
        function = ir.Function(made, ir.FunctionType(ir.VoidType(), [*pointers, result.as_pointer()]), name)
        builder = ir.IRBuilder(function.append_basic_block())
        values = [builder.load(argument, align=1) for argument in function.args[:-1]]
        builder.store(getattr(one, name)(builder, *values), function.args[-1], align=1)
        builder.ret_void()
    return str(made)


def machine(cpu: str, features: str = "") -> binding.TargetMachine:
    return binding.Target.from_default_triple().create_target_machine(cpu=cpu, features=features, opt=2)


@pytest.mark.parametrize("name", INSTRUCTION_SETS)
def test_compiles_to_the_instructions_of_the_set(name: str) -> None:
    cpu, instruction, register = PROCESSORS[name]
    text = machine(cpu).emit_assembly(binding.parse_assembly(module(INSTRUCTION_SETS[name])))
    assert any(instruction in line and register in line for line in text.splitlines())
    assert ("zmm" in text) == (register == "zmm")
    assert set(INSTRUCTION_SETS) == set(x86.FEATURES)


@pytest.fixture(scope="module", params=INSTRUCTION_SETS)
def compiled(request: pytest.FixtureRequest) -> tuple[InstructionSet, binding.ExecutionEngine]:
    has = binding.get_host_cpu_features()
    if not all(has.get(feature) for feature in x86.FEATURES[request.param]):
        pytest.skip("this processor lacks the instructions")
    one = INSTRUCTION_SETS[request.param]
    target = machine(binding.get_host_cpu_name(), has.flatten())
    engine = binding.create_mcjit_compiler(binding.parse_assembly(module(one)), target)
    engine.finalize_object()
    return one, engine


def call(engine: binding.ExecutionEngine, name: str, *vectors: np.ndarray) -> np.ndarray:
    result = np.empty(64, np.uint8) if name == "offset_int8" else np.empty(16, np.int32)
    address = engine.get_function_address(name)
    addresses = [array.ctypes.data for array in (*vectors, result)]
    ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * len(addresses))(address)(*addresses)
    return result


def products(*pairs: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    return sum((a.astype(np.int64) * b).reshape(16, 4).sum(1) for a, b in pairs)  # type: ignore[return-value]


def random_bytes(low: int, high: int, seed: int) -> np.ndarray:
    """Of [low, high], the extremes often."""
    rng = np.random.default_rng([seed, low + 128])
    extreme = rng.choice([low, high], 64)
    drawn = np.where(rng.random(64) < 0.5, extreme, rng.integers(low, high + 1, 64))
    return np.full(64, high if seed % 2 else low) if seed < 4 else drawn


@pytest.mark.parametrize("seed", range(12))
def test_integers_are_exact(compiled: tuple[InstructionSet, binding.ExecutionEngine], seed: int) -> None:
    one, engine = compiled
    start = np.random.default_rng(seed).integers(-(2**20), 2**20, 16, dtype=np.int32)
    unsigned, signed = random_bytes(0, 255, seed), random_bytes(-128, 127, seed // 2)
    made = call(engine, "dot", start, unsigned.astype(np.uint8), signed.astype(np.int8))
    np.testing.assert_array_equal(made, start + products((unsigned, signed)))

    low, next_low = random_bytes(0, 15, seed), random_bytes(0, 15, seed + 1)
    codes, next_codes = random_bytes(-127, 127, seed // 2), random_bytes(-127, 127, seed // 2 + 1)
    as_bytes = [low.astype(np.uint8), codes.astype(np.int8), next_low.astype(np.uint8), next_codes.astype(np.int8)]
    made = call(engine, "dot_nibbles", start, *as_bytes)
    np.testing.assert_array_equal(made, start + products((low, codes), (next_low, next_codes)))

    weights = random_bytes(-127, 127, seed)
    offset = call(engine, "offset_int8", weights.astype(np.int8))
    made = call(engine, "dot_int8", start, offset, codes.astype(np.int8))
    np.testing.assert_array_equal(made, start + products((weights + one.int8_offset, codes)))


def test_rounding_is_to_nearest_even(compiled: tuple[InstructionSet, binding.ExecutionEngine]) -> None:
    numbers = np.linspace(-4, 3.5, 16, dtype=np.float32)
    np.testing.assert_array_equal(call(compiled[1], "round", numbers), np.round(numbers))


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"NUMBA_CPU_FEATURES": "+avx2,+fma,+f16c,-avx512f"}, "avx2"),
        ({"NUMBA_CPU_FEATURES": "+avx2,+fma,+f16c,+avxvnni,-avx512f"}, "avxvnni"),
        ({"NUMBA_CPU_FEATURES": "+avx512f,+avx512bw,+avx512vnni"}, "avx512"),
        ({"NUMBA_CPU_FEATURES": "+sse4.2"}, None),
        ({"NUMBA_CPU_FEATURES": ""}, None),
        ({"NUMBA_CPU_NAME": "generic"}, None),
    ],
)
def test_the_features_that_numba_is_told_of_decide(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str | None
) -> None:
    for name in ("NUMBA_CPU_FEATURES", "NUMBA_CPU_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert x86.instruction_set.__wrapped__() == expected


@pytest.mark.parametrize("name", sorted(instructions.ONEDNN))
def test_masked_instructions_are_used_by_no_library(name: str) -> None:
    """What PyTorch, Numba and the kernels say that they use, in a process with the variables of `--instructions`."""
    if not all(binding.get_host_cpu_features().get(feature) for feature in x86.FEATURES[name]):
        pytest.skip("this processor lacks the instructions")
    program = (
        "import torch, numba; from numba.core.registry import cpu_target;"
        "from musicgen.engine.backends import x86;"
        "print(torch.backends.cpu.get_cpu_capability(), x86.instruction_set());"
        "print(cpu_target.target_context.codegen().magic_tuple()[2])"
    )
    environment = os.environ | instructions.variables(name)
    said = subprocess.run(
        [sys.executable, "-c", program], env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    used, features = said.stdout.splitlines()
    assert used == f"AVX2 {name}"
    assert "+avx2" in features.split(",")
    assert not re.search(r"\+(avx512|amx)", features)
