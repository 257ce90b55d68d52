"""The jobs of all workers that share an index: limits apply to all workers together, and another worker finishes the jobs of a
worker that was killed.

A clip depends only on its request and seed, so the other worker generates the same clip. An engine outside the workers
continues generations that are still running there (`EngineClient.stream`, `key`).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass

from musicgen.serving.index import Index
from musicgen.serving.job_queue import Check, Demand
from musicgen.serving.observer import Observer
from musicgen.serving.request import ClipRequest
from musicgen.serving.servers import Servers
from musicgen.serving.service import GenerationJob
from musicgen.serving.stored_clip import StoredClip

from . import serialization

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, server TEXT NOT NULL, visitor TEXT NOT NULL, address TEXT NOT NULL, seconds REAL NOT NULL,
    waits INTEGER NOT NULL, request TEXT NOT NULL, made INTEGER NOT NULL, taken_up INTEGER NOT NULL, created REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS jobs_of_visitor ON jobs (visitor)
"""
MAX_RECOVERIES = 3
"""A job that ends its worker this often is not recovered again."""


@dataclass(frozen=True)
class UnfinishedJob:
    """A job of a worker that has ended.

    Attributes:
        identifier: of the job.
        visitor, address: as of `Job`.
        request: for the variations that are not there yet.
    """

    identifier: str
    visitor: str
    address: str
    request: ClipRequest


class SharedJobs(Observer):
    """The jobs, from their admission to their end. Thread-safe.

    Args:
        index: where they are kept.
        servers: the workers that share it.
        keep_seconds: time after which a job that nobody has recovered is forgotten.
        is_closing: whether this worker is ending: the jobs that it cuts off stay, for another one.
        add_clip: adds a clip to what its visitor has, in the transaction that counts it as made.
    """

    def __init__(
        self, index: Index, servers: Servers, keep_seconds: float, is_closing: Callable[[], bool],
        add_clip: Callable[[str, StoredClip], None],
    ) -> None:  # fmt: skip
        self._index, self._servers, self._keep_seconds = index, servers, keep_seconds
        self._is_closing, self._add_clip = is_closing, add_clip
        index.create(_SCHEMA)

    def admit(self, job: GenerationJob, check: Check) -> None:
        """Check a job together with those of the other workers, and keep it. Raises what `check` raises."""
        with self._index.transaction() as database:
            others = database.execute(
                "SELECT server, visitor, address, seconds, waits FROM jobs WHERE server != ?", (self._servers.own,)
            ).fetchall()
            running = {server for server in {row[0] for row in others} if self._servers.is_running(server)}
            check([Demand(row[1], row[2], row[3], bool(row[4])) for row in others if row[0] in running])
            database.execute(
                "INSERT INTO jobs VALUES (:id, :server, :visitor, :address, :seconds, 1, :request, 0, 0, :now) "
                "ON CONFLICT (id) DO UPDATE SET server = :server, waits = 1",
                {
                    "id": job.identifier, "server": self._servers.own, "visitor": job.visitor, "address": job.address,
                    "seconds": job.seconds, "request": serialization.dump(job.payload), "now": time.time(),
                },
            )  # fmt: skip
            database.execute("DELETE FROM jobs WHERE created < ?", (time.time() - self._keep_seconds,))

    def recover(self, visitor: str) -> list[UnfinishedJob]:
        """The jobs of a visitor whose worker has ended; from now on they are this worker's."""
        query = "SELECT id, server, address, request, made, taken_up FROM jobs WHERE visitor = ? AND server != ?"
        if not self._index.read(query, (visitor, self._servers.own)):
            return []
        found = []
        with self._index.transaction() as database:
            for identifier, server, address, request, made, recoveries in database.execute(
                f"{query} ORDER BY created", (visitor, self._servers.own)
            ).fetchall():
                if self._servers.is_running(server):
                    continue
                left = _rest(request, made) if recoveries < MAX_RECOVERIES else None
                if left is None:
                    self.forget(identifier)
                    continue
                database.execute(
                    "UPDATE jobs SET server = ?, taken_up = taken_up + 1 WHERE id = ?", (self._servers.own, identifier)
                )
                found.append(UnfinishedJob(identifier, visitor, address, left))
        return found

    def forget(self, identifier: str) -> None:
        """Forget a job."""
        with self._index.transaction() as database:
            database.execute("DELETE FROM jobs WHERE id = ?", (identifier,))

    def started(self, job: GenerationJob) -> None:
        """Note that a job waits no longer."""
        with self._index.transaction() as database:
            database.execute("UPDATE jobs SET waits = 0 WHERE id = ?", (job.identifier,))

    def clip_stored(self, job: GenerationJob, clip: StoredClip) -> None:
        """Note a clip of a job, and that its visitor has it: both or nothing, whenever the worker is killed."""
        with self._index.transaction() as database:
            database.execute("UPDATE jobs SET made = made + 1 WHERE id = ?", (job.identifier,))
            self._add_clip(job.visitor, clip)

    def ended(self, job: GenerationJob) -> None:
        """Forget a job that is done, has failed, or was stopped or cancelled."""
        if not self._is_closing():
            self.forget(job.identifier)


def _rest(request: str, made: int) -> ClipRequest | None:
    """The request for what is left of a job; None for nothing, or for what another version of this program has written."""
    try:
        whole = serialization.load(ClipRequest, request)
    except ValueError:
        return None
    left = whole.variations - made
    assert whole.seed is not None
    return dataclasses.replace(whole, seed=whole.seed + made, variations=left) if left > 0 else None
