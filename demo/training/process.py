"""Starting, following and ending the process of a training from the page's process."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from musicgen.cancellation import Cancellation
from musicgen.errors import InputError

from . import worker
from .messages import STOP, Curve, Ended

NICENESS = 10
"""Of the process: the page answers, and makes clips, first."""
STOP_SECONDS = 60.0
"""Time in which a training that was told to stop may validate, write its checkpoint and end."""
_POLL_SECONDS = 0.5


def train(
    recipe: Mapping[str, Any],
    output: Path,
    log_file: Path,
    device: str,
    *,
    seconds: float,
    cancellation: Cancellation,
    abandoned: Callable[[], bool],
    report: Callable[[Curve], str],
) -> str:
    """Run a training in a process of its own, to its last step, until it is stopped, or as long as it may take.

    Args:
        recipe: as `LMRecipe.from_dict` takes it.
        output: its folder.
        log_file: for what it prints.
        device: "auto" or "cpu".
        seconds: that it may take.
        cancellation: stops it after a step, with a checkpoint.
        abandoned: whether nobody wants what it makes: it is then ended at once.
        report: called with how far it is; returns why it may not go on, "" where it may.

    Returns:
        Why it was stopped before its last step; "" where it was not, or `cancellation` did it.

    Raises:
        InputError: it has failed, in one line.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=worker.main,
        args=(theirs, dict(recipe), output, log_file, device, NICENESS),
        name="training",
        daemon=True,
    )
    process.start()
    theirs.close()
    deadline, reason, told = time.monotonic() + seconds, "", False
    ended: Ended | None = None
    try:
        while ended is None:
            now = time.monotonic()
            if not told and (cancellation.cancelled or now >= deadline or reason):
                if not cancellation.cancelled and not reason:
                    reason = f"the {seconds / 60:.3g} minutes that it may take are over"
                told, deadline = True, now + STOP_SECONDS
                with contextlib.suppress(OSError):
                    ours.send(STOP)
            if abandoned() or (told and now >= deadline):
                break
            try:
                if not ours.poll(_POLL_SECONDS):
                    continue
                message = ours.recv()
            except (EOFError, OSError):
                break
            if isinstance(message, Curve):
                reason = report(message) or reason
            else:
                ended = message
    finally:
        process.join(5 if ended is not None else 0.5)
        if process.is_alive():
            process.kill()
            process.join()
        code = process.exitcode
        ours.close()
    if ended is not None and ended.failure:
        raise InputError(ended.failure)
    if ended is None and not told and not abandoned():
        raise InputError(
            f"its process has ended (exit code {code}), perhaps because memory was short: it can go on from its last "
            "checkpoint"
        )
    return reason
