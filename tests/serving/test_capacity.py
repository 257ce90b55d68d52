"""The capacity model against queueing theory where that has a formula, and against what must hold in any case."""

import math
import random

import pytest

from musicgen.errors import InputError
from musicgen.serving.capacity import FRAME_RATE, Load, Speed, needed, simulate


def test_one_slot_is_an_m_d_1_queue() -> None:
    """Clips of one duration, one after the other: the mean wait of Pollaczek and Khinchine, rho s / (2 (1 - rho))."""
    step = 0.01
    service = 10.0 * FRAME_RATE * step  # 5 s
    for utilisation in (0.3, 0.6):
        load = Load(utilisation / service, (10.0,))
        outcome = simulate(load, Speed(step, 0.0, first=10.0), 1, 1, clips=40_000, seed=1)
        wait = outcome.mean - service
        assert wait == pytest.approx(utilisation * service / (2 * (1 - utilisation)), rel=0.05)
        assert outcome.busy == pytest.approx(utilisation, rel=0.03)


def test_many_slots_of_one_speed_are_an_m_d_infinity_queue() -> None:
    """Where further clips cost nothing and there is always a slot, nobody waits."""
    outcome = simulate(Load(5.0, (10.0,)), Speed(0.01, 0.0, begin=0.2, first=1.0, decode=0.1), 1, 10_000, clips=2000)
    assert min(outcome.first_sound) == pytest.approx(0.8)
    assert max(outcome.first_sound) == pytest.approx(0.8)
    assert outcome.kept_up == 1.0


def test_steps_that_share_a_core_are_processor_sharing() -> None:
    """Where a step takes as long as its clips one after the other, and every clip has a slot: the mean time in the system of an
    M/G/1 queue with processor sharing, s / (1 - rho), whatever the distribution of the durations."""
    step = 0.01
    durations = (2.0, 18.0)
    service = 10.0 * FRAME_RATE * step
    load = Load(0.6 / service, durations)
    outcome = simulate(load, Speed(step, step, first=1e9), 1, 10_000, clips=40_000, seed=2)  # sounds at its end
    assert outcome.mean == pytest.approx(service / 0.4, rel=0.06)


def test_replicas_of_one_slot_are_an_m_d_c_queue() -> None:
    """Against a simulation of another kind: Kiefer and Wolfowitz' vector of the servers' free times."""
    numbers, step, service = random.Random(3), 0.01, 5.0
    now, arrivals = 0.0, []
    for _ in range(5000):
        now += numbers.expovariate(2.4 / service)
        arrivals.append((now, 10.0))
    free, waits = [0.0] * 3, []
    for arrival, _ in arrivals:
        soonest = min(range(3), key=free.__getitem__)
        begin = max(arrival, free[soonest])
        waits.append(begin - arrival)
        free[soonest] = begin + service
    outcome = simulate(Load(1.0, (10.0,)), Speed(step, 0.0, first=10.0), 3, 1, arrivals=arrivals)
    for ours, theirs in zip(outcome.first_sound, waits, strict=True):
        assert ours == pytest.approx(theirs + service, abs=1e-6)


def test_the_fewest_replicas_are_found() -> None:
    load, speed = Load(10_000 / 3600, (10.0, 30.0)), Speed(0.004, 0.0002, begin=0.05, decode=0.05)
    count = needed(load, speed, 32, first_sound=2.0)
    assert count is not None
    assert simulate(load, speed, count, 32).quantile(0.95) <= 2.0
    assert count == 1 or simulate(load, speed, count - 1, 32).quantile(0.95) > 2.0
    assert needed(load, Speed(0.1, 0.0), 4, first_sound=2.0) is None  # 50 frames alone take 5 s
    assert speed.real_time_slots() == 81
    assert Speed(0.03, 0.0).real_time_slots() == 0


@pytest.mark.parametrize(("rate", "durations"), [(0.0, (1.0,)), (math.nan, (1.0,)), (1.0, ()), (1.0, (0.0,))])
def test_loads_out_of_range_are_refused(rate: float, durations: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match=r"the rate is|the durations are"):
        Load(rate, durations)
