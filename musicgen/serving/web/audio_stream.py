"""Streaming the audio of a generation while it is generated."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import soundfile

from musicgen import provenance
from musicgen.errors import MusicGenError
from musicgen.serving.service import GenerationJob, GenerationService, PlaybackChunk
from musicgen.serving.web.body_limits import StreamBroken
from musicgen.wav_stream import WavStream

FORMATS = {"wav": "audio/wav", "pcm_s16le": "application/octet-stream", "pcm_f32le": "application/octet-stream"}
"""Format of a stream -> its media type. wav and pcm_s16le: 16 bits, with limited peaks, to be played. pcm_f32le: as the model
made it."""


def encode(event: PlaybackChunk, form: str) -> bytes:
    """The samples of a chunk, the channels of a time beside each other.

    Args:
        event: the chunk.
        form: of FORMATS; wav without its header.
    """
    if form == "pcm_f32le":
        return event.chunk.samples.T.astype("<f4").tobytes()
    return event.samples.astype("<i2").tobytes()


def samples_of(file: Path) -> bytes:
    """The samples of a WAV file of 16 bits, as of `encode`."""
    samples, _ = soundfile.read(file, dtype="int16", always_2d=True)
    return bytes(samples.astype("<i2").tobytes())


async def stream(service: GenerationService, job: GenerationJob, form: str) -> AsyncIterator[bytes]:
    """The sound of a job's first clip from its beginning.

    Args:
        service: of the job.
        job: that is followed until it is done.
        form: of FORMATS.
    """
    begun = False
    try:
        async with aclosing(service.job_queue.follow(job)) as events:
            async for event in events:
                if not isinstance(event, PlaybackChunk):
                    continue
                if not begun and form == "wav":
                    yield _header(service, job, event)
                begun = True
                samples = encode(event, form)
                if samples:
                    yield samples
    except MusicGenError as error:
        raise StreamBroken(str(error)) from error
    if job.discarded:
        raise StreamBroken("the generation was cancelled")


def _header(service: GenerationService, job: GenerationJob, event: PlaybackChunk) -> bytes:
    request = dataclasses.replace(job.payload, precision=event.chunk.precision)
    tags = provenance.tags(service.comment(request, request.seed or 0, complete=True))
    buffer = io.BytesIO()
    WavStream(buffer, event.rate, event.samples.shape[1], tags)
    return buffer.getvalue()
