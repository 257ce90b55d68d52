"""Routes for uploaded recordings: melodies, style excerpts and clips to continue."""

from __future__ import annotations

import re
from pathlib import Path

import anyio.to_thread
from fastapi import FastAPI, Query, Request, Response
from starlette.requests import ClientDisconnect

from musicgen import audio, midi
from musicgen.errors import InputError, MusicGenError
from musicgen.options import MAX_DURATION
from musicgen.serving.api_schema import FileState, Identifier, Refusal
from musicgen.serving.clip_store import writing
from musicgen.serving.web.errors import Refused
from musicgen.serving.web.generations import Generations
from musicgen.serving.web.keys import Keys
from musicgen.serving.web.records import FileRecord

PATH = "/v1/files"
MAX_NAME = 100
_UNSAFE = re.compile(r"[^\w.-]+", re.ASCII)


def safe_name(name: str) -> str:
    """A client's file name without characters that are special in paths or terminals."""
    cleaned = _UNSAFE.sub("_", name).strip("._-")[-MAX_NAME:].strip("._-")
    return "record_.json" if cleaned == "record.json" else cleaned or "file"


def add_routes(app: FastAPI, generations: Generations, keys: Keys) -> None:
    """Add the routes to the application."""
    store, records = generations.service.clip_store, generations.records

    @app.post(
        PATH, status_code=201, tags=["files"], responses={413: {"model": Refusal}, 422: {"model": Refusal}},
        openapi_extra={"requestBody": {"required": True, "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
        }}},
    )  # fmt: skip
    async def send_file(request: Request, name: str = Query(min_length=1, max_length=300)) -> FileState:
        """Upload a recording or a MIDI file as the body. Generations refer to it by its identifier.

        It expires as clips do, some hours after the upload.
        """
        owner = keys.owner(request)
        generations.check_open()
        network = generations.network(owner)
        declared = request.headers.get("content-length", "")
        limit = int(declared) if declared.isdigit() else int(generations.service.limits.upload_mb * 1e6)
        await anyio.to_thread.run_sync(store.reserve, limit, network)
        written, identifier = 0, ""
        try:
            record = FileRecord(owner=owner, name=safe_name(name))
            identifier = await anyio.to_thread.run_sync(records.create, record, network)
            path = records.folder(identifier) / record.name
            path.touch(0o600)
            async for part in request.stream():
                written += len(part)
                await anyio.to_thread.run_sync(_append, path, part)
            record.seconds = await anyio.to_thread.run_sync(_seconds, path)
            await anyio.to_thread.run_sync(records.update, identifier, record)
        except ClientDisconnect:
            written = 0
            records.delete(identifier)
            raise Refused(400, "disconnected", "the client left before the end of the file") from None
        except BaseException:
            written = 0
            if identifier:
                records.delete(identifier)
            raise
        finally:
            store.release(limit, written, network=network)
        return FileState(id=identifier, name=record.name, seconds=record.seconds)

    @app.get(f"{PATH}/{{identifier}}", tags=["files"], responses={404: {"model": Refusal}})
    def describe_file(request: Request, identifier: Identifier) -> FileState:
        """The metadata of a file."""
        return generations.describe_file(keys.owner(request), identifier)

    @app.delete(f"{PATH}/{{identifier}}", status_code=204, tags=["files"], responses={404: {"model": Refusal}})
    def delete_file(request: Request, identifier: Identifier) -> Response:
        """Delete a file."""
        generations.file(keys.owner(request), identifier)
        records.delete(identifier)
        return Response(status_code=204)


def _append(path: Path, part: bytes) -> None:
    with writing(), path.open("ab") as file:
        file.write(part)


def _seconds(path: Path) -> float | None:
    """Of a recording; None for MIDI.

    Raises:
        InputError: for what is neither.
    """
    try:
        if midi.is_midi(path):
            midi.notes(path)
            return None
        return audio.measure(path, MAX_DURATION).duration
    except MusicGenError as error:
        raise InputError(error.told("page").replace(str(path), path.name)) from error
