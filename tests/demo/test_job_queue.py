"""The job queue."""

import threading

import pytest

from demo.job_queue import JobQueue, QueueFull
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
    queue.cancel(jobs[1])
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
