"""`musicgen serve --plan`, and the listeners of the load generator."""

import asyncio
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import load, report
from benchmarks.processor_time import Reading
from musicgen.__main__ import main
from musicgen.errors import InputError
from musicgen.serving import capacity_plan
from musicgen.serving.capacity import Load, Outcome, Speed, simulate
from musicgen.serving.engines.local import LocalEngine
from musicgen.serving.models import ModelCatalog
from tests.serving.api_server import Program, api, wait_until


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
    speed = capacity_plan.measure(engine, "mini", 3)
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
    assert figures["first sound"]["p50"] <= max(one.first_sound for one in listeners)
    assert figures["first sound"]["p99"] is None  # of so few
    assert 0 <= figures["kept up"] <= 1
    with pytest.raises(InputError, match="the rate is"):
        Load(-1, (1.0,))
    assert Speed(0.01, 0.0).real_time_slots() > 1


def test_runs_are_measured_compared_and_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with Program("--workers", "2") as program:
        calibration = load.calibrate(program.url, program.process.pid, "mini", 2)
        assert load.slowed(calibration, program.url, program.process.pid, "mini", 1) == calibration
        crowded = load.slowed(calibration, program.url, program.process.pid, "mini", 2)
        assert 0 <= crowded.speed.slowdown < 5
        rows = load.runs(program.url, program.process.pid, calibration, 1, 2, (0.5,), (1.0, 2.0), 4.0, 0.2, 3, "mini")
    (one,) = rows
    assert one["measured"]["errors"] == {}
    assert one["measured"]["clips"] == len(load.arrivals(one["rate"], (1.0, 2.0), 4.0, 0.2, 3))
    assert one["predicted over measured"]["verdict"] in ("within", "outside", "undecided")
    speed = one["speed"]
    assert 1e-5 < speed["step"] < 0.5
    assert 0 <= speed["step_per_clip"] < 0.5
    assert 0 < speed["work"] < 0.5
    assert 0 < speed["stepping"] <= 1
    assert 0.003 < speed["finish"] < 30  # a clip's file is synchronised with the disk
    assert 0 < speed["cores"] <= (os.cpu_count() or 1)
    assert 0 < one["cores in use"] <= (os.cpu_count() or 1)
    stored = {
        "machine": {"device": "a processor", "threads": 1, "torch": "2", "bandwidth_gb_s": 1.0}, "command": "python -m x",
        "durations": [1.0, 2.0], "seconds": 4.0, "tolerance": 0.2, "model": "mini",
        "rows": [one | {"reliable": True}, one | {"reliable": False, "cores of others": 0.5}],
    }  # fmt: skip
    monkeypatch.setattr(report, "result", lambda _: stored)
    lines = report.load("load").splitlines()
    assert lines[2].split(" | ")[7] == one["predicted over measured"]["verdict"]
    assert lines[3].split(" | ")[7] == "unreliable: other programs used 0.50 cores"


def test_processor_time_is_that_of_the_processes_and_of_their_threads() -> None:
    """A process that tells how much it has used itself: two threads, the second for three times as long as the first."""
    program = (
        "import sys, threading, time\n"
        "def use(seconds):\n"
        "    while time.thread_time() < seconds: pass\n"
        "    done.acquire(); sys.stdin.read()\n"
        "done = threading.Semaphore(2)\n"
        "for seconds in (0.3, 0.9): threading.Thread(target=use, args=(seconds,)).start()\n"
        "while done._value: time.sleep(0.01)\n"
        "print(time.process_time(), flush=True)"
    )
    begun = time.monotonic()
    machine = Reading.of(os.getpid())
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    before = Reading.of(os.getpid())
    assert process.stdout is not None
    used = float(process.stdout.readline())
    assert used >= 1.2
    found = Reading.of(process.pid)
    assert found.processes[process.pid] == pytest.approx(used, abs=0.05)
    (long, short) = found.busiest(2)
    assert found.of_threads((long,)) == pytest.approx(0.9, abs=0.05)
    assert found.of_threads((short,)) == pytest.approx(0.3, abs=0.05)
    both = Reading.sum([found.since(before), Reading({process.pid: 1.0}, {long: 1.0}, 2.0)])
    assert both.processes[process.pid] == pytest.approx(used + 1.0, abs=0.05)
    assert both.of_threads((long,)) == pytest.approx(1.9, abs=0.05)
    process.communicate("")
    cores = (os.cpu_count() or 1) * (time.monotonic() - begun)
    assert used - 0.05 <= Reading.of(os.getpid()).since(machine).machine <= cores + 0.05


def test_a_prediction_is_judged_by_the_interval_of_its_ratio() -> None:
    """Listeners who wait as long as is predicted, half as long, and by chance."""
    arrivals = load.arrivals(1.0, (4.0,), 60.0, 0.0, seed=2)
    times = [(one.arrival, one.duration) for one in arrivals]
    outcome = simulate(Load(1.0, (4.0,)), Speed(0.004, 0.002, begin=0.1), 1, 2, arrivals=times)
    numbers = random.Random(0)
    for factors, said in (((0.98, 1.02), "within"), ((0.49, 0.51), "outside"), ((0.2, 2.2), "undecided")):
        for one, seconds in zip(arrivals, outcome.first_sound, strict=True):
            one.parts = [(one.arrival + seconds * numbers.choice(factors), 4.0)]
        judged = load.compared(arrivals, outcome, 0)
        measured = sum(one.first_sound for one in arrivals)
        assert judged["ratio"][0] == pytest.approx(sum(outcome.first_sound) / measured, abs=1e-4)
        assert judged["verdict"] == said, judged
    assert load.compared([], Outcome((), 0.0, 0.0), 0) == {"ratio": None, "verdict": "undecided"}


def test_quantiles_of_few_listeners_are_not_told() -> None:
    times = [float(number) for number in range(1, 101)]
    assert load.quantiles(times) == {"p50": 51.0, "p95": 96.0, "p99": 100.0}
    assert load.quantiles(times[:50]) == {"p50": 26.0, "p95": 48.0, "p99": None}
    assert load.quantiles([1.0]) == {"p50": None, "p95": None, "p99": None}
