"""Routes for generations: create, follow, stream the audio, download, stop, delete."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any, Literal

import anyio.to_thread
from fastapi import FastAPI, Header, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse

from musicgen.errors import InputError
from musicgen.serving.api_schema import GenerationBody, GenerationPage, GenerationState, Identifier, Refusal
from musicgen.serving.clip_store import FORMATS, Expired, NoSpace
from musicgen.serving.service import GenerationJob, GenerationService
from musicgen.serving.web import audio_stream, server_sent_events
from musicgen.serving.web.errors import Refused
from musicgen.serving.web.generations import Generations
from musicgen.serving.web.keys import Keys

log = logging.getLogger(__name__)

PATH = "/v1/generations"
_ONE = f"{PATH}/{{identifier}}"
_NO_STORE = {"cache-control": "no-store", "x-accel-buffering": "no"}
"""A proxy must not keep the parts of a stream to itself."""
_REFUSALS: dict[int | str, dict[str, Any]] = {404: {"model": Refusal}, 401: {"model": Refusal}}
_MEDIA_TYPES = {"flac": "audio/flac", "wav": "audio/wav", "mp3": "audio/mpeg", "ogg": "audio/ogg"}


def add_routes(app: FastAPI, generations: Generations, keys: Keys) -> None:
    """Add the routes to the application."""
    service = generations.service

    @app.post(
        PATH, status_code=202, tags=["generations"],
        responses={401: {"model": Refusal}, 422: {"model": Refusal}, 429: {"model": Refusal}, 503: {"model": Refusal}},
    )  # fmt: skip
    def create_generation(
        request: Request, body: GenerationBody, response: Response,
        idempotency_key: str | None = Header(None, min_length=1, max_length=200),
    ) -> GenerationState:  # fmt: skip
        """Create a generation, which is added to the queue. The response contains the paths to follow it.

        Repeating a request with the same `Idempotency-Key`, for example after a lost response, returns the same generation."""
        owner = keys.owner(request)
        identifier = generations.submit(owner, body, idempotency_key)
        response.headers["location"] = f"{PATH}/{identifier}"
        return generations.state(owner, identifier)

    @app.get(PATH, tags=["generations"], responses={401: {"model": Refusal}})
    def list_generations(
        request: Request, limit: int = Query(20, ge=1, le=100), before: Identifier | None = None
    ) -> GenerationPage:
        """The generations of this client, the newest first. `before` is the `next` of the previous part."""
        return generations.page(keys.owner(request), limit, before)

    @app.get(_ONE, tags=["generations"], responses=_REFUSALS)
    def read_generation(request: Request, identifier: Identifier) -> GenerationState:
        """The state of a generation."""
        return generations.state(keys.owner(request), identifier)

    @app.post(f"{_ONE}/stop", tags=["generations"], responses=_REFUSALS)
    def stop_generation(request: Request, identifier: Identifier) -> GenerationState:
        """End a generation early; the audio so far becomes its clip."""
        owner = keys.owner(request)
        generations.stop(owner, identifier)
        return generations.state(owner, identifier)

    @app.delete(_ONE, status_code=204, tags=["generations"], responses=_REFUSALS)
    def delete_generation(request: Request, identifier: Identifier) -> Response:
        """Cancel a generation, and delete its clips."""
        generations.delete(keys.owner(request), identifier)
        return Response(status_code=204)

    @app.head(f"{_ONE}/audio", include_in_schema=False)
    @app.get(
        f"{_ONE}/audio",
        tags=["generations"],
        response_class=FileResponse,
        responses=_REFUSALS | {409: {"model": Refusal}},
    )
    def fetch_audio(
        request: Request, identifier: Identifier, clip: int = Query(0, ge=0, le=1000),
        format: Literal["flac", "wav", "mp3", "ogg"] = Query(FORMATS[0]),
    ) -> FileResponse:  # fmt: skip
        """The file of a finished clip, with its settings in the tags."""
        path = generations.sound(keys.owner(request), identifier, clip)
        file = _converted(service, path, format)
        return FileResponse(file, media_type=_MEDIA_TYPES[format], filename=file.name)

    @app.get(f"{_ONE}/events", tags=["generations"], response_class=StreamingResponse, responses=_REFUSALS)
    async def follow_events(
        request: Request, identifier: Identifier,
        audio: Literal["none", "pcm_s16le", "pcm_f32le"] = Query("none"),
        last_event_id: str | None = Header(None),
    ) -> StreamingResponse:  # fmt: skip
        """Follow a generation by server-sent events: position, progress, audio (base64, if requested), clip, and at
        the end done or error. `Last-Event-ID` continues after that event."""
        owner = keys.owner(request)
        job = await _job(generations, owner, identifier)
        after = int(last_event_id) if last_event_id and re.fullmatch("[0-9]{1,9}", last_event_id) else -1
        if job is None:
            await anyio.to_thread.run_sync(generations.check_here, owner, identifier)
            state = await anyio.to_thread.run_sync(generations.state, owner, identifier)
            frames = [server_sent_events.frame("clip", {"index": clip.index}) for clip in state.clips]
            end = {"id": identifier} if state.error is None else {"id": identifier, "message": state.error.message}
            frames.append(server_sent_events.frame("done" if state.error is None else "error", end))
            return StreamingResponse(iter(frames), media_type="text/event-stream", headers=_NO_STORE)
        events = server_sent_events.stream(
            service, job, form=None if audio == "none" else audio, after=after, end={"id": identifier}
        )
        return StreamingResponse(events, media_type="text/event-stream", headers=_NO_STORE)

    @app.get(
        f"{_ONE}/stream", tags=["generations"], response_class=StreamingResponse,
        responses=_REFUSALS | {409: {"model": Refusal}},
    )  # fmt: skip
    async def listen(
        request: Request, identifier: Identifier,
        format: Literal["wav", "pcm_s16le", "pcm_f32le"] = Query("wav"),
    ) -> Response:  # fmt: skip
        """Stream the audio of the first clip from its beginning, while it is generated. The connection is broken off if the
        generation fails. From a minute after the end of the generation, the finished file is streamed instead, and pcm_f32le is
        not available."""
        owner = keys.owner(request)
        job = await _job(generations, owner, identifier)
        if job is None:
            await anyio.to_thread.run_sync(generations.check_here, owner, identifier)
            path = await anyio.to_thread.run_sync(generations.sound, owner, identifier, 0)
            if format == "pcm_f32le":
                raise Refused(410, "gone", "the sound as the model made it is gone: fetch the file of the clip")
            file = await anyio.to_thread.run_sync(_converted, service, path, "wav")
            if format == "wav":
                return FileResponse(file, media_type="audio/wav")
            return Response(
                await anyio.to_thread.run_sync(audio_stream.samples_of, file), media_type=audio_stream.FORMATS[format]
            )
        return StreamingResponse(
            audio_stream.stream(service, job, format), media_type=audio_stream.FORMATS[format], headers=_NO_STORE
        )


def _converted(service: GenerationService, clip: Path, extension: str) -> Path:
    """The file of a clip in a format. Raises Refused if the clip's file is damaged."""
    try:
        return service.clip_store.convert(clip, extension)
    except (NoSpace, Expired):
        raise
    except InputError as error:
        log.error("a stored clip is damaged: %s", error)
        raise Refused(500, "damaged", "the stored clip is damaged: generate it again with its seed") from error


async def _job(generations: Generations, owner: str, identifier: str) -> GenerationJob | None:
    """The job of a generation, None for one that has ended a while ago."""
    active = await anyio.to_thread.run_sync(generations.active, identifier)
    if active is None or active.record.owner != owner:
        return None
    return active.job
