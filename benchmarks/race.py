"""Interleaved runs of several systems, each in a separate process, so that other load on the machine affects all of them."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType

import torch

from benchmarks.systems import FRAME_RATE, SYSTEMS

SAMPLES_A_FRAME = 640
WARM_UP = 1.0
"""Seconds of music, before anything counts: what is compiled is compiled then."""
Contestant = tuple[str, str]
"""A system's name and its precision."""


class Race:
    """The processes of all contestants, in a `with` block.

    Args:
        contestants: Who takes part.
        folder: The weights.
        device: A PyTorch device.
        threads: Processor cores of each system.

    Attributes:
        running: Those that have loaded and not failed since.
        failures: "system precision" -> why it does not run.
    """

    def __init__(self, contestants: Sequence[Contestant], folder: Path | str, device: str, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.failures: dict[str, str] = {}
        self._connections: dict[Contestant, Connection] = {}
        self._processes: list[BaseProcess] = []
        for one in contestants:
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(there, *one, folder, device, threads), daemon=True)
            process.start()
            self._processes.append(process)
            answer = here.recv()
            if answer == "ready":
                self._connections[one] = here
            else:
                self.failures[" ".join(one)] = answer

    @property
    def running(self) -> list[Contestant]:
        """Those that have loaded and not failed since."""
        return list(self._connections)

    def warm_up(self, duration: float, batch: int = 1) -> None:
        """Let everybody make short clips, which do not count."""
        for one in self.running:
            self.run(one, min(WARM_UP, duration), batch)

    def run(self, one: Contestant, duration: float, batch: int = 1) -> float | None:
        """Time one generation.

        Args:
            one: The contestant.
            duration: Seconds of music of each clip.
            batch: Clips.

        Returns:
            Seconds; None if it failed, which ends its part.

        Raises:
            RuntimeError: It made something else than was asked for.
        """
        connection = self._connections[one]
        connection.send((duration, batch))
        answer = connection.recv()
        if isinstance(answer, str):
            self.failures[f"{' '.join(one)}, {batch} clips" if batch > 1 else " ".join(one)] = answer
            del self._connections[one]
            return None
        seconds, shape = answer
        expected = batch, round(duration * FRAME_RATE) * SAMPLES_A_FRAME
        if (shape[0], shape[-1]) != expected:
            raise RuntimeError(f"{one} made clips of shape {shape}, not {expected}: the work is not the same")
        return float(seconds)

    def __enter__(self) -> Race:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._connections.values():
            connection.send(None)
        for process in self._processes:
            process.join(timeout=30)
            process.kill()


def _serve(connection: Connection, system: str, precision: str, folder: Path | str, device: str, threads: int) -> None:
    """A process's whole life: load a system, then time one generation for each request that arrives, None to end."""
    torch.set_num_threads(threads)
    try:
        generate = SYSTEMS[system](folder, device, precision)
        connection.send("ready")
        while (request := connection.recv()) is not None:
            start = time.perf_counter()
            waves = generate(*request)
            connection.send((time.perf_counter() - start, tuple(waves.shape)))
    except Exception as error:  # the parent tells which system failed, and goes on with the others
        connection.send(f"{type(error).__name__}: {error}")
