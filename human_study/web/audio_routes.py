"""Audio by random tokens: each is good for one rater, one page and one stimulus, and looked up in the database."""

from __future__ import annotations

import functools
import re

from fastapi import FastAPI, Request, Response
from sqlalchemy import select

from ..database import schema
from ..database.study_database import StudyDatabase
from ..design.manifest import Study
from ..sessions import raters
from ..sessions.errors import RequestRefused
from . import file_padding
from .security import SESSION_COOKIE, TOKEN_PATTERN


def add_routes(app: FastAPI, study: Study, database: StudyDatabase) -> None:
    """Add the route of the audio files."""

    @functools.lru_cache(maxsize=64)
    def stored(file_name: str) -> bytes:
        return study.audio_file(file_name).read_bytes()

    @functools.cache
    def largest_check(compressed: bool) -> int:
        checks = (clip for clip in study.clips.values() if clip.role == "attention")
        return max(len(stored(clip.compressed if compressed else clip.lossless)) for clip in checks)

    @app.get("/audio/{token}")
    def audio(request: Request, token: str, compressed: bool = False) -> Response:
        if not re.fullmatch(TOKEN_PATTERN, token):
            raise RequestRefused(404, "no_audio", "no such clip")
        with database.read() as connection:
            rater = raters.find_by_session(connection, database, request.cookies.get(SESSION_COOKIE))
            # The token is looked up, never joined to a path, and valid for its own rater alone.
            row = connection.execute(
                select(schema.clip.c.name)
                .join(schema.token, schema.token.c.clip_id == schema.clip.c.id)
                .where(schema.token.c.token == token, schema.token.c.rater_id == rater.id)
            ).one_or_none()
        if row is None:
            raise RequestRefused(404, "no_audio", "no such clip")
        clip = study.clips[row.name]
        length = int(database.keyed("padding", token)[:8], 16) % file_padding.MAX_PADDING
        if clip.role == "attention":
            # More beeps take more bytes: all check clips are padded to the largest one first.
            length += largest_check(compressed) - len(stored(clip.compressed if compressed else clip.lossless))
        if compressed:
            return Response(file_padding.pad_mp3(stored(clip.compressed), length), media_type="audio/mpeg")
        return Response(file_padding.pad_flac(stored(clip.lossless), length), media_type="audio/flac")
