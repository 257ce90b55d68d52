"""Continuous batching: every clip is the one that its request gives alone, and a failure affects one clip."""

import gc
import resource
import threading
import time
from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import musicgen
from musicgen.audio import Audio
from musicgen.cancellation import Cancellation
from musicgen.engine import Cancelled, QueueFull, Scheduler
from musicgen.engine.handle import PROGRESS_SECONDS, Progress
from musicgen.errors import InputError, MusicGenError
from tests.conftest import GOLDEN, TEXTS

MELODY = str(GOLDEN / "chroma" / "melody_a.wav")


def options(**changes) -> musicgen.GenerationOptions:
    return musicgen.GenerationOptions(**{"top_k": 20} | changes)


def given_audio(channels: int) -> Audio:
    return Audio(torch.randn(channels, 12_000, generator=torch.Generator().manual_seed(0)) * 0.1, 32_000)


def requests(model) -> list[dict]:
    """Of different length, text, guidance, sampling and beginning."""
    made = [
        {"prompt": TEXTS[0], "duration": 0.5, "seed": 1, "options": options()},
        {"prompt": TEXTS[1], "duration": 1.2, "seed": 2, "options": options(temperature=0.8, top_p=0.9)},
        {"prompt": "", "duration": 0.3, "seed": 3, "options": options(guidance_scale=1.0)},
        {"prompt": TEXTS[0], "duration": 0.9, "seed": 4, "options": options(do_sample=False)},
        {"prompt": "drums", "duration": 1.0, "seed": 5, "options": options(negative_prompt=TEXTS[1])},
        {
            "prompt": TEXTS[1],
            "duration": 1.1,
            "seed": 6,
            "options": options(),
            "continue_from": given_audio(model.channels),
        },
    ]
    if model.melody is not None:
        tune = {"melody": MELODY, "separate": False}
        made[0] |= tune
        made[3] |= tune
        made.append(
            {"prompt": TEXTS[0], "duration": 0.6, "seed": 7, "options": options(melody_guidance_scale=2.0)} | tune
        )
    return made


def alone(model, request: dict) -> torch.Tensor:
    return model.generate(**{"prompts" if name == "prompt" else name: value for name, value in request.items()})[0]


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def before_each_step(scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Call `act` in the scheduler's thread before every step of the batch."""
    step = scheduler._pool.step

    def acting(sequence: torch.Tensor) -> torch.Tensor:
        act()
        return step(sequence)

    monkeypatch.setattr(scheduler._pool, "step", acting)


def test_clips_are_those_of_their_requests_alone(model) -> None:
    each = requests(model)
    with Scheduler(model, slots=3, queue=16, chunk=0.25) as scheduler:
        handles = [scheduler.submit(**request) for request in each]
        waves = [handle.result() for handle in handles]
        assert scheduler._pool.used == 0
    for request, wave, handle in zip(each, waves, handles, strict=True):
        torch.testing.assert_close(wave, alone(model, request), atol=1e-5, rtol=0)
        assert handle.progress[0] == handle.progress[1] > 0
        assert handle.finished
        assert handle.queue_position == 0


def test_texts_of_a_fixed_length(audiocraft_folder) -> None:
    """The fixed length is allocated, even if `max_tokens` is smaller."""
    model = musicgen.load(audiocraft_folder("melody"))
    model.text.length = 24
    each = [request | {"duration": 0.4} for request in requests(model)[:2]]
    with Scheduler(model, slots=2, max_tokens=8) as scheduler:
        waves = [handle.result() for handle in [scheduler.submit(**request) for request in each]]
    for request, wave in zip(each, waves, strict=True):
        torch.testing.assert_close(wave, alone(model, request), atol=1e-5, rtol=0)


def test_across_windows(model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "max_duration", 0.64)
    each = [request | {"duration": 1.2 + 0.3 * index} for index, request in enumerate(requests(model)[:3])]
    with Scheduler(model, slots=3) as scheduler:
        waves = [handle.result() for handle in [scheduler.submit(**request) for request in each]]
    for request, wave in zip(each, waves, strict=True):
        torch.testing.assert_close(wave, alone(model, request), atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def alone_before(text_model):
    return [alone(text_model, request) for request in requests(text_model)]


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from([0, 0, 1, 3, 10]), st.sampled_from([None, None, 0, 1, 4, 20])),
        min_size=1,
        max_size=10,
    ),
    st.integers(1, 4),
)
def test_any_arrivals_and_cancellations(text_model, alone_before, arrivals, slots: int) -> None:
    """Each arrival: which request, how many steps of the batch later, after how many of its own steps it is cancelled."""
    each = requests(text_model)
    with Scheduler(text_model, slots=slots, queue=16, chunk=0.2) as scheduler:
        handles = []
        for which, later, _ in arrivals:
            seen = sum(handle.progress[0] for handle in handles)
            until(lambda seen=seen, later=later: sum(t.progress[0] for t in handles) >= seen + later
                  or all(t.finished for t in handles))  # fmt: skip
            handles.append(scheduler.submit(**each[which]))
        for handle, (_, _, steps) in zip(handles, arrivals, strict=True):
            if steps is not None:
                until(lambda handle=handle, steps=steps: handle.finished or handle.progress[0] >= steps)
                handle.cancel()
        for handle, (which, _, steps) in zip(handles, arrivals, strict=True):
            try:
                wave = handle.result()
            except Cancelled:
                assert steps is not None
                continue
            torch.testing.assert_close(wave, alone_before[which], atol=1e-5, rtol=0)
        until(lambda: not scheduler.active and not scheduler.waiting)
        assert scheduler._pool.used == 0


def test_a_clip_is_cancelled_within_one_step(text_model, monkeypatch: pytest.MonkeyPatch) -> None:
    with Scheduler(text_model, slots=2) as scheduler:
        handle = scheduler.submit(TEXTS[0], 20.0, seed=0)
        steps: list[int] = []

        def act() -> None:
            steps.append(handle.progress[0])
            if handle.progress[0] == 30:
                handle.cancel()

        before_each_step(scheduler, monkeypatch, act)
        with pytest.raises(Cancelled):
            handle.result()
        assert steps[-1] == 30
        assert handle.progress[0] == 31


def test_chunks_arrive_while_the_clip_is_generated(text_model) -> None:
    with Scheduler(text_model, slots=2, chunk=0.5) as scheduler:
        handle = scheduler.submit(TEXTS[0], 20.0, seed=0)
        first = handle.next_chunk(timeout=20)
        assert first is not None
        assert first.shape == (1, 16_000)
        assert handle.progress[0] < handle.progress[1] / 2


def test_clips_advance_together(text_model, monkeypatch: pytest.MonkeyPatch) -> None:
    with Scheduler(text_model, slots=4) as scheduler:
        spreads: list[int] = []
        handles: list = []

        def act() -> None:
            done = [handle.progress[0] for handle in handles]
            if len(done) == 4 and min(done) > 0 and max(done) < handles[0].progress[1]:
                spreads.append(max(done) - min(done))

        before_each_step(scheduler, monkeypatch, act)
        for seed in range(4):
            handles.append(scheduler.submit(TEXTS[0], 3.0, seed=seed))
        for handle in handles:
            handle.result()
    # They differ by the step at which they were admitted, and that difference stays.
    assert len(spreads) > 50
    assert len(set(spreads)) == 1


def test_a_dropped_handle_or_stream_frees_its_slot(text_model) -> None:
    with Scheduler(text_model, slots=2) as scheduler:
        handle = scheduler.submit(TEXTS[0], 60.0)
        stream = scheduler.stream(TEXTS[0], 60.0)
        assert next(stream).shape[0] == 1
        until(lambda: scheduler.active == 2)
        del handle, stream
        gc.collect()
        until(lambda: scheduler.active == 0)
        assert scheduler._pool.used == 0


def test_a_stream_reports_and_its_callback_can_end_it(text_model) -> None:
    with Scheduler(text_model, slots=1) as scheduler:
        told: list[tuple[int, int]] = []
        parts = list(scheduler.stream(TEXTS[0], 1.0, seed=3, options=options(),
                                      progress=lambda done, total: told.append((done, total))))  # fmt: skip
        whole = text_model.generate(TEXTS[0], 1.0, seed=3, options=options())[0]
        torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-5, rtol=0)
        assert told[-1][0] == told[-1][1]

        def stop(done: int, _: int) -> None:
            if done > 5:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            list(scheduler.stream(TEXTS[0], 60.0, progress=stop))
        until(lambda: scheduler.active == 0)


def test_updates_are_the_chunks_and_the_progress_as_they_come(text_model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("musicgen.engine.handle.PROGRESS_SECONDS", 0.0)
    with Scheduler(text_model, slots=1, chunk=0.25) as scheduler:
        handle = scheduler.submit(TEXTS[0], 1.0, seed=3, options=options())
        updates = list(handle.updates())
        steps = [update.done for update in updates if isinstance(update, Progress)]
        assert steps == sorted(set(steps))
        assert steps[-1] == handle.progress[1]
        chunks = [update for update in updates if isinstance(update, torch.Tensor)]
        whole = text_model.generate(TEXTS[0], 1.0, seed=3, options=options())[0]
        torch.testing.assert_close(torch.cat(chunks, dim=1), whole, atol=1e-5, rtol=0)


def test_progress_wakes_its_reader_a_bounded_number_of_times(text_model) -> None:
    with Scheduler(text_model, slots=1) as scheduler:
        start = time.monotonic()
        handle = scheduler.submit(TEXTS[0], 4.0, seed=3)
        reports = [update for update in handle.updates() if isinstance(update, Progress)]
        passed = time.monotonic() - start
    assert reports[-1].done == reports[-1].total > len(reports)
    assert len(reports) <= 2 + passed / PROGRESS_SECONDS


@pytest.mark.parametrize("timeline", [None, "0:02 strings"])
def test_one_cancellation_reaches_from_the_caller_to_the_slot(text_model, timeline: str | None) -> None:
    """Of a clip that runs, of one that waits, and of a section; at once for a request that comes later."""
    with Scheduler(text_model, slots=1) as scheduler:
        cancellation = Cancellation()
        running = scheduler.stream(TEXTS[0], 60.0, timeline=timeline, cancellation=cancellation)
        waiting = None if timeline else scheduler.submit(TEXTS[1], 60.0, cancellation=cancellation)
        chunks = [next(running)]
        threading.Timer(0.05, cancellation.cancel).start()
        with pytest.raises(Cancelled):
            chunks.extend(running)  # what was decoded comes before the end
        assert 0 < sum(chunk.shape[1] for chunk in chunks) < 60 * 32_000
        until(lambda: scheduler.active == 0)
        if waiting is not None:
            with pytest.raises(Cancelled, match="before it began"):
                waiting.result()
        with pytest.raises(Cancelled):
            scheduler.submit(TEXTS[0], 1.0, cancellation=cancellation)
        assert scheduler.submit(TEXTS[0], 0.5).result().shape == (1, 16_000)


def test_a_finished_clip_leaves_nothing_in_its_cancellation(text_model) -> None:
    cancellation = Cancellation()
    with Scheduler(text_model, slots=1) as scheduler:
        for _ in range(3):
            scheduler.submit(TEXTS[0], 0.3, cancellation=cancellation).result()
        until(lambda: not cancellation._callbacks)


def test_a_full_queue_refuses_at_once(text_model, monkeypatch: pytest.MonkeyPatch) -> None:
    with Scheduler(text_model, slots=1, queue=2) as scheduler:
        scheduler.submit(TEXTS[0], 0.5).result()  # so that the time of a step is known
        gate = threading.Event()
        before_each_step(scheduler, monkeypatch, lambda: gate.wait(20) or None)
        running = scheduler.submit(TEXTS[0], 2.0)
        until(lambda: scheduler.active == 1)
        waiting = [scheduler.submit(TEXTS[1], 1.0) for _ in range(2)]
        assert [handle.queue_position for handle in (running, *waiting)] == [0, 1, 2]
        with pytest.raises(QueueFull, match=r"2 requests are waiting; a new one would start in about \d+ s") as refused:
            scheduler.submit(TEXTS[0], 1.0)
        assert refused.value.length == 2
        steps = running.progress[1] - running.progress[0] + sum(handle.progress[1] for handle in waiting)
        assert refused.value.wait == pytest.approx(steps * scheduler._step_seconds)
        waiting[0].cancel()
        gate.set()
        with pytest.raises(Cancelled, match="before it began"):
            waiting[0].result()
        assert waiting[1].result().shape == (1, 32_000)


def test_a_bad_request_is_refused_in_its_callers_thread(text_model) -> None:
    with Scheduler(text_model, slots=2, max_tokens=32) as scheduler:
        good = scheduler.submit(TEXTS[0], 1.0, seed=1, options=options())
        for arguments, message in [
            ({"duration": 0}, "duration is 0 s"),
            ({"melody": MELODY}, "follows text only"),
            ({"continue_from": "/nowhere.wav"}, "nowhere.wav"),
            ({"prompt": "loud " * 400}, "at most 32 are accepted here"),
        ]:
            with pytest.raises(MusicGenError, match=message):
                scheduler.submit(**{"prompt": TEXTS[0], "duration": 1.0} | arguments)
        torch.testing.assert_close(
            good.result(), text_model.generate(TEXTS[0], 1.0, seed=1, options=options())[0], atol=1e-5, rtol=0
        )


@pytest.mark.parametrize("where", ["prefill", "step", "decoder"])
def test_a_fault_ends_one_clip_alone(text_model, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    with Scheduler(text_model, slots=3) as scheduler:
        good = scheduler.submit(TEXTS[0], 2.0, seed=1, options=options())
        until(lambda: good.progress[0] > 3)
        pool = scheduler._pool
        admit, step = pool.admit, pool.step

        def fails(*_: object, **__: object) -> torch.Tensor:
            raise torch.OutOfMemoryError("out of memory")

        if where == "prefill":
            monkeypatch.setattr(pool, "admit", fails)
        elif where == "step":
            monkeypatch.setattr(pool, "step", lambda sequence: (fails if pool.used > 2 else step)(sequence))
        bad = scheduler.submit(TEXTS[1], 1.0)
        if where == "decoder":
            until(lambda: scheduler.active == 2)
            monkeypatch.setattr(scheduler._active[1].decoder, "push", fails)
        with pytest.raises(torch.OutOfMemoryError):
            bad.result()
        monkeypatch.setattr(pool, "admit", admit)
        expected = text_model.generate(TEXTS[0], 2.0, seed=1, options=options())[0]
        torch.testing.assert_close(good.result(), expected, atol=1e-5, rtol=0)
        again = scheduler.submit(TEXTS[1], 0.4, seed=2, options=options()).result() if where != "step" else None
        if again is not None:
            expected = text_model.generate(TEXTS[1], 0.4, seed=2, options=options())[0]
            torch.testing.assert_close(again, expected, atol=1e-5, rtol=0)
        until(lambda: scheduler.active == 0)
        assert pool.used == 0


def test_closing_ends_everything(text_model) -> None:
    before = threading.active_count()
    scheduler = Scheduler(text_model, slots=1, queue=4)
    handles = [scheduler.submit(TEXTS[0], 60.0) for _ in range(3)]
    scheduler.close()
    for handle in handles:
        with pytest.raises(Cancelled):
            handle.result()
    with pytest.raises(MusicGenError, match="closed"):
        scheduler.submit(TEXTS[0], 1.0)
    until(lambda: threading.active_count() == before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"slots": 0}, "slots is 0"),
        ({"slots": True}, "slots is True"),
        ({"queue": -1}, "queue is -1"),
        ({"chunk": 0}, "chunk is 0 s"),
        ({"slots": 10**9}, r"1000000000 slots need [\d.]+ GB for keys and values, and [\d.]+ GB are free"),
    ],
)
def test_a_scheduler_that_cannot_be(text_model, arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Scheduler(text_model, **arguments)


def test_four_hundred_short_requests_leave_nothing(text_model) -> None:
    def resident() -> int:
        with open("/proc/self/statm") as file:  # noqa: PTH123
            return int(file.read().split()[1]) * resource.getpagesize()

    with Scheduler(text_model, slots=4, queue=8, chunk=0.1) as scheduler:
        held: list = []
        threads, memory = 0, 0
        for number in range(400):
            while len(held) >= 8:
                held.pop(0).result()
            held.append(scheduler.submit(TEXTS[number % 2], 0.1, seed=number))
            if number % 10 == 0:
                held[-1].cancel()
                held.pop()
            if number == 150:
                threads, memory = threading.active_count(), resident()
        for handle in held:
            handle.result()
        until(lambda: scheduler.active == 0)
        gc.collect()
        assert threading.active_count() <= threads
        assert resident() - memory < 15e6
        assert scheduler._pool.used == 0


@pytest.mark.parametrize("precision", ["bfloat16", "int8", "int4"])
def test_other_precisions_share_a_batch_too(audiocraft_folder, precision: str) -> None:
    """A clip that is alone, and two in one batch; `test_batch_invariance` compares such clips with their requests alone."""
    model = musicgen.load(audiocraft_folder("text"), "cpu", precision)
    with Scheduler(model, slots=2) as scheduler:
        first = scheduler.submit(TEXTS[0], 0.5, seed=1, options=options(do_sample=False)).result()
        both = [scheduler.submit(text, 0.5, seed=1, options=options()) for text in TEXTS]
        waves = [handle.result() for handle in both]
    expected = model.generate(TEXTS[0], 0.5, seed=1, options=options(do_sample=False))[0]
    torch.testing.assert_close(first, expected, atol=1e-4, rtol=0)
    assert all(wave.shape == (1, 16_000) and bool(wave.isfinite().all()) for wave in waves)
