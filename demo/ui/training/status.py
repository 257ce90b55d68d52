"""The progress of a training as HTML: a line of text, a progress bar, and the loss curve (SVG, in the colours of the theme)."""

from __future__ import annotations

import html
from collections.abc import Sequence

from ...training.run import Run, Snapshot, State
from ..result import show_status

WIDTH, HEIGHT = 480, 120
"""Of the curve, in its own units."""
_MARGIN = 6


def show(run: Run) -> str:
    """HTML of a training."""
    snapshot, steps = run.snapshot, run.request.steps
    return show_status(describe(snapshot, steps), fraction(snapshot, steps)) + curve(snapshot, steps)


def fraction(snapshot: Snapshot, steps: int) -> float | None:
    """The share of the steps that are done; None where it is not under way."""
    return snapshot.curve.step / steps if snapshot.state in (State.PREPARING, State.RUNNING) else None


def describe(snapshot: Snapshot, steps: int) -> str:
    """The line."""
    at = f"step {snapshot.curve.step} of {steps}"
    reason = f": {snapshot.message}" if snapshot.message else ""
    ready = f" {snapshot.adapter} is among the LoRA adapters (More settings)." if snapshot.adapter else ""
    lines = {
        State.WAITING: "Waiting for another training to end…",
        State.PREPARING: "Reading the clips…",
        State.RUNNING: f"Training, {at}{_losses(snapshot)}",
        State.STOPPED: f"Stopped at {at}{reason}.{ready}",
        State.FAILED: f"Not trained further than {at}{reason}.{ready}",
        State.DONE: f"Trained: {at}{_losses(snapshot)}.{ready}",
    }
    return lines[snapshot.state]


def _losses(snapshot: Snapshot) -> str:
    """The effect of the training on the held-out clips."""
    if not snapshot.curve.validations:
        return ""
    first, last = snapshot.curve.validations[0][1], snapshot.curve.validations[-1][1]
    now = f" now {last:.2f}" if len(snapshot.curve.validations) > 1 else ""
    return f"; the loss on held-out clips was {first:.2f} before{',' if now else ''}{now}"


def curve(snapshot: Snapshot, steps: int) -> str:
    """The losses over the steps: a line for the clips of the training, points for those held out; "" before there are two."""
    losses, validations = snapshot.curve.losses, snapshot.curve.validations
    values = [loss for _, loss in (*losses, *validations)]
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)

    def place(point: tuple[int, float]) -> tuple[float, float]:
        x = _MARGIN + (WIDTH - 2 * _MARGIN) * point[0] / steps
        y = _MARGIN + (HEIGHT - 2 * _MARGIN) * ((high - point[1]) / (high - low) if high > low else 0.5)
        return round(x, 1), round(y, 1)

    path = " ".join(f"{x},{y}" for x, y in map(place, _thinned(losses)))
    points = "".join(f'<circle cx="{x}" cy="{y}" r="4"/>' for x, y in map(place, validations))
    caption = f"Loss over the steps: {high:.2f} at the top, {low:.2f} at the bottom; points: held-out clips"
    text = html.escape(caption)
    return (
        f'<figure class="plot loss"><figcaption>{text}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{text}" preserveAspectRatio="none"><polyline points="{path}"/>{points}</svg></figure>'
    )


def _thinned(losses: Sequence[tuple[int, float]]) -> Sequence[tuple[int, float]]:
    """As many of the points as a screen shows."""
    return losses[:: max(1, len(losses) // WIDTH)]
