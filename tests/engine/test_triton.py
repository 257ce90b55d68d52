"""The Triton kernels against PyTorch: on a GPU as they are, without one in Triton's interpreter."""

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import musicgen
from musicgen.engine import precision
from musicgen.engine.backends import triton as triton_backend
from musicgen.engine.backends.torch.pool import TorchPool
from musicgen.engine.linear import Int4Linear, Int8Linear
from musicgen.lm import Conditions, LanguageModel, LMConfig

pytest.importorskip("triton")
import triton.language as tl
from triton.runtime import interpreter

from musicgen.engine.backends.triton import gemv, selfcheck
from musicgen.engine.backends.triton import pool as pool_module
from musicgen.engine.backends.triton.attention import SPLIT_SIZE, Workspace, attention
from musicgen.engine.backends.triton.linear import GEMV_MAX_ROWS, linear
from musicgen.engine.backends.triton.pool import TritonPool

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(autouse=True)
def interpreted(monkeypatch) -> None:
    """Fixes Triton's interpreter: its `dot` reads the bits of bfloat16 as integers, and it needs seconds to reduce two
    tensors at once."""
    whole, quick = interpreter.InterpreterBuilder.create_dot, interpreter.ReduceOps.apply_impl

    def create_dot(self, a, b, *rest):
        a, b = (_float32(each) if each.dtype == tl.bfloat16 else each for each in (a, b))
        return whole(self, a, b, *rest)

    def apply_impl(self, values):
        if self.combine_fn is gemv.add_pairwise:
            summed = (np.sum(value.handle.data, axis=self.axis) for value in values)
            return tuple(self.to_tensor(each, value.dtype) for each, value in zip(summed, values, strict=True))
        return quick(self, values)

    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_dot", create_dot)
    monkeypatch.setattr(interpreter.ReduceOps, "apply_impl", apply_impl)


def _float32(handle):
    return interpreter.TensorHandle((handle.data.astype(np.uint32) << 16).view(np.float32), tl.float32)


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def _layer(kind: str, inputs: int, outputs: int) -> nn.Module:
    layer = nn.Linear(inputs, outputs, bias=False)
    layer.weight.data = _random(outputs, inputs).cpu() * inputs**-0.5
    if kind in ("int8", "int4"):
        return (Int8Linear if kind == "int8" else Int4Linear)(layer).to(DEVICE)
    return layer.to(DEVICE, getattr(torch, kind))


def _norm(width: int) -> nn.LayerNorm:
    norm = nn.LayerNorm(width)
    norm.weight.data, norm.bias.data = _random(width, seed=1).cpu(), _random(width, seed=2).cpu()
    return norm.to(DEVICE)


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 33])
@pytest.mark.parametrize(
    ("kind", "inputs", "outputs"),
    [
        *itertools.product(["float32", "bfloat16", "float16", "int8", "int4"], [256, 768], [96]),
        *itertools.product(["float32", "bfloat16", "int8"], [192], [64]),  # does not split into groups of int4
    ],
)
def test_linear(kind: str, rows: int, inputs: int, outputs: int) -> None:
    layer, norm = _layer(kind, inputs, outputs), _norm(inputs)
    x = 3 * _random(rows, inputs) + 5  # far from zero, as activations may be
    weight = layer.weight.float()
    expected = F.linear(norm(x), weight)
    # The GEMM rounds its inputs to 16 bits, the GEMV does not.
    tolerance = 2e-5 if kind == "float32" or rows <= GEMV_MAX_ROWS else 2e-2
    made = linear(x, layer, torch.empty(rows, outputs, device=DEVICE), norm=norm)
    assert (made - expected).norm() / expected.norm() < tolerance
    residual = _random(rows, outputs, seed=3)
    expected = residual + F.gelu(F.linear(x - 5, weight))
    out = residual.clone()
    assert linear(x - 5, layer, out, activation="gelu", residual=out) is out
    assert (out - expected).norm() / expected.norm() < tolerance


def test_a_row_in_float32_does_not_depend_on_the_batch() -> None:
    layer, norm = _layer("float32", 768, 64), _norm(768)
    x = _random(7, 768)
    batch = linear(x, layer, torch.empty(7, 64, device=DEVICE), norm=norm)
    for first in (0, 2, 4):
        alone = linear(x[first : first + 2], layer, torch.empty(2, 64, device=DEVICE), norm=norm)
        assert torch.equal(alone, batch[first : first + 2])


@pytest.mark.parametrize("head", [32, 64])
def test_self_attention(head: int) -> None:
    lengths, heads, capacity = (
        [0, 1, SPLIT_SIZE - 1, SPLIT_SIZE, SPLIT_SIZE + 1, 2 * SPLIT_SIZE + 9],
        2,
        2 * SPLIT_SIZE + 10,
    )
    rows = len(lengths)
    at = torch.tensor(lengths, device=DEVICE)
    keys, values = (_random(rows, heads, capacity, head, seed=seed) for seed in (1, 2))
    real = _random(rows, capacity, seed=3) > -1
    real[torch.arange(rows, device=DEVICE), at] = True
    qkv = _random(rows, 3 * heads * head)
    query, key, value = qkv.unflatten(1, (3, heads, head)).unbind(1)
    before = keys.clone(), values.clone()
    out = torch.empty(rows, heads * head, device=DEVICE)
    attention(qkv, keys, values, real, out, Workspace.allocate(rows, heads, head, capacity, DEVICE), at)
    for row, length in enumerate(lengths):
        assert torch.equal(keys[row, :, length], key[row])
        assert torch.equal(values[row, :, length], value[row])
        for store, old in zip((keys, values), before, strict=True):
            store[row, :, length], kept = old[row, :, length], store[row, :, length].clone()
            assert torch.equal(store[row], old[row])  # nothing else was written
            store[row, :, length] = kept
    mask = real & (torch.arange(capacity, device=DEVICE) <= at[:, None])
    expected = F.scaled_dot_product_attention(query[:, :, None], keys, values, attn_mask=mask[:, None, None])
    torch.testing.assert_close(out, expected.flatten(1), atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("texts", [1, 9, SPLIT_SIZE + 1])
def test_cross_attention_ignores_padding(texts: int) -> None:
    rows, heads, head = 3, 2, 64
    keys, values = (_random(rows, heads, texts, head, seed=seed) for seed in (1, 2))
    real = _random(rows, texts, seed=3) > 0
    real[:, 0] = True
    query = _random(rows, heads * head)
    out = torch.empty_like(query)
    attention(query, keys, values, real, out, Workspace.allocate(rows, heads, head, texts, DEVICE))
    q = query.unflatten(1, (heads, 1, head))
    expected = F.scaled_dot_product_attention(q, keys, values, attn_mask=real[:, None, None])
    torch.testing.assert_close(out, expected.flatten(1), atol=2e-6, rtol=1e-5)


def _lm(name: str = "float32", *, cross: bool = True) -> LanguageModel:
    width = 256 if name == "int4" else 128  # the fewest that split into groups of int4
    config = LMConfig(width, width // 64, 1, 4, codebook_size=64, ffn_dim=width, cross_attention=cross)
    generator = torch.Generator().manual_seed(0)
    lm = LanguageModel(config).eval().requires_grad_(False)
    for parameter in lm.parameters():
        nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5, generator=generator)
    precision.apply(lm, name, DEVICE)
    return lm.to(DEVICE)


@pytest.mark.parametrize(
    ("name", "cross"),
    [("float32", True), ("float32", False), ("int8", True), pytest.param("int4", True, marks=pytest.mark.slow)],
)
def test_the_pool_gives_the_logits_of_the_modules(name: str, cross: bool) -> None:
    """Clips of different lengths, with padding in the prefix, that are admitted and released."""
    lm = _lm(name, cross=cross)
    generator = torch.Generator().manual_seed(1)
    mask = torch.tensor([[True] * 9, [True] * 4 + [False] * 3 + [True] * 2], device=DEVICE)
    vectors = _random(2, 9, lm.config.dim).to(lm.embedding.weight.dtype)
    conditions = Conditions(vectors, mask) if cross else Conditions(prefix=vectors, prefix_mask=mask)
    pools = [TritonPool(lm, 4, 90, 9), TorchPool(lm, 4, 90, 9)]
    slots = []

    def join(steps: int) -> None:
        codes = torch.randint(0, 64, (2, 4, steps), generator=generator).to(DEVICE)
        slots.append([pool.admit(codes, conditions)[0] for pool in pools])

    def step() -> None:
        codes = torch.randint(0, 64, (pools[0].used, 4, 1), generator=generator).to(DEVICE)
        logits, expected = (pool.step(codes) for pool in pools)
        exact = lm.embedding.weight.dtype == torch.float32 and pools[0].used <= GEMV_MAX_ROWS
        assert (logits - expected).norm() / expected.norm() < (1e-5 if exact else 2e-2)
        for pool in pools:
            pool.advance()

    join(1)
    step()
    join(70)
    step()
    for pool, slot in zip(pools, slots.pop(0), strict=True):
        pool.release(slot)
    step()


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_the_self_check_passes(name: str) -> None:
    assert selfcheck.matches_reference(_lm(name))


def test_kernels_that_fail_or_differ_are_not_used(monkeypatch, caplog) -> None:
    lm = _lm()
    monkeypatch.setattr(pool_module, "linear", lambda x, layer, out, **others: linear(x.flip(1), layer, out, **others))
    assert not selfcheck.matches_reference(lm)
    assert "Triton kernels are disabled: their logits differ" in caplog.text

    def fails(*_, **__):
        raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(pool_module, "linear", fails)
    assert not selfcheck.matches_reference(lm)
    assert "Triton kernels are disabled: RuntimeError: Failed to find C compiler" in caplog.text


def test_unsupported_shapes() -> None:
    assert triton_backend.supports(LMConfig(1024, 16, 24, 4))
    assert not triton_backend.supports(LMConfig(1024, 64, 24, 4))  # heads of 16
    assert triton_backend.supports(musicgen.load("mini").lm.config)
    assert not triton_backend.supports(LMConfig(1040, 13, 6, 4))  # heads of 80


@pytest.mark.slow
@pytest.mark.parametrize("capability", ["80", "90"])
def test_all_kernels_of_a_step_compile_for_a_gpu(capability: str, tmp_path) -> None:
    """Down to machine code, with NVIDIA's assembler; no registers are spilled."""
    if not sys.platform.startswith("linux"):
        pytest.skip("Triton's assembler is for Linux")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    command = [sys.executable, "-m", "tests.engine.compile_triton", capability]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    kernels = done.stdout.split()
    assert {kernel.split(":")[0] for kernel in kernels} == {
        "gemv",
        "gemv_int4",
        "gemm",
        "attention_split",
        "combine_splits",
    }
    assert len(kernels) > 20
    assert all(kernel.endswith(":0") for kernel in kernels), "registers spilled"
