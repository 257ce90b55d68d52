"""The workers of a page: processes that share a folder, each of which owns some of the sessions.

Gradio keeps the events of a session in the process that started them. So each session belongs to a worker. All sessions of a
browser belong to the same worker, and so do its jobs. The worker that receives a request looks up the owner of its session.
When a worker has ended, the next worker that receives a request for one of its sessions becomes the owner.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from musicgen.serving.index import Index
from musicgen.serving.servers import Servers

REGISTER_SECONDS = 10.0
"""Time that a request of a session waits at a worker that is not registered yet."""
MAX_KEYS = 100_000
"""Names of sessions and browsers that are kept, the last claimed ones: clients name themselves."""
LOGIN_SECONDS = 30 * 86_400.0
"""Time after which a login is forgotten."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS workers (server TEXT PRIMARY KEY, url TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS worker_keys (key TEXT PRIMARY KEY, server TEXT NOT NULL, claimed REAL NOT NULL);
CREATE INDEX IF NOT EXISTS worker_keys_by_time ON worker_keys (claimed);
CREATE TABLE IF NOT EXISTS worker_logins (token TEXT PRIMARY KEY, user TEXT NOT NULL, since REAL NOT NULL);
CREATE TABLE IF NOT EXISTS worker_secret (number INTEGER PRIMARY KEY, secret TEXT NOT NULL)
"""


@dataclass(frozen=True)
class Worker:
    """One of the other workers.

    Attributes:
        server: its name.
        url: where the others reach it.
    """

    server: str
    url: str


class Workers:
    """The workers of a folder. Thread-safe.

    Args:
        index: that they share.
        servers: which of them run.
        keep_seconds: time after which a session is forgotten.
    """

    def __init__(self, index: Index, servers: Servers, keep_seconds: float) -> None:
        self._index, self._servers, self._keep_seconds = index, servers, keep_seconds
        self._registered = threading.Event()
        index.create(_SCHEMA)
        with index.transaction() as database:
            database.execute("INSERT OR IGNORE INTO worker_secret VALUES (1, ?)", (secrets.token_hex(32),))
            ((self.secret,),) = database.execute("SELECT secret FROM worker_secret").fetchall()
        """A secret that only the workers know, contained in the requests that they forward to each other."""
        self.cookie = hashlib.sha256(self.secret.encode()).hexdigest()[:16]
        """A part of the name of the cookie of logins, which says nothing of the secret."""

    def register(self, url: str) -> None:
        """Let the others know where this worker is reached."""
        with self._index.transaction() as database:
            ended = [
                one for one in database.execute("SELECT server FROM workers").fetchall()
                if not self._servers.is_running(one[0])
            ]  # fmt: skip
            database.executemany("DELETE FROM workers WHERE server = ?", ended)
            database.execute("INSERT OR REPLACE INTO workers VALUES (?, ?)", (self._servers.own, url))
        self._registered.set()

    def claim(self, keys: Sequence[str]) -> Worker | None:
        """Find the owner of the keys, and assign keys without an owner to the owner of the first one that has one.

        Args:
            keys: names of a session, of an event or of a browser.

        Returns:
            The worker; None for this one, which becomes the owner if there was none.
        """
        # Keys that this worker claims before it is registered would be claimed by the others.
        self._registered.wait(REGISTER_SECONDS)
        owners = self._owners(keys, time.time() - self._keep_seconds / 2)
        if len(owners) == len(keys):
            owner = owners[keys[0]]
        else:
            with self._index.transaction() as database:
                now = time.time()
                owners = self._owners(keys, now - self._keep_seconds)
                owner = next(iter(owners.values()), self._servers.own)
                database.executemany(
                    "INSERT OR REPLACE INTO worker_keys VALUES (?, ?, ?)",
                    [(key, owners.get(key, owner), now) for key in keys],
                )
                database.execute("DELETE FROM worker_keys WHERE claimed < ?", (now - self._keep_seconds,))
                database.execute(
                    "DELETE FROM worker_keys WHERE key IN "
                    "(SELECT key FROM worker_keys ORDER BY claimed DESC LIMIT -1 OFFSET ?)",
                    (MAX_KEYS,),
                )
        if owner == self._servers.own:
            return None
        rows = self._index.read("SELECT url FROM workers WHERE server = ?", (owner,))
        return Worker(owner, str(rows[0][0])) if rows else None

    def is_claimed(self, key: str) -> bool:
        """Whether a worker that runs has a key."""
        return bool(self._owners([key], time.time() - self._keep_seconds))

    def is_running(self, worker: Worker) -> bool:
        """Whether a worker still runs."""
        return self._servers.is_running(worker.server)

    def login(self, token: str | None) -> str | None:
        """The user of a login, None where it is none."""
        rows = self._index.read("SELECT user FROM worker_logins WHERE token = ?", (token,))
        return str(rows[0][0]) if rows else None

    def logins(self) -> list[str]:
        """The tokens of all logins."""
        return [str(token) for (token,) in self._index.read("SELECT token FROM worker_logins")]

    def log_in(self, token: str, user: str) -> None:
        """Keep a login."""
        with self._index.transaction() as database:
            database.execute("INSERT OR REPLACE INTO worker_logins VALUES (?, ?, ?)", (token, user, time.time()))
            database.execute("DELETE FROM worker_logins WHERE since < ?", (time.time() - LOGIN_SECONDS,))

    def log_out(self, token: str) -> None:
        """End a login."""
        with self._index.transaction() as database:
            database.execute("DELETE FROM worker_logins WHERE token = ?", (token,))

    def _owners(self, keys: Sequence[str], since: float) -> dict[str, str]:
        """Key -> the worker that has it, in the order of the keys, of those that were claimed since and whose worker runs."""
        marks = ", ".join("?" * len(keys))
        query = f"SELECT key, server FROM worker_keys WHERE key IN ({marks}) AND claimed >= ?"
        found = dict(self._index.read(query, (*keys, since)))
        running = {server for server in set(found.values()) if self._servers.is_running(server)}
        return {key: found[key] for key in keys if found.get(key) in running}
