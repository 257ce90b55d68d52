"""Event handlers of the page. A visitor's clips are those of the visit (`visits.py`) of the session that asks."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import html
import logging
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from musicgen import file_warnings, midi
from musicgen.catalog import DECODERS
from musicgen.chords import chart_of
from musicgen.errors import InputError, MusicGenError
from musicgen.serving import clip_metadata
from musicgen.serving.clip_store import FORMATS
from musicgen.serving.model_cache import LOAD_MEMORY_FACTOR
from musicgen.serving.models import ModelInfo
from musicgen.serving.request import FILES, ClipRequest, clean_prompt
from musicgen.serving.service import GenerationJob, PlaybackChunk
from musicgen.serving.stored_clip import StoredClip

from .. import derived_files
from ..service import Service
from ..visits import Visit
from . import assets, compare, live, melody_editor, memory, result, texts
from .arrival import Arrival
from .fields import default_melody_is_clean, optional_number, precisions
from .form import Accordions, Actions, Inputs
from .memory import Memory
from .messages import Updates, network, plain, said_of, sentence, to_gradio_error, visitor_id
from .next_clip import ADDED_BY, DESCRIBED, NextClip, check
from .result import Outputs
from .training.events import connect as connect_training
from .training.panel import TrainingPanel

CATCH_UP_CHUNKS = 10
"""Chunks of the sound so far that a page gets when it finds its generation again: ten seconds."""
EXAMPLE_MELODIES = Path(__file__).with_name("melodies")
"""Written by tools/make_example_melodies.py."""

log = logging.getLogger(__name__)


def session_of(page: gr.Blocks, event_id: str) -> str:
    """The session that started an event; the event's own id where Gradio does not know the event any more."""
    queue = page._queue
    event = queue.event_ids_to_events.get(event_id)
    if event is not None:
        return event.session_hash
    # It has ended, and its results wait for somebody to fetch them.
    return next((session for session, ids in queue.pending_event_ids_session.items() if event_id in ids), event_id)


def has_results(page: gr.Blocks, session: str) -> bool:
    """Whether a session has events under way, or results that nobody has fetched."""
    return session in page._queue.pending_messages_per_session


async def _disconnected(request: Any) -> None:
    """Wait until the client of a request has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def stream_events(service: Service, request: gr.Request, generation: ClipRequest) -> AsyncGenerator[Any]:
    """Submit a request and follow its job until it is done.

    For API clients, which have no page that could find the job again: it is cancelled when the iterator is closed, as Gradio
    does when it finds that the client has left, when the session has had no connection for a while, and when a client without a
    session hangs up.

    Args:
        service: makes the clips.
        request: of the visitor.
        generation: what to generate.

    Yields:
        The position in the queue (int) or the `Progress` whenever it changes, and each `PlaybackChunk` and `StoredClip`.

    Raises:
        Exception: the error of the job.
    """
    session = visitor_id(request)
    # Looking for a model on the disk, and for space on it, takes a while.
    job = await asyncio.to_thread(service.submit, session or secrets.token_hex(16), generation, network(request))
    leaving: asyncio.Task[None] | None = None
    if session:
        service.followers.expect(session)
    else:
        leaving = asyncio.create_task(_disconnected(getattr(request, "request", request)))
        leaving.add_done_callback(lambda task: None if task.cancelled() else job.cancel())
    try:
        async with contextlib.aclosing(service.job_queue.follow(job)) as happenings:
            async for event in happenings:
                yield event
    finally:
        if leaving is not None:
            leaving.cancel()
        if not job.done:
            job.cancel()


class EventHandlers:
    """The event handlers of one page. They return component updates."""

    def __init__(
        self,
        service: Service,
        inputs: Inputs,
        accordions: Accordions,
        next_clip: NextClip,
        outputs: Outputs,
        memory: Memory,
    ) -> None:
        self.service, self.inputs, self.accordions, self.outputs = service, inputs, accordions, outputs
        self.next_clip, self.memory = next_clip, memory
        self._generating: set[str] = set()
        """Sessions whose page follows a generation."""
        self.cost_inputs: list[Any] = [
            inputs["model"], inputs["precision"], inputs["duration"], inputs["variations"], inputs["melody_guidance_scale"],
            inputs["style_guidance_scale"], inputs["decoder"],
        ]  # fmt: skip

    def restore_visit(self, request: gr.Request, remembered: str) -> Updates:
        """Show what the browser remembers: its clips and settings, or those of the link.

        Args:
            request: of the page that was loaded.
            remembered: what its browser has stored.
        """
        past = memory.read(remembered)
        visit, known, expired = self.service.visits.enter(visitor_id(request), past.visit)
        updates: Updates = {self.memory.visit: visit.token}
        gone = memory.describe_gone(
            past, known, expired, self.service.limits.keep_hours, self.service.workers is not None
        )
        message = f"Ready. {gone}".rstrip()
        text = (request.query_params or {}).get("s", "")
        if text:
            try:
                request_of_link, needed = clip_metadata.read_link(str(text))
                updates |= self._show_request(request_of_link, needed)
                message = f"These are the settings of your link.{_add_again(needed)} {gone}".rstrip()
            except MusicGenError as error:
                message = f"Ready, but without the link's settings: {error}. {gone}".rstrip()
        elif past.settings:
            updates |= self._show_remembered(past.settings, visit.needed)
        if visit.clips:
            shown = visit.find(past.clip) or visit.clips[-1]
            updates |= self._show_clip(visit, shown)
        return updates | {self.memory.greeting: message}

    async def greet(self, message: str) -> AsyncIterator[Updates]:
        """Show the progress of the service's warm-up, then the message of `restore_visit`."""
        if not self.service.warmed_up:
            yield {self.outputs.status: result.show_status(texts.WARMING_UP)}
            await self.service.changes.wait_until(lambda: self.service.warmed_up)
        yield {self.outputs.status: result.show_status(message)}

    async def rejoin(self, request: gr.Request) -> AsyncIterator[Updates]:
        """Follow the generation that the visit has begun before the page was loaded."""
        yield {self.outputs.status: gr.skip()}  # for an iterator without items Gradio empties all components
        visit = await asyncio.to_thread(self.service.visits.of, visitor_id(request))
        with self._as_generating(visitor_id(request)):
            try:
                jobs = await asyncio.to_thread(self.service.jobs_of, visit)
            except MusicGenError as error:
                yield {self.outputs.status: self._not_generated(to_gradio_error(error))}
                return
            for job in jobs:
                async for updates in self._follow(job):
                    yield updates

    async def generate(self, request: gr.Request, needed: dict[str, str], *values: Any) -> AsyncIterator[Updates]:
        """Generate clips: shows progress, streams the audio, and adds the finished clips to the history.

        The job goes on when the page is reloaded. It ends when no page of the visit has been connected for a while.
        """
        inputs, outputs = self.inputs, self.outputs
        named = inputs.named(*values)
        session = visitor_id(request)
        visit = await asyncio.to_thread(self.service.visits.of, session)
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
        outputs, session = self.outputs, visitor_id(request)
        visit = await asyncio.to_thread(self.service.visits.of, session)
        if session in self._generating:
            gr.Info("This page is making a clip: wait for it, or press Stop.")
            yield {outputs.status: gr.skip()}
            return
        with self._as_generating(session):
            yield {outputs.status: result.show_status("Submitting the request…", 0.0)}
            try:
                wanted = span_request(self._clip(request, clip_id), start, end, prompt)
                job = await asyncio.to_thread(self.service.submit, visit.token, wanted, network(request))
            except Exception as error:
                yield {outputs.status: self._not_generated(to_gradio_error(error))}
                return
            self.service.followers.expect(session)
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
        inputs, outputs = self.inputs, self.outputs
        yield {outputs.status: result.show_status("Submitting the request…", 0.0)}
        try:
            check(named | {"needed": needed})
            generation = inputs.to_request(self.service.catalog, *values)
            if generation.needs_frames:
                # Here, so that a recording that cannot be read is what the message is about, and not the model.
                yield {outputs.status: result.show_status("Reading the melody…", 0.0)}
                assert generation.melody is not None
                frames = await asyncio.to_thread(
                    self.service.engine.extract_melody, generation.melody, bool(generation.separate)
                )
                generation = dataclasses.replace(generation, frames=frames)
            # Looking for a model on the disk, and for space on it, takes a while.
            job = await asyncio.to_thread(self.service.submit, visit.token, generation, network(request))
        except Exception as error:
            gradio_error = to_gradio_error(
                error, *(named[name] for name in ("melody", "midi", "style", "continue_from"))
            )
            yield {outputs.status: self._not_generated(gradio_error)}
            return
        self.service.followers.expect(session)
        async for updates in self._follow(job):
            yield updates

    async def _follow(self, job: GenerationJob) -> AsyncIterator[Updates]:
        """Progress of a job from now on, of its sound so far the last seconds, and its clips, for `show_arrival`.

        Each update has values for all outputs of its event: Gradio rebuilds a component that it is told to leave as it is, and
        that several times a second would slow the generation down.
        """
        outputs = self.outputs
        status, arrived = result.show_status("Waiting…", 0.0), Arrival()
        chunks = [event for event in job.events() if isinstance(event, PlaybackChunk)]
        num_skipped, seconds_skipped = max(0, len(chunks) - CATCH_UP_CHUNKS), 0.0
        for chunk in chunks[:num_skipped]:
            seconds_skipped += len(chunk.samples) / chunk.rate
        live_stream = live.LiveStream(secrets.token_hex(8), seconds_skipped)
        sound = live.empty_value(live_stream.run_id)

        def updates() -> Updates:
            return {outputs.status: status, outputs.live: sound, outputs.arrived: arrived.dump()}

        yield updates()
        try:
            async with contextlib.aclosing(self.service.job_queue.follow(job)) as happenings:
                async for event in happenings:
                    if isinstance(event, PlaybackChunk):
                        if num_skipped:
                            num_skipped -= 1
                            continue
                        sound = live_stream.append([event])
                    elif isinstance(event, StoredClip):
                        arrived = arrived.with_clip(event)
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
            if arrived.count:
                arrived = arrived.at_end(time.monotonic() - job.submitted)
            else:
                status = result.show_status("Stopped before there was any sound.")
            yield updates()
        except Exception as error:
            gradio_error = to_gradio_error(error, *map(str, job.payload.files.values()))
            status = self._not_generated(gradio_error)
            yield updates()

    def show_arrival(self, request: gr.Request, arrived: str, shown: str) -> Updates:
        """Show the first clip of a generation when it is there, offer the others, and say when all are.

        Args:
            request: of the page.
            arrived: an `Arrival`.
            shown: the one that was shown last. The page can ask twice for the same.
        """
        arrival, visit, outputs = Arrival.load(arrived), self._visit(request), self.outputs
        first = visit.find(arrival.first)
        if first is None or arrived == shown:
            return {outputs.status: gr.skip()}
        if arrival.first == Arrival.load(shown).first:  # the first variation stays selected, because it may be playing
            updates: Updates = {outputs.clips: gr.update(choices=_choices(visit))}
        else:
            updates = self._show_clip(visit, first)
        if arrival.message:
            updates[outputs.status] = result.show_status(arrival.message)
        return updates | {outputs.shown: arrived}

    def _not_generated(self, error: gr.Error) -> str:
        return result.show_status(f"Not generated: {sentence(html.unescape(error.message))}")

    def stop(self, request: gr.Request) -> Updates:
        """Stop the visitor's jobs. `generate` shows the clip."""
        if self.service.stop(self.service.visits.of(visitor_id(request)).token):
            return {self.outputs.status: gr.skip()}
        return {self.outputs.status: result.show_status("There is no generation to stop.")}

    def extract_melody(self, recording: str | None, melody_is_clean: bool, model: str) -> Updates:
        """Show the melody of a new recording in the editor, and select a melody model if a text model is selected."""
        if not recording:
            return {self.inputs["frames"]: gr.skip()}
        if midi.is_midi(recording):  # browsers take it for audio
            return self.clear_melody() | self.check_midi(recording, model)
        try:
            with file_warnings.collected() as said:
                frames = self.service.engine.extract_melody(Path(recording), separate=not melody_is_clean)
        except Exception as error:
            gradio_error = to_gradio_error(error, recording)
            gr.Warning(gradio_error.message, duration=15)
            message = f"The melody cannot be used: {sentence(html.unescape(gradio_error.message))}"
            return self.clear_melody() | {self.outputs.status: result.show_status(message)}
        updates: Updates = {self.inputs["frames"]: gr.update(value=melody_editor.dump(frames), visible=True)}
        message = f"The clip follows the melody of {Path(recording).name}.{said_of(said, recording)}"
        return updates | {self.outputs.status: result.show_status(message)} | self._choose_melody_model(model)

    def check_midi(self, file: str | None, model: str) -> Updates:
        """Read a new MIDI file, and select a melody model if the selected one follows none."""
        if not file:
            return {self.outputs.status: gr.skip()}
        try:
            count = len(midi.notes(file))
        except Exception as error:
            gradio_error = to_gradio_error(error, file)
            gr.Warning(gradio_error.message, duration=15)
            message = f"The MIDI file cannot be used: {sentence(html.unescape(gradio_error.message))}"
            return {self.outputs.status: result.show_status(message)}
        message = f"The MIDI file has {count} note{'s' if count > 1 else ''} without its drums."
        return {self.outputs.status: result.show_status(message)} | self._choose_melody_model(model)

    def check_chords(self, chords: str | None, bpm: str | None, metre: str | None, model: str) -> Updates:
        """Read the chords when they have been typed, and select a melody model if the selected one follows none."""
        if not (chords or "").strip():
            return {self.outputs.status: gr.skip()}
        try:
            tempo = optional_number(bpm, "the tempo of the chords")
            chart = chart_of(chords, tempo, (metre or "").strip() or None)
        except MusicGenError as error:
            message = f"The chords cannot be used: {sentence(error.told('page'))}"
            return {self.outputs.status: result.show_status(message)}
        bars = 0 if chart is None else len(chart.bars())
        message = f"The clip follows {bars} bar{'s' if bars > 1 else ''} of chords."
        return {self.outputs.status: result.show_status(message)} | self._choose_melody_model(model)

    def _choose_melody_model(self, model: str) -> Updates:
        """Updates that select a melody model and say so; none where the selected one is one."""
        melody_model = self.service.catalog.melody_model(model)
        if melody_model is None or melody_model.name == model:
            return {}
        message = f"{model} follows no melody, so the model is now {melody_model.name}."
        return {
            self.outputs.status: result.show_status(message),
            self.inputs["model"]: melody_model.name,
        }

    def show_inputs_of_model(self, model: str, style: str | None) -> Updates:
        """Show the inputs that not every model has, where the model has them or they hold something."""
        try:
            info = self.service.catalog.get(model)
        except MusicGenError:
            return {self.inputs["conditions"]: gr.skip()}
        return {
            self.accordions.style: gr.update(visible=info.style is not False or bool(style)),
            self.inputs["conditions"]: gr.update(visible=info.takes_conditions),
        }

    def use_example_melody(self, name: str) -> Updates:
        """Set one of the example melodies as the melody.

        Args:
            name: of its file in EXAMPLE_MELODIES.
        """
        path = self.service.clip_store.copy(EXAMPLE_MELODIES / name)
        return {self.inputs["melody"]: str(path), self.inputs["melody_is_clean"]: True}

    def clear_melody(self) -> Updates:
        """Hide the melody editor when the recording has been removed."""
        return {self.inputs["frames"]: gr.update(value=melody_editor.dump(()), visible=False)}

    def clear_melody_without_recording(self, recording: str | None) -> Updates:
        """Hide the melody editor again if the recording was removed while its melody was extracted."""
        return {self.inputs["frames"]: gr.skip()} if recording else self.clear_melody()

    async def update_precisions(self, model: str) -> Any:
        """Show which precision "auto" selects for the model, as soon as PyTorch has been imported."""
        await self.service.changes.wait_until(lambda: self.service.warmed_up)
        try:
            return gr.update(choices=precisions(self.service.resolve_precision(model, "auto")))
        except MusicGenError:
            return gr.skip()

    def update_melody_is_clean(self, model: str, recording: str | None) -> Any:
        """Set the check box to the default of a newly selected model, unless there is a recording."""
        return gr.skip() if recording else default_melody_is_clean(self.service, model)

    def extend_duration(self, recording: str | None) -> Updates:
        """Set the duration to more than that of a clip that is to be continued."""
        if not recording:
            return {self.inputs["duration"]: gr.skip()}
        try:
            with file_warnings.collected() as said:
                seconds = self.service.duration_of(Path(recording))
        except Exception as error:
            raise to_gradio_error(error, recording) from None
        max_duration = self.service.limits.max_duration
        if seconds >= max_duration:
            gr.Warning(f"The clip is {seconds:.1f} s long and a result {max_duration:g} s at most: cut it first.")
            return {self.inputs["duration"]: gr.skip()}
        message = f"Your clip is {seconds:.1f} s long; the duration is that of clip and continuation together."
        message += said_of(said, recording)
        return {
            self.inputs["duration"]: min(max_duration, round(seconds * 2 + 20) / 2),
            self.outputs.status: result.show_status(message),
        }

    def describe_cost(
        self,
        model: str,
        precision: str,
        duration: float,
        variations: float,
        melody_guidance: str | None,
        style_guidance: str | None,
        decoder: str,
    ) -> str:
        """The time, the download and the GPU quota that a generation needs, as text."""
        try:
            info = self.service.catalog.get(model)
            seconds = self.service.expected_seconds(model, precision, duration, round(variations))
            first = self.service.measured_seconds(model, precision, duration, round(variations)) is None
            downloaded = info.origin == "published" and self.service.engine.is_here(model)
            apart = [
                name
                for name, scale in (("melody", melody_guidance), ("style", style_guidance))
                if (scale or "").strip()
            ]
            quota = self.service.describe_gpu_quota(model, precision, duration, variations, bool(apart))
        except (MusicGenError, TypeError):
            return ""
        if seconds is None:
            parts = ["How long it takes here is known after the model's first clip"]
        else:
            guess = ", a guess before the model's first clip" if first else ""
            parts = [f"{result.show_seconds(seconds).capitalize()} on this machine{guess}"]
        if apart:
            parts.append(f"half as long again for the {' and the '.join(apart)}'s own guidance")
        if decoder != DECODERS[0]:
            here = "" if self.service.engine.has_multi_band_diffusion() else ", which is downloaded first"
            parts.append(f"and minutes more for multi-band diffusion{here}")
        if info.origin == "published":
            memory = f"up to {info.size * LOAD_MEMORY_FACTOR / 1e9:.1f} GB of memory"
            parts += [
                "it is on this machine" if downloaded else f"{info.size / 1e9:.1f} GB to download first", memory,
            ]  # fmt: skip
        if quota:
            parts.append(quota)
        return ", ".join(parts) + "." + self._describe_quality(info)

    def _describe_quality(self, info: ModelInfo) -> str:
        """What to expect of the sound of a model that was made to show the page."""
        if info.origin != "embedded":
            return ""
        published = [other.size for other in self.service.catalog if other.origin == "published"]
        better = (
            f": the published ones (facebook/…) sound far better, from {min(published) / 1e9:.1f} GB to download"
            if published
            else ""
        )
        return f" {info.name} is a small demonstration{better}."

    def select_clip(self, request: gr.Request, clip_id: str | None) -> Updates:
        """Show another clip of the history."""
        visit = self._visit(request)
        if visit.find(clip_id) is None:
            return {self.outputs.clips: gr.skip()}
        return self._show_clip(visit, self._clip(request, clip_id))

    def show_takes(self, request: gr.Request, clip_id: str | None, arrived: str) -> Any:
        """Show the takes that were made with the selected clip, best first.

        Args:
            request: of the page.
            clip_id: the selected clip.
            arrived: an `Arrival`: takes are compared when all of its generation are there, so that the comparison takes no time
                from the generation.
        """
        visit = self._visit(request)
        clip = visit.find(clip_id)
        if clip is None:
            return result.show_takes((), (), "")
        takes = [one for one in visit.clips if one.generation == clip.generation and one.path.is_file()]
        if len(takes) < 2:  # there is nothing to compare
            return result.show_takes((), (), "")
        arrival = Arrival.load(arrived)
        if any(take.id == arrival.first for take in takes) and not arrival.message:
            return result.show_takes((), (), "")
        try:
            return result.show_takes(takes, [self.service.take_score(take) for take in takes], clip.id)
        except Exception as error:
            raise to_gradio_error(error) from None

    def update_downloads_and_comparison(self, request: gr.Request, clip_id: str | None) -> Updates:
        """Convert the selected clip to the other formats, and offer the other clips for comparison."""
        visit = self._visit(request)
        clip = visit.find(clip_id)
        if clip is None:
            return {self.outputs.downloads[0]: gr.skip()}
        others = [choice for choice in _choices(visit) if choice[1] != clip_id]
        other = others[-1][1] if others else None
        updates: Updates = {
            self.outputs.other: gr.update(choices=others, value=other),
            self.outputs.comparison_accordion: gr.update(visible=bool(others)),
            self.outputs.comparison: self.compare(request, clip_id, other),
        }
        for name, button in zip(FORMATS, self.outputs.downloads, strict=True):
            try:
                file = str(self.service.clip_store.convert(clip.path, name))
                updates[button] = gr.update(value=file, interactive=True)
            except MusicGenError as error:
                gr.Warning(plain(error.told("page")))
        return updates

    def show_tempo_and_key(self, request: gr.Request, clip_id: str | None) -> str:
        """Tempo and key of the selected clip, which are measured when it is shown already."""
        clip = self._visit(request).find(clip_id)
        if clip is None or not clip.path.is_file():
            return ""
        try:
            return result.show_heard(self.service.tempo_and_key(clip))
        except Exception as error:
            raise to_gradio_error(error) from None

    def score(self, request: gr.Request, clip_id: str | None) -> str:
        """CLAP score and chroma similarity of the selected clip."""
        clip = self._clip(request, clip_id)
        try:
            return result.show_scores(self.service.score(clip))
        except Exception as error:
            raise to_gradio_error(error) from None

    def make_video(self, request: gr.Request, clip_id: str | None) -> Updates:
        """Offer the selected clip as a video with its waveform."""
        clip = self._clip(request, clip_id)
        try:
            file = derived_files.video(self.service.clip_store, clip.path)
        except Exception as error:
            raise to_gradio_error(error) from None
        outputs = self.outputs
        return {outputs.video: gr.update(value=str(file), visible=True), outputs.make_video: gr.update(visible=False)}

    def make_daw(self, request: gr.Request, clip_id: str | None, transcriber: str) -> Updates:
        """Offer the selected clip as a ZIP for a DAW."""
        clip = self._clip(request, clip_id)
        try:
            file = derived_files.daw(self.service.clip_store, clip.path, transcriber)
        except Exception as error:
            raise to_gradio_error(error) from None
        outputs = self.outputs
        return {outputs.daw: gr.update(value=str(file), visible=True), outputs.make_daw: gr.update(visible=False)}

    def toggle_favourite(self, request: gr.Request, clip_id: str | None) -> Updates:
        """Mark the selected clip as a favourite, or no longer."""
        visit, clip = self._visit(request), self._clip(request, clip_id)
        self.service.visits.toggle_favourite(visit, clip.id)
        return {
            self.outputs.clips: gr.update(choices=_choices(visit), value=clip.id),
            self.outputs.favourite: _favourite_label(visit, clip),
        }

    def delete_clip(self, request: gr.Request, clip_id: str | None) -> Updates:
        """Delete the selected clip and show another one. Without an id, which a visitor's "no" gives, nothing happens."""
        visit = self._visit(request)
        clip = visit.find(clip_id)
        if clip is None:
            return {self.outputs.clips: gr.skip()}
        self.service.delete_clip(visit, clip)
        said: Updates = {self.outputs.status: result.show_status(f"Deleted: {_title(clip)}.")}
        left = [one for one in visit.clips if one.path.is_file()]
        if left:
            return self._show_clip(visit, left[-1]) | said
        return said | {
            self.outputs.clip_panel: gr.update(visible=False),
            self.outputs.clips: gr.update(choices=[], value=None),
            self.outputs.player: None,
        }

    def use_as_melody(self, request: gr.Request, clip_id: str | None) -> Updates:
        """Set the selected clip as the melody."""
        clip = self._clip(request, clip_id)
        opened = {self.accordions.melody: gr.update(open=True)}
        return opened | {self.inputs["melody"]: str(clip.path), self.inputs["melody_is_clean"]: True}

    def continue_clip(self, request: gr.Request, clip_id: str | None) -> Updates:
        """Set the selected clip as the clip to continue."""
        clip = self._clip(request, clip_id)
        return {self.inputs["continue_from"]: str(clip.path), self.accordions.continue_from: gr.update(open=True)}

    def use_seed(self, request: gr.Request, clip_id: str | None) -> Updates:
        """Set the seed of the selected clip."""
        return {self.inputs["seed"]: str(self._clip(request, clip_id).seed), self.accordions.more: gr.update(open=True)}

    def describe_next_clip(self, request: gr.Request, needed: dict[str, str], *values: Any) -> Updates:
        """Show what the next clip will be made from, and keep which files its settings lack."""
        self.service.visits.keep_needed(self._visit(request), needed)
        return self.next_clip.show(self.inputs.named(*values) | {"needed": needed})

    def removals(self) -> dict[str, Updates]:
        """Part of the next clip -> what removes it."""
        inputs = self.inputs
        return {
            "continue_from": {inputs["continue_from"]: None},
            "melody": {inputs["melody"]: None} | self.clear_melody(),
            "midi": {inputs["midi"]: None},
            "chords": {inputs["chords"]: "", inputs["bpm"]: "", inputs["metre"]: ""},
            "style": {inputs["style"]: None},
            "timeline": {inputs["timeline"]: ""},
            "seed": {inputs["seed"]: ""},
            "conditions": {inputs["conditions"]: ""},
            "decoder": {inputs["decoder"]: DECODERS[0]},
            "loop": {inputs["loop"]: False},
            "needed": {self.next_clip.needed: {}},
        }

    def compare(self, request: gr.Request, a: str | None, b: str | None) -> str:
        """The value of the comparison player for two clips of the history."""
        clips = [self._visit(request).find(clip_id) for clip_id in (a, b)]
        return compare.dump(*(None if clip is None else clip.path for clip in clips))

    def restore(self, file: str | None) -> Updates:
        """Show the settings in an uploaded clip."""
        if not file:
            return {self.outputs.status: gr.skip()}
        name = Path(file).name
        try:
            request, needed = clip_metadata.read_file(Path(file), name, self.service.catalog)
            updates = self._show_request(request, needed)
        except Exception as error:
            raise to_gradio_error(error, file) from None
        message = f"Restored the settings of {name}.{_add_again(needed)}"
        return updates | {self.outputs.status: result.show_status(message)}

    def _show_request(self, request: ClipRequest, needed: dict[str, str]) -> Updates:
        """Updates that show a request and the audio files that it needs. Raises InputError if its model is not offered."""
        self.service.catalog.get(request.model)
        self.service.catalog.adapters.check(request.adapters)
        if request.separate is None:
            request = dataclasses.replace(request, separate=not default_melody_is_clean(self.service, request.model))
        filled = {name for name in ("frames", "chords", "timeline") if getattr(request, name)} | needed.keys()
        takes_style = self.service.catalog.get(request.model).style is not False
        return self.inputs.fill(request) | {self.next_clip.needed: needed} | self.accordions.show(filled, takes_style)

    def _show_remembered(self, values: Mapping[str, Any], needed: Mapping[str, str]) -> Updates:
        """Updates that show the settings that a browser remembers, and the files that they were made with."""
        restored = self.inputs.restore(values, self.service.clip_store.holds)
        filled = {name for name, component in self.inputs.items() if restored.get(component)}
        gone = {
            name: memory.file_name(values.get(source))
            for name in FILES
            for source in ADDED_BY.get(name, (name,))
            if memory.file_name(values.get(source))
            and source not in filled
            and not (source == "melody" and "frames" in filled)
        }
        model = restored.get(self.inputs["model"], self.service.catalog.default())
        takes_style = self.service.catalog.get(model).style is not False
        return restored | {self.next_clip.needed: dict(needed) | gone} | self.accordions.show(filled, takes_style)

    def _visit(self, request: gr.Request) -> Visit:
        return self.service.visits.of(visitor_id(request))

    def _clip(self, request: gr.Request, clip_id: str | None) -> StoredClip:
        clip = self._visit(request).find(clip_id)
        if clip is None:
            raise gr.Error("There is no clip yet.", print_exception=False)
        if not clip.path.is_file():
            raise gr.Error(
                "The clip has expired on the server: make it again from its settings.", print_exception=False
            )
        return clip

    def _show_clip(self, visit: Visit, clip: StoredClip) -> Updates:
        """Updates that show one clip of the history."""
        outputs = self.outputs
        link = clip_metadata.make_link(clip.request, clip.seed)
        return {
            outputs.clip_panel: gr.update(visible=True),
            outputs.clips: gr.update(choices=_choices(visit), value=clip.id),
            outputs.player: gr.update(value=str(clip.path), loop=clip.request.loop),
            outputs.plots: result.show_plots(clip),
            outputs.scores: "",
            outputs.link: f"?s={link}" if link else "",
            outputs.favourite: _favourite_label(visit, clip),
            outputs.details: result.show_details(clip),
            outputs.video: gr.update(visible=False),
            outputs.make_video: gr.update(visible=True),
            outputs.daw: gr.update(visible=False),
            outputs.make_daw: gr.update(visible=True),
            # The buttons have the files of the previous clip until `update_downloads_and_comparison` is done.
            **{button: gr.update(interactive=False) for button in outputs.downloads},
        }


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


def _add_again(needed: dict[str, str]) -> str:
    if not needed:
        return ""
    return f" Add {' and '.join(needed.values())} again: settings have only the names of audio files."


def _choices(visit: Visit) -> list[tuple[str, str]]:
    return [
        (f"{'★ ' if clip.id in visit.favourites else ''}{number} · {_title(clip)}", clip.id)
        for number, clip in enumerate(visit.clips, 1)
    ]


def _favourite_label(visit: Visit, clip: StoredClip) -> str:
    return "★ Remove from favourites" if clip.id in visit.favourites else "☆ Favourite"


def _title(clip: StoredClip) -> str:
    prompt = clip.request.prompt or "no description"
    short = prompt if len(prompt) <= 32 else f"{prompt[:31].rstrip(' ,')}…"
    return f"{short} · {clip.seconds:.0f} s · seed {clip.seed}"


def connect(
    page: gr.Blocks,
    service: Service,
    inputs: Inputs,
    actions: Actions,
    accordions: Accordions,
    next_clip: NextClip,
    outputs: Outputs,
    training: TrainingPanel | None = None,
) -> EventHandlers:
    """Attach the event handlers to the components of a page, which is the current `gr.Blocks`."""
    remembered = memory.build()
    handlers = EventHandlers(service, inputs, accordions, next_clip, outputs, remembered)
    # Gradio rebuilds each output of an event, those that are left as they are too: an event has those that it changes.
    clip_parts = [
        outputs.clip_panel, outputs.clips, outputs.player, outputs.plots, outputs.scores, outputs.link, outputs.favourite,
        outputs.details, outputs.video, outputs.make_video, outputs.daw, outputs.make_daw, *outputs.downloads,
    ]  # fmt: skip
    settings = [
        *inputs.components, next_clip.needed, *accordions.of_settings,
    ]  # fmt: skip
    progress = [outputs.status, outputs.live, outputs.arrived]
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    unlimited: dict[str, Any] = private | {"concurrency_limit": None}

    after_clip: list[Any] = [
        handlers.update_downloads_and_comparison, outputs.clips,
        [outputs.other, outputs.comparison_accordion, outputs.comparison, *outputs.downloads],
    ]  # fmt: skip
    generation = gr.on(
        [actions.generate.click, inputs["prompt"].submit], handlers.generate, [next_clip.needed, *inputs.components],
        progress, trigger_mode="multiple", **unlimited,
    )  # fmt: skip
    generation.then(handlers.describe_cost, handlers.cost_inputs, actions.cost, **unlimited)
    outputs.arrived.change(
        handlers.show_arrival, [outputs.arrived, outputs.shown], [*clip_parts, outputs.status, outputs.shown],
        trigger_mode="always_last", **unlimited,
    ).then(*after_clip, **unlimited)  # fmt: skip
    gr.on(
        [outputs.arrived.change, outputs.clips.change], handlers.show_takes, [outputs.clips, outputs.arrived], outputs.takes,
        trigger_mode="always_last", **(private | {"concurrency_limit": 1}),
    )  # fmt: skip
    outputs.clips.change(
        handlers.show_tempo_and_key, outputs.clips, outputs.heard, trigger_mode="always_last",
        **(private | {"concurrency_limit": 1}),
    )  # fmt: skip
    outputs.takes.input(handlers.select_clip, outputs.takes, clip_parts, **unlimited).then(*after_clip, **unlimited)
    actions.stop.click(handlers.stop, None, outputs.status, **unlimited)
    outputs.clips.input(handlers.select_clip, outputs.clips, clip_parts, **unlimited).then(*after_clip, **unlimited)
    # What these put into an audio input is no event of that input's own, as a visitor's file is.
    as_melody = outputs.as_melody.click(
        handlers.use_as_melody,
        outputs.clips,
        [inputs["melody"], inputs["melody_is_clean"], accordions.melody],
        **unlimited,
    )
    continue_clip = outputs.continue_clip.click(
        handlers.continue_clip, outputs.clips, [inputs["continue_from"], accordions.continue_from], **unlimited
    )
    for mark, field in ((outputs.mark_start, outputs.span_start), (outputs.mark_end, outputs.span_end)):
        mark.click(
            None, field, field, js=assets.read("player_time.js").split("\n", 1)[1].strip(), api_visibility="private"
        )
    outputs.repaint.click(
        handlers.repaint, [outputs.clips, outputs.span_start, outputs.span_end, inputs["prompt"]], progress,
        trigger_mode="multiple", **unlimited,
    )  # fmt: skip
    outputs.make_video.click(
        handlers.make_video, outputs.clips, [outputs.video, outputs.make_video], api_visibility="private",
        show_progress="minimal", show_progress_on=[outputs.make_video], concurrency_limit=1,
    )  # fmt: skip
    outputs.make_daw.click(
        handlers.make_daw, [outputs.clips, outputs.transcriber], [outputs.daw, outputs.make_daw], api_visibility="private",
        show_progress="minimal", show_progress_on=[outputs.make_daw], concurrency_limit=1,
    )  # fmt: skip
    outputs.transcriber.change(
        lambda: [gr.update(visible=False), gr.update(visible=True)], None, [outputs.daw, outputs.make_daw], **unlimited
    )
    outputs.favourite.click(handlers.toggle_favourite, outputs.clips, [outputs.clips, outputs.favourite], **unlimited)
    outputs.delete.click(
        handlers.delete_clip, outputs.clips, [*clip_parts, outputs.status], js=assets.read("ask.js").strip(),
        **unlimited,
    ).then(*after_clip, **unlimited)  # fmt: skip
    extraction: dict[str, Any] = {
        "fn": handlers.extract_melody, "inputs": [inputs["melody"], inputs["melody_is_clean"], inputs["model"]],
        "outputs": [inputs["frames"], inputs["model"], outputs.status], "api_visibility": "private",
        "show_progress": "minimal", "show_progress_on": [inputs["melody"]], "concurrency_limit": 2,
    }  # fmt: skip
    # A recording may be removed while its melody is extracted.
    after_extraction: list[Any] = [
        handlers.clear_melody_without_recording, inputs["melody"], inputs["frames"],
    ]  # fmt: skip
    gr.on([inputs["melody"].input, inputs["melody_is_clean"].input], **extraction).then(*after_extraction, **unlimited)
    as_melody.then(**extraction).then(*after_extraction, **unlimited)
    for name, button in actions.melodies.items():
        button.click(
            functools.partial(handlers.use_example_melody, name), None, [inputs["melody"], inputs["melody_is_clean"]],
            **unlimited,
        ).then(**extraction).then(*after_extraction, **unlimited)  # fmt: skip
    inputs["melody"].clear(handlers.clear_melody, None, inputs["frames"], **unlimited)
    for added in (inputs["continue_from"].input, continue_clip.then):
        added(handlers.extend_duration, inputs["continue_from"], [inputs["duration"], outputs.status], **unlimited)
    inputs["model"].change(
        handlers.update_precisions, inputs["model"], inputs["precision"], trigger_mode="always_last", **unlimited
    )
    inputs["model"].change(
        handlers.show_inputs_of_model, [inputs["model"], inputs["style"]], [accordions.style, inputs["conditions"]],
        trigger_mode="always_last", **unlimited,
    )  # fmt: skip
    inputs["midi"].upload(
        handlers.check_midi, [inputs["midi"], inputs["model"]], [inputs["midi"], inputs["model"], outputs.status],
        **unlimited,
    )  # fmt: skip
    inputs["chords"].blur(
        handlers.check_chords, [inputs["chords"], inputs["bpm"], inputs["metre"], inputs["model"]],
        [inputs["model"], outputs.status], **unlimited,
    )  # fmt: skip
    inputs["model"].input(
        handlers.update_melody_is_clean, [inputs["model"], inputs["melody"]], inputs["melody_is_clean"], **unlimited
    )
    gr.on(
        [component.change for component in handlers.cost_inputs], handlers.describe_cost, handlers.cost_inputs,
        actions.cost, **unlimited,
    )  # fmt: skip
    outputs.score.click(
        handlers.score, outputs.clips, outputs.scores, api_visibility="private", show_progress="minimal",
        concurrency_limit=1,
    )  # fmt: skip
    outputs.same_seed.click(handlers.use_seed, outputs.clips, [inputs["seed"], accordions.more], **unlimited)
    described = [*(inputs[name] for name in DESCRIBED), next_clip.needed]
    gr.on(
        [component.change for component in described], handlers.describe_next_clip,
        [next_clip.needed, *inputs.components], [next_clip.summary, *next_clip.buttons.values()],
        trigger_mode="always_last", **unlimited,
    )  # fmt: skip
    description: dict[str, Any] = {
        "fn": handlers.describe_next_clip, "inputs": [next_clip.needed, *inputs.components],
        "outputs": [next_clip.summary, *next_clip.buttons.values()], **unlimited,
    }  # fmt: skip
    for part, updates in handlers.removals().items():
        # Made anew for each click, because Gradio empties the updates that it gets. An input that goes off the page with its
        # value may not tell that it has changed.
        next_clip.buttons[part].click(
            lambda part=part: handlers.removals()[part], None, list(updates), **unlimited
        ).then(**description)
    # The browser completes the link, because the server does not know the URL under which the visitor sees the page.
    outputs.link.change(
        None, outputs.link, outputs.link, js=assets.read("absolute_link.js").strip(), api_visibility="private"
    )
    outputs.other.input(handlers.compare, [outputs.clips, outputs.other], outputs.comparison, **unlimited)
    restored = outputs.restore.upload(handlers.restore, outputs.restore, [*settings, outputs.status], **unlimited)
    restored.then(**description)
    loaded = _connect_memory(page, handlers, actions, [*settings, *clip_parts], progress, after_clip, description)
    if training is not None and service.trainings is not None:
        connect_training(service, service.trainings, training, inputs["adapters"], loaded)
    return handlers


def _connect_memory(
    page: gr.Blocks,
    handlers: EventHandlers,
    actions: Actions,
    restored: list[Any],
    progress: list[Any],
    after_clip: list[Any],
    description: dict[str, Any],
) -> Any:
    """Restore what the browser remembers when the page is loaded, and have it remember what changes from then on.

    Returns:
        The event after which a session has its visit.
    """
    inputs, outputs, remembered = handlers.inputs, handlers.outputs, handlers.memory
    unlimited: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
    loaded = page.load(
        handlers.restore_visit, remembered.visit, [*restored, remembered.visit, remembered.greeting],
        js=assets.read("recall.js").strip(), **unlimited,
    )  # fmt: skip
    loaded.then(*after_clip, **unlimited)
    loaded.then(**description)
    loaded.then(None, js=assets.read("forget_link.js").split("\n", 1)[1].strip(), api_visibility="private")
    ready = loaded.then(handlers.greet, remembered.greeting, outputs.status, **unlimited)
    ready.then(handlers.describe_cost, handlers.cost_inputs, actions.cost, **unlimited)
    loaded.then(handlers.rejoin, None, progress, **unlimited)
    loaded.then(handlers.describe_cost, handlers.cost_inputs, actions.cost, **unlimited)
    loaded.then(handlers.update_precisions, inputs["model"], inputs["precision"], **unlimited)
    remember: dict[str, Any] = {
        "fn": None, "inputs": [remembered.visit, outputs.clips, *inputs.components], "outputs": None,
        "js": memory.script(list(inputs)), "api_visibility": "private",
    }  # fmt: skip
    loaded.then(**remember)
    gr.on([component.change for component in (*inputs.components, outputs.clips)], **remember)
    return loaded
