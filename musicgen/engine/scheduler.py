"""Continuous batching: concurrent requests share one running batch, and can join and leave it at any step.

    submit --conditions, in the caller's thread--> queue --prefill--> slot pool (one step for all clips)
           --codes--> decoder thread --audio chunks--> GenerationHandle

Each clip has its own random stream and its own logits, so its codes do not depend on other clips in the batch on a back end
that is `batch_invariant`, and only through rounding on others. All clips in the batch advance by one step at a time; the queue
is first-come, first-served.
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
from types import TracebackType
from typing import Any, Unpack

import torch

from musicgen.cancellation import Cancellation, Cancelled
from musicgen.decoders import NoAudio
from musicgen.engine import memory
from musicgen.engine.handle import GenerationHandle, OutputChannel, Progress, QueueFull
from musicgen.engine.selection import Engine
from musicgen.engine.slot_pool import Slot, SlotPool
from musicgen.errors import InputError, MusicGenError
from musicgen.generate import Step, WindowRun
from musicgen.guidance import GuidanceRow, Guided
from musicgen.model import GenerationPlan, MusicGen
from musicgen.options import GenerationOptions
from musicgen.recordings import AudioInput
from musicgen.repainting import Repainted, repaint
from musicgen.request import TEXT, GenerationRequest, RequestArguments
from musicgen.sampling import clip_seeds, sample
from musicgen.sections import stream_sections
from musicgen.tokenizers import StreamDecoder, frames_of

log = logging.getLogger(__name__)

_SMOOTHING = 0.9
"""Weight of the past in the moving average of the duration of a step."""


@dataclass(eq=False)
class GenerationState:
    """The scheduler's side of one generation.

    Attributes:
        plan: The validated request, and its codes so far.
        guidance: The rows of the current window.
        output: The channel to the caller.
        decoder: Turns codes into audio chunks.
        chunk: Frames per chunk.
        window: Index of the current window.
        frames_done: Frames whose codes are complete.
        frames_sent: Frames that were sent to the decoder.
        position: Frame at which the next codes of the current window are written.
        run: The current window of an autoregressive model, with its codes.
        passes: The steps of the current window of any other model.
        slot: The slot in the batch, once prefilled.
        next_input: Input of the next step, [1, K, 1].
        steps_left: Steps of the language model that remain.
    """

    plan: GenerationPlan
    guidance: Guided
    output: OutputChannel
    decoder: StreamDecoder
    chunk: int
    steps_left: int
    window: int = 0
    frames_done: int = 0
    frames_sent: int = 0
    position: int = 0
    run: WindowRun | None = None
    passes: Iterator[Step] | None = None
    slot: Slot | None = None
    next_input: torch.Tensor = field(default_factory=lambda: torch.zeros(0))


class Scheduler:
    """Serves concurrent requests with one loaded model. Thread-safe; `close` it, or use it in a `with` block.

    Args:
        model: The loaded model.
        slots: Number of clips that are generated at the same time; their KV cache is allocated here.
        queue: Number of requests that may wait.
        chunk: Seconds of audio per chunk.
        max_tokens: Most vectors of each condition, and so the longest text in tokens. Conditioners of a fixed length use
            that length instead.

    Raises:
        InputError: For an argument out of range, or if there is not enough memory for the slots.
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
        self.model, self.slots, self.queue_length = model, slots, queue
        self._chunk = frames_of(model.tokenizer, chunk)
        self._lengths = memory.condition_lengths(model, max_tokens)
        self._pool_shape = memory.pool_shape(model, slots, max_tokens)
        if model.generator.autoregressive:
            self._engine = model.engine if isinstance(model.engine, Engine) else Engine.of(model)
            memory.check(memory.pool_bytes(model, self._engine, self._pool_shape), slots, model.device)
        self._open = True
        self._start()

    def _start(self) -> None:
        """Allocate the pool and start the threads."""
        self._pool: SlotPool | None = None
        """None for a model whose generator needs no KV cache: it computes whole passes."""
        if self.model.generator.autoregressive:
            self._pool = self._engine.pool(*self._pool_shape)
        self._process = os.getpid()
        self._waiting: deque[GenerationState] = deque()
        self._active: list[GenerationState] = []
        self._changed = threading.Condition()
        self._step_seconds: float | None = None
        self._decoding = ThreadPoolExecutor(1, thread_name_prefix="decoder")
        self._thread = threading.Thread(target=self._serve, daemon=True, name="scheduler")
        self._thread.start()

    @property
    def bytes(self) -> int:
        """Size of the preallocated KV cache."""
        return 0 if self._pool is None else self._pool.bytes

    @property
    def active(self) -> int:
        """Number of clips being generated."""
        return len(self._active)

    @property
    def waiting(self) -> int:
        """Number of requests in the queue."""
        return len(self._waiting)

    def submit(
        self,
        prompt: str | GenerationRequest | None,
        duration: float = 10.0,
        *,
        cancellation: Cancellation | None = None,
        **arguments: Unpack[RequestArguments],
    ) -> GenerationHandle:
        """Queue a request. The arguments are those of `MusicGen.generate` for one clip; they are checked, and the
        conditions computed, in the caller's thread.

        Args:
            prompt: Description; None or "" generates without text. Or a `GenerationRequest`.
            duration: Seconds of the result, including the audio prompt.
            cancellation: Cancels the clip when it is set, in any thread; the handle's own `cancel` has the same effect.
            **arguments: See `GenerationRequest.of`.

        Returns:
            The handle of the generation.

        Raises:
            InputError: For anything that cannot be generated.
            Cancelled: If `cancellation` is set already.
            QueueFull: If the queue is full; immediately, without waiting.
            MusicGenError: If the scheduler is closed.
        """
        return self._submit(GenerationRequest.of_one(prompt, duration, **arguments), None, cancellation)[0]

    def _submit(
        self,
        request: GenerationRequest,
        context: torch.Tensor | None,
        cancellation: Cancellation | None,
        *,
        decoded: bool = True,
    ) -> tuple[GenerationHandle, GenerationPlan]:
        """Queue a request.

        Args:
            request: For one clip.
            context: Codes [1, K, P] that the clip begins with, None for none.
            cancellation: As of `submit`.
            decoded: False generates the plan's codes, and no audio.
        """
        if self._process != os.getpid():  # a fork has no threads: Spaces on ZeroGPU fork for each request
            self._start()
        if cancellation is not None:
            cancellation.raise_if_cancelled()
        self._check_queue()  # before the conditions are computed
        plan = self.model.plan_generation(request, context)
        guidance = self.model.guidance(plan, plan.windows[0], self._pool_shape[0])
        self._check_lengths(guidance)
        steps = self.model.num_steps(plan)
        output = OutputChannel(self.model.total_steps(plan) if decoded else steps, cancellation)

        def report() -> None:
            """After each step of a decoder that takes steps."""
            if output.cancelled.is_set() or not self._open:
                raise Cancelled("cancelled")
            output.advance()

        decoder: StreamDecoder = NoAudio(self.model.channels)
        if decoded:
            decoder = self.model.decoder.stream(self.model.tokenizer, plan.seeds, report)
        state = GenerationState(plan, guidance, output, decoder, self._chunk, steps, frames_done=plan.known)
        with self._changed:
            self._check_queue()
            self._waiting.append(state)
            self._changed.notify_all()
        reference = weakref.ref(state)
        return GenerationHandle(output, lambda: self._queue_position(reference())), plan

    def stream(
        self,
        prompt: str | GenerationRequest | None,
        duration: float = 10.0,
        *,
        progress: Callable[[int, int], None] | None = None,
        cancellation: Cancellation | None = None,
        **arguments: Unpack[RequestArguments],
    ) -> Iterator[torch.Tensor]:
        """Queue a request and iterate over its audio, as `MusicGen.stream` does for a single caller.

        Args:
            prompt: As of `submit`.
            duration: Seconds of the result.
            progress: Called in the caller's thread with (steps done, total steps); an exception that it raises cancels the
                clip.
            cancellation: As of `submit`; the iterator then raises Cancelled after the chunks that were decoded.
            **arguments: The other arguments of `submit`.

        Returns:
            An iterator over float32 chunks [C, samples]; closing it cancels the clip. The sections of a timeline are queued
            one after the other.

        Raises:
            InputError, QueueFull, MusicGenError: As `submit`.
        """
        request = GenerationRequest.of_one(prompt, duration, **arguments)
        if request.timeline:

            def play(
                section: GenerationRequest, context: torch.Tensor | None, report: Callable[[int, int], None]
            ) -> tuple[Iterator[torch.Tensor], torch.Tensor]:
                handle, plan = self._submit(section, context, cancellation)
                return _follow(handle, report), plan.codes

            return stream_sections(self.model, request, play, progress)
        return _follow(self.submit(request, cancellation=cancellation), progress)

    def repaint(
        self,
        clip: AudioInput | torch.Tensor,
        start: float,
        end: float,
        prompt: str | GenerationRequest | None = None,
        *,
        candidates: int = 8,
        progress: Callable[[int, int], None] | None = None,
        cancellation: Cancellation | None = None,
        **arguments: Unpack[RequestArguments],
    ) -> Repainted:
        """Regenerate a span of a clip, as `MusicGen.repaint` does, with candidates that are generated in the running batch, as
        many at once as there are slots.

        Args:
            clip, start, end, prompt, candidates: As of `MusicGen.repaint`.
            progress: Called in the caller's thread with (steps done, total steps).
            cancellation: As of `submit`.
            **arguments: As of `MusicGen.repaint`.

        Raises:
            InputError, Cancelled, QueueFull, MusicGenError: As `submit`.
        """
        request = prompt if isinstance(prompt, GenerationRequest) else GenerationRequest.of_one(prompt, **arguments)

        def draw(many: GenerationRequest, left: torch.Tensor | None) -> torch.Tensor:
            seeds = clip_seeds(many.seed, len(many.prompts))
            found: list[torch.Tensor] = []
            for first in range(0, len(seeds), self.slots):
                own = range(first, min(first + self.slots, len(seeds)))
                submitted = [
                    self._submit(many.clip(index, seeds[index]), left, cancellation, decoded=False) for index in own
                ]
                for handle, plan in submitted:

                    def report(done: int, total: int) -> None:
                        if progress is not None:
                            progress(len(found) * total + done, len(seeds) * total)

                    for _ in _follow(handle, report):
                        pass
                    found.append(plan.codes)
            return torch.cat(found)

        return repaint(self.model, clip, start, end, request, draw, candidates=candidates)

    def close(self) -> None:
        """Cancel all requests, stop the threads and free the KV cache."""
        with self._changed:
            self._open = False
            for state in (*self._waiting, *self._active):
                state.output.cancelled.set()
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

    # The queue.

    def _check_lengths(self, guidance: Guided) -> None:
        """Refuse conditions of more vectors than the pool has room for."""
        for name, length in guidance.lengths.items():
            most = self._lengths[name]
            if length > most and name == TEXT:
                raise InputError(f"the description has {length} tokens: at most {most} are accepted here, shorten it")
            if length > most:
                raise InputError(f"the condition {name!r} has {length} vectors: at most {most} are accepted here")

    def _check_queue(self) -> None:
        with self._changed:
            if not self._open:
                raise MusicGenError("the scheduler is closed: it takes no more requests")
            if len(self._waiting) >= self.queue_length + self._free_slots():
                raise QueueFull(len(self._waiting), self._expected_wait())

    def _free_slots(self) -> int:
        return max(0, self.slots - len(self._active))

    def _expected_wait(self) -> float | None:
        """Seconds until a new request would start, if each waiting request takes the slot that becomes free first."""
        if self._step_seconds is None:
            return None
        ends = [float(state.steps_left) for state in self._active] + [0.0] * self._free_slots()
        heapq.heapify(ends)
        for state in self._waiting:
            heapq.heapreplace(ends, ends[0] + state.steps_left)
        return ends[0] * self._step_seconds

    def _queue_position(self, state: GenerationState | None) -> int:
        with self._changed:
            return next((number for number, one in enumerate(self._waiting, 1) if one is state), 0)

    # The scheduler's thread.

    def _serve(self) -> None:
        while self._wait():
            for state in [state for state in self._active if state.output.cancelled.is_set()]:
                self._abort(state, Cancelled("cancelled"))
            self._admit()
            try:
                self._step()
            except Exception as error:
                # The failure cannot be attributed to a clip: the one admitted last is aborted, the others repeat the step.
                if not isinstance(error, MusicGenError):
                    log.exception("a step of %d clips failed", len(self._active))
                if self._active:
                    self._abort(self._active[-1], error)
        for state in (*self._active, *self._waiting):
            self._abort(state, Cancelled("the scheduler was closed"))
        self._waiting.clear()

    def _wait(self) -> bool:
        """Wait for work. Returns False once the scheduler is closed."""
        with self._changed:
            for state in [state for state in self._waiting if state.output.cancelled.is_set()]:
                self._waiting.remove(state)
                state.output.close(Cancelled("cancelled before it began"))
            self._changed.wait_for(lambda: self._waiting or self._active or not self._open)
            return self._open

    def _admit(self) -> None:
        """Prefill waiting requests while there are free slots and rows."""
        while True:
            with self._changed:
                if not self._waiting or len(self._active) >= self.slots:
                    return
                if self._pool is not None and self._pool.used + self._waiting[0].guidance.groups > self._pool.rows:
                    return
                state = self._waiting.popleft()
                self._active.append(state)
            if state.output.cancelled.is_set():
                self._abort(state, Cancelled("cancelled before it began"))
                continue
            self._isolated(state, self._open_window)

    def _isolated(self, state: GenerationState, work: Callable[..., None], *arguments: Any) -> None:
        """Run work of one clip; a failure aborts that clip alone."""
        try:
            work(state, *arguments)
        except Exception as error:
            if not isinstance(error, MusicGenError):
                log.exception("a clip failed")
            self._abort(state, error)

    @torch.no_grad()
    def _open_window(self, state: GenerationState) -> None:
        """Prefill the clip's next window, which takes its first step and enters the batch."""
        model, window = self.model, state.plan.windows[state.window]
        if self._pool is None:
            state.position = window.start + window.known
            state.passes = model.window_steps(state.plan, window)
            return
        if state.window:
            state.guidance = model.guidance(state.plan, window, self._pool_shape[0])
        guidance = state.guidance
        state.position = window.start + window.known
        prompt = state.plan.codes[:, :, window.start : state.position].cpu()
        run = WindowRun(
            model.pattern,
            window.length,
            state.plan.streams,
            model.lm.config.special_token,
            torch.device("cpu"),
            prompt,
        )
        inputs = run.inputs().repeat(guidance.groups, 1, 1).to(model.device)
        state.run = run
        state.slot, logits = self._pool.admit(inputs, guidance.conditions)
        mixed = guidance.mix(logits)
        self._advance(state, sample(mixed, state.plan.options, run.uniforms()).cpu())

    @torch.no_grad()
    def _step(self) -> None:
        """One step of all clips in the batch."""
        for state in [state for state in self._active if state.passes is not None]:
            self._isolated(state, self._pass)
        if self._pool is None:
            return
        states = [state for state in self._active if state.slot is not None]
        if not states:
            return
        start = time.monotonic()
        sequence = torch.empty(self._pool.used, *states[0].next_input.shape[1:], dtype=torch.int64)
        for state in states:
            assert state.slot is not None
            sequence[state.slot.rows] = state.next_input
        logits = self._pool.step(sequence.to(self.model.device))
        # Clips with the same options share guidance and sampling.
        by_options: dict[tuple[GenerationOptions, tuple[GuidanceRow, ...]], list[GenerationState]] = {}
        for state in states:
            by_options.setdefault((state.plan.options, state.guidance.rows), []).append(state)
        drawn: list[tuple[GenerationState, torch.Tensor]] = []
        for (options, per_clip), same in by_options.items():
            rows = [
                state.slot.rows[group] for group in range(len(per_clip)) for state in same if state.slot is not None
            ]
            mixed = same[0].guidance.mix(logits[rows])
            uniforms = torch.cat([state.run.uniforms() for state in same if state.run is not None])
            drawn += zip(same, sample(mixed, options, uniforms).cpu().split(1), strict=True)
        # The step is committed only now, when nothing can fail any more; clips are released only after all rows have been read.
        self._pool.advance()
        for state, codes in drawn:
            self._isolated(state, self._advance, codes)
        self._time(time.monotonic() - start)

    def _time(self, passed: float) -> None:
        """Update the moving average of the duration of a step with a new value in seconds."""
        known = self._step_seconds
        self._step_seconds = passed if known is None else _SMOOTHING * known + (1 - _SMOOTHING) * passed

    def _pass(self, state: GenerationState) -> None:
        """One pass of a clip over all frames."""
        assert state.passes is not None
        start = time.monotonic()
        step = next(state.passes)
        self._keep(state, step.codes, finished=step.done == step.total)
        self._time(time.monotonic() - start)

    def _advance(self, state: GenerationState, drawn: torch.Tensor) -> None:
        """Store a clip's sampled codes [1, K] and prepare the next step."""
        run = state.run
        assert run is not None
        codes = run.advance(drawn).codes
        if not run.finished:
            state.next_input = run.inputs()
        self._keep(state, codes, finished=run.finished)

    def _keep(self, state: GenerationState, codes: torch.Tensor, *, finished: bool) -> None:
        """Store a clip's codes [1, K, n], send complete chunks to the decoder, and open the next window at the end of one."""
        count = codes.shape[2]
        state.plan.codes[:, :, state.position : state.position + count] = codes.to(state.plan.codes.device)
        state.position += count
        state.frames_done += count
        state.steps_left -= 1
        state.output.advance()
        total = state.plan.codes.shape[2]
        last = finished and state.window + 1 == len(state.plan.windows)
        # The decoder has a latency of `delay` frames: the first chunk waits for them too, so that it has the full length.
        latency = state.decoder.delay if state.frames_sent == 0 else 0
        if last or state.frames_done - state.frames_sent >= state.chunk + latency:
            self._decoding.submit(self._decode, state, state.frames_sent, state.frames_done, state.frames_done == total)
            state.frames_sent = state.frames_done
        if not finished:
            return
        self._release(state)
        if last:
            with self._changed:
                self._active.remove(state)
        else:
            state.window += 1
            self._open_window(state)

    def _release(self, state: GenerationState) -> None:
        state.passes = None
        if state.slot is not None and self._pool is not None:
            self._pool.release(state.slot)
            state.slot = None

    def _abort(self, state: GenerationState, error: Exception) -> None:
        """Take a clip out of the batch and close its channel with an error."""
        self._release(state)
        with self._changed:
            if state in self._active:
                self._active.remove(state)
        # In the decoder's thread, after the chunks that are still being decoded.
        self._decoding.submit(state.output.close, error)

    # The decoder's thread.

    @torch.no_grad()
    def _decode(self, state: GenerationState, start: int, end: int, last: bool) -> None:
        """Decode frames `start` to `end` of a clip and send the audio to the caller."""
        if state.output.closed:
            return
        try:
            wave = state.decoder.push(state.plan.codes[:, :, start:end].clone(), last=last)
            if wave.shape[2]:
                state.output.put(wave[0].float().cpu())
            if last:
                state.output.close()
        except Exception as error:
            if not isinstance(error, MusicGenError):
                log.exception("a chunk could not be decoded")
            state.output.cancelled.set()
            state.output.close(error)


def _follow(handle: GenerationHandle, progress: Callable[[int, int], None] | None) -> Iterator[torch.Tensor]:
    """The clip's chunks; closing the iterator cancels the clip."""
    try:
        for update in handle if progress is None else handle.updates():
            if not isinstance(update, Progress):
                yield update
            elif progress is not None:
                progress(*update)
    finally:
        handle.cancel()
