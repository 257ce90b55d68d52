"""Visits: the state that a browser finds again after reloading the page, or after a phone has discarded the tab.

A session is one load of the page. A visit spans all sessions of a browser and is identified by a token that only the browser
and the server know. It has the clips of the visitor and, through the job queue, which identifies visitors by their tokens, the
running generations. Visits are stored in the index, so that all workers that share it know them.
"""

from __future__ import annotations

import functools
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from sqlite3 import Connection

from musicgen.serving.index import Index
from musicgen.serving.stored_clip import StoredClip

from . import serialization

MAX_VISITS = 10_000
"""The least recently used ones are dropped first: clients can start any number of visits, which must not fill the memory."""
MAX_SESSIONS = 20
"""Of one visit. The oldest are forgotten first."""
REFRESH_SECONDS = 10.0
"""How exactly the last use of a visit is known: not each click writes to the disk."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS visits (token TEXT PRIMARY KEY, used REAL NOT NULL, needed TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS visits_by_use ON visits (used);
CREATE TABLE IF NOT EXISTS visit_sessions (number INTEGER PRIMARY KEY, session TEXT NOT NULL UNIQUE, token TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS sessions_of_visit ON visit_sessions (token);
CREATE TABLE IF NOT EXISTS visit_clips (
    number INTEGER PRIMARY KEY, token TEXT NOT NULL, id TEXT NOT NULL, favourite INTEGER NOT NULL DEFAULT 0, clip TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS clips_of_visit ON visit_clips (token)
"""


@functools.lru_cache(4_096)
def _clip(text: str) -> StoredClip:
    return serialization.load(StoredClip, text)


@dataclass(frozen=True)
class Visit:
    """One browser's clips, as the index has them now. Changed by `Visits` alone.

    Attributes:
        token: 128 random bits, as text.
    """

    token: str
    _index: Index = field(repr=False, compare=False)

    @property
    def clips(self) -> tuple[StoredClip, ...]:
        """The oldest first."""
        rows = self._index.read("SELECT clip FROM visit_clips WHERE token = ? ORDER BY number", (self.token,))
        return tuple(_clip(text) for (text,) in rows)

    @property
    def favourites(self) -> frozenset[str]:
        """Ids of clips that the visitor has marked."""
        rows = self._index.read("SELECT id FROM visit_clips WHERE token = ? AND favourite", (self.token,))
        return frozenset(str(one) for (one,) in rows)

    @property
    def needed(self) -> Mapping[str, str]:
        """Files that the settings on the page were made with and lack: input of audio -> the file's name."""
        rows = self._index.read("SELECT needed FROM visits WHERE token = ?", (self.token,))
        return dict(json.loads(rows[0][0])) if rows else {}

    @property
    def sessions(self) -> tuple[str, ...]:
        """The loads of the page, the oldest first."""
        rows = self._index.read("SELECT session FROM visit_sessions WHERE token = ? ORDER BY number", (self.token,))
        return tuple(str(one) for (one,) in rows)

    def find(self, clip_id: str | None) -> StoredClip | None:
        """The clip of that id, None for a clip that is not this visit's."""
        rows = self._index.read("SELECT clip FROM visit_clips WHERE token = ? AND id = ?", (self.token, clip_id))
        return _clip(rows[0][0]) if rows else None


class Visits:
    """The visits, by token and by session. Thread-safe.

    Args:
        index: where they are kept.
        max_clips: of one visit; the oldest that is no favourite is forgotten first.
        keep_seconds: time after its last use in which a visit is kept.
    """

    def __init__(self, index: Index, max_clips: int, keep_seconds: float) -> None:
        self._index, self._max_clips, self._keep_seconds = index, max_clips, keep_seconds
        index.create(_SCHEMA)

    def enter(self, session: str, token: str) -> tuple[Visit, bool, int]:
        """Connect a session with the visit that its browser remembers, or with a new one.

        Args:
            session: of the page that was loaded.
            token: what the browser remembers, "" for nothing.

        Returns:
            The visit, whether the token was known, and the number of its clips that have expired since.
        """
        with self._index.transaction() as database:
            known = self._refresh(database, token)
            visit = Visit(token if known else self._begin(database), self._index)
            self._connect(database, session, visit.token)
            gone = [clip.id for clip in visit.clips if not clip.path.is_file()]
            for clip_id in gone:
                _remove(database, visit.token, clip_id)
            return visit, known, len(gone)

    def find(self, session: str) -> Visit | None:
        """The visit of a session, None where the session has entered none."""
        rows = self._index.read("SELECT token FROM visit_sessions WHERE session = ?", (session,))
        return Visit(str(rows[0][0]), self._index) if rows else None

    def of(self, session: str) -> Visit:
        """The visit of a session; a new one where the session has entered none, or its visit was forgotten."""
        rows = self._index.read(
            "SELECT token, used FROM visits JOIN visit_sessions USING (token) WHERE session = ?", (session,)
        )
        if rows and rows[0][1] > time.time() - REFRESH_SECONDS:
            return Visit(str(rows[0][0]), self._index)
        with self._index.transaction() as database:
            visit = self.find(session)
            if visit is None:
                visit = Visit(self._begin(database), self._index)
                self._connect(database, session, visit.token)
            self._refresh(database, visit.token)
            return visit

    def add(self, token: str, clip: StoredClip) -> None:
        """Append a clip to a visit. Nothing happens for a token that is not known, such as the session of an API client."""
        with self._index.transaction() as database:
            if not self._refresh(database, token):
                return
            database.execute(
                "INSERT INTO visit_clips (token, id, clip) VALUES (?, ?, ?)", (token, clip.id, serialization.dump(clip))
            )
            database.execute(
                "DELETE FROM visit_clips WHERE number IN (SELECT number FROM visit_clips WHERE token = :token "
                "ORDER BY favourite, number LIMIT MAX(0, (SELECT COUNT(*) FROM visit_clips WHERE token = :token) - :most))",
                {"token": token, "most": self._max_clips},
            )

    def remove(self, visit: Visit, clip_id: str) -> None:
        """Take a clip out of a visit."""
        with self._index.transaction() as database:
            _remove(database, visit.token, clip_id)

    def toggle_favourite(self, visit: Visit, clip_id: str) -> None:
        """Mark a clip as a favourite, or no longer."""
        with self._index.transaction() as database:
            database.execute(
                "UPDATE visit_clips SET favourite = NOT favourite WHERE token = ? AND id = ?", (visit.token, clip_id)
            )

    def keep_needed(self, visit: Visit, needed: Mapping[str, str]) -> None:
        """Keep which files the settings on the page lack."""
        if visit.needed != needed:
            with self._index.transaction() as database:
                database.execute("UPDATE visits SET needed = ? WHERE token = ?", (json.dumps(needed), visit.token))

    def _connect(self, database: Connection, session: str, token: str) -> None:
        database.execute("INSERT OR REPLACE INTO visit_sessions (session, token) VALUES (?, ?)", (session, token))
        database.execute(
            "DELETE FROM visit_sessions WHERE number IN (SELECT number FROM visit_sessions WHERE token = ? "
            "ORDER BY number DESC LIMIT -1 OFFSET ?)",
            (token, MAX_SESSIONS),
        )

    def _begin(self, database: Connection) -> str:
        """A new visit; those that are old, or too many, are forgotten."""
        token = secrets.token_hex(16)
        database.execute("INSERT INTO visits VALUES (?, ?, '{}')", (token, time.time()))
        forgotten = database.execute(
            "SELECT token FROM visits WHERE used < ? UNION SELECT token FROM (SELECT token FROM visits ORDER BY used DESC "
            "LIMIT -1 OFFSET ?)",
            (time.time() - self._keep_seconds, MAX_VISITS),
        ).fetchall()
        for table in ("visits", "visit_sessions", "visit_clips"):
            database.executemany(f"DELETE FROM {table} WHERE token = ?", forgotten)
        return token

    def _refresh(self, database: Connection, token: str) -> bool:
        """Make a visit the most recently used one.

        Returns:
            Whether it is known.
        """
        return database.execute("UPDATE visits SET used = ? WHERE token = ?", (time.time(), token)).rowcount > 0


def _remove(database: Connection, token: str, clip_id: str) -> None:
    database.execute("DELETE FROM visit_clips WHERE token = ? AND id = ?", (token, clip_id))
