"""Routes that serve audio by random tokens. A token is valid for one rater, one page and one stimulus, and is looked up in the
database."""

from __future__ import annotations

import functools
import re
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import Connection, select

from ..database import schema
from ..database.study_database import StudyDatabase
from ..design.manifest import Study
from ..sessions import raters
from ..sessions.errors import RequestRefused
from ..sessions.raters import Rater
from . import file_padding
from .security import SESSION_COOKIE, TOKEN_PATTERN

PART_BYTES = 64 * 1024
"""Bytes sent to a connection at once, and so buffered for a slow reader."""


def add_routes(app: FastAPI, study: Study, database: StudyDatabase) -> None:
    """Add the route of the audio files."""

    @functools.lru_cache(maxsize=64)
    def stored(file_name: str) -> bytes:
        return study.audio_file(file_name).read_bytes()

    @functools.cache
    def size(file_name: str) -> int:
        return study.audio_file(file_name).stat().st_size

    @app.get("/audio/{token}")
    def audio(request: Request, token: str, compressed: bool = False) -> Response:
        if not re.fullmatch(TOKEN_PATTERN, token):
            raise RequestRefused(404, "no_audio", "no such clip")
        with database.read() as connection:
            rater = raters.find_by_session(connection, database, request.cookies.get(SESSION_COOKIE))
            # The token is looked up, never joined to a path, and valid for its own rater alone.
            row = connection.execute(
                select(schema.clip.c.name, schema.token.c.lease_id)
                .join(schema.token, schema.token.c.clip_id == schema.clip.c.id)
                .where(schema.token.c.token == token, schema.token.c.rater_id == rater.id)
            ).one_or_none()
            if row is None:
                raise RequestRefused(404, "no_audio", "no such clip")
            beside = _names_beside(connection, rater, row.lease_id)
        clip = study.clips[row.name]
        if clip.role == "attention":
            # It is alone on its page, and more beeps take more bytes: all checks are as large as the largest of them.
            beside = [name for name, other in study.clips.items() if other.role == "attention"]
        files = [study.clips[name].compressed if compressed else study.clips[name].lossless for name in beside]
        file = clip.compressed if compressed else clip.lossless
        # All files of a page are as large as the largest, and some bytes larger: sizes tell neither the hidden reference from
        # the others nor whether X is a copy of A or of B.
        length = max(map(size, files)) - size(file)
        length += int(database.keyed("padding", token)[:8], 16) % file_padding.MAX_PADDING
        if compressed:
            return _in_parts(*file_padding.pad_mp3(stored(file), length), "audio/mpeg")
        return _in_parts(*file_padding.pad_flac(stored(file), length), "audio/flac")


def _names_beside(connection: Connection, rater: Rater, lease_id: int | None) -> list[str]:
    """Names of the clips that the rater gets together: of one page, or of the headphone check."""
    token = schema.token
    mine = (token.c.rater_id == rater.id) & token.c.lease_id.is_not_distinct_from(lease_id)
    return list(
        connection.execute(
            select(schema.clip.c.name).join(token, token.c.clip_id == schema.clip.c.id).where(mine)
        ).scalars()
    )


def _in_parts(beginning: bytes, rest: memoryview, media_type: str) -> Response:
    """A file, of which no more is in the connection's buffer than its reader takes: slow readers of a clip share its memory."""

    async def parts() -> AsyncIterator[bytes]:
        yield beginning
        for start in range(0, len(rest), PART_BYTES):
            yield bytes(rest[start : start + PART_BYTES])

    length = str(len(beginning) + len(rest))
    return StreamingResponse(parts(), media_type=media_type, headers={"content-length": length})
