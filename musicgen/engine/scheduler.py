"""Many listeners, one model: requests join and leave a running batch at any step (continuous batching).

    submit --conditions (caller's thread)--> queue --prefill--> batch: a step for all --codes--> decoder thread --> Ticket

A clip's codes come from its own seed and its own rows: who else is in the batch changes the rounding of the logits, nothing
else. Every clip in the batch advances by one step each turn; the queue is served in the order of arrival.
"""

from __future__ import annotations

import heapq
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import Empty
from types import TracebackType
from typing import Any

import torch

from musicgen.conditioners.text import T5Conditioner
from musicgen.engine import memory
from musicgen.engine.pool import Seat
from musicgen.engine.precision import precision_of
from musicgen.engine.runner import Engine
from musicgen.engine.ticket import Cancelled, Outcome, QueueFull, Ticket
from musicgen.errors import InputError, MusicGenError
from musicgen.generate import Guided, WindowRun
from musicgen.model import MusicGen, Options, Piece
from musicgen.options import GenerationOptions
from musicgen.sampling import sample
from musicgen.streaming import StreamDecoder
from musicgen.tokenizer import frames_of

log = logging.getLogger(__name__)

_SMOOTHING = 0.9
"""Of the measured time of a step."""
_POLL = 0.1
"""Seconds between two looks at the progress in `stream`."""


@dataclass(eq=False)
class Job:
    """A request on the scheduler's side. `made`: frames that have codes; `sent`: those that went to the decoder."""

    piece: Piece
    guidance: Guided
    """Of the current window."""
    outcome: Outcome
    decoder: StreamDecoder
    chunk: int
    window: int = 0
    made: int = 0
    sent: int = 0
    position: int = 0
    """Where the current window's next frames go."""
    run: WindowRun | None = None
    seat: Seat | None = None
    entering: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    """What the next step reads, [1, K, 1]."""

    @property
    def left(self) -> int:
        """Steps still to make."""
        return self.outcome.total - self.outcome.done


class Scheduler:
    """One for each loaded model. Thread-safe; `close` it, or use it in a `with` block.

    slots: clips that are made at once (their memory is allocated here); queue: requests that may wait; chunk: seconds of
    sound in a part; max_tokens: longest text, the model's fixed length at least. Raises InputError for more slots than there
    is memory.
    """

    def __init__(
        self,
        model: MusicGen,
        *,
        slots: int = 4,
        queue: int = 16,
        chunk: float = 0.5,
        max_tokens: int = memory.MAX_TOKENS,
    ) -> None:
        for name, value, low in (("slots", slots, 1), ("queue", queue, 0), ("max_tokens", max_tokens, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise InputError(f"{name} is {value!r}: it must be a whole number from {low} on")
        if not 0 < chunk <= model.max_duration:
            raise InputError(f"chunk is {chunk} s: it must be above 0 and at most {model.max_duration:g} s")
        if isinstance(model.text, T5Conditioner):
            max_tokens = max(max_tokens, model.text.length)
        self.model, self.slots, self.queue_length, self.max_tokens = model, slots, queue, max_tokens
        self._chunk = frames_of(model.tokenizer, chunk)
        self._room = memory.rows_of(slots), memory.positions(model, max_tokens)
        rows, capacity = self._room
        shape = (model.lm.config, precision_of(model.lm), rows)
        needed = memory.cache_bytes(*shape, capacity, model.device)
        needed += memory.text_bytes(*shape, max_tokens, model.device)
        memory.check(needed, slots, model.device)
        self._open = True
        self._start()

    def _start(self) -> None:
        """Memory, threads, and nothing to do."""
        engine = self.model.engine if isinstance(self.model.engine, Engine) else Engine(self.model.lm)
        self._pool = engine.pool(*self._room, self.max_tokens)
        self._process = os.getpid()
        self._waiting: deque[Job] = deque()
        self._active: list[Job] = []
        self._changed = threading.Condition()
        self._step_seconds: float | None = None
        self._decoding = ThreadPoolExecutor(1, thread_name_prefix="decoder")
        self._thread = threading.Thread(target=self._serve, daemon=True, name="scheduler")
        self._thread.start()

    @property
    def bytes(self) -> int:
        """Of the preallocated keys and values."""
        return self._pool.bytes

    @property
    def active(self) -> int:
        """Clips being made."""
        return len(self._active)

    @property
    def waiting(self) -> int:
        """Clips in the queue."""
        return len(self._waiting)

    def submit(
        self,
        prompt: str | None,
        duration: float = 10.0,
        *,
        seed: int | None = None,
        melody: Any = None,
        continue_from: Any = None,
        options: Options = None,
        separate: bool | None = None,
    ) -> Ticket:
        """A clip; arguments as for `MusicGen.generate`, which are checked here, in the caller's thread.

        Raises InputError for anything that cannot be generated, QueueFull at once if there is no place.
        """
        if self._process != os.getpid():  # a fork has no threads: Spaces with a lent GPU fork for each request
            self._start()
        self._refuse_if_full()  # before the work of the conditions
        piece = self.model.piece([prompt], duration, seed, melody, continue_from, options, separate)
        tokens = max(piece.text.mask.shape[1], piece.null_text.mask.shape[1])
        if tokens > self.max_tokens:
            raise InputError(
                f"the description has {tokens} tokens: at most {self.max_tokens} are taken here, shorten it"
            )
        guidance = self.model.guidance(piece, piece.windows[0])
        outcome = Outcome(self.model.num_steps(piece))
        job = Job(piece, guidance, outcome, StreamDecoder(self.model.tokenizer), self._chunk, made=piece.known)
        with self._changed:
            self._refuse_if_full()
            self._waiting.append(job)
            self._changed.notify_all()
        held = weakref.ref(job)
        return Ticket(outcome, lambda: self._place(held()))

    def stream(
        self,
        prompt: str | None,
        duration: float = 10.0,
        *,
        progress: Callable[[int, int], None] | None = None,
        **arguments: Any,
    ) -> Iterator[torch.Tensor]:
        """As `MusicGen.stream`, beside all others: parts [C, n]. `progress(done, total)` is called in the caller's thread; an
        exception that it raises, or leaving the iterator, ends the clip."""
        ticket = self.submit(prompt, duration, **arguments)
        return self._follow(ticket, progress)

    def close(self) -> None:
        """End all work and free the memory."""
        with self._changed:
            self._open = False
            for job in (*self._waiting, *self._active):
                job.outcome.cancelled.set()
            self._changed.notify_all()
        self._thread.join()
        self._decoding.shutdown()
        del self._pool

    def __enter__(self) -> Scheduler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _follow(self, ticket: Ticket, progress: Callable[[int, int], None] | None) -> Iterator[torch.Tensor]:
        told = 0
        try:
            while True:
                try:
                    wave = ticket.part(timeout=None if progress is None else _POLL)
                    if wave is not None:
                        yield wave
                    ended = wave is None
                except Empty:
                    ended = False
                done, total = ticket.progress
                if progress is not None and done != told:
                    progress(done, total)
                    told = done
                if ended:
                    return
        finally:
            ticket.cancel()

    # Waiting.

    def _refuse_if_full(self) -> None:
        with self._changed:
            if not self._open:
                raise MusicGenError("the scheduler is closed: it takes no more requests")
            if len(self._waiting) >= self.queue_length + self._free_slots():
                raise QueueFull(len(self._waiting), self._expected_wait())

    def _free_slots(self) -> int:
        return max(0, self.slots - len(self._active))

    def _expected_wait(self) -> float | None:
        """Seconds until a request at the queue's end would begin: each takes the slot that is free first."""
        if self._step_seconds is None:
            return None
        ends = [float(job.left) for job in self._active] + [0.0] * self._free_slots()
        heapq.heapify(ends)
        for job in self._waiting:
            heapq.heapreplace(ends, ends[0] + job.left)
        return ends[0] * self._step_seconds

    def _place(self, job: Job | None) -> int:
        with self._changed:
            return next((number for number, one in enumerate(self._waiting, 1) if one is job), 0)

    # The scheduler's thread.

    def _serve(self) -> None:
        while self._wait():
            for job in [job for job in self._active if job.outcome.cancelled.is_set()]:
                self._drop(job, Cancelled("cancelled"))
            self._admit()
            try:
                self._step()
            except Exception as error:
                # Nothing says whose fault it was: the clip that joined last ends, the others make the step again.
                if not isinstance(error, MusicGenError):
                    log.exception("a step of %d clips failed", len(self._active))
                if self._active:
                    self._drop(self._active[-1], error)
        for job in (*self._active, *self._waiting):
            self._drop(job, Cancelled("the scheduler was closed"))
        self._waiting.clear()

    def _wait(self) -> bool:
        """Until there is something to do; False when all is over."""
        with self._changed:
            for job in [job for job in self._waiting if job.outcome.cancelled.is_set()]:
                self._waiting.remove(job)
                job.outcome.end(Cancelled("cancelled before it began"))
            self._changed.wait_for(lambda: self._waiting or self._active or not self._open)
            return self._open

    def _admit(self) -> None:
        while True:
            with self._changed:
                if not self._waiting or len(self._active) >= self.slots:
                    return
                if self._pool.used + self._waiting[0].guidance.groups > self._pool.rows:
                    return
                job = self._waiting.popleft()
                self._active.append(job)
            if job.outcome.cancelled.is_set():
                self._drop(job, Cancelled("cancelled before it began"))
                continue
            self._alone(job, self._open_window)

    def _alone(self, job: Job, work: Callable[..., None], *arguments: Any) -> None:
        """Work for one clip: what goes wrong ends that clip alone."""
        try:
            work(job, *arguments)
        except Exception as error:
            if not isinstance(error, MusicGenError):
                log.exception("a clip failed")
            self._drop(job, error)

    @torch.no_grad()
    def _open_window(self, job: Job) -> None:
        """The first step of the clip's next window, made alone; its cache joins the others'."""
        model, window = self.model, job.piece.windows[job.window]
        if job.window:
            job.guidance = model.guidance(job.piece, window)
        guidance = job.guidance
        job.position = window.start + window.known
        prompt = job.piece.codes[:, :, window.start : job.position].cpu()
        run = WindowRun(
            model.pattern, window.length, job.piece.streams, model.lm.config.special_token, torch.device("cpu"), prompt
        )
        inputs = run.inputs().repeat(guidance.groups, 1, 1).to(model.device)
        job.run = run
        job.seat, logits = self._pool.join(inputs, guidance.conditions)
        mixed = guidance.mix(logits, job.piece.options)
        self._advance(job, sample(mixed, job.piece.options, run.uniforms()).cpu())

    @torch.no_grad()
    def _step(self) -> None:
        jobs = [job for job in self._active if job.seat is not None]
        if not jobs:
            return
        start = time.monotonic()
        sequence = torch.empty(self._pool.used, *jobs[0].entering.shape[1:], dtype=torch.int64)
        for job in jobs:
            assert job.seat is not None
            sequence[job.seat.rows] = job.entering
        logits = self._pool.step(sequence.to(self.model.device))
        # Clips with the same options are guided and drawn together.
        alike: dict[tuple[GenerationOptions, int], list[Job]] = {}
        for job in jobs:
            alike.setdefault((job.piece.options, job.guidance.groups), []).append(job)
        drawn: list[tuple[Job, torch.Tensor]] = []
        for (options, groups), those in alike.items():
            rows = [job.seat.rows[group] for group in range(groups) for job in those if job.seat is not None]
            mixed = those[0].guidance.mix(logits[rows], options)
            uniforms = torch.cat([job.run.uniforms() for job in those if job.run is not None])
            drawn += zip(those, sample(mixed, options, uniforms).cpu().split(1), strict=True)
        # Only now, when all has gone well, is the step one of the past; and rows move only when all are read.
        self._pool.advance()
        for job, codes in drawn:
            self._alone(job, self._advance, codes)
        passed = time.monotonic() - start
        known = self._step_seconds
        self._step_seconds = passed if known is None else _SMOOTHING * known + (1 - _SMOOTHING) * passed

    def _advance(self, job: Job, drawn: torch.Tensor) -> None:
        """What was drawn for a clip, [1, K]: write it, send whole chunks to the decoder, go on."""
        run = job.run
        assert run is not None
        codes = run.advance(drawn).codes
        count = codes.shape[2]
        job.piece.codes[:, :, job.position : job.position + count] = codes.to(job.piece.codes.device)
        job.position += count
        job.made += count
        job.outcome.done += 1
        total = job.piece.codes.shape[2]
        last = run.finished and job.window + 1 == len(job.piece.windows)
        # The decoder holds `delay` frames back: the first part waits for them, so that it is a whole chunk too.
        held = job.decoder.delay if job.sent == 0 else 0
        if last or job.made - job.sent >= job.chunk + held:
            self._decoding.submit(self._decode, job, job.sent, job.made, job.made == total)
            job.sent = job.made
        if not run.finished:
            job.entering = run.inputs()
            return
        self._free(job)
        if last:
            with self._changed:
                self._active.remove(job)
        else:
            job.window += 1
            self._open_window(job)

    def _free(self, job: Job) -> None:
        if job.seat is not None:
            self._pool.leave(job.seat)
            job.seat = None

    def _drop(self, job: Job, error: Exception) -> None:
        self._free(job)
        with self._changed:
            if job in self._active:
                self._active.remove(job)
        # Behind the parts that are being decoded.
        self._decoding.submit(job.outcome.end, error)

    # The decoder's thread.

    @torch.no_grad()
    def _decode(self, job: Job, start: int, end: int, last: bool) -> None:
        if job.outcome.ended:
            return
        try:
            wave = job.decoder.push(job.piece.codes[:, :, start:end].clone(), last=last)
            if wave.shape[2]:
                job.outcome.put(wave[0].float().cpu())
            if last:
                job.outcome.end()
        except Exception as error:
            log.exception("a part could not be decoded")
            job.outcome.cancelled.set()
            job.outcome.end(error)
