"""The training loop that the language model and the tokeniser share: steps, logging, validation, checkpoints, divergence.

    OUTPUT/history.json    losses and validations, and the files that could not be used
    OUTPUT/tensorboard/    the same numbers, for TensorBoard
    OUTPUT/model/          the trained model (moving average of the weights)

The host synchronises with the device only where it reads the losses. Subclasses define a step, the validation and the contents
of a checkpoint (`lm/trainer.py`, `tokenizer/trainer.py`).
"""

from __future__ import annotations

import io
import json
import logging
import math
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from tqdm import tqdm

from musicgen import audio
from musicgen.cancellation import Cancellation
from musicgen.errors import InputError
from musicgen.training.schema import differences

logger = logging.getLogger(__name__)

HISTORY = "history.json"
MODEL = "model"
ADAPTER = "adapter"
TENSORBOARD = "tensorboard"


@dataclass(frozen=True)
class Intervals:
    """Steps of the run, and steps between two readings of the losses, two validations and two checkpoints."""

    steps: int
    log: int
    validate: int
    checkpoint: int
    start: bool = False
    """Whether to validate before the first step too."""


class State(Protocol):
    """The interface of a run's state that the loop uses."""

    step: int
    """Steps done."""
    validations: list[dict[str, Any]]
    """The results so far, each with its "step"."""


class Trainer(ABC):
    """Runs the loop on a state; a subclass implements what differs."""

    name = "train"
    """Of the progress bar."""

    def __init__(
        self,
        run: State,
        intervals: Intervals,
        device: torch.device,
        *,
        is_main: bool = True,
        cancellation: Cancellation | None = None,
    ) -> None:
        """is_main: False in the processes of a distributed run that report nothing; cancellation: ends the run after a step,
        with a validation and a checkpoint from which it goes on."""
        self._run, self._intervals, self._device, self._is_main = run, intervals, device, is_main
        self._cancellation = Cancellation() if cancellation is None else cancellation

    @abstractmethod
    def finished(self) -> bool:
        """Whether training ends here; InputError if that is before there is a model."""

    @abstractmethod
    def train_step(self) -> dict[str, torch.Tensor]:
        """Make one step of the optimiser. Returns scalars on the device, whose means are logged."""

    @abstractmethod
    def log(self, means: dict[str, float], seconds_per_step: float) -> str:
        """Record the means since the last reading. Returns the line for the progress bar."""

    @abstractmethod
    def validate(self) -> None:
        """Measure the model on the clips held out and append to the state's `validations`."""

    @abstractmethod
    def save_checkpoint(self) -> None:
        """Write the state, atomically."""

    def can_validate(self) -> bool:
        """Whether there is a model to measure yet."""
        return True

    def fit(self) -> None:
        """Make the remaining steps, then validate and save what has not been.

        Raises:
            InputError: A loss is not finite, named with its step at the next reading. The last checkpoint is kept.
        """
        run, every = self._run, self._intervals
        sums: dict[str, torch.Tensor] = {}
        bad_step = torch.full((), -1, dtype=torch.int64, device=self._device)
        saved = run.step
        since, first = time.monotonic(), run.step
        disable = None if self._is_main else True
        if every.start and not run.step and not run.validations and self.can_validate():
            self.validate()
        with tqdm(total=every.steps, initial=run.step, desc=self.name, unit="step", disable=disable) as bar:
            while not self._cancellation.cancelled and not self.finished():
                losses = self.train_step()
                run.step += 1
                finite = torch.stack([loss.float() for loss in losses.values()]).isfinite().all()
                bad_step = torch.where((bad_step < 0) & ~finite, run.step, bad_step)
                sums = {name: sums[name] + loss if name in sums else loss for name, loss in losses.items()}
                due = {
                    name: run.step % getattr(every, name) == 0 for name in ("steps", "log", "validate", "checkpoint")
                }
                if not any(due.values()):
                    continue
                _stop_if_diverged(int(bad_step), saved)
                count = run.step - first
                means = {name: float(total) / count for name, total in sums.items()}
                self._show(bar, self.log(means, (time.monotonic() - since) / count))
                if due["validate"] and self.can_validate():
                    self.validate()
                if due["checkpoint"]:
                    self.save_checkpoint()
                    saved = run.step
                since, first, sums = time.monotonic(), run.step, {}
        _stop_if_diverged(int(bad_step), saved)
        if not run.validations or run.validations[-1]["step"] != run.step:
            self.validate()
            saved = -1
        if saved != run.step:
            self.save_checkpoint()

    def _show(self, bar: tqdm[Any], line: str) -> None:
        if bar.disable and self._is_main:  # not a terminal: lines in a log file
            logger.info("step %d: %s", self._run.step, line)
        bar.set_postfix_str(line, refresh=False)
        bar.update(self._run.step - bar.n)


def _stop_if_diverged(bad_step: int, saved: int) -> None:
    if bad_step >= 0:
        kept = "the last checkpoint is kept" if saved else "there is no checkpoint yet"
        raise InputError(
            f"step {bad_step}: a loss is not finite, training stops ({kept}): lower optimisation.learning_rate, or set "
            "optimisation.precision to float32"
        )


def cosine_decay(share: float, floor: float) -> float:
    """A factor of the learning rate: 1 at `share` 0, down a cosine to `floor` at `share` 1."""
    return floor + (1 - floor) * (1 + math.cos(math.pi * share)) / 2


def clock(seconds: float) -> str:
    """Such as "2 h 05 min"."""
    minutes = math.ceil(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def write_history(output: Path, values: dict[str, Any]) -> None:
    """OUTPUT/history.json, atomically."""
    audio.write_bytes(output / HISTORY, (json.dumps(values, indent=1) + "\n").encode())


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """A state of tensors and plain values, atomically."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    audio.write_bytes(path, buffer.getvalue())


def check_same_recipe(output: Path, stored: dict[str, Any], given: dict[str, Any]) -> None:
    """Raise InputError if a run's stored recipe and the given one differ in what they must agree on."""
    changed = differences(stored, given)
    if changed:
        raise InputError(f"{output} holds a run of another recipe ({', '.join(changed)}): choose another folder")
