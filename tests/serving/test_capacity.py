"""The capacity model against queueing theory where that has a formula, and against what must hold in any case."""

import dataclasses
import itertools
import math
import random
import statistics

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


def test_one_slot_of_mixed_clips_is_an_m_g_1_queue() -> None:
    """Pollaczek and Khinchine's mean wait for any service time S, lambda E[S^2] / (2 (1 - rho)). A clip holds its place while
    it begins, is prefilled, takes its steps and is stored."""
    step, durations = 0.01, (4.0, 8.0, 12.0)
    speed = Speed(step, 0.5, begin=0.3, prefill=0.2, first=1e9, finish=0.5)
    service = [duration * FRAME_RATE * step + 0.3 + 0.2 + 0.5 for duration in durations]
    mean, square = (sum(seconds**power for seconds in service) / 3 for power in (1, 2))
    rate = 0.6 / mean
    outcome = simulate(Load(rate, durations), speed, 1, 1, clips=60_000, seed=4)
    sounds = mean - 0.5  # at its last frame
    assert outcome.mean - sounds == pytest.approx(rate * square / (2 * (1 - 0.6)), rel=0.05)
    assert speed.capacity(1, 1, 8.0) == pytest.approx(1 / mean)


def test_many_slots_of_one_speed_are_an_m_d_infinity_queue() -> None:
    """Where further clips cost nothing and there is always a slot, nobody waits."""
    outcome = simulate(Load(5.0, (10.0,)), Speed(0.01, 0.0, begin=0.2, prefill=0.0, first=1.0), 1, 10_000, clips=2000)
    assert min(outcome.first_sound) == pytest.approx(0.7)
    assert max(outcome.first_sound) == pytest.approx(0.7)
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


def test_replicas_that_share_a_core_are_processor_sharing() -> None:
    """As many replicas of one slot as clips, on one core: again s / (1 - rho). The server's work counts as the steps do."""
    step, work = 0.006, 0.2
    durations = (2.0, 18.0)
    service = 10.0 * (FRAME_RATE * step + work)  # 5 s
    speed = Speed(step, 0.0, first=1e9, work=work)
    load = Load(0.5 / service, durations)
    outcome = simulate(load, speed, 30, 1, clips=15_000, seed=5, cores=1.0)
    assert outcome.mean == pytest.approx(service / 0.5, rel=0.06)
    assert speed.capacity(30, 1, 10.0, cores=1.0) == pytest.approx(1 / service)
    alone = simulate(load, speed, 30, 1, clips=2000, seed=5)  # each on cores of its own
    assert max(alone.first_sound) == pytest.approx(18.0 * FRAME_RATE * step)


def test_cores_are_shared_out_as_they_are_wanted() -> None:
    """By hand: two replicas begin a clip of 1 s each, of 50 steps of 10 ms, on one and a half cores."""
    both, later = [(0.0, 1.0), (0.0, 1.0)], [(0.0, 1.0), (0.25, 1.0)]

    def sounds(arrivals: list[tuple[float, float]], work: float = 0.0) -> tuple[float, ...]:
        speed = Speed(0.01, 0.0, work=work)
        return simulate(Load(1.0, (1.0,)), speed, 2, 1, arrivals=arrivals, cores=1.5).first_sound

    assert sounds(both) == pytest.approx((0.5 * 2 / 1.5,) * 2)
    # The first has half of its frames when the second comes; both go at three quarters until it is done, after 1/3 s; the
    # second has half of its frames then, and the rest at full speed.
    assert sounds(later) == pytest.approx((0.25 + 1 / 3, 1 / 3 + 0.25))
    # 0.25 s of a core for each second of sound is half a core while a clip runs at full speed: three wanted, half of it there.
    assert sounds(both, work=0.25) == pytest.approx((1.0, 1.0))
    assert sounds([(0.0, 1.0)], work=0.25) == pytest.approx((0.5,))
    # Steps that wait half of their time for others of their process take half a core: there is enough for both.
    waiting = Speed(0.01, 0.0, work=0.125, stepping=0.5)
    found = simulate(Load(1.0, (1.0,)), waiting, 2, 1, arrivals=both, cores=1.5).first_sound
    assert found == pytest.approx((0.5, 0.5))
    assert waiting.capacity(2, 1, 1.0, cores=0.375) == pytest.approx(
        1.0
    )  # a clip takes a quarter of a core second and 0.125
    # What each step takes beside them counts once for the clips that share it: 0.5 + 50 * 0.005 = 0.75 cores for a clip of 1 s.
    stepped = Speed(0.01, 0.0, work_per_step=0.005)
    assert stepped.capacity(2, 1, 1.0, cores=0.75) == pytest.approx(1.0)
    found = simulate(Load(1.0, (1.0,)), stepped, 2, 1, arrivals=both, cores=1.5).first_sound
    assert found == pytest.approx((0.5 * 3 / 1.5,) * 2)
    # On half a core the steps take twice as long; beginning and storing want none while nothing else runs.
    speed = Speed(0.01, 0.0, begin=0.1, finish=0.2)
    queued = simulate(Load(1.0, (1.0,)), speed, 1, 1, arrivals=both, cores=0.5).first_sound
    assert queued == pytest.approx((0.1 + 1.0, 0.1 + 1.0 + 0.2 + 0.1 + 1.0))


def test_replicas_that_work_at_the_same_time_slow_each_other_down() -> None:
    """By hand: two clips of 1 s, of 50 steps of 10 ms, a quarter longer while both run."""
    speed = Speed(0.01, 0.0, slowdown=0.25)

    def sounds(later: float) -> tuple[float, ...]:
        return simulate(Load(1.0, (1.0,)), speed, 2, 1, arrivals=[(0.0, 1.0), (later, 1.0)]).first_sound

    assert sounds(0.0) == pytest.approx((0.625, 0.625))
    assert sounds(1.0) == pytest.approx((0.5, 0.5))
    # The first has half of its steps when the second comes: 0.25 s of them take 0.3125 s, after which the other is alone.
    assert sounds(0.25) == pytest.approx((0.25 + 0.3125, 0.3125 + 0.25))
    assert speed.capacity(2, 1, 1.0) == pytest.approx(2 / 0.5 / 1.25)


def test_a_speed_is_found_again_from_the_times_that_it_leads_to() -> None:
    speed = Speed(0.004, 0.0015, begin=0.06, prefill=0.02)

    def times(clips: int) -> tuple[float, float]:
        outcome = simulate(Load(1.0, (8.0,)), speed, 1, clips, arrivals=[(0.0, 8.0)] * clips)
        return outcome.mean, speed.of(clips)

    found = Speed.of_times(times(1), times(4), 4)
    assert dataclasses.astuple(found) == pytest.approx(dataclasses.astuple(speed))


def test_the_step_of_a_full_replica_is_found_again_from_the_time_of_its_clips() -> None:
    speed = Speed(0.004, 0.0015, begin=0.06, prefill=0.02, finish=0.1)
    # Four clips that begin one after the other, and enough behind them that no slot is ever free.
    arrivals = [(0.8 * number, 8.0) for number in range(4)] + [(2.5, 8.0)] * 40
    outcome = simulate(Load(1.0, (8.0,)), speed, 1, 4, arrivals=arrivals)
    sounds = [arrival + waited for (arrival, _), waited in zip(arrivals, outcome.first_sound, strict=True)]
    # A clip sounds a service time after the one that had its slot before.
    times = [later - earlier for earlier, later in itertools.pairwise(sorted(sounds)[8::4])]
    guess = dataclasses.replace(speed, step_per_clip=0.0)
    found = guess.with_service_time(statistics.fmean(times), 4, 8.0)
    assert found.step_per_clip == pytest.approx(speed.step_per_clip, rel=0.02)
    assert found.with_service_time(0.1, 1, 8.0) is found
    assert speed.capacity(1, 4, 8.0) == pytest.approx(4 / statistics.fmean(times), rel=0.02)


def test_others_wait_for_a_prefill() -> None:
    """By hand: a clip of 2 s has 0.2 s of its first chunk's 0.5 s when another one's prefill, of 0.2 s, begins."""
    arrivals = [(0.0, 2.0), (0.4, 2.0)]
    speed = Speed(0.01, 0.0, begin=0.1, prefill=0.2)
    first, second = simulate(Load(1.0, (2.0,)), speed, 1, 2, arrivals=arrivals).first_sound
    assert second == pytest.approx(0.1 + 0.2 + 0.5)
    assert first == pytest.approx(0.1 + 0.2 + 0.5 + 0.2)
    # Two at once: both wait for both.
    at_once = simulate(Load(1.0, (2.0,)), speed, 1, 2, arrivals=[(0.0, 2.0)] * 2).first_sound
    assert at_once == pytest.approx((0.1 + 2 * 0.2 + 0.5,) * 2)


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
    load, speed = Load(10_000 / 3600, (10.0, 30.0)), Speed(0.004, 0.0002, begin=0.1, prefill=0.002)
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
