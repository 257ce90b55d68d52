"""Sessions of Gradio's queue, and a job's events for clients that have no page."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator
from typing import Any

import gradio as gr

from musicgen.serving.request import ClipRequest

from ...service import Service
from ..messages import network, visitor_id


def session_of(page: gr.Blocks, event_id: str) -> str:
    """The session that started an event; the event's own id where Gradio does not know the event any more."""
    queue = page._queue
    event = queue.event_ids_to_events.get(event_id)
    if event is not None:
        return event.session_hash
    # It has ended, and its results wait for somebody to fetch them.
    return next((session for session, ids in queue.pending_event_ids_session.items() if event_id in ids), event_id)


def has_results(page: gr.Blocks, session: str) -> bool:
    """Whether a session has events under way, or results that nobody has fetched."""
    return session in page._queue.pending_messages_per_session


async def _disconnected(request: Any) -> None:
    """Wait until the client of a request has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def stream_events(service: Service, request: gr.Request, generation: ClipRequest) -> AsyncGenerator[Any]:
    """Submit a request and follow its job until it is done.

    For API clients, which have no page that could find the job again: it is cancelled when the iterator is closed, as Gradio
    does when it finds that the client has left, when the session has had no connection for a while, and when a client without a
    session hangs up.

    Args:
        service: makes the clips.
        request: of the visitor.
        generation: what to generate.

    Yields:
        The position in the queue (int) or the `Progress` whenever it changes, and each `PlaybackChunk` and `StoredClip`.

    Raises:
        Exception: the error of the job.
    """
    session = visitor_id(request)
    # Looking for a model on the disk, and for space on it, takes a while.
    job = await asyncio.to_thread(service.submit, session or secrets.token_hex(16), generation, network(request))
    leaving: asyncio.Task[None] | None = None
    if session:
        service.presence.expect(session)
    else:
        leaving = asyncio.create_task(_disconnected(getattr(request, "request", request)))
        leaving.add_done_callback(lambda task: None if task.cancelled() else job.cancel())
    try:
        async with contextlib.aclosing(service.job_queue.follow(job)) as happenings:
            async for event in happenings:
                yield event
    finally:
        if leaving is not None:
            leaving.cancel()
        if not job.done:
            job.cancel()
