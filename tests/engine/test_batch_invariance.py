"""A clip is the same bit for bit in any batch and order, in continuous batching and on any number of threads: the promise of
`Backend.batch_invariant`, on every back end of this machine that makes it."""

import functools
import random

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import musicgen
from musicgen.audio import Audio
from musicgen.conditioners.condition import stack
from musicgen.engine import Scheduler
from musicgen.engine.backends.base import Backend
from musicgen.engine.slot_pool import SlotPool
from musicgen.guidance import Guided
from musicgen.model import MusicGen
from musicgen.request import GenerationRequest
from tests.conftest import GOLDEN

PROMPTS = [
    "lofi hip hop with a warm piano",
    "salsa with trumpets",
    "",
    "sad jazz",
    "piano",
    "a slow and quiet piano piece in C",
]
DURATION = 0.5
MELODY = GOLDEN / "chroma" / "melody_a.wav"
MODELS = [("mini", one) for one in ("float32", "int8", "int4")] + [("mini-melody", "int8")]
ROWS = 3 * len(PROMPTS)


@functools.cache
def load(name: str, precision: str) -> MusicGen:
    return musicgen.load(name, "cpu", precision)


@pytest.fixture(params=MODELS, ids="-".join)
def model(request: pytest.FixtureRequest) -> MusicGen:
    made = load(*request.param)
    if not made.engine.select(2 * len(PROMPTS)).batch_invariant:
        pytest.skip("the back end of this machine does not promise it")
    return made


def given_audio(index: int) -> Audio:
    return Audio(torch.randn(1, 6400, generator=torch.Generator().manual_seed(index)) * 0.1, 32_000)


def request(model: MusicGen, indices: list[int]) -> GenerationRequest:
    """Clips of different prompts, seeds and, where the model has melodies, melodies; they continue different recordings."""
    arguments: dict = {"options": musicgen.GenerationOptions(negative_prompt="drums and bass, loud")}
    if model.melody is not None:
        arguments |= {"melody": [None if index % 2 else MELODY for index in indices], "separate": False}
    if model.name == "mini":
        arguments["continue_from"] = [given_audio(index) for index in indices]
    seeds = [10 + index for index in indices]
    return GenerationRequest.of([PROMPTS[index] for index in indices], DURATION, seed=seeds, **arguments)


@functools.cache
def alone(model: MusicGen) -> list[torch.Tensor]:
    """The codes of each clip alone, on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    codes = [model.generate_codes(request(model, [index]))[0] for index in range(len(PROMPTS))]
    torch.set_num_threads(before)
    return codes


@pytest.mark.parametrize("threads", [1, 2])
@settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(indices=st.permutations(range(len(PROMPTS))).flatmap(lambda all_: st.integers(2, 6).map(lambda n: all_[:n])))
def test_a_clip_in_any_batch_is_the_clip_alone(model: MusicGen, threads: int, indices: list[int]) -> None:
    expected = alone(model)
    torch.set_num_threads(threads)
    codes = model.generate_codes(request(model, indices))
    assert [index for row, index in enumerate(indices) if not torch.equal(codes[row], expected[index])] == []


@pytest.mark.parametrize("threads", [1, 2])
def test_a_clip_in_continuous_batching_is_the_clip_alone(model: MusicGen, threads: int) -> None:
    """Its sound to within the rounding of the decoder, which another code would exceed by far."""
    expected = alone(model)
    torch.set_num_threads(threads)
    order = random.Random(threads).sample(range(len(PROMPTS)), len(PROMPTS))
    with Scheduler(model, slots=3, queue=len(order)) as scheduler:
        handles = [(index, scheduler.submit(request(model, [index]))) for index in order]
        waves = [(index, handle.result()) for index, handle in handles]
    for index, wave in waves:
        torch.testing.assert_close(wave, model.decode(expected[index][None])[0], atol=1e-5, rtol=0)


class Rows:
    """The numbers of rows of the pools that an engine was asked for."""

    def __init__(self, model: MusicGen, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[int] = []
        pool = model.engine.pool

        def watched(rows: int, capacity: int, text_capacity: int) -> SlotPool:
            self.asked.append(rows)
            return pool(rows, capacity, text_capacity)

        monkeypatch.setattr(model.engine, "pool", watched)


def without_text(model: MusicGen, batch: int = 1) -> GenerationRequest:
    given = {"continue_from": [given_audio(index) for index in range(batch)]} if model.name == "mini" else {}
    return GenerationRequest.of([None] * batch, DURATION, seed=list(range(batch)), **given)


@pytest.mark.parametrize("batch", [1, 3])
def test_equal_rows_are_one_row_with_the_codes_of_both(
    model: MusicGen, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = Rows(model, monkeypatch)
    codes = model.generate_codes(without_text(model, batch))
    monkeypatch.setattr(Guided, "without_repeats", lambda guided: guided)
    assert torch.equal(codes, model.generate_codes(without_text(model, batch)))
    assert rows.asked == [batch, 2 * batch]


def test_equal_rows_are_one_row_in_continuous_batching(model: MusicGen, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = model.decode(model.generate_codes(without_text(model)))[0]
    taken = []
    with Scheduler(model, slots=2) as scheduler:
        admit = scheduler._pool.admit
        monkeypatch.setattr(
            scheduler._pool, "admit", lambda inputs, given: taken.append(len(inputs)) or admit(inputs, given)
        )
        wave = scheduler.submit(without_text(model)).result()
    assert taken == [1]
    torch.testing.assert_close(wave, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("case", ["a text", "a negative prompt", "one clip with a text", "no promise"])
def test_rows_stay_two_where_they_may_differ(model: MusicGen, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Rows(model, monkeypatch)
    prompts: list[str | None] = [None, None]
    options = musicgen.GenerationOptions(negative_prompt="drums") if case == "a negative prompt" else None
    if case == "a text":
        prompts = ["piano", "piano"]
    elif case == "one clip with a text":
        prompts = [None, "piano"]
    elif case == "no promise":
        monkeypatch.setattr(type(model.engine.select(4)), "batch_invariant", False)
    model.generate_codes(GenerationRequest.of(prompts, 0.1, seed=0, options=options))
    assert rows.asked == [4]


def test_numbers_of_rows_that_two_back_ends_run_do_not_agree() -> None:
    """The float32 kernels run up to 16 rows, and both they and OpenVINO promise equal logits, each among its own."""
    engine = load("mini", "float32").engine
    names = {rows: engine.select(rows).name for rows in (1, 16, 17)}
    assert engine.is_batch_invariant(1, 16) == (names[1] == names[16] and engine.select(1).batch_invariant)
    assert engine.is_batch_invariant(16, 17) == (names[16] == names[17] and engine.select(16).batch_invariant)


def logits(backend: Backend, arrivals: dict[int, int], steps: int = 45) -> dict[int, torch.Tensor]:
    """Logits of clips with fixed codes, each admitted at a step of the batch: index -> [steps - prefill + 1, 2, K, N]."""
    model = load("mini", "float32")
    lm = backend.lm
    pool, live = backend.pool(ROWS, 300, 40), {}
    made: dict[int, list[torch.Tensor]] = {index: [] for index in arrivals}
    codes = torch.randint(
        0, 1024, (len(PROMPTS), lm.config.num_codebooks, steps), generator=torch.Generator().manual_seed(0)
    )
    now = 0
    while len(live) < len(arrivals) or any(len(made[index]) + index * 7 < steps for index in live):
        for index in [one for one, when in arrivals.items() if when == now]:
            text = model.text([PROMPTS[index]])
            conditions = model.fuser({"text": stack([text, text.zeroed()])})
            # The clips begin with 1, 8, 15 ... steps at once.
            live[index], first = pool.admit(codes[index : index + 1, :, : 1 + 7 * index].repeat(2, 1, 1), conditions)
            made[index].append(first)
        if live:
            sequence = torch.zeros(pool.used, lm.config.num_codebooks, 1, dtype=torch.int64)
            for index, slot in live.items():
                sequence[slot.rows] = codes[index, :, min(7 * index + len(made[index]), steps - 1), None]
            computed = pool.step(sequence)
            pool.advance()
            for index, slot in live.items():
                made[index].append(computed[slot.rows])
        now += 1
    return {index: torch.stack(each[: steps - 7 * index]) for index, each in made.items()}


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8", "int4"])
@pytest.mark.parametrize("name", ["x86", "openvino", "torch"])
def test_logits_of_a_row_do_not_depend_on_the_other_rows(name: str, precision: str) -> None:
    """Also not on when the others came, and how long they are."""
    model = load("mini", precision)
    backend = model.engine.backends[name]
    if not backend.supports(ROWS if name != "x86" else 16) or not backend.batch_invariant:
        pytest.skip("not on this machine, or not promised")
    torch.set_num_threads(1)
    alone = [logits(backend, {index: 0})[index] for index in range(len(PROMPTS))]
    together = logits(backend, dict.fromkeys(range(len(PROMPTS)), 0))
    torch.set_num_threads(2)
    staggered = logits(backend, {index: 4 * (5 - index) for index in range(len(PROMPTS))})
    for index, expected in enumerate(alone):
        assert torch.equal(together[index], expected)
        assert torch.equal(staggered[index], expected)
