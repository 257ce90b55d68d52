"""A memory budget that the threads of a process share: a thread waits until the bytes that it needs are available."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Iterator


class BudgetInUse(Exception):
    """The bytes were not available within the time that the caller was willing to wait."""


class Reservation:
    """Bytes of a budget that are in use.

    Attributes:
        amount: bytes.
    """

    def __init__(self, budget: ByteBudget, amount: int) -> None:
        self._budget, self.amount = budget, amount

    def grow(self, amount: int, seconds: float) -> None:
        """Take more of the budget, so that the reservation has `amount` bytes.

        Whoever waits here keeps what others may wait for: `seconds` should be short.

        Raises:
            BudgetInUse: others use the rest for longer than `seconds`.
        """
        amount = min(amount, self._budget.size)
        if amount > self.amount:
            self._budget.take(amount - self.amount, seconds, first=True)
            self.amount = amount


class ByteBudget:
    """A number of bytes, handed out in the order in which they are asked for. A forked process has a budget of its own.

    Args:
        size: bytes.
    """

    _free: int
    _changed: threading.Condition

    def __init__(self, size: int) -> None:
        self.size = size
        self._forget()
        if hasattr(os, "register_at_fork"):  # the threads that hold the lock and the bytes are not in the fork
            os.register_at_fork(after_in_child=self._forget)

    @contextlib.contextmanager
    def reserved(self, amount: int, seconds: float) -> Iterator[Reservation]:
        """Wait for bytes, and return them at the end of the block.

        Args:
            amount: bytes; more than all are all.
            seconds: how long to wait.

        Raises:
            BudgetInUse: others use them for longer than `seconds`.
        """
        reservation = Reservation(self, min(amount, self.size))
        self.take(reservation.amount, seconds)
        try:
            yield reservation
        finally:
            with self._changed:
                self._free = min(self.size, self._free + reservation.amount)
                self._changed.notify_all()

    def take(self, amount: int, seconds: float, first: bool = False) -> None:
        """Wait for bytes.

        Args:
            amount: bytes.
            seconds: how long to wait.
            first: before all who wait already.

        Raises:
            BudgetInUse: others use them for longer than `seconds`.
        """
        mine = object()
        deadline = time.monotonic() + seconds
        with self._changed:
            (self._waiting.appendleft if first else self._waiting.append)(mine)
            try:
                while self._waiting[0] is not mine or self._free < amount:
                    if not self._changed.wait(deadline - time.monotonic()) and time.monotonic() >= deadline:
                        raise BudgetInUse(f"{amount} bytes were not free within {seconds:g} s")
                self._free -= amount
            finally:
                self._waiting.remove(mine)
                self._changed.notify_all()

    def _forget(self) -> None:
        self._free = self.size
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()
