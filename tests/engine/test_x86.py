"""The x86-64 kernels against NumPy and PyTorch on the same rounded numbers, and the pool against the other back ends."""

import copy
import math
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import musicgen
from musicgen.engine import memory, precision
from musicgen.engine.backends import x86
from musicgen.engine.backends.openvino.pool import OpenVinoPool
from musicgen.engine.backends.torch.pool import TorchPool
from musicgen.engine.backends.x86 import (
    HEAD_DIM,
    MAX_BATCHED_TOKENS,
    PAGE_SIZE,
    RECENT_PAGES,
    attention,
    attention_fp32,
    float32_bytes,
    gemv,
    gemv_fp16,
    kv_cache,
    kv_requantize,
    quantized_bytes,
    simd,
    step,
)
from musicgen.engine.backends.x86.gemm import GEMM_MIN_TOKENS
from musicgen.engine.backends.x86.pool import X86Pool
from musicgen.engine.backends.x86.weights import WeightTable, fp16_lossless, table_entry
from musicgen.engine.linear import Int4Linear, Int8Linear
from musicgen.engine.selection import Engine
from musicgen.lm import Conditions, LanguageModel, LMConfig
from musicgen.options import GenerationOptions
from musicgen.sampling import ClipStream, sample

CPU = torch.device("cpu")
CONFIG = LMConfig(dim=256, num_heads=4, num_layers=3, num_codebooks=4, codebook_size=128)
pytestmark = pytest.mark.skipif(not x86.supports(CONFIG, "int8"), reason="this processor lacks AVX2")


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@numba.njit
def powers(x, y):  # type: ignore[no-untyped-def]
    for index in range(0, x.size, 16):
        at = index * 4
        simd.store_f32x16(y.ctypes.data + at, simd.exp2(simd.load_f32x16(x.ctypes.data + at)))


def test_powers_of_two() -> None:
    x = np.linspace(-126, 100, 16 * 999, dtype=np.float32)
    y = np.empty_like(x)
    powers(x, y)
    np.testing.assert_allclose(y, np.exp2(x.astype(np.float64)), rtol=5e-7)
    for low in (-127.0, -1e30, -math.inf):
        powers(np.full(16, low, dtype=np.float32), y)
        assert (y[:16] <= 2.0**-126).all()


def test_activation() -> None:
    x = 3 * random(3, 512)
    for gelu, reference in ((True, F.gelu), (False, F.relu)):
        y = x.copy()
        step.activation(y, 256, gelu)
        torch.testing.assert_close(
            torch.from_numpy(y[:, :256]), reference(torch.from_numpy(x[:, :256])), atol=1e-6, rtol=1e-6
        )
        np.testing.assert_array_equal(y[:, 256:], x[:, 256:])


def test_layer_norm() -> None:
    x, norm, y = 3 * random(5, 256) + 1, random(2, 256, seed=1), np.empty((5, 256), dtype=np.float32)
    step.layer_norm(x, norm, y)
    expected = F.layer_norm(torch.from_numpy(x), (256,), *torch.from_numpy(norm))
    torch.testing.assert_close(torch.from_numpy(y), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", [Int8Linear, Int4Linear])
@pytest.mark.parametrize("size", [256, 1536, 4096])
@pytest.mark.parametrize(
    ("rows", "use_gemm"),
    [(1, False), (2, False), (3, False), (4, False), (7, False), (1, True), (16, True), (23, True)],
)
def test_linear(kind: type, size: int, rows: int, use_gemm: bool) -> None:
    """Activations are rounded to the nearest of 255 values per group; all else is exact."""
    layer = nn.Linear(size, 64, bias=False)
    nn.init.normal_(layer.weight, mean=0.01, std=size**-0.5, generator=torch.Generator().manual_seed(size))
    weights = kind(layer)
    tensors: list[torch.Tensor] = []
    x = random(rows, size, seed=rows)
    x[0, :128] = 0  # a group of zeros
    groups = gemv.padded_groups(size // 128)
    codes, scales = np.empty((rows, size), dtype=np.int8), np.empty((rows, groups), dtype=np.float32)
    sums, y = np.full((rows, groups), np.nan, dtype=np.float32), np.full((rows, 66), 7, dtype=np.float32)
    step.linear(np.array(table_entry(weights, tensors)), x, codes, scales, sums, y, use_gemm)
    grouped = x.reshape(rows, -1, 128).astype(np.float64)
    scale = np.maximum(np.abs(grouped).max(-1, keepdims=True), 1e-20) / 127
    rounded = (np.round(grouped / scale) * scale).reshape(rows, size)
    np.testing.assert_allclose(y[:, :64], rounded @ weights.weight.double().numpy().T, atol=2e-5)
    assert (y[:, 64:] == 7).all()


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 8, 11])
def test_gemv_fp16(rows: int) -> None:
    layer = nn.Linear(768, 48, bias=False)
    layer.weight.data = layer.weight.data.half().float()
    tensors: list[torch.Tensor] = []
    x, y = random(rows, 800), np.full((rows, 50), 7, dtype=np.float32)
    gemv_fp16.gemv_fp16(np.array(table_entry(layer, tensors)), x, y)
    expected = x[:, :768].astype(np.float64) @ layer.weight.detach().double().numpy().T
    np.testing.assert_allclose(y[:, :48], expected, atol=2e-6)
    assert (y[:, 48:] == 7).all()
    alone = np.empty((1, 48), dtype=np.float32)
    gemv_fp16.gemv_fp16(np.array(table_entry(layer, tensors)), x[-1:], alone)
    np.testing.assert_array_equal(alone[0], y[-1, :48])


def write_kv(numbers: np.ndarray, cache_rows: np.ndarray, positions: np.ndarray, layer: np.ndarray) -> None:
    kv_cache.write_kv(numbers, cache_rows, positions, layer)
    kv_requantize.requantize(cache_rows, positions, layer)


def rounded(numbers: torch.Tensor) -> torch.Tensor:
    """Keys or values [H, S, D] of a clip's positions as its last position reads them from the cache."""
    step = (numbers.abs().amax(-1, keepdim=True) / 127).bfloat16().float()
    recent = (numbers / step).round() * step
    pages = list(recent.split(PAGE_SIZE, dim=1))
    for index, page in enumerate(pages[:-RECENT_PAGES]):
        least, most = page.amin(1, keepdim=True), page.amax(1, keepdim=True)
        unit, offset_unit = (most - least).amax(-1, keepdim=True) / (15 * 255), least.abs().amax(-1, keepdim=True) / 127
        step, least = (
            ((most - least) / (15 * unit)).round().clamp_min(1) * unit,
            (least / offset_unit).round() * offset_unit,
        )
        pages[index] = ((page - least) / step).round().clamp(0, 15) * step + least
    return torch.cat(pages, dim=1)


@pytest.mark.parametrize("float32", [False, True])
def test_attention(float32: bool) -> None:
    """Five tokens, three of them in one cache row, on the quantised and on the float32 cache."""
    heads, cache_rows = 2, 3
    layer = kv_cache.allocate(1, cache_rows, heads, (float32_bytes if float32 else quantized_bytes)(180))[0]
    history = random(180, cache_rows, 3 * heads * HEAD_DIM)
    for cache_row, length in {0: 95, 1: 60, 2: 170}.items():
        for position in range(length):
            token = history[position, cache_row : cache_row + 1], np.array([cache_row]), np.array([position])
            (attention_fp32.write_kv_fp32 if float32 else write_kv)(*token, layer)
    tokens, token_rows = random(5, 3 * heads * HEAD_DIM, seed=1), np.array([2, 0, 0, 0, 1])
    positions = np.array([170, 95, 96, 97, 60])
    (attention_fp32.write_kv_fp32 if float32 else write_kv)(tokens, token_rows, positions, layer)
    queries = np.empty((5, heads, 2 * HEAD_DIM), dtype=np.int8)
    scores = np.full((5, heads, 192), np.nan, dtype=np.float32)
    result = np.empty((5, heads * HEAD_DIM), dtype=np.float32)
    if float32:
        attention_fp32.self_attention_fp32(tokens, token_rows, positions, layer, scores, result)
    else:
        attention.self_attention(tokens, token_rows, positions, layer, queries, scores, result)

    for token, (cache_row, position) in enumerate(zip(token_rows, positions, strict=True)):
        past = history[: position + 1, cache_row].copy()
        for other in range(5):
            if token_rows[other] == cache_row and positions[other] <= position:
                past[positions[other]] = tokens[other]
        q = torch.from_numpy(tokens[token, : heads * HEAD_DIM]).view(heads, 1, HEAD_DIM)
        k, v = (
            torch.from_numpy(part.copy()).view(-1, heads, HEAD_DIM).transpose(0, 1)
            for part in np.split(past, 3, axis=1)[1:]
        )
        unrounded = F.scaled_dot_product_attention(q, k, v)[:, 0].flatten()
        expected = F.scaled_dot_product_attention(q, rounded(k), rounded(v))[:, 0].flatten()
        made = torch.from_numpy(result[token])
        if float32:
            torch.testing.assert_close(made, unrounded, atol=1e-6, rtol=5e-6)
        elif position < RECENT_PAGES * PAGE_SIZE:
            torch.testing.assert_close(made, expected, atol=2e-4, rtol=1e-3)
        else:  # queries and weights are quantised too, with less error than the int4 codes
            assert (made - expected).norm() < 0.25 * (expected - unrounded).norm()


@pytest.mark.parametrize("together", [1, 7, MAX_BATCHED_TOKENS])
def test_requantisation_does_not_depend_on_the_batch_size(together: int) -> None:
    """What a token attends to depends on its position alone, not on how many tokens a call has."""
    heads, count = 2, 4 * MAX_BATCHED_TOKENS
    numbers, cache_rows, positions = (
        random(count, 3 * heads * HEAD_DIM),
        np.zeros(count, dtype=np.int64),
        np.arange(count),
    )
    queries = np.empty((count, heads, 2 * HEAD_DIM), dtype=np.int8)
    scores = np.empty((count, heads, count), dtype=np.float32)
    made = []
    for size in (together, 16):
        layer = kv_cache.allocate(1, 1, heads, quantized_bytes(count))[0]
        made.append(np.empty((count, heads * HEAD_DIM), dtype=np.float32))
        for begin in range(0, count, size):
            part = slice(begin, begin + size)
            arguments = numbers[part], cache_rows[part], positions[part], layer
            write_kv(*arguments)
            attention.self_attention(*arguments, queries[part], scores[part], made[-1][part])
    np.testing.assert_array_equal(*made)


def test_values_that_are_not_finite_do_not_reach_the_next_clip() -> None:
    """A cache row that held NaN, infinities and huge values gives the results of a fresh one."""
    heads, count = 2, 3 * PAGE_SIZE + 1
    numbers = random(count, 1, 3 * heads * HEAD_DIM)
    queries, scores = np.empty((1, heads, 2 * HEAD_DIM), dtype=np.int8), np.empty((1, heads, 128), dtype=np.float32)

    def results(layer: np.ndarray) -> np.ndarray:
        made, cache_row = np.empty((count, 1, heads * HEAD_DIM), dtype=np.float32), np.zeros(1, dtype=np.int64)
        for position in range(count):
            write_kv(numbers[position], cache_row, cache_row + position, layer)
            attention.self_attention(
                numbers[position], cache_row, cache_row + position, layer, queries, scores, made[position]
            )
        return made

    fresh, used = (kv_cache.allocate(1, 1, heads, quantized_bytes(count + 7))[0] for _ in range(2))
    for position, bad in enumerate(np.resize([np.nan, np.inf, -np.inf, 3e38], count + 7)):
        write_kv(np.full_like(numbers[0], bad), np.zeros(1, dtype=np.int64), np.full(1, position), used)
    np.testing.assert_array_equal(results(used), results(fresh))


def test_cross_attention() -> None:
    heads, texts = 2, 5
    keys, values = random(3, heads, texts, HEAD_DIM), random(3, heads, texts, HEAD_DIM, seed=1)
    mask = torch.tensor([[True] * 5, [True, False, True, True, True], [True] * 5])
    counts = np.array([5, 4, 1])
    query, cache_rows = random(2, heads * HEAD_DIM, seed=2), np.array([1, 2])
    result = np.empty_like(query)
    scores = np.full((2, heads, x86.LANES), np.nan, dtype=np.float32)
    masks = torch.where(mask, 0.0, -1e9).numpy()
    attention.cross_attention(query, cache_rows, keys, values, masks, counts, scores, result)
    for token, cache_row in enumerate(cache_rows):
        count = counts[cache_row]
        k, v = (torch.from_numpy(part[cache_row, :, :count]) for part in (keys, values))
        q = torch.from_numpy(query[token]).view(heads, 1, HEAD_DIM)
        expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[cache_row, :count][None, None])[
            :, 0
        ].flatten()
        torch.testing.assert_close(torch.from_numpy(result[token]), expected, atol=1e-5, rtol=1e-4)


@pytest.fixture(scope="module", params=["int8", "int4", "float32"])
def lm(request: pytest.FixtureRequest) -> LanguageModel:
    return model(request.param, cross_attention=True)


def model(name: str, cross_attention: bool) -> LanguageModel:
    generator = torch.Generator().manual_seed(0)
    config = LMConfig(**{**vars(CONFIG), "cross_attention": cross_attention})
    lm = LanguageModel(config).eval().requires_grad_(False)
    for parameter in lm.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5, generator=generator)
            parameter.copy_(parameter.half())  # as published weights are: only these are exact in float16
    precision.apply(lm, name, CPU)
    return lm


def text(seed: int, length: int = 6) -> Conditions:
    vectors = torch.randn(2, length, CONFIG.dim, generator=torch.Generator().manual_seed(seed))
    return Conditions(cross=vectors, cross_mask=torch.arange(length) < torch.tensor([[length], [2]]))


def pool(lm: LanguageModel, rows: int = 6, capacity: int = 200) -> X86Pool:
    made = Engine(lm).pool(rows, capacity, 9)
    assert isinstance(made, X86Pool)
    return made


def codes_of(rows: int, steps: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 129, (rows, 4, steps), generator=torch.Generator().manual_seed(seed))


def run(pool: X86Pool, codes: torch.Tensor, conditions: Conditions, first: int) -> torch.Tensor:
    """Logits [rows, K, N, steps - first + 1] of a clip alone, `first` steps at once and then one by one."""
    slot, logits = pool.admit(codes[..., :first], conditions)
    made = [logits]
    for index in range(first, codes.shape[2]):
        made.append(pool.step(codes[..., index : index + 1]))
        pool.advance()
    pool.release(slot)
    return torch.stack(made, dim=-1)


def test_prefill_gives_the_logits_of_single_steps(lm: LanguageModel) -> None:
    codes, steps = codes_of(2, MAX_BATCHED_TOKENS + 9), MAX_BATCHED_TOKENS + 9
    one_by_one = run(pool(lm), codes, text(0), 1)
    for first in (2, 33, steps):
        at_once, expected = run(pool(lm), codes, text(0), first), one_by_one[..., first - 1 :]
        if first < GEMM_MIN_TOKENS or precision.precision_of(lm) == "float32":
            assert torch.equal(at_once, expected)
        else:  # GEMM sums in another order, so that now and then an activation is rounded differently
            assert (at_once - expected).norm() / expected.norm() < 0.02


@pytest.mark.parametrize("kind", ["text", "melody"])
@pytest.mark.parametrize("name", ["int8", "int4", "float32"])
def test_logits_are_those_of_openvino(name: str, kind: str) -> None:
    """But for rounding: activations are int8 in both, the KV cache is int8 in OpenVINO, int8 and int4 here; in float32 none."""
    lm = model(name, cross_attention=kind == "text")
    vectors = torch.randn(2, 9, CONFIG.dim, generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[True] * 9, [True] * 4 + [False] * 3 + [True] * 2])
    conditions = text(0) if kind == "text" else Conditions(prefix=vectors, prefix_mask=mask)
    codes = codes_of(2, 130)  # long enough for int4 pages
    ours = run(pool(lm), codes, conditions, 5)
    openvino_logits = run(
        OpenVinoPool(Engine(lm).backends["openvino"].compiled.get(), lm, 2, 200), codes, conditions, 5
    )  # type: ignore[arg-type]
    readable = lm(codes, conditions)[:, :, 4:].movedim(2, -1)

    def error(logits: torch.Tensor) -> float:
        return float((logits - readable).norm() / readable.norm())

    limit = 2e-6 if name == "float32" else 0.03
    assert error(openvino_logits) < limit
    assert error(ours) < limit


def test_a_clip_does_not_depend_on_the_other_clips_in_the_batch(lm: LanguageModel) -> None:
    """Bit by bit, while others of other lengths are admitted and released."""
    codes = codes_of(2, 30)
    alone = run(pool(lm), codes, text(0), 3)
    shared = pool(lm)
    before, _ = shared.admit(codes_of(2, 40, seed=1), text(1, 9))
    slot, logits = shared.admit(codes[..., :3], text(0))
    made = [logits]
    after = None
    for index in range(3, 30):
        if index == 10:
            after, _ = shared.admit(codes_of(2, 70, seed=2), text(2, 4))
        if index == 20:
            shared.release(before)
        sequence = codes_of(shared.used, 1, seed=index)
        sequence[slot.rows] = codes[..., index : index + 1]
        made.append(shared.step(sequence)[slot.rows])
        shared.advance()
    assert torch.equal(torch.stack(made, dim=-1), alone)
    assert after is not None
    shared.release(slot)
    shared.release(after)
    assert shared.used == 0
    assert torch.equal(run(shared, codes, text(0), 3), alone)  # in cache rows that other clips have used


@pytest.mark.parametrize("kind", ["text", "melody"])
def test_clips_prefilled_together_are_those_prefilled_alone(lm: LanguageModel, kind: str) -> None:
    """Bit by bit, with few or many steps, and prefixes of very different length."""
    both = codes_of(4, 12)
    if kind == "melody":
        lm = model(precision.precision_of(lm), cross_attention=False)
    vectors = torch.randn(4, 30, CONFIG.dim, generator=torch.Generator().manual_seed(1))
    mask = torch.arange(30) < torch.tensor([[3], [3], [30], [30]])

    def given(rows: slice) -> Conditions:
        length = int(mask[rows].sum(dim=1).max())  # a batch is padded to its longest
        part = vectors[rows, :length], mask[rows, :length]
        return Conditions(*part) if kind == "text" else Conditions(prefix=part[0], prefix_mask=part[1])

    def logits(rows: slice, steps: int) -> torch.Tensor:
        made = Engine(lm).pool(4, 50, 30)
        assert isinstance(made, X86Pool)
        return made.admit(both[rows, :, :steps], given(rows))[1]

    for steps in (1, GEMM_MIN_TOKENS // 2, GEMM_MIN_TOKENS, 12):
        together = logits(slice(0, 4), steps)
        for clip in (slice(0, 2), slice(2, 4)):
            assert torch.equal(logits(clip, steps), together[clip])


def test_float32_samples_the_codes_of_the_modules() -> None:
    lm = model("float32", cross_attention=True)

    def draw(predict: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        streams, codes = [ClipStream(seed) for seed in (3, 4)], [codes_of(2, 1)]
        for _ in range(100):
            uniforms = torch.cat([stream.uniforms(1, 4) for stream in streams])
            codes.append(sample(predict(codes[-1]), GenerationOptions(), uniforms)[..., None])
        return torch.cat(codes, dim=2)

    engine = Engine(lm)
    assert isinstance(engine.pool(2, 200, 9), X86Pool)
    assert torch.equal(draw(engine.start(text(0), 2, 200)), draw(lm.start(text(0), 2, 200)))


def test_float32_uses_openvino_for_many_rows_or_weights_not_exact_in_float16() -> None:
    lm = model("float32", cross_attention=True)
    assert isinstance(Engine(lm).pool(x86.FLOAT32_MAX_ROWS + 1, 20, 9), OpenVinoPool)
    lm.blocks[1].ffn_in.weight[3, 5] += 2.0**-24  # type: ignore[union-attr, index]
    assert isinstance(Engine(lm).pool(2, 20, 9), OpenVinoPool)


def test_results_do_not_depend_on_the_number_of_threads(lm: LanguageModel) -> None:
    codes = codes_of(2, 20)
    expected = run(pool(lm), codes, text(0), GEMM_MIN_TOKENS)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert torch.equal(run(pool(lm), codes, text(0), GEMM_MIN_TOKENS), expected)
    finally:
        torch.set_num_threads(threads)


def test_modified_weights_take_effect(lm: LanguageModel) -> None:
    other = copy.deepcopy(lm)
    engine, codes = Engine(other), codes_of(2, 3)

    def logits() -> torch.Tensor:
        return engine.pool(2, 20, 9).admit(codes, text(0))[1]

    before = logits()
    (other.heads.weight if isinstance(other.heads, nn.Linear) else other.heads.scale).mul_(2)
    torch.testing.assert_close(logits(), 2 * before)


def _child(engine: Engine, expected: torch.Tensor) -> None:
    torch.set_num_threads(1)
    made = engine.pool(2, 20, 9)
    logits = made.admit(codes_of(2, 3), text(0))[1]
    same = isinstance(made, TorchPool) and (logits - expected).norm() / expected.norm() < 0.03
    os._exit(0 if same else 3)


def test_a_fork_uses_pytorch(lm: LanguageModel) -> None:
    engine = Engine(lm)
    expected = engine.pool(2, 20, 9).admit(codes_of(2, 3), text(0))[1]
    child = multiprocessing.get_context("fork").Process(target=_child, args=(engine, expected))
    child.start()
    child.join(timeout=60)
    assert child.exitcode == 0


def test_inputs_beyond_the_capacity_are_refused(lm: LanguageModel) -> None:
    small = pool(lm, rows=2, capacity=20)
    with pytest.raises(ValueError, match="a text of 10 vectors does not fit: there is room for 9"):
        small.admit(codes_of(2, 1), text(0, 10))
    with pytest.raises(ValueError, match="21 positions do not fit: a row has 20"):
        small.admit(codes_of(2, 21), text(0))
    small.admit(codes_of(2, 20), text(0))
    with pytest.raises(ValueError, match="2 rows do not fit: 0 are free"):
        small.admit(codes_of(2, 1), text(0))


def test_unsupported_shapes() -> None:
    for changes in ({"num_heads": 8}, {"dim": 192, "num_heads": 3}, {"codebook_size": 96}, {"ffn_dim": 384}):
        assert not x86.supports(LMConfig(**{**vars(CONFIG), **changes}), "int8")
    assert not x86.supports(CONFIG, "bfloat16")


@pytest.mark.parametrize("name", ["int8", "int4", "float32"])
@pytest.mark.parametrize("cross_attention", [True, False])
def test_allocated_memory_is_what_was_planned(name: str, cross_attention: bool) -> None:
    lm = model(name, cross_attention)
    weights = {tensor.data_ptr() for tensor in (*lm.parameters(), *lm.buffers())}
    table = WeightTable(lm)
    made = sum(tensor.nbytes for tensor in table._tensors if tensor.data_ptr() not in weights)
    assert made + table.weights.norms.nbytes == memory.table_bytes(lm.config, name)
    assert Engine(lm).pool(6, 75, 9).bytes == memory.cache_bytes(lm.config, name, 6, 75, CPU)


def test_published_weights_are_exact_in_float16(audiocraft_folder: Callable[[str], Path], tmp_path: Path) -> None:
    """audiocraft's files are in half precision; transformers' in float32, made from them. Loading changes no number."""
    folder = audiocraft_folder("melody")
    state = torch.load(folder / "state_dict.bin", weights_only=True)
    state["best_state"] = {name: value.half() for name, value in state["best_state"].items()}
    torch.save(state, folder / "state_dict.bin")
    model = musicgen.load(folder, device="cpu")
    assert fp16_lossless(model.lm)
    musicgen.save(model, tmp_path / "transformers")
    again = musicgen.load(tmp_path / "transformers", device="cpu")
    assert fp16_lossless(again.lm)
    again.lm.heads.weight[0, 0] += 2.0**-24
    assert not fp16_lossless(again.lm)
