"""`musicgen serve --plan`: predicts the waiting times under a load for several numbers of replicas, and how many are enough."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from musicgen.cancellation import Cancellation
from musicgen.errors import InputError
from musicgen.serving.capacity import FRAME_RATE, Load, Speed, needed, simulate
from musicgen.serving.engines.base import EngineClient
from musicgen.serving.request import ClipRequest

MEASURED_SECONDS = 8.0
"""Length of the clips that are measured."""
_PROMPT = "90s rock song with a steady beat"


def measure(engine: EngineClient, model: str, slots: int) -> Speed:
    """The speed of an engine, from one clip and from as many as it has slots; without what a server does beside it.

    Args:
        engine: is warmed up first.
        model: the model's name.
        slots: clips that are generated together.
    """
    _timed(engine, model, 1, 1.0)
    alone = _timed(engine, model, 1, MEASURED_SECONDS)
    return Speed.of_times(alone, _timed(engine, model, slots, MEASURED_SECONDS), slots)


def _timed(engine: EngineClient, model: str, clips: int, seconds: float) -> tuple[float, float]:
    """Seconds to the first sound, and of a step after it, of clips that are generated together."""
    begun, times = time.monotonic(), [list[tuple[float, int]]() for _ in range(clips)]

    def generate(index: int) -> None:
        request = ClipRequest(_PROMPT, model, seconds)
        for chunk in engine.stream(request, index, lambda *_: None, Cancellation()):
            times[index].append((time.monotonic() - begun, round(chunk.samples.shape[1] / chunk.rate * FRAME_RATE)))

    threads = [threading.Thread(target=generate, args=(index,)) for index in range(clips)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if not all(times):
        raise InputError(f"{model} cannot be measured: its generation failed")
    steps = [
        (parts[-1][0] - parts[0][0]) / max(1, sum(frames for _, frames in parts[1:]))
        for parts in times
        if len(parts) > 1
    ]
    return min(parts[0][0] for parts in times), sum(steps) / len(steps) if steps else 0.0


def parse_speed(text: str) -> Speed:
    """A speed of "MS:MS": milliseconds of a step with one clip, and of each further clip.

    Raises:
        InputError: for another text.
    """
    parts = text.split(":")
    try:
        step, per_clip = (float(part) / 1000 for part in parts)
    except ValueError:
        step = per_clip = -1.0
    if not 0 < step < 10 or not 0 <= per_clip < 10:
        raise InputError(f"the speed is {text[:40]!r}: milliseconds of a step and of each further clip, such as 4:0.2")
    return Speed(step, per_clip)


def parse_durations(text: str) -> tuple[float, ...]:
    """Seconds separated by commas.

    Raises:
        InputError: for another text.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"the durations are {text[:60]!r}: seconds separated by commas, such as 10,30") from None


def table(load: Load, speed: Speed, slots: int, replicas: Sequence[int], first_sound: float) -> list[str]:
    """The lines of a plan.

    Args:
        load: what is asked for.
        speed: of a replica.
        slots: clips that a replica generates together.
        replicas: numbers of replicas to simulate.
        first_sound: seconds in which 95 % of the clips must sound.
    """
    durations = ", ".join(f"{duration:g}" for duration in load.durations)
    lines = [
        f"load: {load.rate:.3g} clips a second of {durations} s",
        f"speed: a step takes {1000 * speed.step:.2f} ms, each further clip {1000 * speed.step_per_clip:.2f} ms; a clip begins "
        f"after {1000 * speed.begin:.0f} ms, and its prefill takes {1000 * speed.prefill:.0f} ms, in which others wait; "
        f"{min(slots, speed.real_time_slots())} of {slots} slots are in real time",
        "replicas   first sound, seconds: median, 95 %, 99 %   keep up   slots in use",
    ]
    for count in replicas:
        outcome = simulate(load, speed, count, slots)
        quantiles = ", ".join(f"{outcome.quantile(share):8.2f}" for share in (0.5, 0.95, 0.99))
        lines.append(f"{count:8d}   {quantiles}              {outcome.kept_up:6.1%}   {outcome.busy:6.1%}")
    enough = needed(load, speed, slots, first_sound=first_sound)
    lines.append(
        f"95 % of the clips sound within {first_sound:g} s with "
        + (f"{enough} replicas" if enough is not None else "no number of replicas: a clip alone takes longer")
    )
    return lines
