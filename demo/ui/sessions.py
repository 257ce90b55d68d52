"""Limits on what Gradio stores for sessions: clients choose the names of their sessions, and need not fetch their results."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import gradio as gr
from gradio.state_holder import SessionState, StateHolder
from starlette.exceptions import HTTPException

from ..presence import SessionPresence

MAX_NAME = 200
"""Characters of a session's name; the page's have about ten."""


class LightSessionState(SessionState):
    """A session without the copy of the whole page that Gradio keeps for deep links, which are closed here: 0.3 MB of each
    session, and the time to make it."""

    def __init__(self, blocks: gr.Blocks) -> None:
        super().__init__(SimpleNamespace(default_config=blocks.default_config, blocks={}))  # type: ignore[arg-type]

    def _update_config(self, key: int) -> None:
        pass

    def _update_value_in_config(self, key: int, value: Any) -> None:
        pass


class BoundedStateHolder(StateHolder):
    """The sessions, the last used ones.

    Args:
        other: Gradio's own holder, whose sessions stay.
    """

    def __init__(self, other: StateHolder) -> None:
        super().__init__()
        self.session_data, self.time_last_used, self.lock = other.session_data, other.time_last_used, other.lock
        self.set_blocks(other.blocks)

    def __getitem__(self, session_id: str) -> SessionState:
        if len(session_id) > MAX_NAME:
            raise HTTPException(400, f"the session's name has {len(session_id)} characters: {MAX_NAME} at most")
        if session_id not in self.session_data:
            self.session_data[session_id] = LightSessionState(self.blocks)
        return super().__getitem__(session_id)


def bound_queue(page: gr.Blocks, presence: SessionPresence) -> None:
    """Bound what the queue of a page keeps: results that nobody fetches, names of sessions, and statistics for monitoring,
    which is closed. To be called before the page is served.

    Args:
        page: whose `queue` has been called.
        presence: is told of each session that has started something.
    """
    queue = page._queue
    # Gradio makes a table of the last 10,000 events after each of them.
    queue.ANALYTICS_MAX_EVENTS, queue.ANAYLTICS_CACHE_FREQUENCY = 1, sys.maxsize
    push = queue.push

    async def bounded(body: Any, request: Any, username: str | None) -> tuple[bool, Any, Any]:
        if body.session_hash is not None and len(body.session_hash) > MAX_NAME:
            return False, f"the session's name has {len(body.session_hash)} characters: {MAX_NAME} at most", "error"
        answer = await push(body=body, request=request, username=username)
        if body.session_hash is not None:
            presence.expect(body.session_hash)
        return answer

    queue.push = bounded  # type: ignore[method-assign]


def forget(page: gr.Blocks, session: str, presence: SessionPresence) -> None:
    """Forget the results of a session that is gone, as soon as its last event has ended.

    Args:
        page: the page.
        session: its name.
        presence: looks again later where events have not ended.
    """
    queue = page._queue
    if any(event in queue.event_ids_to_events for event in queue.pending_event_ids_session.get(session, ())):
        presence.expect(session)
        return
    queue.pending_event_ids_session.pop(session, None)
    if session in queue.pending_messages_per_session:
        del queue.pending_messages_per_session[session]
