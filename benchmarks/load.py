"""python -m benchmarks.load: listeners who come at random to `musicgen serve` on this machine, and how long they wait.

Clips are asked for at random times (Poisson) with durations from a list; some listeners leave before the end. A listener keeps
up who, having begun at the first sound, never waits again. Each run is compared with what the capacity model
(`musicgen.serving.capacity`) predicts from a measured speed and the same arrivals: clip by clip, so that the ratio of the two
means has an interval. The speed is that of a single replica, measured before; how several replicas, the server and the
listeners share the cores is left to the model. Where other programs used the machine, the rows say so. Bounded in time and
number, on 127.0.0.1.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import functools
import itertools
import random
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import numpy as np
import psutil

from benchmarks import machine
from benchmarks.listeners import keeps_up
from benchmarks.processor_time import Reading
from benchmarks.store import command, publish, rounded
from benchmarks.systems import PROMPT
from musicgen.errors import InputError
from musicgen.serving.capacity import FRAME_RATE, Load, Outcome, Speed, simulate
from musicgen.statistics import Interval, ratio_interval

MAX_CLIPS, MAX_SECONDS = 2000, 600.0
SHARES = (0.5, 0.95, 0.99)
START_SECONDS = 600.0
"""In which a server must be ready: Ray starts its processes one after the other."""
TOLERANCE = 0.2
"""Relative error that the prediction of the mean wait may have."""
MAX_OTHERS = 0.1
"""Cores that other programs may use during a run."""
CLIP_SECONDS, REPEATS = 8.0, 5
"""Of the clips that the speed is measured by."""
IDLE_SECONDS = 3.0
"""Time in which it is measured what the processes use that have nothing to do."""


@dataclass
class Listener:
    """What a listener got.

    Attributes:
        arrival: seconds from the beginning.
        duration: of the clip, seconds.
        leaves: share of the clip after which the listener leaves; 1 for one who stays.
        parts: (seconds from the beginning, seconds of sound) of what arrived.
        ended: seconds from the beginning until the server said that the clip was done: it is stored then.
        error: "" for none.
    """

    arrival: float
    duration: float
    leaves: float
    parts: list[tuple[float, float]] = field(default_factory=list)
    ended: float = 0.0
    error: str = ""

    @property
    def heard(self) -> float:
        """Seconds of sound."""
        return sum(length for _, length in self.parts)

    @property
    def first_sound(self) -> float:
        """Seconds from the request to the first sound."""
        return self.parts[0][0] - self.arrival

    @property
    def kept_up(self) -> bool:
        """Whether the listener never waited after the first sound."""
        return not self.error and bool(self.parts) and keeps_up(self.parts)


def arrivals(rate: float, durations: tuple[float, ...], seconds: float, leave: float, seed: int) -> list[Listener]:
    """Listeners who come within some seconds.

    Args:
        rate: clips a second.
        durations: of the clips, each as likely as the others.
        seconds: in which they come.
        leave: share of the listeners who leave before the end.
        seed: of the random numbers.
    """
    numbers, now, found = random.Random(seed), 0.0, []
    while True:
        now += numbers.expovariate(rate)
        if now > seconds or len(found) == MAX_CLIPS:
            return found
        leaves = numbers.random() if numbers.random() < leave else 1.0
        found.append(Listener(now, numbers.choice(durations), leaves))


async def listen(url: str, listeners: list[Listener], model: str) -> None:
    """Ask for the clips at their times, and hear them.

    Args:
        url: of the server.
        listeners: are filled in.
        model: the model's name.
    """
    await listen_in_turn(url, [[one] for one in listeners], model)


async def listen_in_turn(url: str, queues: Sequence[Sequence[Listener]], model: str) -> None:
    """Ask for the clips of some queues, each when the one before it in its queue has ended, and hear them.

    Args:
        url: of the server.
        queues: of listeners, who are filled in. The first of a queue has the time of its arrival.
        model: the model's name.
    """
    seeds = itertools.count()
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=MAX_SECONDS, limits=limits, trust_env=False) as client:
        await client.get("/health")  # what the client does once is no part of a clip's time
        begun = time.monotonic()

        async def one(listener: Listener) -> None:
            body = {"prompt": PROMPT, "model": model, "duration": listener.duration, "seed": next(seeds)}
            answer = await client.post("/v1/generations", json=body)
            if answer.status_code != 202:
                listener.error = f"{answer.status_code}"
                return
            made = answer.json()
            try:
                async with client.stream("GET", made["stream"], params={"format": "pcm_s16le"}) as sound:
                    async for part in sound.aiter_bytes():
                        listener.parts.append((time.monotonic() - begun, len(part) / 2 / 32_000))
                        if listener.leaves < 1 and listener.heard >= listener.leaves * listener.duration:
                            break
                listener.ended = time.monotonic() - begun
            except httpx.HTTPError as error:
                listener.error = type(error).__name__
            if listener.leaves < 1:
                await client.delete(f"/v1/generations/{made['id']}")
            elif not listener.error and listener.heard < listener.duration - 0.1:
                listener.error = "cut short"

        async def in_turn(listeners: Sequence[Listener]) -> None:
            first, *others = listeners
            await asyncio.sleep(max(0.0, begun + first.arrival - time.monotonic()))
            await one(first)
            for listener in others:
                listener.arrival = time.monotonic() - begun
                await one(listener)

        await asyncio.gather(*(in_turn(listeners) for listeners in queues))


def row(listeners: list[Listener], seconds: float) -> dict[str, Any]:
    """The figures of a run."""
    times = [one.first_sound for one in listeners if one.parts]
    good = sum(one.heard for one in listeners if one.kept_up)
    end = max((one.parts[-1][0] for one in listeners if one.parts), default=seconds)
    errors = sorted({one.error for one in listeners if one.error})
    return {
        "clips": len(listeners),
        "left early": sum(one.leaves < 1 for one in listeners),
        "first sound": quantiles(times),
        "mean first sound": round(statistics.fmean(times), 3) if times else None,
        "kept up": round(sum(one.kept_up for one in listeners) / max(1, len(listeners)), 4),
        "goodput, seconds of sound a second": round(good / end, 3),
        "errors": {error: sum(one.error == error for one in listeners) for error in errors},
    }


def prediction(outcome: Outcome) -> dict[str, Any]:
    """The figures that the capacity model predicts."""
    return {
        "first sound": quantiles(outcome.first_sound),
        "mean first sound": round(outcome.mean, 3),
        "kept up": round(outcome.kept_up, 4),
    }


def quantiles(times: Sequence[float]) -> dict[str, float | None]:
    """The quantiles of SHARES; None where so few times lie above one that it is a matter of chance: fewer than one."""
    ordered = sorted(times)
    return {
        f"p{round(100 * share)}": (
            round(ordered[int(share * len(ordered))], 3) if len(ordered) * (1 - share) >= 1 else None
        )
        for share in SHARES
    }


def compared(listeners: Sequence[Listener], outcome: Outcome, seed: int) -> dict[str, Any]:
    """Predicted over measured mean time to the first sound, with a 95 % interval over clips, and what it says.

    Args:
        listeners: of a run, in the order of their arrival.
        outcome: of the simulation of the same arrivals.
        seed: of the bootstrap.
    """
    pairs = [
        (predicted, one.first_sound) for one, predicted in zip(listeners, outcome.first_sound, strict=True) if one.parts
    ]
    interval = None
    if pairs:
        totals, sizes = (np.array(column) for column in zip(*pairs, strict=True))
        interval = ratio_interval(totals, sizes, np.random.default_rng(seed))
    return {"ratio": rounded(interval), "verdict": verdict(interval)}


def verdict(interval: Interval | None) -> str:
    """Whether the prediction is within TOLERANCE of the measurement, as far as the interval decides it."""
    if interval is None:
        return "undecided"
    low, high = 1 - TOLERANCE, 1 + TOLERANCE
    if low <= interval.low and interval.high <= high:
        return "within"
    return "outside" if interval.high < low or interval.low > high else "undecided"


class Server:
    """`musicgen serve` on this machine.

    Args:
        arguments: of the command.
    """

    def __init__(self, *arguments: str) -> None:
        program = [sys.executable, "-m", "musicgen", "serve", "--port", "0", "--queue", str(MAX_CLIPS), *arguments]
        self.process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.url = ""
        threading.Thread(target=self._read, daemon=True).start()
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            time.sleep(0.2)
            if self.url and httpx.get(f"{self.url}/ready", timeout=30).status_code == 200:
                return
        self.close()
        raise InputError(f"the server was not ready after {START_SECONDS:g} s: run musicgen serve by itself")

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            found = re.match(r"MusicGen API: (\S+)/v1", line)
            if found:
                self.url = found[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(120)


@dataclass(frozen=True)
class Calibration:
    """What the capacity model is given.

    Attributes:
        speed: of each replica.
        cores: of this machine, without what server and replicas use of them when they have nothing to do.
    """

    speed: Speed
    cores: float


def calibrate(url: str, pid: int, model: str, slots: int) -> Calibration:
    """Measure a server of one replica by clips one after the other, by as many at once as the replica has slots, and with all
    slots in use by clips that began at different times.

    Its steps wait for the other threads of its Python process, so their duration is the time that passes, not the processor
    time of their thread.

    Args:
        url: of the server.
        pid: its process.
        model: the model's name.
        slots: clips that a replica generates together.
    """
    clips = functools.partial(timed, url, pid, model)
    clips(slots)
    alone, together = zip(*((clips(1), clips(slots)) for _ in range(REPEATS)), strict=True)
    idle = idle_cores(pid)

    single = [one for listeners, _ in alone for one in listeners]
    everyone = [one for listeners, _ in together for one in listeners]
    beside_alone, _ = beside(alone, idle)
    beside_together, stepping = beside(together, idle)
    # The work beside a second of sound: a part of each clip's, and one of each step's, which clips share.
    of_steps = max(0.0, beside_alone - beside_together) / (1 - 1 / slots) if slots > 1 else 0.0
    speed = Speed.of_times(timing(single), timing(everyone), slots)
    speed = dataclasses.replace(
        speed,
        finish=statistics.median(one.ended - one.parts[-1][0] for one in single),
        work=max(0.0, beside_together - of_steps / slots),
        work_per_step=of_steps / FRAME_RATE,
        stepping=min(1.0, stepping),
    )
    in_a_slot = service_time(url, model, slots, max(one.ended for one in everyone))
    return Calibration(speed.with_service_time(in_a_slot, slots, CLIP_SECONDS), (psutil.cpu_count() or 1) - idle)


def service_time(url: str, model: str, slots: int, together: float) -> float:
    """Seconds that a clip takes from the request until its slot is free while all slots are in use: the mean over clips.

    The chunks of clips that were asked for at once are decoded at the same times. Clips of a real load begin at different
    times, and so do these.

    Args:
        url: of the server.
        model: the model's name.
        slots: clips that the replica generates together.
        together: seconds that as many clips take that are asked for at once.
    """
    queues = [[Listener(index * together / slots, CLIP_SECONDS, 1.0) for _ in range(REPEATS)] for index in range(slots)]
    asyncio.run(listen_in_turn(url, queues, model))
    # Without the clips that ran while slots were free: the first of each queue, and those after the end of one.
    end = min(queue[-1].ended for queue in queues)
    steady = [one.ended - one.arrival for queue in queues for one in queue[1:] if one.ended <= end]
    if any(one.error for queue in queues for one in queue) or not steady:
        raise InputError(f"{model} cannot be measured: {queues[0][0].error or 'too few clips'}")
    return statistics.fmean(steady)


def slowed(calibration: Calibration, url: str, pid: int, model: str, replicas: int) -> Calibration:
    """Add the slowdown of replicas that work at the same time to a calibration: how much more processor time a second of sound
    takes with a clip on each of them than with one clip.

    Args:
        calibration: of one replica.
        url: of a server with further replicas.
        pid: its process.
        model: the model's name.
        replicas: of the server.
    """
    if replicas == 1:
        return calibration
    timed(url, pid, model, replicas)
    idle = idle_cores(pid)
    runs = [timed(url, pid, model, replicas) for _ in range(REPEATS)]
    _, used, heard = totals(runs, idle)
    speed = calibration.speed
    alone = FRAME_RATE * (speed.stepping * speed.step + speed.work_per_step) + speed.work
    share = used / heard / alone - 1
    return Calibration(dataclasses.replace(speed, slowdown=max(0.0, share) / (replicas - 1)), calibration.cores)


def timed(url: str, pid: int, model: str, count: int) -> tuple[list[Listener], Reading]:
    """Clips that are asked for at once, and the processor time that they took. Raises InputError where one is not made."""
    before = Reading.of(pid)
    listeners = [Listener(0.0, CLIP_SECONDS, 1.0) for _ in range(count)]
    asyncio.run(listen(url, listeners, model))
    if any(one.error or len(one.parts) < 2 for one in listeners):
        raise InputError(f"{model} cannot be measured: {listeners[0].error or 'there was no sound'}")
    return listeners, Reading.of(pid).since(before)


def idle_cores(pid: int) -> float:
    """Cores that a server uses when it has nothing to do."""
    before = Reading.of(pid)
    time.sleep(IDLE_SECONDS)
    return Reading.of(pid).since(before).total / IDLE_SECONDS


def beside(runs: Sequence[tuple[list[Listener], Reading]], idle: float) -> tuple[float, float]:
    """Seconds of a core beside the steps for each second of sound, and cores that the steps take.

    Args:
        runs: the listeners of each, and what was used.
        idle: cores that the processes use when they have nothing to do.
    """
    reading, used, heard = totals(runs, idle)
    stepper = reading.of_threads(reading.busiest(1))
    stepped = sum(max(one.parts[-1][0] for one in listeners) for listeners, _ in runs)
    return max(0.0, used - stepper) / heard, stepper / stepped


def totals(runs: Sequence[tuple[list[Listener], Reading]], idle: float) -> tuple[Reading, float, float]:
    """Of runs together: the reading, its processor time without that of idle processes, and the seconds of sound."""
    reading = Reading.sum(used for _, used in runs)
    passed = sum(max(one.ended for one in listeners) for listeners, _ in runs)
    return reading, reading.total - idle * passed, sum(one.heard for listeners, _ in runs for one in listeners)


def timing(listeners: Sequence[Listener]) -> tuple[float, float]:
    """Seconds from the request to the first sound, and of a step after it: medians over listeners."""
    steps = [
        (one.parts[-1][0] - one.parts[0][0]) / (FRAME_RATE * sum(length for _, length in one.parts[1:]))
        for one in listeners
    ]
    return statistics.median(one.first_sound for one in listeners), statistics.median(steps)


def server_of(replicas: int, slots: int) -> Server:
    """A server with replicas of one core each."""
    return Server("--replicas", str(replicas), "--cores", "1", "--workers", str(slots), "--per-visitor", str(MAX_CLIPS))


def runs(
    url: str, pid: int, calibration: Calibration, replicas: int, slots: int, shares: Sequence[float],
    durations: tuple[float, ...], seconds: float, leave: float, seed: int, model: str,
) -> list[dict[str, Any]]:  # fmt: skip
    """What listeners of a server get, and what is predicted for them.

    Args:
        url: of the server.
        pid: its process.
        calibration: how fast one replica is.
        replicas: that it has.
        slots: clips that a replica generates together.
        shares: of the capacity (`Speed.capacity`): the rate of each run.
        durations: of the clips, seconds.
        seconds: of each run, in which listeners come.
        leave: share of the listeners who leave before the end.
        seed: of the arrivals.
        model: its name.
    """
    speed, cores = calibration.speed, calibration.cores
    told = {name: round(value, 5) for name, value in dataclasses.asdict(speed).items()} | {"cores": round(cores, 2)}
    # Every replica runs once before.
    asyncio.run(listen(url, [Listener(0.0, 2.0, 1.0) for _ in range(replicas * slots)], model))
    rows = []
    for share in shares:
        load = Load(share * speed.capacity(replicas, slots, statistics.fmean(durations), cores), durations)
        listeners = arrivals(load.rate, durations, seconds, leave, seed)
        before, begun = Reading.of(pid), time.monotonic()
        asyncio.run(listen(url, listeners, model))
        used, passed = Reading.of(pid).since(before), time.monotonic() - begun
        times = [(one.arrival, one.duration * one.leaves) for one in listeners]
        outcome = simulate(load, speed, replicas, slots, arrivals=times, cores=cores)
        rows.append({
            "replicas": replicas, "slots": slots, "share of capacity": share, "rate": round(load.rate, 4),
            "measured": row(listeners, seconds), "predicted": prediction(outcome),
            "predicted over measured": compared(listeners, outcome, seed),
            "speed": told, "cores in use": round(used.total / passed, 2),
            "cores of others": round(used.others / passed, 3), "reliable": used.others / passed <= MAX_OTHERS,
        })  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__.splitlines()[0])
    parser.add_argument("--replicas", default="1,2", help="numbers of replicas, of one core each (%(default)s)")
    parser.add_argument("--slots", type=int, default=4, help="clips that a replica generates together (%(default)s)")
    parser.add_argument(
        "--shares", default="0.4,0.8", help="shares of the measured capacity that are asked for (%(default)s)"
    )
    parser.add_argument("--durations", default="4,8,12", help="seconds of the clips (%(default)s)")
    parser.add_argument("--leave", type=float, default=0.1, help="share of the listeners who leave early (%(default)s)")
    parser.add_argument("--seconds", type=float, default=70.0, help="of a run, in which listeners come (%(default)s)")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="store the result here")
    options = parser.parse_args()
    if not 0 < options.seconds <= MAX_SECONDS:
        raise InputError(f"--seconds is {options.seconds:g}: above 0, {MAX_SECONDS:g} at most")
    durations, shares = (tuple(float(part) for part in text.split(",")) for text in (options.durations, options.shares))
    replicas = [int(part) for part in options.replicas.split(",")]
    with server_of(1, options.slots) as server:
        calibration = calibrate(server.url, server.process.pid, options.model, options.slots)
    rows = []
    for count in replicas:
        with server_of(count, options.slots) as server:
            known = slowed(calibration, server.url, server.process.pid, options.model, count)
            rows += runs(
                server.url, server.process.pid, known, count, options.slots, shares, durations, options.seconds,
                options.leave, options.seed, options.model,
            )  # fmt: skip
    made = {
        "command": command("load"), "machine": machine.describe("cpu", 1), "model": options.model, "durations": durations,
        "seconds": options.seconds, "tolerance": TOLERANCE, "rows": rows,
    }  # fmt: skip
    publish(made, options.json)


if __name__ == "__main__":
    main()
