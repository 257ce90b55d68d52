"""The events of a generation as server-sent events (WHATWG HTML, section 9.2). A client that reconnects continues where it
was."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import json
from collections.abc import AsyncIterator
from typing import Any

from musicgen.errors import MusicGenError
from musicgen.serving.progress import Progress
from musicgen.serving.service import GenerationJob, GenerationService, PlaybackChunk
from musicgen.serving.web.audio_stream import encode

HEARTBEAT_SECONDS = 15.0
"""Longest silence: proxies close connections on which nothing is sent."""


def frame(name: str, data: dict[str, Any], number: int | None = None) -> bytes:
    """One event.

    Args:
        name: of the event.
        data: its contents.
        number: its id; None for one that is not repeated to a client that reconnects.
    """
    identifier = "" if number is None else f"id: {number}\n"
    return f"event: {name}\n{identifier}data: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


async def stream(
    service: GenerationService, job: GenerationJob, *, form: str | None, after: int, end: dict[str, Any]
) -> AsyncIterator[bytes]:
    """The events of a job until it is done.

    position {"position"}, progress {"message", "fraction", "seconds_left"}, audio {"rate", "channels", "precision", "unknown",
    "samples"}, clip {"index"}, and at the end done {} or error {"message"}.

    Args:
        service: of the job.
        job: that is followed.
        form: of the samples in audio events, which are encoded in base64; None for no audio events.
        after: number of the last event that the client knows, -1 for none.
        end: what is added to the last event.
    """
    number = clips = -1
    follower = service.job_queue.follow(job)
    pending: asyncio.Task[Any] | None = None
    try:
        while True:
            pending = pending or asyncio.ensure_future(anext(follower))
            done, _ = await asyncio.wait({pending}, timeout=HEARTBEAT_SECONDS)
            if not done:
                yield b": \n\n"
                continue
            event, pending = pending.result(), None
            if isinstance(event, int):
                yield frame("position", {"position": event})
            elif isinstance(event, Progress):
                yield frame("progress", dataclasses.asdict(event))
            else:
                number += 1
                clips += not isinstance(event, PlaybackChunk)
                if number <= after:
                    continue
                if not isinstance(event, PlaybackChunk):
                    yield frame("clip", {"index": clips}, number)
                elif form is not None:
                    yield frame("audio", _audio(event, form), number)
    except StopAsyncIteration:
        if not job.discarded:
            yield frame("done", end)
        elif not service.closing:  # else the next server takes it up, and the connection breaks off
            yield frame("error", {"message": "the generation was cancelled"} | end)
    except MusicGenError as error:
        yield frame("error", {"message": error.told("page")} | end)
    except Exception:
        yield frame("error", {"message": "the generation failed: an error of the server"} | end)
    finally:
        if pending is not None:
            pending.cancel()
            with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration, Exception):
                await pending
        await follower.aclose()


def _audio(event: PlaybackChunk, form: str) -> dict[str, Any]:
    return {
        "rate": event.rate,
        "channels": event.chunk.samples.shape[0],
        "precision": event.chunk.precision,
        "unknown": event.chunk.unknown,
        "samples": base64.b64encode(encode(event, form)).decode(),
    }
