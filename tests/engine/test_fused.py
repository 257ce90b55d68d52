"""The fused steps against PyTorch and the modules: on a GPU as they are, without one by Triton's interpreter."""

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
from musicgen.engine import fused, precision
from musicgen.engine.linear import Int4Linear, Int8Linear
from musicgen.engine.pool import TorchPool
from musicgen.lm import Conditions, LanguageModel, LMConfig

pytest.importorskip("triton")
import triton.language as tl
from triton.runtime import interpreter

from musicgen.engine.fused import pairs, products, trial
from musicgen.engine.fused.attention import SPLIT, Scratch, attend
from musicgen.engine.fused.pool import FusedPool
from musicgen.engine.fused.products import product

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(autouse=True)
def interpreted(monkeypatch) -> None:
    """What the interpreter lacks: it takes the bits of bfloat16 for whole numbers in `dot`, and needs seconds for a sum of two
    tensors at once."""
    whole, quick = interpreter.InterpreterBuilder.create_dot, interpreter.ReduceOps.apply_impl

    def create_dot(self, a, b, *rest):
        a, b = (_float32(each) if each.dtype == tl.bfloat16 else each for each in (a, b))
        return whole(self, a, b, *rest)

    def apply_impl(self, values):
        if self.combine_fn is pairs.add_both:
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
def test_a_product(kind: str, rows: int, inputs: int, outputs: int) -> None:
    layer, norm = _layer(kind, inputs, outputs), _norm(inputs)
    x = 3 * _random(rows, inputs) + 5  # far from zero, as what leaves a layer may be
    weight = layer.weight.float()
    expected = F.linear(norm(x), weight)
    # Tensor cores multiply numbers of 16 bits, each rounded; in pairs nothing is.
    tolerance = 2e-5 if kind == "float32" or rows <= products.IN_PAIRS else 2e-2
    made = product(x, layer, torch.empty(rows, outputs, device=DEVICE), norm=norm)
    assert (made - expected).norm() / expected.norm() < tolerance
    residual = _random(rows, outputs, seed=3)
    expected = residual + F.gelu(F.linear(x - 5, weight))
    out = residual.clone()
    assert product(x - 5, layer, out, activation="gelu", residual=out) is out
    assert (out - expected).norm() / expected.norm() < tolerance


def test_a_row_in_float32_is_the_same_in_a_crowd() -> None:
    layer, norm = _layer("float32", 768, 64), _norm(768)
    x = _random(7, 768)
    crowd = product(x, layer, torch.empty(7, 64, device=DEVICE), norm=norm)
    for first in (0, 2, 4):
        alone = product(x[first : first + 2], layer, torch.empty(2, 64, device=DEVICE), norm=norm)
        assert torch.equal(alone, crowd[first : first + 2])


@pytest.mark.parametrize("head", [32, 64])
def test_a_position_enters_and_attends_those_before_it(head: int) -> None:
    lengths, heads, capacity = [0, 1, SPLIT - 1, SPLIT, SPLIT + 1, 2 * SPLIT + 9], 2, 2 * SPLIT + 10
    rows = len(lengths)
    at = torch.tensor(lengths, device=DEVICE)
    keys, values = (_random(rows, heads, capacity, head, seed=seed) for seed in (1, 2))
    real = _random(rows, capacity, seed=3) > -1
    real[torch.arange(rows, device=DEVICE), at] = True
    entering = _random(rows, 3 * heads * head)
    query, key, value = entering.unflatten(1, (3, heads, head)).unbind(1)
    before = keys.clone(), values.clone()
    out = torch.empty(rows, heads * head, device=DEVICE)
    attend(entering, keys, values, real, out, Scratch.of(rows, heads, head, capacity, DEVICE), at)
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


@pytest.mark.parametrize("texts", [1, 9, SPLIT + 1])
def test_a_text_is_attended_but_for_its_padding(texts: int) -> None:
    rows, heads, head = 3, 2, 64
    keys, values = (_random(rows, heads, texts, head, seed=seed) for seed in (1, 2))
    real = _random(rows, texts, seed=3) > 0
    real[:, 0] = True
    query = _random(rows, heads * head)
    out = torch.empty_like(query)
    attend(query, keys, values, real, out, Scratch.of(rows, heads, head, texts, DEVICE))
    asked = query.unflatten(1, (heads, 1, head))
    expected = F.scaled_dot_product_attention(asked, keys, values, attn_mask=real[:, None, None])
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


@pytest.mark.parametrize(("name", "cross"), [("float32", True), ("float32", False), ("int8", True), ("int4", True)])
def test_a_pool_makes_the_steps_of_the_modules(name: str, cross: bool) -> None:
    """Clips of different length, with padding in the prefix, that come and go."""
    lm = _lm(name, cross=cross)
    generator = torch.Generator().manual_seed(1)
    mask = torch.tensor([[True] * 9, [True] * 4 + [False] * 3 + [True] * 2], device=DEVICE)
    vectors = _random(2, 9, lm.config.dim).to(lm.embedding.weight.dtype)
    conditions = Conditions(vectors, mask) if cross else Conditions(prefix=vectors, prefix_mask=mask)
    pools = [FusedPool(lm, 4, 90, 9), TorchPool(lm, 4, 90, 9)]
    seats = []

    def join(steps: int) -> None:
        codes = torch.randint(0, 64, (2, 4, steps), generator=generator).to(DEVICE)
        seats.append([pool.join(codes, conditions)[0] for pool in pools])

    def step() -> None:
        codes = torch.randint(0, 64, (pools[0].used, 4, 1), generator=generator).to(DEVICE)
        logits, expected = (pool.step(codes) for pool in pools)
        exact = lm.embedding.weight.dtype == torch.float32 and pools[0].used <= products.IN_PAIRS
        assert (logits - expected).norm() / expected.norm() < (1e-5 if exact else 2e-2)
        for pool in pools:
            pool.advance()

    join(1)
    step()
    join(70)
    step()
    for pool, seat in zip(pools, seats.pop(0), strict=True):
        pool.leave(seat)
    step()


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_a_trial_is_passed(name: str) -> None:
    assert trial.agree(_lm(name))


def test_kernels_that_fail_or_say_something_else_are_not_used(monkeypatch, caplog) -> None:
    lm = _lm()
    monkeypatch.setattr(fused.pool, "product", lambda x, layer, out, **others: product(x.flip(1), layer, out, **others))
    assert not trial.agree(lm)
    assert "without fused kernels: their logits are" in caplog.text

    def fails(*_, **__):
        raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(fused.pool, "product", fails)
    assert not trial.agree(lm)
    assert "without fused kernels: RuntimeError: Failed to find C compiler" in caplog.text


def test_shapes_that_the_kernels_have_not() -> None:
    assert fused.fits(LMConfig(1024, 16, 24, 4))
    assert not fused.fits(LMConfig(1024, 64, 24, 4))  # heads of 16
    assert fused.fits(musicgen.load("mini").lm.config)
    assert not fused.fits(LMConfig(1040, 13, 6, 4))  # heads of 80


@pytest.mark.parametrize("capability", [pytest.param("80", marks=pytest.mark.slow), "90"])
def test_all_kernels_of_a_step_compile_for_a_gpu(capability: str, tmp_path) -> None:
    """Down to the machine code, with NVIDIA's own assembler; no numbers are left over for memory."""
    if not sys.platform.startswith("linux"):
        pytest.skip("Triton's assembler is for Linux")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    command = [sys.executable, "-m", "tests.engine.compile_fused", capability]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    kernels = done.stdout.split()
    assert {kernel.split(":")[0] for kernel in kernels} == {
        "pairs",
        "pairs_of_groups",
        "tiles",
        "attend_split",
        "join_splits",
    }
    assert len(kernels) > 20
    assert all(kernel.endswith(":0") for kernel in kernels), "registers spilled"
