"""How many replicas a number of listeners needs: a simulation of the queue, of the batches that clips share, and of the cores.

The clips of a replica advance together, one frame with each step, and a step takes longer the more of them there are. Where the
replicas, the server and its listeners are on one machine, all of them slow down once they want more cores than there are. So a
clip's speed changes whenever another one comes or goes (a processor-sharing queue whose rate depends on its state); no formula
gives its waiting times, but a simulation takes seconds.
"""

from __future__ import annotations

import dataclasses
import math
import random
import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from musicgen.errors import InputError

FRAME_RATE = 50.0
"""Hz: frames of a second of sound, of all published and embedded models."""
MAX_CLIPS = 200_000
"""Of one simulation."""


@dataclass(frozen=True)
class Speed:
    """How fast a replica is.

    Attributes:
        step: seconds of a step with one clip.
        step_per_clip: seconds that each further clip adds to a step.
        begin: seconds from the admission of a clip until its prefill, and of the way of its first sound to the listener; the
            other clips go on meanwhile.
        prefill: seconds of its prefill, in which the replica's other clips wait.
        first: seconds of sound in the first chunk, after which there is sound.
        finish: seconds from a clip's last sound until its place is free for the next one: the server stores it.
        work: seconds of a core that each second of sound takes beside the steps: the decoder's, the server's (limiter, storing,
            HTTP), and those of listeners on this machine.
        work_per_step: seconds of a core that each step takes beside that, however many clips it has.
        stepping: cores that the steps take; below 1 where they wait for other threads of the same Python process.
        slowdown: how much longer everything takes for each other replica that works at the same time, as a share: replicas on
            one machine share its caches and its memory.
    """

    step: float
    step_per_clip: float
    begin: float = 0.0
    prefill: float = 0.0
    first: float = 1.0
    finish: float = 0.0
    work: float = 0.0
    work_per_step: float = 0.0
    stepping: float = 1.0
    slowdown: float = 0.0

    @classmethod
    def of_times(
        cls, alone: tuple[float, float], together: tuple[float, float], slots: int, first: float = 1.0
    ) -> Speed:
        """The speed of a replica that was timed with one clip and with as many as it has slots.

        Args:
            alone: seconds from the request to the first sound, and of a step after it, of one clip.
            together: the same of `slots` clips that were asked for at once.
            slots: clips that the replica generates together.
            first: seconds of sound in the first chunk.
        """
        others = max(1, slots - 1)
        per_clip = max(0.0, (together[1] - alone[1]) / others)
        # All of them are prefilled before the first step.
        prefill = max(0.0, (together[0] - alone[0] - FRAME_RATE * first * per_clip * others) / others)
        begin = max(0.0, alone[0] - prefill - FRAME_RATE * first * alone[1])
        return cls(alone[1], per_clip, begin=begin, prefill=prefill, first=first)

    def with_service_time(self, seconds: float, slots: int, duration: float) -> Speed:
        """The speed of a replica in which a clip takes some time while all slots are in use, from its admission until its slot
        is free. Everything but the time that a further clip adds to a step stays as it is.

        Args:
            seconds: measured.
            slots: clips that the replica generates together.
            duration: of the clips, seconds.
        """
        if slots == 1:
            return self
        # In its time, each of the other slots begins a clip as well, and has no steps while that begins and while one ends.
        steps = seconds - self.begin - slots * self.prefill - self.finish
        others = (slots - 1) * (1 - (self.begin + self.finish) / seconds)
        per_clip = (steps / (FRAME_RATE * duration) - self.step) / others
        return dataclasses.replace(self, step_per_clip=max(0.0, per_clip))

    def of(self, clips: int) -> float:
        """Seconds of a step with a number of clips."""
        return self.step + self.step_per_clip * (clips - 1)

    def capacity(self, replicas: int, slots: int, duration: float, cores: float = math.inf) -> float:
        """The most clips a second that replicas keep up with: as their slots allow, and as the cores do.

        Args:
            replicas: their number.
            slots: clips that a replica generates together.
            duration: of the clips, seconds on average.
            cores: as of `simulate`.
        """
        frames, idle = FRAME_RATE * duration, self.begin + self.finish
        full = idle + slots * self.prefill + frames * self.of(slots)
        # A clip whose slot begins or ends does not slow the others' steps down: t = full - others * idle / t.
        others = frames * self.step_per_clip * (slots - 1)
        in_a_slot = (full + math.sqrt(max(0.0, full**2 - 4 * others * idle))) / 2
        each_step = self.stepping * self.of(slots) + self.work_per_step
        on_a_core = self.prefill + each_step * frames / slots + self.work * duration
        return min(replicas * slots / in_a_slot, cores / on_a_core) / self.slowed(replicas)

    def slowed(self, replicas: int) -> float:
        """How much longer everything takes while a number of replicas work at the same time."""
        return 1.0 + self.slowdown * max(0, replicas - 1)

    def real_time_slots(self) -> int:
        """The most clips that a replica generates together in real time; 0 where one is too slow."""
        if self.of(1) * FRAME_RATE > 1:
            return 0
        if self.step_per_clip <= 0:
            return MAX_CLIPS
        return int((1 / FRAME_RATE - self.step) / self.step_per_clip) + 1


@dataclass(frozen=True)
class Load:
    """What is asked for.

    Attributes:
        rate: clips a second, arriving independently of each other (Poisson).
        durations: seconds of the clips; each is as likely as the others.
    """

    rate: float
    durations: tuple[float, ...]

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1e5:
            raise InputError(f"the rate is {self.rate:g} clips a second: it must be above 0 and below 100000")
        if not self.durations or not all(0 < duration <= 600 for duration in self.durations):
            raise InputError(f"the durations are {list(self.durations)}: seconds above 0, 600 at most")


@dataclass
class _Clip:
    arrival: float
    frames: float
    """That it still needs."""
    until_sound: float
    """Frames until its first chunk is complete."""
    listened: float = -1.0
    """When there was sound; -1 before."""
    until_prefill: float = 0.0
    """Seconds until its prefill begins."""
    duration: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """What a simulation finds.

    Attributes:
        first_sound: seconds from the request to the first sound, of each clip, in the order of arrival.
        kept_up: share of the clips whose listener never waited after the first sound.
        busy: share of the slots in use, on average.
    """

    first_sound: tuple[float, ...]
    kept_up: float
    busy: float

    def quantile(self, share: float) -> float:
        """Quantile of the time to the first sound."""
        ordered = sorted(self.first_sound)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    @property
    def mean(self) -> float:
        """Mean time to the first sound."""
        return statistics.fmean(self.first_sound)


class _Replica:
    """Clips that advance together. Time is that of the last event."""

    def __init__(self, speed: Speed, slots: int) -> None:
        self.speed, self.slots = speed, slots
        self.clips: list[_Clip] = []
        self.finishing: list[float] = []
        """Seconds until the places of clips that are complete are free."""
        self.stall = 0.0
        """Seconds of prefill that lie ahead of the next step."""
        self.now = 0.0
        self.used = 0.0

    @property
    def has_room(self) -> bool:
        return self.taken < self.slots

    @property
    def taken(self) -> int:
        """Places that are not free."""
        return len(self.clips) + len(self.finishing)

    def admit(self, clip: _Clip) -> None:
        """Give a clip a place."""
        clip.until_prefill = self.speed.begin
        self.clips.append(clip)
        if not clip.until_prefill:
            self.stall += self.speed.prefill

    def demand(self) -> float:
        """Cores that it wants now, with the decoder, the server and the listeners of its clips."""
        running = len(self._running())
        if self.stall:
            return 1.0
        if not running:
            return 0.0
        beside = running / FRAME_RATE * self.speed.work + self.speed.work_per_step
        return self.speed.stepping + beside / self.speed.of(running)

    def advance(self, now: float, share: float) -> None:
        """Let the time pass. Nothing ends and nothing sounds in between: the caller stops at `next_event`.

        Args:
            now: seconds.
            share: of the speed that a replica has alone: below 1 where fewer cores are there than are wanted, or where other
                replicas slow it down.
        """
        self.used += (now - self.now) * self.taken
        span = (now - self.now) * share
        self.now = now
        running = self._running()
        if self.stall:
            self.stall = _less(self.stall, span)
        elif running:
            frames = span / self.speed.of(len(running))
            for clip in running:
                clip.frames -= frames
                clip.until_sound -= frames
        for clip in self.clips:
            if clip.until_prefill:
                clip.until_prefill = _less(clip.until_prefill, span)
                if not clip.until_prefill:
                    self.stall += self.speed.prefill
        self.finishing = [left for left in (_less(left, span) for left in self.finishing) if left]

    def next_event(self, share: float) -> float:
        """When a clip sounds, ends, or begins to run, a prefill ends or a place is free, if nothing comes before."""
        running = self._running()
        times = [clip.until_prefill for clip in self.clips if clip.until_prefill] + self.finishing
        if self.stall:
            times.append(self.stall)
        elif running:
            step = self.speed.of(len(running))
            for clip in running:
                left = clip.frames if clip.listened >= 0 else min(clip.until_sound, clip.frames)
                times.append(max(0.0, left) * step)
        return self.now + min(times, default=math.inf) / share

    def _running(self) -> list[_Clip]:
        return [clip for clip in self.clips if not clip.until_prefill]


def simulate(
    load: Load, speed: Speed, replicas: int, slots: int, *, clips: int = 2000, seed: int = 0,
    arrivals: Sequence[tuple[float, float]] | None = None, cores: float = math.inf,
) -> Outcome:  # fmt: skip
    """Simulate a service.

    Args:
        load: what is asked for.
        speed: of each replica.
        replicas: their number.
        slots: clips that a replica generates together.
        clips: number of clips that arrive.
        seed: of the arrivals.
        arrivals: (seconds, duration) of each clip in place of `load`'s, in order: those of a measurement.
        cores: that the replicas, of one core each, share with the server and the listeners. Where all of them want more,
            everything takes longer by the same factor. Without it, a replica has to itself what it needs.

    Raises:
        InputError: an argument is out of range.
    """
    if replicas < 1 or slots < 1 or not 0 < clips <= MAX_CLIPS:
        raise InputError(
            f"{replicas} replicas, {slots} slots, {clips} clips: each must be 1 or more, clips {MAX_CLIPS} at most"
        )
    coming = deque(arrivals if arrivals is not None else _arrivals(load, clips, random.Random(seed)))
    engines = [_Replica(speed, slots) for _ in range(replicas)]
    waiting: deque[_Clip] = deque()
    everyone: list[_Clip] = []
    kept_up = 0
    while coming or waiting or any(engine.taken for engine in engines):
        demands = [demand for demand in (engine.demand() for engine in engines) if demand]
        share = min(1.0, cores / sum(demands)) / speed.slowed(len(demands)) if demands else 1.0
        now = min([engine.next_event(share) for engine in engines] + [coming[0][0] if coming else math.inf])
        for engine in engines:
            engine.advance(now, share)
            kept_up += _settle(engine, now)
        while coming and coming[0][0] <= now:
            arrival, duration = coming.popleft()
            frames = duration * FRAME_RATE
            clip = _Clip(arrival, frames, min(speed.first * FRAME_RATE, frames), duration=duration)
            waiting.append(clip)
            everyone.append(clip)
        while waiting and any(engine.has_room for engine in engines):
            engine = min((one for one in engines if one.has_room), key=lambda one: one.taken)
            engine.admit(waiting.popleft())
    total = max(engine.now for engine in engines) or 1.0
    return Outcome(
        first_sound=tuple(clip.listened - clip.arrival for clip in everyone),
        kept_up=kept_up / len(everyone),
        busy=sum(engine.used for engine in engines) / (total * replicas * slots),
    )


_EPSILON = 1e-6
"""Frames that count as none: the time that fewer take is lost beside the time of day in a floating-point number."""
_INSTANT = 1e-9
"""Seconds that count as none, for the same reason."""


def _less(left: float, span: float) -> float:
    """What is left of some seconds; 0 for nothing."""
    return left - span if left - span > _INSTANT else 0.0


def _settle(engine: _Replica, now: float) -> int:
    """Note sound and ends. Returns the number of clips that ended in time for their listeners."""
    kept_up = 0
    for clip in list(engine.clips):
        if clip.listened < 0 and not clip.until_prefill and min(clip.until_sound, clip.frames) <= _EPSILON:
            clip.listened = now
        if clip.frames <= _EPSILON:
            engine.clips.remove(clip)
            if engine.speed.finish:
                engine.finishing.append(engine.speed.finish)
            kept_up += now - clip.listened <= clip.duration
    return kept_up


def _arrivals(load: Load, clips: int, random_numbers: random.Random) -> list[tuple[float, float]]:
    now, found = 0.0, []
    for _ in range(clips):
        now += random_numbers.expovariate(load.rate)
        found.append((now, random_numbers.choice(load.durations)))
    return found


def needed(
    load: Load, speed: Speed, slots: int, *, first_sound: float, share: float = 0.95, most: int = 10_000
) -> int | None:
    """The fewest replicas with which a share of the clips sounds in time.

    Args:
        load: what is asked for.
        speed: of each replica.
        slots: clips that a replica generates together.
        first_sound: seconds in which they must sound.
        share: of the clips.
        most: replicas to try.

    Returns:
        Their number; None where no number is enough, because one clip alone takes longer.
    """
    alone = speed.begin + speed.prefill + speed.of(1) * speed.first * FRAME_RATE
    if alone > first_sound:
        return None
    fewest = max(1, int(load.rate * statistics.fmean(load.durations) * FRAME_RATE * speed.of(slots) / slots))
    low, high = 0, fewest
    while simulate(load, speed, high, slots).quantile(share) > first_sound:
        low, high = high, high * 2
        if high > most:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        if simulate(load, speed, middle, slots).quantile(share) > first_sound:
            low = middle
        else:
            high = middle
    return high
