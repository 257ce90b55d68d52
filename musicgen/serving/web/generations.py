"""The generations of the API: accepting, following, downloading and cancelling them, and resuming them after a restart.

A generation is stored with its seed before it is acknowledged. If the server ends before the clip is finished, the next server
with the same folder generates the same clip.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import secrets
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from musicgen.cancellation import Cancelled
from musicgen.errors import InputError, MusicGenError
from musicgen.options import STYLE_SECONDS
from musicgen.serving.api_schema import (
    ClipState,
    Failure,
    FileState,
    GenerationBody,
    GenerationPage,
    GenerationState,
    ProgressState,
    Status,
    body_of,
)
from musicgen.serving.job_queue import QueueFull
from musicgen.serving.observer import Observer
from musicgen.serving.progress import Progress
from musicgen.serving.request import MAX_SEED, ClipRequest
from musicgen.serving.service import GenerationJob, GenerationService
from musicgen.serving.stored_clip import StoredClip
from musicgen.serving.web.errors import RETRY_SECONDS, Refused, not_found
from musicgen.serving.web.generation_index import GenerationIndex
from musicgen.serving.web.keys import ANYBODY
from musicgen.serving.web.records import FileRecord, GenerationRecord, Records, StoredSound, is_identifier

log = logging.getLogger(__name__)

FOLLOWED_SECONDS = 60.0
"""Time after its end in which a generation can still be followed event by event. After that its file is what is streamed."""
MAX_RECOVERIES = 3
"""A generation that ends its server this often is not recovered again."""


@dataclass
class ActiveGeneration:
    """A generation that waits, runs, or has just ended.

    Attributes:
        record: what is stored of it.
        job: its job.
        ended: when it ended (`time.monotonic`), None before.
    """

    record: GenerationRecord
    job: GenerationJob
    ended: float | None = None


class Generations(Observer):
    """The generations of a service. Methods block on the disk; they are called outside of the event loop.

    Args:
        service: generates; its clips and the records are in its store, which other servers may share.
    """

    def __init__(self, service: GenerationService) -> None:
        store = service.clip_store
        self.service, self.records, self._servers = service, Records(store), store.servers
        self._index, self._generation_index = store.index, GenerationIndex(store.index)
        self.draining = False
        """Whether new generations are refused because the server is about to end."""
        self._active: dict[str, ActiveGeneration] = {}
        self._of_jobs: dict[int, str] = {}
        self._lock = threading.Lock()
        service.observers.append(self)

    def submit(self, owner: str, body: GenerationBody, key: str | None = None) -> str:
        """Accept a generation: it is stored, and waits.

        Args:
            owner: whose it is.
            body: what to generate.
            key: of the owner's choice: a request with the key of an earlier one is that one again; None for a new one.

        Returns:
            Its identifier.

        Raises:
            InputError: for a request that cannot be served, and a disk without space.
            Refused: where the queue is full, a file is not there, or the server is about to end.
        """
        self.check_open()
        known = None if key is None else self._known(owner, key, body)
        if known is not None:
            return known
        seed = secrets.randbelow(MAX_SEED - self.service.limits.max_variations) if body.seed is None else body.seed
        files = {field: self.file(owner, identifier) for field, identifier in body.files.items()}
        request = dataclasses.replace(body.request(self.service.catalog, files), seed=seed)
        self.service.check(owner, request, self.network(owner))
        self._check_recordings(body)
        record = GenerationRecord(
            owner=owner, server=self._servers.own, created=time.time(), body=body_of(request, body.files), seed=seed
        )
        with self._index.transaction():  # of requests with one key at the same time one is the first
            known = None if key is None else self._known(owner, key, body)
            if known is not None:
                return known
            identifier = self.records.create(record, self.network(owner))
            self._generation_index.add(identifier, owner, record.created, key)
        try:
            self._start(identifier, record, request)
        except QueueFull as error:
            self._forget(identifier)
            raise Refused(429, "queue_full", str(error), RETRY_SECONDS) from error
        except BaseException:
            self._forget(identifier)
            raise
        return identifier

    def _check_recordings(self, body: GenerationBody) -> None:
        """Raises InputError for a file that is of no use in its place: its length is known since it was sent."""
        for field, identifier in body.files.items():
            record = self.records.read(identifier)
            seconds = record.seconds if isinstance(record, FileRecord) else None
            if seconds is None:
                if field != "melody":
                    raise InputError(f"{field} is a MIDI file: it must be a recording")
            elif field == "style" and seconds < STYLE_SECONDS[0]:
                raise InputError(f"the style is {seconds:.2f} s long: it needs {STYLE_SECONDS[0]:g} s at least")
            elif field == "continue_from" and body.span is None and seconds >= body.duration:
                raise InputError(
                    f"the audio to continue from is {seconds:.2f} s long and the result {body.duration:.2f} s: the result "
                    "includes it, so it must be longer"
                )
            elif field == "continue_from" and body.span is not None and body.span[1] > seconds:
                raise InputError(
                    f"the span {body.span[0]:g}:{body.span[1]:g} reaches beyond the clip of {seconds:.2f} s: to make it "
                    "longer, continue it"
                )

    def _known(self, owner: str, key: str, body: GenerationBody) -> str | None:
        """The generation that an owner has asked for with a key, None for none.

        Raises:
            Refused: it is for another request. Files count by their place: a client may have sent them again.
        """
        identifier = self._generation_index.by_key(owner, key)
        record = None if identifier is None else self.records.read(identifier)
        if identifier is None or not isinstance(record, GenerationRecord):
            if identifier is not None:  # it has expired
                self._generation_index.remove(identifier)
            return None
        same = body_of(body.request(self.service.catalog, {}), dict.fromkeys(body.files, "0" * 32))
        there = record.body.model_copy(update=dict.fromkeys(record.body.files, "0" * 32))
        if same.seed is None:
            there = there.model_copy(update={"seed": None})
        if same != there:
            raise Refused(422, "key_reused", "the idempotency key belongs to another request: send a new one")
        return identifier

    def _forget(self, identifier: str) -> None:
        self.records.delete(identifier)
        self._generation_index.remove(identifier)

    def page(self, owner: str, count: int, before: str | None) -> GenerationPage:
        """A part of an owner's generations, the newest first.

        Args:
            owner: whose.
            count: how many at most.
            before: the generation after which the part begins, None for the newest.
        """
        identifiers = self._generation_index.of(owner, count, before)
        states = []
        for identifier in identifiers:
            try:
                states.append(self.state(owner, identifier))
            except Refused:  # it has expired
                self._generation_index.remove(identifier)
        return GenerationPage(generations=states, next=identifiers[-1] if len(identifiers) == count else None)

    def check_open(self) -> None:
        """Raises Refused where the server is about to end."""
        if self.draining:
            raise Refused(503, "draining", "the server is about to end: try again", RETRY_SECONDS)

    def recover(self) -> int:
        """Queue the generations that a server before this one accepted and did not end.

        Returns:
            Their number.
        """
        count = 0
        for identifier, record in self.records.generations():
            self._generation_index.add(identifier, record.owner, record.created)
            if record.status not in ("queued", "running") or self._servers.is_running(record.server):
                continue
            record.server = self._servers.own
            try:
                files = {field: self.file(record.owner, one) for field, one in record.body.files.items()}
                request = dataclasses.replace(record.body.request(self.service.catalog, files), seed=record.seed)
                if record.taken_up >= MAX_RECOVERIES:
                    raise InputError("it ended the server several times")
                record.taken_up += 1
                record.clips = []
                self.records.update(identifier, record)
                self._start(identifier, record, request, admitted=True)
                count += 1
            except MusicGenError as error:
                record.status, record.error = "failed", Failure(code="failed", message=error.told("page"))
                self._store(identifier, record)
            except Exception:  # whatever is in the folder, the server starts
                log.exception("the generation %s cannot be taken up", identifier)
        return count

    def network(self, owner: str) -> str:
        """Whose share of the queue and the disk an owner's requests count for; "" where all clients are one."""
        return "" if owner == ANYBODY else owner

    def _start(
        self, identifier: str, record: GenerationRecord, request: ClipRequest, *, admitted: bool = False
    ) -> None:
        with self._lock:  # the job may end before it is known here
            job = self.service.submit(record.owner, request, self.network(record.owner), admitted=admitted)
            self._active[identifier] = ActiveGeneration(record, job)
            self._of_jobs[id(job)] = identifier

    def state(self, owner: str, identifier: str) -> GenerationState:
        """What is known of a generation.

        Raises:
            Refused: it is not there.
        """
        active = self.active(identifier)
        record = self._record(owner, identifier) if active is None else active.record
        if record.owner != owner:
            raise not_found("generation", identifier)
        status, position, progress = record.status, 0, None
        if active is not None and active.ended is None:
            position = self.service.job_queue.position(active.job)
            status = "queued" if position else "running"
            if isinstance(active.job.progress, Progress):
                progress = ProgressState(**dataclasses.asdict(active.job.progress))
        return GenerationState(
            id=identifier,
            status=status,
            model=record.body.model or "",
            seed=record.seed,
            precision=record.precision or record.body.precision,
            duration=record.body.duration,
            position=position,
            progress=progress,
            clips=[sound.state for sound in record.clips],
            error=record.error,
            events=f"/v1/generations/{identifier}/events",
            stream=f"/v1/generations/{identifier}/stream",
        )

    def active(self, identifier: str) -> ActiveGeneration | None:
        """A generation that can be followed, None for one that ended a while ago."""
        with self._lock:
            self._forget_ended()
            return self._active.get(identifier)

    def sound(self, owner: str, identifier: str, index: int) -> Path:
        """The file of a clip.

        Raises:
            Refused: it is not there, or not yet.
        """
        record = self._record(owner, identifier)
        if index >= len(record.clips):
            if record.status in ("queued", "running"):
                raise Refused(409, "not_ready", "the clip is not there yet", RETRY_SECONDS)
            if record.error is not None:
                raise Refused(409, record.error.code, record.error.message)
            raise not_found("clip", f"{index} of the generation {identifier}")
        path = self._path(record.clips[index])
        if path is None or not path.is_file():
            raise not_found("generation", identifier)
        return path

    def _path(self, sound: StoredSound) -> Path | None:
        """The file of a clip; None if a tampered record names a file that is not a clip of the store."""
        path = self.service.clip_store.folder / sound.path
        fits = path.parent.parent == self.service.clip_store.clips_folder and is_identifier(path.parent.name)
        return path if fits and ".." not in Path(sound.path).parts and not path.is_symlink() else None

    def check_here(self, owner: str, identifier: str) -> None:
        """Check that this server generates what it is asked to follow or to end.

        Raises:
            Refused: the generation is not there, or another server generates it.
        """
        record = self._record(owner, identifier)
        if record.status in ("queued", "running") and self.active(identifier) is None:
            raise Refused(409, "elsewhere", "another server generates it: ask there", RETRY_SECONDS)

    def delete(self, owner: str, identifier: str) -> None:
        """Cancel a generation, and delete its clips.

        Raises:
            Refused: it is not there.
        """
        self.check_here(owner, identifier)
        record = self._record(owner, identifier)
        active = self.active(identifier)
        if active is not None:
            active.job.cancel()
            active.job.wait()  # within one step, or the decoding of a chunk
        with self._lock:
            self._active.pop(identifier, None)
        record = self.records.read(identifier) or record  # type: ignore[assignment]
        for sound in record.clips:
            path = self._path(sound)
            if path is not None:
                self.service.clip_store.delete(path)
        self._forget(identifier)

    def stop(self, owner: str, identifier: str) -> None:
        """End a generation early. The audio generated so far is its clip.

        Raises:
            Refused: it is not there.
        """
        self.check_here(owner, identifier)
        active = self.active(identifier)
        if active is not None:
            active.job.stop()

    def file(self, owner: str, identifier: str) -> Path:
        """A file that a client has sent.

        Raises:
            Refused: it is not there.
        """
        record = self.records.read(identifier)
        if not isinstance(record, FileRecord) or record.owner != owner:
            raise not_found("file", identifier)
        path = self.records.folder(identifier) / record.name
        if not path.is_file():
            raise not_found("file", identifier)
        return path

    def describe_file(self, owner: str, identifier: str) -> FileState:
        """The metadata of a file. Raises Refused if it does not exist."""
        self.file(owner, identifier)
        record = self.records.read(identifier)
        assert isinstance(record, FileRecord)
        return FileState(id=identifier, name=record.name, seconds=record.seconds)

    def clip_stored(self, job: GenerationJob, clip: StoredClip) -> None:
        """Note a clip of a job."""
        identifier, active = self._of_job(job)
        if active is None:
            return
        record = active.record
        index = len(record.clips)
        state = ClipState(
            index=index,
            seed=clip.seed,
            seconds=clip.seconds,
            sample_rate=clip.rate,
            channels=clip.channels,
            loudness=clip.loudness if math.isfinite(clip.loudness) else None,
            complete=clip.complete,
            unknown=clip.unknown,
            audio=f"/v1/generations/{identifier}/audio?clip={index}",
        )
        path = clip.path.relative_to(self.service.clip_store.folder)
        record.clips = [*record.clips, StoredSound(path=str(path), state=state)]
        record.precision, record.status = clip.request.precision, "running"
        self._store(identifier, record)

    def ended(self, job: GenerationJob) -> None:
        """Note the end of a job, unless the server ends it: then it is recovered by the next one."""
        identifier, active = self._of_job(job)
        if active is None:
            return
        with self._lock:
            self._of_jobs.pop(id(job), None)
            active.ended = time.monotonic()
        if self.service.closing:
            return
        record = active.record
        record.status, record.error = _end(job, bool(record.clips))
        self._store(identifier, record)

    def _store(self, identifier: str, record: GenerationRecord) -> None:
        with contextlib.suppress(InputError):  # a full disk: the state is right in memory, and the log says so
            self.records.update(identifier, record)

    def _of_job(self, job: GenerationJob) -> tuple[str, ActiveGeneration | None]:
        with self._lock:
            identifier = self._of_jobs.get(id(job), "")
            return identifier, self._active.get(identifier)

    def _record(self, owner: str, identifier: str) -> GenerationRecord:
        record = self.records.read(identifier)
        if not isinstance(record, GenerationRecord) or record.owner != owner:
            raise not_found("generation", identifier)
        return record

    def _forget_ended(self) -> None:
        oldest = time.monotonic() - FOLLOWED_SECONDS
        for identifier in [one for one, active in self._active.items() if (active.ended or math.inf) < oldest]:
            self._active.pop(identifier).job.forget()


def _end(job: GenerationJob, has_clips: bool) -> tuple[Status, Failure | None]:
    if job.error is not None:
        message = (
            job.error.told("page")
            if isinstance(job.error, MusicGenError)
            else "the generation failed: an error of the server"
        )
        return "failed", Failure(code="failed", message=message)
    if job.discarded or not has_clips:
        return "cancelled", Failure(code="cancelled", message=str(Cancelled("stopped before there was any sound")))
    return "done", None
