"""Visits: what a browser finds again after it has reloaded the page, or after a phone has discarded the tab.

A session is one load of the page; a visit is what a browser keeps across them, under a token that only the browser and the
server know. The visit has the clips and, through the job queue, whose visitors are tokens, the running generations.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping

from musicgen.serving.stored_clip import StoredClip

MAX_VISITS = 10_000
"""The least recently used ones are forgotten first: anybody can begin visits, and none may fill the memory."""
MAX_SESSIONS = 20
"""Of one visit. The oldest are forgotten first."""


class Visit:
    """One browser's clips. Changed by `Visits` alone.

    Attributes:
        token: 128 random bits, as text.
        clips: the oldest first.
        favourites: ids of clips that the visitor has marked.
        needed: files that the settings on the page were made with and lack: input of audio -> the file's name.
        sessions: the loads of the page.
    """

    def __init__(self, token: str) -> None:
        self.token = token
        self.clips: tuple[StoredClip, ...] = ()
        self.favourites: frozenset[str] = frozenset()
        self.needed: Mapping[str, str] = {}
        self.sessions: tuple[str, ...] = ()
        self.last_used = time.monotonic()

    def find(self, clip_id: str | None) -> StoredClip | None:
        """The clip of that id, None for a clip that is not this visit's."""
        return next((clip for clip in self.clips if clip.id == clip_id), None)


class Visits:
    """The visits, by token and by session. Thread-safe.

    Args:
        max_clips: of one visit; the oldest that is no favourite is forgotten first.
        keep_seconds: time after its last use in which a visit is kept.
    """

    def __init__(self, max_clips: int, keep_seconds: float) -> None:
        self._max_clips, self._keep_seconds = max_clips, keep_seconds
        self._visits: OrderedDict[str, Visit] = OrderedDict()
        self._tokens: dict[str, str] = {}
        """Session -> token."""
        self._lock = threading.Lock()

    def enter(self, session: str, token: str) -> tuple[Visit, bool, int]:
        """Connect a session with the visit that its browser remembers, or with a new one.

        Args:
            session: of the page that was loaded.
            token: what the browser remembers, "" for nothing.

        Returns:
            The visit, whether the token was known, and the number of its clips that have expired since.
        """
        with self._lock:
            visit = self._fresh(token)
            known = visit is not None
            visit = self._begin() if visit is None else visit
            self._connect(session, visit)
            kept = tuple(clip for clip in visit.clips if clip.path.is_file())
            expired, visit.clips = len(visit.clips) - len(kept), kept
            return visit, known, expired

    def find(self, session: str) -> Visit | None:
        """The visit of a session, None where the session has entered none."""
        with self._lock:
            return self._of(session)

    def of(self, session: str) -> Visit:
        """The visit of a session; a new one where the session has entered none, or its visit was forgotten."""
        with self._lock:
            visit = self._of(session)
            if visit is None:
                visit = self._begin()
                self._connect(session, visit)
            self._fresh(visit.token)
            return visit

    def add(self, token: str, clip: StoredClip) -> None:
        """Append a clip to a visit. Nothing happens for a token that is not known, such as the session of an API client."""
        with self._lock:
            visit = self._fresh(token)
            if visit is None:
                return
            clips = [*visit.clips, clip]
            while len(clips) > self._max_clips:
                clips.remove(next((one for one in clips if one.id not in visit.favourites), clips[0]))
            visit.clips = tuple(clips)

    def remove(self, visit: Visit, clip_id: str) -> None:
        """Take a clip out of a visit."""
        with self._lock:
            visit.clips = tuple(clip for clip in visit.clips if clip.id != clip_id)
            visit.favourites -= {clip_id}

    def toggle_favourite(self, visit: Visit, clip_id: str) -> None:
        """Mark a clip as a favourite, or no longer."""
        with self._lock:
            visit.favourites ^= {clip_id}

    def keep_needed(self, visit: Visit, needed: Mapping[str, str]) -> None:
        """Keep which files the settings on the page lack."""
        with self._lock:
            visit.needed = dict(needed)

    def _of(self, session: str) -> Visit | None:
        return self._visits.get(self._tokens.get(session, ""))

    def _connect(self, session: str, visit: Visit) -> None:
        sessions = [*(one for one in visit.sessions if one != session), session]
        for old in sessions[:-MAX_SESSIONS]:
            self._tokens.pop(old, None)
        visit.sessions = tuple(sessions[-MAX_SESSIONS:])
        self._tokens[session] = visit.token

    def _forget(self, token: str) -> None:
        for session in self._visits.pop(token).sessions:
            self._tokens.pop(session, None)

    def _begin(self) -> Visit:
        visit = Visit(secrets.token_hex(16))
        self._visits[visit.token] = visit
        oldest = time.monotonic() - self._keep_seconds
        for token in [token for token, one in self._visits.items() if one.last_used < oldest]:
            self._forget(token)
        while len(self._visits) > MAX_VISITS:
            self._forget(next(iter(self._visits)))
        return visit

    def _fresh(self, token: str) -> Visit | None:
        """The visit of a token, which is now the most recently used one."""
        visit = self._visits.get(token)
        if visit is not None:
            visit.last_used = time.monotonic()
            self._visits.move_to_end(token)
        return visit
