"""Generating clips: progress, live sound, and the clips when they are there."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import html
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import gradio as gr

from musicgen.errors import InputError, MusicGenError
from musicgen.serving.request import ClipRequest, clean_prompt
from musicgen.serving.service import GenerationJob, PlaybackChunk
from musicgen.serving.stored_clip import StoredClip

from ...visits import Visit
from .. import assets, history, live, result
from ..fields import optional_number
from ..finished_clips import FinishedClips
from ..messages import Updates, network, sentence, to_gradio_error, visitor_id
from ..next_clip import check
from ..parts import UNLIMITED, PageParts
from .clips import ClipEvents
from .inputs import InputEvents

CATCH_UP_CHUNKS = 10
"""Chunks of the sound so far that a page gets when it finds its generation again: ten seconds."""


class GenerationEvents:
    """The events of a page that make clips. They return component updates."""

    def __init__(self, parts: PageParts) -> None:
        self.parts = parts
        self._generating: set[str] = set()
        """Sessions whose page follows a generation."""

    async def generate(self, request: gr.Request, needed: dict[str, str], *values: Any) -> AsyncIterator[Updates]:
        """Generate clips: shows progress, streams the audio, and adds the finished clips to the history.

        The job goes on when the page is reloaded. It ends when no page of the visit has been connected for a while.
        """
        inputs, outputs = self.parts.inputs, self.parts.outputs
        named = inputs.named(*values)
        session = visitor_id(request)
        visit = await asyncio.to_thread(self.parts.service.visits.of, session)
        if session in self._generating:
            gr.Info("This page is making a clip: wait for it, or press Stop.")
            yield {outputs.status: gr.skip()}  # for an iterator without items Gradio empties all components
            return
        with self._as_generating(session):
            async for updates in self._generate(session, visit, request, named, needed, *values):
                yield updates

    async def repaint(
        self, request: gr.Request, clip_id: str | None, start: str | None, end: str | None, prompt: str | None
    ) -> AsyncIterator[Updates]:
        """Make a part of the selected clip anew, with the description of the form; as `generate`."""
        outputs, session = self.parts.outputs, visitor_id(request)
        visit = await asyncio.to_thread(self.parts.service.visits.of, session)
        if session in self._generating:
            gr.Info("This page is making a clip: wait for it, or press Stop.")
            yield {outputs.status: gr.skip()}
            return
        with self._as_generating(session):
            yield {outputs.status: result.show_status("Submitting the request…", 0.0)}
            try:
                wanted = span_request(self.parts.clip(request, clip_id), start, end, prompt)
                job = await asyncio.to_thread(self.parts.service.submit, visit.token, wanted, network(request))
            except Exception as error:
                yield {outputs.status: self._not_generated(to_gradio_error(error))}
                return
            self.parts.service.presence.expect(session)
            async for updates in self._follow(job):
                yield updates

    @contextlib.contextmanager
    def _as_generating(self, session: str) -> Iterator[None]:
        self._generating.add(session)
        try:
            yield
        finally:
            self._generating.discard(session)

    async def _generate(
        self,
        session: str,
        visit: Visit,
        request: gr.Request,
        named: dict[str, Any],
        needed: dict[str, str],
        *values: Any,
    ) -> AsyncIterator[Updates]:
        inputs, outputs = self.parts.inputs, self.parts.outputs
        yield {outputs.status: result.show_status("Submitting the request…", 0.0)}
        try:
            check(named | {"needed": needed})
            generation = inputs.to_request(self.parts.service.catalog, *values)
            if generation.needs_frames:
                # Here, so that a recording that cannot be read is what the message is about, and not the model.
                yield {outputs.status: result.show_status("Reading the melody…", 0.0)}
                assert generation.melody is not None
                frames = await asyncio.to_thread(
                    self.parts.service.engine.extract_melody, generation.melody, bool(generation.separate)
                )
                generation = dataclasses.replace(generation, frames=frames)
            # Looking for a model on the disk, and for space on it, takes a while.
            job = await asyncio.to_thread(self.parts.service.submit, visit.token, generation, network(request))
        except Exception as error:
            gradio_error = to_gradio_error(
                error, *(named[name] for name in ("melody", "midi", "style", "continue_from"))
            )
            yield {outputs.status: self._not_generated(gradio_error)}
            return
        self.parts.service.presence.expect(session)
        async for updates in self._follow(job):
            yield updates

    async def rejoin(self, request: gr.Request) -> AsyncIterator[Updates]:
        """Follow the generation that the visit has begun before the page was loaded."""
        yield {self.parts.outputs.status: gr.skip()}  # for an iterator without items Gradio empties all components
        visit = await asyncio.to_thread(self.parts.service.visits.of, visitor_id(request))
        with self._as_generating(visitor_id(request)):
            try:
                jobs = await asyncio.to_thread(self.parts.service.jobs_of, visit)
            except MusicGenError as error:
                yield {self.parts.outputs.status: self._not_generated(to_gradio_error(error))}
                return
            for job in jobs:
                async for updates in self._follow(job):
                    yield updates

    async def _follow(self, job: GenerationJob) -> AsyncIterator[Updates]:
        """Progress of a job from now on, of its sound so far the last seconds, and its clips, for `show_finished_clips`.

        Each update has values for all outputs of its event: Gradio rebuilds a component that it is told to leave as it is, and
        that several times a second would slow the generation down.
        """
        outputs = self.parts.outputs
        status, finished = result.show_status("Waiting…", 0.0), FinishedClips()
        chunks = [event for event in job.events() if isinstance(event, PlaybackChunk)]
        num_skipped, seconds_skipped = max(0, len(chunks) - CATCH_UP_CHUNKS), 0.0
        for chunk in chunks[:num_skipped]:
            seconds_skipped += len(chunk.samples) / chunk.rate
        live_stream = live.LiveStream(secrets.token_hex(8), seconds_skipped)
        sound = live.empty_value(live_stream.run_id)

        def updates() -> Updates:
            return {outputs.status: status, outputs.live: sound, outputs.finished_clips: finished.dump()}

        yield updates()
        try:
            async with contextlib.aclosing(self.parts.service.job_queue.follow(job)) as happenings:
                async for event in happenings:
                    if isinstance(event, PlaybackChunk):
                        if num_skipped:
                            num_skipped -= 1
                            continue
                        sound = live_stream.append([event])
                    elif isinstance(event, StoredClip):
                        finished = finished.with_clip(event)
                    elif isinstance(event, int):
                        waiting = (
                            f"Waiting: {event - 1} before you, then it is your turn."
                            if event > 1
                            else "Waiting: you are next."
                        )
                        status = result.show_status(waiting, 0.0)
                    else:
                        status = result.show_progress(event)
                    yield updates()
            sound = live_stream.end()
            if finished.count:
                finished = finished.at_end(time.monotonic() - job.submitted)
            else:
                status = result.show_status("Stopped before there was any sound.")
            yield updates()
        except Exception as error:
            gradio_error = to_gradio_error(error, *map(str, job.payload.files.values()))
            status = self._not_generated(gradio_error)
            yield updates()

    def show_finished_clips(self, request: gr.Request, finished: str, shown: str) -> Updates:
        """Show the first clip of a generation when it is there, offer the others, and say when all are.

        Args:
            request: of the page.
            finished: a `FinishedClips`.
            shown: the one that was shown last. The page can ask twice for the same.
        """
        clips, visit, outputs = FinishedClips.load(finished), self.parts.visit(request), self.parts.outputs
        first = visit.find(clips.first)
        if first is None or finished == shown:
            return {outputs.status: gr.skip()}
        # The first variation stays selected, because it may be playing.
        if clips.first == FinishedClips.load(shown).first:
            updates: Updates = {outputs.clips: gr.update(choices=history.choices(visit))}
        else:
            updates = self.parts.show_clip(visit, first)
        if clips.message:
            updates[outputs.status] = result.show_status(clips.message)
        return updates | {outputs.shown: finished}

    def _not_generated(self, error: gr.Error) -> str:
        return result.show_status(f"Not generated: {sentence(html.unescape(error.message))}")

    def stop(self, request: gr.Request) -> Updates:
        """Stop the visitor's jobs. `generate` shows the clip."""
        if self.parts.service.stop(self.parts.service.visits.of(visitor_id(request)).token):
            return {self.parts.outputs.status: gr.skip()}
        return {self.parts.outputs.status: result.show_status("There is no generation to stop.")}


def span_request(clip: StoredClip, start: str | None, end: str | None, prompt: str | None) -> ClipRequest:
    """The request for a part of a clip. Raises InputError for a text that is no number, or none at all."""
    seconds = {
        name: optional_number(text, f"the {name} of the part") for name, text in (("start", start), ("end", end))
    }
    if seconds["start"] is None or seconds["end"] is None:
        raise InputError("which part is to be made anew? Type its start and its end in seconds, or mark them")
    span = float(seconds["start"]), float(seconds["end"])
    made = clip.request
    if made.span is not None and made.span[0] < 0:
        # It was made longer at its beginning: chords and melody are no longer at the times of its request.
        made = dataclasses.replace(made, melody=None, frames=None, chords=None)
    return dataclasses.replace(
        made,
        prompt=clean_prompt(prompt) or made.prompt_at(span[0]),
        duration=clip.seconds + max(0.0, -span[0]),
        seed=None,
        variations=1,
        timeline=(),
        loop=False,
        # The frames of a recording are there already, and the recording may have expired.
        melody=made.melody if made.frames is None else None,
        continue_from=clip.path,
        span=span,
    )


def connect(parts: PageParts, inputs: InputEvents, clips: ClipEvents) -> GenerationEvents:
    """Attach the events of a page. Those of its form and of its clips go on where these end."""
    outputs, form = parts.outputs, parts.inputs
    events = GenerationEvents(parts)
    generation = gr.on(
        [parts.actions.generate.click, form["prompt"].submit], events.generate,
        [parts.next_clip.needed, *form.components], parts.of_progress, trigger_mode="multiple", **UNLIMITED,
    )  # fmt: skip
    inputs.then_describe_cost(generation)
    finished_clips = outputs.finished_clips.change(
        events.show_finished_clips, [outputs.finished_clips, outputs.shown], [*parts.of_clip, outputs.status, outputs.shown],
        trigger_mode="always_last", **UNLIMITED,
    )  # fmt: skip
    clips.then_convert(finished_clips)
    parts.actions.stop.click(events.stop, None, outputs.status, **UNLIMITED)
    for mark, field in ((outputs.mark_start, outputs.span_start), (outputs.mark_end, outputs.span_end)):
        mark.click(
            None, field, field, js=assets.read("player_time.js").split("\n", 1)[1].strip(), api_visibility="private"
        )
    outputs.repaint.click(
        events.repaint, [outputs.clips, outputs.span_start, outputs.span_end, form["prompt"]], parts.of_progress,
        trigger_mode="multiple", **UNLIMITED,
    )  # fmt: skip
    return events
