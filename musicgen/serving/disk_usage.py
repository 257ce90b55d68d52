"""Disk usage of a shared folder, in total and per client network, for all servers that share it.

The total is a running total, so that no request waits for a scan of the folder: what a server writes and receives is added, and
a scan from time to time corrects it. The network "" has no limit per network.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from sqlite3 import Connection

from musicgen.serving.index import Index
from musicgen.serving.servers import Servers

_SCHEMA = """
CREATE TABLE IF NOT EXISTS disk_total (name TEXT PRIMARY KEY, bytes INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS disk_files (network TEXT NOT NULL, made REAL NOT NULL, bytes INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS disk_files_of_network ON disk_files (network, made);
CREATE TABLE IF NOT EXISTS disk_reserved (server TEXT NOT NULL, network TEXT NOT NULL, bytes INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS disk_folders (folder TEXT PRIMARY KEY, network TEXT NOT NULL)
"""
_OF_NETWORK = "SELECT COALESCE(SUM(bytes), 0) FROM disk_files WHERE network = ? AND made >= ?"
_TOTAL = "SELECT MAX(0, SUM(bytes)) FROM disk_total"
"""Below 0 it would be where a file ended during a count that had not met it: the next count corrects that."""
_ADDED, _FOUND = "added", "found"
"""Bytes that servers have written and deleted since the folder was made; bytes at the last count, less what had been added by
then."""


class DiskUsage:
    """The bytes of a folder. Thread-safe.

    Args:
        index: where they are kept.
        servers: that share the folder. What one that was killed had reserved is free again.
        seconds: after which a file expires.
    """

    def __init__(self, index: Index, servers: Servers, seconds: float) -> None:
        self._index, self._servers, self._seconds = index, servers, seconds
        index.create(_SCHEMA)
        with index.transaction() as database:
            for name in (_ADDED, _FOUND):
                database.execute("INSERT OR IGNORE INTO disk_total VALUES (?, 0)", (name,))

    def used(self) -> int:
        """Bytes of all files together."""
        return int(self._index.read(_TOTAL)[0][0])

    def counted(self, count: Callable[[], int]) -> int:
        """Correct the total.

        Args:
            count: counts the bytes of all files. What is added meanwhile counts, whether it has met it or not.

        Returns:
            What `count` has counted.
        """
        ((before,),) = self._index.read("SELECT bytes FROM disk_total WHERE name = ?", (_ADDED,))
        total = count()
        with self._index.transaction() as database:
            database.execute("UPDATE disk_total SET bytes = ? WHERE name = ?", (total - before, _FOUND))
        return total

    def add(self, network: str, size: int, made: float) -> None:
        """Count a file, or with negative bytes the end of one.

        Args:
            network: whose file it is.
            size: bytes.
            made: when the file was made, seconds since the epoch.
        """
        with self._index.transaction() as database:
            self._add(database, network, size, made)

    def of_network(self, network: str, now: float) -> int:
        """Bytes of the files of a network that have not expired.

        Args:
            network: whose files.
            now: seconds since the epoch.
        """
        ((total,),) = self._index.read(_OF_NETWORK, (network, now - self._seconds))
        return max(0, int(total))

    def reserve(self, network: str, size: int, check: Callable[[int, int], None]) -> None:
        """Keep room for a file that is about to be written.

        Args:
            network: whose file it is.
            size: bytes.
            check: as of `check`.
        """
        with self._index.transaction() as database:
            self._check(database, network, check)
            database.execute("INSERT INTO disk_reserved VALUES (?, ?, ?)", (self._servers.own, network, size))

    def release(self, network: str, size: int, written: int, now: float) -> None:
        """End a reservation.

        Args:
            network: whose files they are.
            size: bytes that were reserved.
            written: bytes that the files take.
            now: seconds since the epoch.
        """
        with self._index.transaction() as database:
            database.execute(
                "DELETE FROM disk_reserved WHERE rowid IN (SELECT rowid FROM disk_reserved WHERE server = ? AND network = ? "
                "AND bytes = ? LIMIT 1)",
                (self._servers.own, network, size),
            )
            if written:
                self._add(database, network, written, now)

    def check(self, network: str, check: Callable[[int, int], None]) -> None:
        """Compare what is taken with limits.

        Args:
            network: whose file is about to be written.
            check: called with the bytes that all files take, and those of the network, reservations included.
        """
        with self._index.transaction() as database:
            self._check(database, network, check)

    def set_owner(self, folder: str, network: str) -> None:
        """Keep for which network a folder was made."""
        with self._index.transaction() as database:
            database.execute("INSERT OR REPLACE INTO disk_folders VALUES (?, ?)", (folder, network))

    def owner(self, folder: str) -> str:
        """The network that a folder was made for, "" for none."""
        rows = self._index.read("SELECT network FROM disk_folders WHERE folder = ?", (folder,))
        return str(rows[0][0]) if rows else ""

    def forget(self, is_there: Callable[[str], bool], now: float) -> None:
        """Forget folders that are gone, files that have expired, and reservations of servers that have ended.

        Args:
            is_there: whether a folder is.
            now: seconds since the epoch.
        """
        gone = [one for one in self._index.read("SELECT folder FROM disk_folders") if not is_there(one[0])]
        ended = [
            one for one in self._index.read("SELECT DISTINCT server FROM disk_reserved")
            if not self._servers.is_running(one[0])
        ]  # fmt: skip
        with self._index.transaction() as database:
            database.executemany("DELETE FROM disk_folders WHERE folder = ?", gone)
            database.executemany("DELETE FROM disk_reserved WHERE server = ?", ended)
            database.execute("DELETE FROM disk_files WHERE made < ?", (now - self._seconds,))

    def _check(self, database: Connection, network: str, check: Callable[[int, int], None]) -> None:
        reserved: list[tuple[str, int]] = [
            (whose, size)
            for server, whose, size in database.execute("SELECT server, network, bytes FROM disk_reserved")
            if self._servers.is_running(server)
        ]
        ((used,),) = database.execute(_TOTAL)
        ((own,),) = database.execute(_OF_NETWORK, (network, time.time() - self._seconds))
        own = max(0, own) + sum(size for whose, size in reserved if whose == network)
        check(used + sum(size for _, size in reserved), own)

    def _add(self, database: Connection, network: str, size: int, made: float) -> None:
        database.execute("UPDATE disk_total SET bytes = bytes + ? WHERE name = ?", (size, _ADDED))
        if network:
            database.execute("INSERT INTO disk_files VALUES (?, ?, ?)", (network, made, size))
