"""Memory that threads share: never more than there is, in the order of asking, and a fork begins anew."""

import os
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen.byte_budget import BudgetInUse, ByteBudget


@settings(deadline=None, max_examples=25)
@given(amounts=st.lists(st.integers(1, 150), min_size=1, max_size=8), growing=st.integers(1, 150))
def test_no_more_is_handed_out_than_there_is(amounts: list[int], growing: int) -> None:
    """Counted by the threads themselves."""
    budget, lock, used, most = ByteBudget(100), threading.Lock(), 0, 0

    def change(amount: int) -> None:
        nonlocal used, most
        with lock:
            used += amount
            most = max(most, used)

    def work(amount: int) -> None:
        with budget.reserved(amount, 20) as reservation:
            change(reservation.amount)
            time.sleep(0.0005)
            before = reservation.amount
            try:
                reservation.grow(growing, 0.001)
                change(reservation.amount - before)
            except BudgetInUse:
                assert reservation.amount == before
            change(-reservation.amount)

    threads = [threading.Thread(target=work, args=(amount,)) for amount in amounts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert used == 0
    assert most <= 100
    with budget.reserved(100, 0):  # all of it is back
        pass


def test_who_asks_first_is_served_first() -> None:
    """A large share is not passed over by small ones that would fit."""
    budget, served = ByteBudget(100), []

    def ask(amount: int) -> None:
        with budget.reserved(amount, 20):
            served.append(amount)

    with budget.reserved(50, 0):
        threads = []
        for amount in (80, 10):
            threads.append(threading.Thread(target=ask, args=(amount,)))
            threads[-1].start()
            time.sleep(0.05)
        assert served == []
    for thread in threads:
        thread.join(20)
    assert served == [80, 10]


def test_waiting_ends_and_leaves_nothing_behind() -> None:
    budget = ByteBudget(100)
    with budget.reserved(60, 0):
        with pytest.raises(BudgetInUse), budget.reserved(50, 0.05):
            raise AssertionError("110 of 100 bytes")
        with budget.reserved(40, 0):
            pass
    with budget.reserved(1_000, 0) as all_of_it:
        assert all_of_it.amount == 100


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_fork_has_its_own() -> None:
    budget = ByteBudget(100)
    with budget.reserved(100, 0):
        child = os.fork()
        if not child:
            try:
                with budget.reserved(100, 0):
                    os._exit(0)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
