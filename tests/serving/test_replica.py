"""A replica without Ray: what it sends to the server, and what it has loaded before the first request."""

import asyncio

import numpy as np
import pytest
import torch

from musicgen.serving.engines import replica
from musicgen.serving.engines.base import AudioChunk
from musicgen.serving.engines.local import LocalEngine
from musicgen.serving.engines.replica import Replica, ReplicaSettings, ReportMessage, throttled
from musicgen.serving.job_queue import REPORT_SECONDS
from musicgen.serving.models import ModelCatalog
from musicgen.serving.request import ClipRequest
from tests.serving.test_remote import sound


def test_reports_are_as_many_as_followers_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: 2 s of 128 reports a second, whose message changes after 1/8 s."""
    now = 0.0
    monkeypatch.setattr(replica.time, "monotonic", lambda: now)
    sent: list[tuple[float, ReportMessage]] = []
    report = throttled(lambda message: sent.append((now, message)))
    for number in range(257):
        now = number / 128
        report(number / 256, "loading" if number < 16 else "generating")
    times = [time for time, _ in sent]
    assert times == pytest.approx([0.0, *(0.125 + REPORT_SECONDS * number for number in range(8)), 2.0])
    assert [message.message for _, message in sent] == ["loading"] + ["generating"] * 9
    assert sent[-1][1].fraction == 1.0


def test_a_replica_sends_the_clip_and_few_reports() -> None:
    one, request = Replica(ReplicaSettings(slots=1, threads=torch.get_num_threads())), ClipRequest("lofi", "mini", 4.0)
    assert one.warm_up() == "mini"

    async def items() -> list[object]:
        return [item async for item in one.stream(request, {}, 3)]

    found = asyncio.run(items())
    reports = [item for item in found if isinstance(item, ReportMessage)]
    chunks = [item for item in found if isinstance(item, AudioChunk)]
    assert reports[-1].fraction == 1.0
    assert len(reports) < 100  # of 203 steps
    engine = LocalEngine(ModelCatalog(), "cpu", slots=1)
    np.testing.assert_allclose(
        np.concatenate([chunk.samples for chunk in chunks], axis=1), sound(engine, request, 3), atol=1e-5
    )
    engine.close()


def test_a_replica_downloads_nothing_before_it_is_asked_to() -> None:
    assert (
        Replica(ReplicaSettings(models=("facebook/musicgen-small",), threads=torch.get_num_threads())).warm_up() is None
    )
