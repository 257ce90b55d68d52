"""The anonymous memory of this process, which, unlike mapped files, the kernel cannot reclaim. Needs Linux's /proc."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")
INTERVAL = 0.001
"""Seconds between two samples."""


def anonymous_bytes() -> int:
    """Anonymous memory of this process."""
    with Path("/proc/self/status").open(encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))


def peak_of(work: Callable[[], Result]) -> tuple[Result, int]:
    """Do some work while a thread samples.

    Args:
        work: Done in this thread.

    Returns:
        What it returns, and the most bytes beyond those from before.
    """
    before, ended = anonymous_bytes(), threading.Event()
    most = before

    def watch() -> None:
        nonlocal most
        while not ended.wait(INTERVAL):
            most = max(most, anonymous_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = work()
    finally:
        ended.set()
        watcher.join()
    return result, max(most, anonymous_bytes()) - before
