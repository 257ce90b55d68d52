"""Messages from the process of a training to the page: picklable values."""

from __future__ import annotations

from typing import NamedTuple


class Curve(NamedTuple):
    """How far a training is. losses, validations: (step, loss) on the training's clips, and on those held out."""

    step: int
    losses: tuple[tuple[int, float], ...]
    validations: tuple[tuple[int, float], ...]


NOTHING = Curve(0, (), ())
"""Before the first step."""


class Ended(NamedTuple):
    """The training has ended. failure: why, in one line; "" where it has reached its last step or was stopped."""

    failure: str = ""


STOP = "stop"
"""The message from the page to the process: end after this step."""
