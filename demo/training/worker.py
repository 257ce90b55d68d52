"""The process of a training: runs `musicgen.training.lm` and reports its progress to the page.

The process runs at a lower priority than the page and writes its output to the run's log. It ends, with a checkpoint, when the
page asks it to or has ended.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicgen.cancellation import Cancellation
from musicgen.errors import MusicGenError, one_line

from .messages import Curve, Ended

if TYPE_CHECKING:
    from musicgen.training.lm.checkpointing import TrainingState

log = logging.getLogger(__name__)


def main(
    connection: Connection, recipe: Mapping[str, Any], output: Path, log_file: Path, device: str, niceness: int
) -> None:
    """Train, or go on from the last checkpoint.

    Args:
        connection: to the page.
        recipe: as `LMRecipe.from_dict` takes it.
        output: the training's folder.
        log_file: for what the process prints.
        device: as of `musicgen.training.lm.trainer.train`.
        niceness: by which its priority is lower than the page's.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the page's, which then ends this process
    os.umask(0o077)
    if hasattr(os, "nice"):
        os.nice(niceness)
    _print_to(log_file)
    cancellation = Cancellation()
    threading.Thread(target=_stop_on_message, args=(connection, cancellation), daemon=True).start()
    try:
        _train(connection, recipe, output, device, cancellation)
        ended = Ended()
    except MusicGenError as error:
        ended = Ended(_without_folder(error.told("page"), output))
    except Exception as error:
        log.exception("the training failed")
        short = isinstance(error, MemoryError) or "out of memory" in str(error)
        ended = Ended(
            "the machine has not enough memory: choose a smaller model"
            if short
            else f"something went wrong on the server ({one_line(type(error).__name__)}); its log says what"
        )
    with contextlib.suppress(OSError):  # the page is gone
        connection.send(ended)


def _train(
    connection: Connection, values: Mapping[str, Any], output: Path, device: str, cancellation: Cancellation
) -> None:
    from musicgen.training.lm.config import LMRecipe
    from musicgen.training.lm.trainer import train

    def tell(state: TrainingState) -> None:
        validations = tuple((one["step"], one["loss"]) for one in state.validations)
        with contextlib.suppress(OSError):
            connection.send(Curve(state.step, tuple(state.losses), validations))

    train(LMRecipe.from_dict(dict(values)), output, device, observer=tell, cancellation=cancellation)


def _print_to(file: Path) -> None:
    """Send standard output and standard error to a file."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", force=True)


def _stop_on_message(connection: Connection, cancellation: Cancellation) -> None:
    """Wait for the page, which sends a message when the training shall end, or ends itself."""
    with contextlib.suppress(EOFError, OSError):
        connection.recv()
    cancellation.cancel()


def _without_folder(text: str, output: Path) -> str:
    """A message that names no folder of the server."""
    for folder in (output, output.parent):
        text = text.replace(f"{folder}/", "")
    return text
