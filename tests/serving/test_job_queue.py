"""The job queue."""

import asyncio
import threading
import time

import pytest

from musicgen.serving.job_queue import JobQueue, QueueFull
from tests.demo.conftest import wait_until


def test_the_job_queue_runs_jobs_in_order_and_reports_positions() -> None:
    go, served = threading.Event(), []

    def work(job) -> None:
        go.wait(10)
        served.append(job.payload)

    queue: JobQueue = JobQueue(work, workers=1, max_waiting=3, max_per_visitor=2)
    jobs = [queue.submit(f"v{i}", i) for i in range(1)]
    wait_until(lambda: queue.position(jobs[0]) == 0)
    jobs += [queue.submit(f"v{i}", i) for i in (1, 2, 3)]
    assert [queue.position(job) for job in jobs] == [0, 1, 2, 3]
    with pytest.raises(QueueFull, match="the queue is full"):
        queue.submit("v9", 9)
    jobs[1].stop()
    assert jobs[1].done
    assert [queue.position(job) for job in jobs[2:]] == [1, 2]
    queue.submit("v2", 4)
    with pytest.raises(QueueFull, match="2 clips of yours"):
        queue.submit("v2", 5)
    go.set()
    wait_until(lambda: len(queue) == 0)
    assert served == [0, 2, 3, 4]
    queue.close()


def test_a_failing_job_does_not_end_the_queue() -> None:
    def work(job) -> None:
        if job.payload == "bad":
            raise RuntimeError("boom")

    queue: JobQueue = JobQueue(work, workers=1, max_waiting=5, max_per_visitor=5)
    bad, good = queue.submit("a", "bad"), queue.submit("a", "good")
    assert good.wait(5)
    assert isinstance(bad.error, RuntimeError)
    assert good.error is None
    queue.close()


def test_a_follower_is_told_of_every_event_at_once() -> None:
    """Events, end and error, each by what changed it: there is no interval at which anybody looks."""
    told = threading.Event()
    delays: list[float] = []

    def work(job) -> None:
        for number in range(20):
            told.clear()
            sent = time.monotonic()
            if number % 2:
                job.report(f"progress {number}")
            else:
                job.put_event(f"event {number}")
            assert told.wait(5)
            if number % 2 == 0:  # progress reports keep a distance, see below
                delays.append(time.monotonic() - sent)
        if job.payload == "bad":
            raise ValueError("boom")

    queue: JobQueue = JobQueue(work, workers=1, max_waiting=5, max_per_visitor=5)

    async def follow(job) -> list:
        seen = []
        async for happening in queue.follow(job):
            seen.append(happening)
            if isinstance(happening, str):
                told.set()
        return seen

    async def both() -> list:
        jobs = [queue.submit("me", "good"), queue.submit("me", "bad")]
        return await asyncio.gather(*(follow(job) for job in jobs), return_exceptions=True)

    good, bad = asyncio.run(both())
    happenings = [f"{'progress' if number % 2 else 'event'} {number}" for number in range(20)]
    assert [happening for happening in good if happening != 1] == happenings
    assert isinstance(bad, ValueError)
    assert sorted(delays)[len(delays) // 2] < 0.02  # a tenth of a second was the interval of an earlier version
    queue.close()


def test_a_follower_of_a_waiting_job_sees_it_move_and_end() -> None:
    go = threading.Event()
    queue: JobQueue = JobQueue(lambda _: go.wait(10) and None, workers=1, max_waiting=5, max_per_visitor=5)

    async def follow() -> list[int]:
        jobs = [first, *(queue.submit("me", number) for number in range(1, 4))]
        last, positions = jobs[3], []
        async for position in queue.follow(last):
            positions.append(position)
            if position == 3:
                jobs[1].stop()
            elif position == 2:
                jobs[2].cancel()
            else:
                last.stop()
        return positions

    first = queue.submit("me", 0)
    wait_until(lambda: queue.position(first) == 0)
    assert asyncio.run(asyncio.wait_for(follow(), 10)) == [3, 2, 1]
    go.set()
    wait_until(lambda: len(queue) == 0)
    queue.close()


def test_progress_is_reported_a_few_times_a_second_and_its_last_state_is_seen() -> None:
    """A page takes longer to show a report than a small model to make a step, and would slow it down."""
    go = threading.Event()

    def work(job) -> None:
        for number in range(500):
            job.report(f"step {number}")
            time.sleep(0.002)
        go.wait(10)

    queue: JobQueue = JobQueue(work, workers=1, max_waiting=1, max_per_visitor=1)
    job = queue.submit("a", 0)

    async def follow() -> list:
        seen = []
        async for happening in queue.follow(job):
            seen.append(happening)
            if happening == "step 499":
                go.set()
        return seen

    seen = asyncio.run(asyncio.wait_for(follow(), 20))
    assert seen[-1] == "step 499"
    assert 2 < len(seen) < 30
    queue.close()
