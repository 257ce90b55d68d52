"""Compiled steps on packed weights: their arithmetic is what numpy and PyTorch make of the same rounded numbers."""

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
from musicgen.engine import memory, packed, precision
from musicgen.engine.linear import Int4Linear, Int8Linear
from musicgen.engine.packed import (
    HEAD,
    PAGE,
    RECENT,
    TOKENS,
    attention,
    cache,
    exact,
    exact_bytes,
    halves,
    head_bytes,
    products,
    settling,
    step,
    vectors,
)  # fmt: skip
from musicgen.engine.packed.crowds import MANY
from musicgen.engine.packed.pool import PackedPool
from musicgen.engine.packed.weights import Table, entry, holds
from musicgen.engine.paged import PagedPool
from musicgen.engine.pool import TorchPool
from musicgen.engine.runner import Engine
from musicgen.lm import Conditions, LanguageModel, LMConfig
from musicgen.options import GenerationOptions
from musicgen.sampling import ClipStream, sample

CPU = torch.device("cpu")
CONFIG = LMConfig(dim=256, num_heads=4, num_layers=3, num_codebooks=4, codebook_size=128)
pytestmark = pytest.mark.skipif(not packed.fits(CONFIG, "int8"), reason="this processor lacks AVX-512 VNNI")


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@numba.njit
def powers(x, y):  # type: ignore[no-untyped-def]
    for index in range(0, x.size, 16):
        at = index * 4
        vectors.store_floats(y.ctypes.data + at, vectors.two_to_the(vectors.load_floats(x.ctypes.data + at)))


def test_powers_of_two() -> None:
    x = np.linspace(-126, 100, 16 * 999, dtype=np.float32)
    y = np.empty_like(x)
    powers(x, y)
    np.testing.assert_allclose(y, np.exp2(x.astype(np.float64)), rtol=5e-7)
    for low in (-127.0, -1e30, -math.inf):
        powers(np.full(16, low, dtype=np.float32), y)
        assert (y[:16] <= 2.0**-126).all()


def test_activations() -> None:
    x = 3 * random(3, 512)
    for gelu, reference in ((True, F.gelu), (False, F.relu)):
        y = x.copy()
        step.activate(y, 256, gelu)
        torch.testing.assert_close(
            torch.from_numpy(y[:, :256]), reference(torch.from_numpy(x[:, :256])), atol=1e-6, rtol=1e-6
        )
        np.testing.assert_array_equal(y[:, 256:], x[:, 256:])


def test_norm() -> None:
    x, norm, y = 3 * random(5, 256) + 1, random(2, 256, seed=1), np.empty((5, 256), dtype=np.float32)
    step.normalise(x, norm, y)
    expected = F.layer_norm(torch.from_numpy(x), (256,), *torch.from_numpy(norm))
    torch.testing.assert_close(torch.from_numpy(y), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", [Int8Linear, Int4Linear])
@pytest.mark.parametrize("size", [256, 1536, 4096])
@pytest.mark.parametrize(
    ("rows", "many"), [(1, False), (2, False), (3, False), (4, False), (7, False), (1, True), (16, True), (23, True)]
)
def test_products(kind: type, size: int, rows: int, many: bool) -> None:
    """What is rounded is rounded to the nearest of 255 values a group; all else is exact."""
    layer = nn.Linear(size, 64, bias=False)
    nn.init.normal_(layer.weight, mean=0.01, std=size**-0.5, generator=torch.Generator().manual_seed(size))
    weights = kind(layer)
    held: list[torch.Tensor] = []
    x = random(rows, size, seed=rows)
    x[0, :128] = 0  # a group of nothing
    groups = products.whole_terms(size // 128)
    codes, steps = np.empty((rows, size), dtype=np.int8), np.empty((rows, groups), dtype=np.float32)
    sums, y = np.full((rows, groups), np.nan, dtype=np.float32), np.full((rows, 66), 7, dtype=np.float32)
    step.product(np.array(entry(weights, held)), x, codes, steps, sums, y, many)
    grouped = x.reshape(rows, -1, 128).astype(np.float64)
    scale = np.maximum(np.abs(grouped).max(-1, keepdims=True), 1e-20) / 127
    rounded = (np.round(grouped / scale) * scale).reshape(rows, size)
    np.testing.assert_allclose(y[:, :64], rounded @ weights.weight.double().numpy().T, atol=2e-5)
    assert (y[:, 64:] == 7).all()


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 8, 11])
def test_products_of_weights_in_16_bits(rows: int) -> None:
    layer = nn.Linear(768, 48, bias=False)
    layer.weight.data = layer.weight.data.half().float()
    held: list[torch.Tensor] = []
    x, y = random(rows, 800), np.full((rows, 50), 7, dtype=np.float32)
    halves.times_halves(np.array(entry(layer, held)), x, y)
    expected = x[:, :768].astype(np.float64) @ layer.weight.detach().double().numpy().T
    np.testing.assert_allclose(y[:, :48], expected, atol=2e-6)
    assert (y[:, 48:] == 7).all()
    alone = np.empty((1, 48), dtype=np.float32)
    halves.times_halves(np.array(entry(layer, held)), x[-1:], alone)
    np.testing.assert_array_equal(alone[0], y[-1, :48])


def enter(numbers: np.ndarray, homes: np.ndarray, positions: np.ndarray, layer: np.ndarray) -> None:
    cache.enter(numbers, homes, positions, layer)
    settling.settle(homes, positions, layer)


def rounded(numbers: torch.Tensor) -> torch.Tensor:
    """Keys or values [H, S, D] of a clip's positions as its last sees them."""
    step = (numbers.abs().amax(-1, keepdim=True) / 127).bfloat16().float()
    recent = (numbers / step).round() * step
    pages = list(recent.split(PAGE, dim=1))
    for index, page in enumerate(pages[:-RECENT]):
        least, most = page.amin(1, keepdim=True), page.amax(1, keepdim=True)
        unit, other = (most - least).amax(-1, keepdim=True) / (15 * 255), least.abs().amax(-1, keepdim=True) / 127
        step, least = ((most - least) / (15 * unit)).round().clamp_min(1) * unit, (least / other).round() * other
        pages[index] = ((page - least) / step).round().clamp(0, 15) * step + least
    return torch.cat(pages, dim=1)


@pytest.mark.parametrize("exactly", [False, True])
def test_attention(exactly: bool) -> None:
    """Of five tokens, three at one home, on keys and values that are rounded, or are not."""
    heads, homes = 2, 3
    layer = cache.allocate(1, homes, heads, (exact_bytes if exactly else head_bytes)(180))[0]
    history = random(180, homes, 3 * heads * HEAD)
    for home, length in {0: 95, 1: 60, 2: 170}.items():
        for position in range(length):
            numbers, places, positions = history[position, home : home + 1], np.array([home]), np.array([position])
            (exact.enter_exact if exactly else enter)(numbers, places, positions, layer)
    tokens, places = random(5, 3 * heads * HEAD, seed=1), np.array([2, 0, 0, 0, 1])
    positions = np.array([170, 95, 96, 97, 60])
    (exact.enter_exact if exactly else enter)(tokens, places, positions, layer)
    queries = np.empty((5, heads, 2 * HEAD), dtype=np.int8)
    scores = np.full((5, heads, 192), np.nan, dtype=np.float32)
    result = np.empty((5, heads * HEAD), dtype=np.float32)
    if exactly:
        exact.attend_exact(tokens, places, positions, layer, scores, result)
    else:
        attention.attend(tokens, places, positions, layer, queries, scores, result)

    for token, (home, position) in enumerate(zip(places, positions, strict=True)):
        past = history[: position + 1, home].copy()
        for other in range(5):
            if places[other] == home and positions[other] <= position:
                past[positions[other]] = tokens[other]
        q = torch.from_numpy(tokens[token, : heads * HEAD]).view(heads, 1, HEAD)
        k, v = (
            torch.from_numpy(part.copy()).view(-1, heads, HEAD).transpose(0, 1)
            for part in np.split(past, 3, axis=1)[1:]
        )
        unrounded = F.scaled_dot_product_attention(q, k, v)[:, 0].flatten()
        expected = F.scaled_dot_product_attention(q, rounded(k), rounded(v))[:, 0].flatten()
        made = torch.from_numpy(result[token])
        if exactly:
            torch.testing.assert_close(made, unrounded, atol=1e-6, rtol=5e-6)
        elif position < RECENT * PAGE:
            torch.testing.assert_close(made, expected, atol=2e-4, rtol=1e-3)
        else:  # what multiplies codes of 4 bits is rounded too, by less than they are
            assert (made - expected).norm() < 0.25 * (expected - unrounded).norm()


@pytest.mark.parametrize("together", [1, 7, TOKENS])
def test_pages_settle_alike_however_positions_enter(together: int) -> None:
    """What tokens find depends on their position alone, not on how many entered with them."""
    heads, count = 2, 4 * TOKENS
    numbers, home, positions = random(count, 3 * heads * HEAD), np.zeros(count, dtype=np.int64), np.arange(count)
    queries = np.empty((count, heads, 2 * HEAD), dtype=np.int8)
    scores = np.empty((count, heads, count), dtype=np.float32)
    made = []
    for size in (together, 16):
        layer = cache.allocate(1, 1, heads, head_bytes(count))[0]
        made.append(np.empty((count, heads * HEAD), dtype=np.float32))
        for begin in range(0, count, size):
            part = slice(begin, begin + size)
            arguments = numbers[part], home[part], positions[part], layer
            enter(*arguments)
            attention.attend(*arguments, queries[part], scores[part], made[-1][part])
    np.testing.assert_array_equal(*made)


def test_what_is_not_finite_ends_with_its_clip() -> None:
    """Of numbers that leave nothing behind: not a scale, not a code, wherever the next clip at that home stops."""
    heads, count = 2, 3 * PAGE + 1
    numbers = random(count, 1, 3 * heads * HEAD)
    queries, scores = np.empty((1, heads, 2 * HEAD), dtype=np.int8), np.empty((1, heads, 128), dtype=np.float32)

    def results(layer: np.ndarray) -> np.ndarray:
        made, home = np.empty((count, 1, heads * HEAD), dtype=np.float32), np.zeros(1, dtype=np.int64)
        for position in range(count):
            enter(numbers[position], home, home + position, layer)
            attention.attend(numbers[position], home, home + position, layer, queries, scores, made[position])
        return made

    fresh, used = (cache.allocate(1, 1, heads, head_bytes(count + 7))[0] for _ in range(2))
    for position, bad in enumerate(np.resize([np.nan, np.inf, -np.inf, 3e38], count + 7)):
        enter(np.full_like(numbers[0], bad), np.zeros(1, dtype=np.int64), np.full(1, position), used)
    np.testing.assert_array_equal(results(used), results(fresh))


def test_attention_on_a_text() -> None:
    heads, texts = 2, 5
    keys, values = random(3, heads, texts, HEAD), random(3, heads, texts, HEAD, seed=1)
    mask = torch.tensor([[True] * 5, [True, False, True, True, True], [True] * 5])
    counts = np.array([5, 4, 1])
    query, homes = random(2, heads * HEAD, seed=2), np.array([1, 2])
    result = np.empty_like(query)
    scores = np.full((2, heads, packed.LANES), np.nan, dtype=np.float32)
    masks = torch.where(mask, 0.0, -1e9).numpy()
    attention.attend_text(query, homes, keys, values, masks, counts, scores, result)
    for token, home in enumerate(homes):
        count = counts[home]
        k, v = (torch.from_numpy(part[home, :, :count]) for part in (keys, values))
        q = torch.from_numpy(query[token]).view(heads, 1, HEAD)
        expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[home, :count][None, None])[:, 0].flatten()
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
            parameter.copy_(parameter.half())  # as published weights are: float32 takes the packed steps for them alone
    precision.apply(lm, name, CPU)
    return lm


def text(seed: int, length: int = 6) -> Conditions:
    vectors = torch.randn(2, length, CONFIG.dim, generator=torch.Generator().manual_seed(seed))
    return Conditions(cross=vectors, cross_mask=torch.arange(length) < torch.tensor([[length], [2]]))


def pool(lm: LanguageModel, rows: int = 6, capacity: int = 200) -> PackedPool:
    made = Engine(lm).pool(rows, capacity, 9)
    assert isinstance(made, PackedPool)
    return made


def codes_of(rows: int, steps: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 129, (rows, 4, steps), generator=torch.Generator().manual_seed(seed))


def run(pool: PackedPool, codes: torch.Tensor, conditions: Conditions, first: int) -> torch.Tensor:
    """Logits [rows, K, N, steps - first + 1] of a clip alone, `first` steps at once and then one by one."""
    seat, logits = pool.join(codes[..., :first], conditions)
    made = [logits]
    for index in range(first, codes.shape[2]):
        made.append(pool.step(codes[..., index : index + 1]))
        pool.advance()
    pool.leave(seat)
    return torch.stack(made, dim=-1)


def test_many_steps_at_once_are_the_same_steps(lm: LanguageModel) -> None:
    codes, steps = codes_of(2, TOKENS + 9), TOKENS + 9
    one_by_one = run(pool(lm), codes, text(0), 1)
    for first in (2, 33, steps):
        at_once, expected = run(pool(lm), codes, text(0), first), one_by_one[..., first - 1 :]
        if first < MANY or precision.precision_of(lm) == "float32":
            assert torch.equal(at_once, expected)
        else:  # in another order of sums, so that now and then a number is rounded to its other neighbour
            assert (at_once - expected).norm() / expected.norm() < 0.02


@pytest.mark.parametrize("kind", ["text", "melody"])
@pytest.mark.parametrize("name", ["int8", "int4", "float32"])
def test_steps_are_those_of_the_graph(name: str, kind: str) -> None:
    """But for rounding: of activations to 8 bits by both, of keys and values to 8 bits there and to 4 here; in float32 none."""
    lm = model(name, cross_attention=kind == "text")
    vectors = torch.randn(2, 9, CONFIG.dim, generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[True] * 9, [True] * 4 + [False] * 3 + [True] * 2])
    conditions = text(0) if kind == "text" else Conditions(prefix=vectors, prefix_mask=mask)
    codes = codes_of(2, 130)  # the first pages settle
    ours = run(pool(lm), codes, conditions, 5)
    graphs = run(PagedPool(Engine(lm)._graph.get(), lm, 2, 200), codes, conditions, 5)  # type: ignore[arg-type]
    readable = lm(codes, conditions)[:, :, 4:].movedim(2, -1)

    def error(logits: torch.Tensor) -> float:
        return float((logits - readable).norm() / readable.norm())

    limit = 2e-6 if name == "float32" else 0.03
    assert error(graphs) < limit
    assert error(ours) < limit


def test_a_clip_does_not_depend_on_who_else_is_there(lm: LanguageModel) -> None:
    """Bit by bit, while others join, leave and are of another length."""
    codes = codes_of(2, 30)
    alone = run(pool(lm), codes, text(0), 3)
    crowd = pool(lm)
    before, _ = crowd.join(codes_of(2, 40, seed=1), text(1, 9))
    seat, logits = crowd.join(codes[..., :3], text(0))
    made = [logits]
    after = None
    for index in range(3, 30):
        if index == 10:
            after, _ = crowd.join(codes_of(2, 70, seed=2), text(2, 4))
        if index == 20:
            crowd.leave(before)
        sequence = codes_of(crowd.used, 1, seed=index)
        sequence[seat.rows] = codes[..., index : index + 1]
        made.append(crowd.step(sequence)[seat.rows])
        crowd.advance()
    assert torch.equal(torch.stack(made, dim=-1), alone)
    assert after is not None
    crowd.leave(seat)
    crowd.leave(after)
    assert crowd.used == 0
    assert torch.equal(run(crowd, codes, text(0), 3), alone)  # in homes that others have left


@pytest.mark.parametrize("kind", ["text", "melody"])
def test_clips_that_enter_together_are_those_that_enter_alone(lm: LanguageModel, kind: str) -> None:
    """Bit by bit, few steps or many, and prefixes of very different length."""
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
        assert isinstance(made, PackedPool)
        return made.join(both[rows, :, :steps], given(rows))[1]

    for steps in (1, MANY // 2, MANY, 12):
        together = logits(slice(0, 4), steps)
        for clip in (slice(0, 2), slice(2, 4)):
            assert torch.equal(logits(clip, steps), together[clip])


def test_float32_draws_the_readable_paths_codes() -> None:
    lm = model("float32", cross_attention=True)

    def draw(predict: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        streams, codes = [ClipStream(seed) for seed in (3, 4)], [codes_of(2, 1)]
        for _ in range(100):
            uniforms = torch.cat([stream.uniforms(1, 4) for stream in streams])
            codes.append(sample(predict(codes[-1]), GenerationOptions(), uniforms)[..., None])
        return torch.cat(codes, dim=2)

    engine = Engine(lm)
    assert isinstance(engine.pool(2, 200, 9), PackedPool)
    assert torch.equal(draw(engine.start(text(0), 2, 200)), draw(lm.start(text(0), 2, 200)))


def test_float32_is_left_to_the_graph_with_many_rows_and_weights_that_need_all_their_bits() -> None:
    lm = model("float32", cross_attention=True)
    assert isinstance(Engine(lm).pool(packed.EXACT_ROWS + 1, 20, 9), PagedPool)
    lm.blocks[1].ffn_in.weight[3, 5] += 2.0**-24  # type: ignore[union-attr, index]
    assert isinstance(Engine(lm).pool(2, 20, 9), PagedPool)


def test_threads_change_nothing(lm: LanguageModel) -> None:
    codes = codes_of(2, 20)
    expected = run(pool(lm), codes, text(0), MANY)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert torch.equal(run(pool(lm), codes, text(0), MANY), expected)
    finally:
        torch.set_num_threads(threads)


def test_weights_that_change_are_seen(lm: LanguageModel) -> None:
    other = copy.deepcopy(lm)
    engine, codes = Engine(other), codes_of(2, 3)

    def logits() -> torch.Tensor:
        return engine.pool(2, 20, 9).join(codes, text(0))[1]

    before = logits()
    (other.heads.weight if isinstance(other.heads, nn.Linear) else other.heads.scale).mul_(2)
    torch.testing.assert_close(logits(), 2 * before)


def _child(engine: Engine, expected: torch.Tensor) -> None:
    torch.set_num_threads(1)
    made = engine.pool(2, 20, 9)
    logits = made.join(codes_of(2, 3), text(0))[1]
    same = isinstance(made, TorchPool) and (logits - expected).norm() / expected.norm() < 0.03
    os._exit(0 if same else 3)


def test_a_fork_does_without(lm: LanguageModel) -> None:
    engine = Engine(lm)
    expected = engine.pool(2, 20, 9).join(codes_of(2, 3), text(0))[1]
    child = multiprocessing.get_context("fork").Process(target=_child, args=(engine, expected))
    child.start()
    child.join(timeout=60)
    assert child.exitcode == 0


def test_what_does_not_fit_is_refused(lm: LanguageModel) -> None:
    small = pool(lm, rows=2, capacity=20)
    with pytest.raises(ValueError, match="a text of 10 vectors does not fit: there is room for 9"):
        small.join(codes_of(2, 1), text(0, 10))
    with pytest.raises(ValueError, match="21 positions do not fit: a row has 20"):
        small.join(codes_of(2, 21), text(0))
    small.join(codes_of(2, 20), text(0))
    with pytest.raises(ValueError, match="2 rows do not fit: 0 are free"):
        small.join(codes_of(2, 1), text(0))


def test_shapes_that_registers_do_not_hold_are_left_to_the_graph() -> None:
    for changes in ({"num_heads": 8}, {"dim": 192, "num_heads": 3}, {"codebook_size": 96}, {"ffn_dim": 384}):
        assert not packed.fits(LMConfig(**{**vars(CONFIG), **changes}), "int8")
    assert not packed.fits(CONFIG, "bfloat16")


@pytest.mark.parametrize("name", ["int8", "int4", "float32"])
@pytest.mark.parametrize("cross_attention", [True, False])
def test_memory_is_what_was_stated(name: str, cross_attention: bool) -> None:
    lm = model(name, cross_attention)
    weights = {tensor.data_ptr() for tensor in (*lm.parameters(), *lm.buffers())}
    table = Table(lm)
    made = sum(tensor.nbytes for tensor in table._held if tensor.data_ptr() not in weights)
    assert made + table.weights.norms.nbytes == memory.table_bytes(lm.config, name)
    assert Engine(lm).pool(6, 75, 9).bytes == memory.cache_bytes(lm.config, name, 6, 75, CPU)


def test_published_files_hold_16_bits(audiocraft_folder: Callable[[str], Path], tmp_path: Path) -> None:
    """audiocraft's files are in half precision; transformers' in float32, made from them. Loading changes no number."""
    folder = audiocraft_folder("melody")
    state = torch.load(folder / "state_dict.bin", weights_only=True)
    state["best_state"] = {name: value.half() for name, value in state["best_state"].items()}
    torch.save(state, folder / "state_dict.bin")
    model = musicgen.load(folder, device="cpu")
    assert holds(model.lm)
    musicgen.save(model, tmp_path / "transformers")
    again = musicgen.load(tmp_path / "transformers", device="cpu")
    assert holds(again.lm)
    again.lm.heads.weight[0, 0] += 2.0**-24
    assert not holds(again.lm)
