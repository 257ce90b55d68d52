"""The database of a server's clips and visitors: in memory, or in a file that several processes share.

SQLite is used because its locks between processes do not survive `kill -9`: the kernel releases them with the process, and the
next process that opens the file rolls back incomplete transactions. The journal mode is the rollback journal, which needs only
file locks; the write-ahead log needs shared memory, and so works on one machine only.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from musicgen.errors import InputError, MusicGenError

WAIT_SECONDS = 20.0
"""Time that a transaction waits for those of other processes, which take milliseconds."""


class IndexUnavailable(MusicGenError):
    """The index cannot be read or written."""


class Index:
    """A database. Thread-safe: one transaction of a process at a time.

    Args:
        file: which processes share; None for a database of this process alone, in memory.

    Raises:
        InputError: for a file that cannot be opened.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._lock = threading.RLock()
        try:
            self._connection = sqlite3.connect(
                ":memory:" if file is None else file, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False
            )  # fmt: skip
            self._connection.execute(
                "PRAGMA journal_mode = DELETE" if file is not None else "PRAGMA journal_mode = OFF"
            )
            # Not at the end of the program, at which a thread may still be using it.
            weakref.finalize(self, self._connection.close).atexit = False
        except sqlite3.Error as error:
            raise InputError(f"the index {file} cannot be opened ({error}): is it a file of this program?") from error

    def create(self, schema: str) -> None:
        """Create tables that are not there.

        Args:
            schema: statements `CREATE … IF NOT EXISTS`, separated by semicolons.
        """
        with self.transaction() as database:
            for statement in schema.split(";"):
                database.execute(statement)

    def read(self, query: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of one query.

        Raises:
            IndexUnavailable: the file cannot be read.
        """
        with self._lock, _told():
            return self._connection.execute(query, values).fetchall()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """What is read and written together, while no other process writes. An exception undoes it. One inside another is a
        part of it.

        Raises:
            IndexUnavailable: the file cannot be written.
        """
        with self._lock, _told():
            if self._connection.in_transaction:
                yield self._connection
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise IndexUnavailable(f"the server cannot read or write its index ({error}): try again later") from error
