"""`musicgen serve --plan`, and the listeners of the load generator."""

import asyncio
from pathlib import Path

import pytest

from benchmarks import load
from musicgen.__main__ import main
from musicgen.errors import InputError
from musicgen.serving import plan
from musicgen.serving.capacity import Load, Speed
from musicgen.serving.engines.local import LocalEngine
from musicgen.serving.models import ModelCatalog
from tests.serving.api_server import api, wait_until


def test_a_plan_of_a_given_speed(capsys: pytest.CaptureFixture) -> None:
    assert main(["serve", "--plan", "2.78", "--plan-durations", "10,30", "--plan-speed", "8:1", "--workers", "8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "load: 2.78 clips a second of 10, 30 s"
    assert "8 of 8 slots are in real time" in lines[1]
    waits = {int(line.split()[0]): float(line.split(",")[1]) for line in lines[3:7]}
    assert list(waits) == [1, 2, 4, 8]
    assert sorted(waits.values(), reverse=True) == list(waits.values())
    enough = int(lines[-1].split(" with ")[1].split()[0])
    assert waits[8] <= 2.0 or enough > 8


def test_a_measured_speed_is_that_of_the_engine() -> None:
    engine = LocalEngine(ModelCatalog(), "cpu", slots=3)
    speed = plan.measure(engine, "mini", 3)
    engine.close()
    assert 1e-5 < speed.step < 0.5
    assert 0 <= speed.step_per_clip < 0.5


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--plan", "0"], "the rate is 0 clips a second"),
        (["--plan", "1", "--plan-durations", "x"], "the durations are 'x'"),
        (["--plan", "1", "--plan-speed", "fast"], "the speed is 'fast'"),
        (["--plan", "1", "--plan-speed", "1:2:3"], "the speed is '1:2:3'"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_what_cannot_be_planned_is_one_line(flags: list[str], message: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["serve", *flags]) == 2
    assert message in capsys.readouterr().err


def test_listeners_hear_their_clips(tmp_path: Path) -> None:
    listeners = load.arrivals(2.0, (1.0, 2.0), 4.0, 0.3, seed=1)
    assert listeners == load.arrivals(2.0, (1.0, 2.0), 4.0, 0.3, seed=1)
    assert 2 <= len(listeners) <= 20
    with api(tmp_path) as (url, generations):
        asyncio.run(load.listen(url, listeners, "mini"))
        wait_until(lambda: len(generations.service.job_queue) == 0)
    for one in listeners:
        assert one.error == ""
        assert one.heard >= one.leaves * one.duration - 0.1
        assert one.first_sound > 0
    figures = load.row(listeners, 4.0)
    assert figures["clips"] == len(listeners)
    assert figures["first sound"]["p50"] <= figures["first sound"]["p95"] <= figures["first sound"]["p99"]
    assert 0 <= figures["kept up"] <= 1
    with pytest.raises(InputError, match="the rate is"):
        Load(-1, (1.0,))
    assert Speed(0.01, 0.0).real_time_slots() > 1
