"""What the widgets do when they are used. A visitor's clips live in the page's own state; nothing is shared."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import gradio as gr

from musicgen.errors import MusicGenError

from .. import stored
from ..files import FORMATS
from ..service import Clip, GenerationJob, Request, Service, Sound
from . import assets, compare, live, melody_editor, result, texts
from .form import Actions, Form, Parts, is_clean, precisions
from .result import Result

POLL = 0.1
"""Seconds between two looks at a job."""

log = logging.getLogger(__name__)


def visitor(request: gr.Request | None) -> str:
    """Who asks: a page or a client, by its session."""
    return "" if request is None else str(request.session_hash or "")


def refused(error: Exception, *files: str | None) -> gr.Error:
    """An error as the page shows it: names of files without the place where the server keeps them."""
    if isinstance(error, gr.Error):
        return error  # a Space's own, on its GPUs
    if not isinstance(error, MusicGenError):
        log.error("an event failed", exc_info=error)
        return gr.Error("something went wrong on the server; its log says what", print_exception=False)
    text = str(error)
    for file in files:
        if file:
            text = text.replace(f"{Path(file).parent}/", "")
    return gr.Error(text, duration=15, print_exception=False)


async def follow(music: Service, job: GenerationJob) -> AsyncIterator[Any]:
    """A job's events: a position in the queue (int), Progress, Sound, Clip. Closing it (the visitor left) ends the work."""
    shown: Any = None
    try:
        while True:
            done = job.done
            for event in job.drain_events():
                yield event
            if done:
                break
            place = music.job_queue.position(job)
            state: Any = place if place else job.progress
            if state is not None and state != shown:
                shown = state
                yield state
            await asyncio.sleep(POLL)
        if job.error is not None:
            raise job.error
    finally:
        if not job.done:
            music.job_queue.cancel(job)


class Events:
    """The handlers of one page."""

    def __init__(self, music: Service, form: Form, parts: Parts, shown: Result, history: gr.State) -> None:
        self.music, self.form, self.parts, self.shown, self.history = music, form, parts, shown, history
        self.costs: list[Any] = [form.model, form.precision, form.duration, form.variations, form.apart]

    async def opened(self, request: gr.Request) -> AsyncIterator[dict[Any, Any]]:
        """The page appears: settings of its link, then what the server is still loading."""
        text = (request.query_params or {}).get("s", "")
        message = texts.READY
        if text:
            try:
                yield self._filled(stored.of_link(str(text)))
                message = "These are the settings of your link."
            except MusicGenError as error:
                message = f"Ready, but without the link's settings: {error}."
        while not self.music.warm.is_set():
            yield {self.shown.status: result.show_status(texts.WARMING)}
            await asyncio.sleep(0.5)
        yield {self.shown.status: result.show_status(message)}

    async def generate(self, request: gr.Request, history: list[Clip], *values: Any) -> AsyncIterator[dict[Any, Any]]:
        """From Generate to the finished clips."""
        shown, form = self.shown, self.form
        given = dict(zip(form.inputs, values, strict=True))
        files = [given[form.melody], given[form.continue_from]]
        start, many, told, feed = time.monotonic(), 0, "", live.Feed(secrets.token_hex(8))
        yield {shown.status: result.show_status("Asking for a place…", 0.0), shown.live: live.silence(feed.run)}
        try:
            job = self.music.submit(visitor(request), form.request(*values))
            async for event in follow(self.music, job):
                if isinstance(event, Sound):
                    yield {shown.live: feed.value([event])}
                elif isinstance(event, Clip):
                    many += 1
                    history = [*history, event][-self.music.limits.history :]
                    if many == 1:
                        yield self._select(history, len(history) - 1) | {form.seed: event.seed}
                    else:  # the visitor may be listening to the first
                        yield {self.history: history, shown.clips: gr.update(choices=_choices(history))}
                    told = event.summary if many == 1 else f"{many} clips to choose from, the last {event.summary}"
                elif isinstance(event, int):
                    waiting = (
                        f"Waiting: {event - 1} before you, then it is your turn."
                        if event > 1
                        else "Waiting: you are next."
                    )
                    yield {shown.status: result.show_status(waiting, 0.0)}
                else:
                    yield {shown.status: result.show_progress(event)}
            done = (
                f"Done in {time.monotonic() - start:.1f} s: {told}." if many else "Stopped before there was any sound."
            )
            yield {shown.status: result.show_status(done), shown.live: feed.end()}
        except Exception as error:
            said = refused(error, *files)
            yield {shown.status: result.show_status(f"Not generated: {said.message}.")}
            raise said from None

    def stop(self, request: gr.Request) -> dict[Any, Any]:
        """Keep what was made; the generation itself shows it."""
        if self.music.stop(visitor(request)):
            return {self.shown.status: gr.skip()}
        return {self.shown.status: result.show_status("Nothing is being made.")}

    def closed(self, request: gr.Request) -> None:
        """The tab is gone."""
        self.music.leave(visitor(request))

    def listen(self, recording: str | None, is_clean: bool, model: str) -> dict[Any, Any]:
        """A melody was given: its chromagram for the editor, and a model that can follow it."""
        if not recording:
            return {self.form.frames: gr.skip()}
        try:
            frames = self.music.melody(Path(recording), separate=not is_clean)
        except Exception as error:
            raise refused(error, recording) from None
        updates: dict[Any, Any] = {self.form.frames: gr.update(value=melody_editor.dump(frames), visible=True)}
        other = self.music.shelf.follower(model)
        if other is not None and other.name != model:
            changed = f"{model} follows text only, so the model is now {other.name}."
            updates[self.shown.status] = result.show_status(changed)
            updates[self.form.model] = other.name
        return updates

    async def precisions(self, model: str) -> Any:
        """What "auto" is for the model, once this process can tell."""
        while not self.music.warm.is_set():
            await asyncio.sleep(POLL)
        try:
            return gr.update(choices=precisions(self.music.precision(model, "auto")))
        except MusicGenError:
            return gr.skip()

    def suits(self, model: str, recording: str | None) -> Any:
        """Another model: whether melodies are separated follows it, until there is one."""
        return gr.skip() if recording else is_clean(self.music, model)

    def unheard(self) -> dict[Any, Any]:
        """The visitor took the melody away."""
        return {self.form.frames: gr.update(value=melody_editor.dump(()), visible=False)}

    def given(self, recording: str | None) -> dict[Any, Any]:
        """A clip to continue was given: the result must be longer than it."""
        if not recording:
            return {self.form.duration: gr.skip()}
        try:
            seconds = self.music.seconds_of(Path(recording))
        except Exception as error:
            raise refused(error, recording) from None
        most = self.music.limits.max_duration
        if seconds >= most:
            gr.Warning(f"The clip is {seconds:.1f} s long and a result {most:g} s at most: cut it first.")
            return {self.form.duration: gr.skip()}
        told = f"Your clip is {seconds:.1f} s long; the duration is that of clip and continuation together."
        return {
            self.form.duration: min(most, round(seconds * 2 + 20) / 2),
            self.shown.status: result.show_status(told),
        }

    def cost(self, model: str, precision: str, duration: float, variations: float, apart: bool) -> str:
        """What the duration costs."""
        try:
            offer = self.music.shelf.find(model)
            known = self.music.cost(model, precision, duration)
            here = offer.origin == "published" and self.music.here(model)
            quota = self.music.quota(model, precision, duration, variations, apart)
        except (MusicGenError, TypeError):
            return ""
        steps = f"{round(duration * 50 * variations)} steps of the model"
        if known is None:
            parts = [f"{steps}: how long they take here, the first clip will tell"]
        else:
            parts = [f"{result.show_seconds(known * variations).capitalize()} on this machine: {steps}"]
        if apart:
            parts.append("half as slow again for the melody's own guidance")
        if offer.origin == "published":
            parts.append("it is on this machine" if here else f"{offer.size / 1e9:.1f} GB to download first")
        if quota:
            parts.append(quota)
        return ", ".join(parts) + "."

    def choose(self, history: list[Clip], index: int | None) -> dict[Any, Any]:
        """Another clip of the visit."""
        if index is None or not 0 <= index < len(history):
            return {self.shown.clips: gr.skip()}
        updates = self._select(history, index)
        del updates[self.shown.clips]
        return updates

    def beside(self, history: list[Clip], index: int | None) -> dict[Any, Any]:
        """What goes with the clip in the player: its other formats, and the clips it can be compared with."""
        if index is None or not 0 <= index < len(history):
            return {self.shown.downloads[0]: gr.skip()}
        others = [choice for choice in _choices(history) if choice[1] != index]
        other = others[-1][1] if others else None
        updates: dict[Any, Any] = {
            self.shown.other: gr.update(choices=others, value=other),
            self.shown.compare_part: gr.update(visible=bool(others)),
            self.shown.compared: self.compare(history, index, other),
        }
        for name, button in zip(FORMATS, self.shown.downloads, strict=True):
            try:
                file = str(self.music.files.convert(history[index].path, name))
                updates[button] = gr.update(value=file, interactive=True)
            except MusicGenError as error:
                gr.Warning(str(error))
        return updates

    def measure(self, history: list[Clip], index: int | None) -> str:
        """CLAP score and chroma similarity of the chosen clip."""
        clip = self._clip(history, index)
        try:
            return result.show_figures(self.music.measure(clip))
        except Exception as error:
            raise refused(error) from None

    def use_as_melody(self, history: list[Clip], index: int | None) -> dict[Any, Any]:
        clip = self._clip(history, index)
        return {self.form.melody: str(clip.path), self.form.clean: True}

    def use_to_continue(self, history: list[Clip], index: int | None) -> dict[Any, Any]:
        clip = self._clip(history, index)
        return {self.form.continue_from: str(clip.path)}

    def compare(self, history: list[Clip], a: int | None, b: int | None) -> str:
        paths = [clip.path for clip in history]
        return compare.dump(*(None if one is None or not 0 <= one < len(paths) else paths[one] for one in (a, b)))

    def restore(self, file: str | None) -> dict[Any, Any]:
        """A clip was dropped: its settings."""
        if not file:
            return {self.shown.status: gr.skip()}
        try:
            request, needed = stored.of_file(Path(file), Path(file).name, self.music.shelf)
            updates = self._filled(request)
        except Exception as error:
            raise refused(error, file) from None
        also = f" Add {' and '.join(needed)} again: a file holds their names only." if needed else ""
        return updates | {self.shown.status: result.show_status(f"Restored the settings of {Path(file).name}.{also}")}

    def _filled(self, request: Request) -> dict[Any, Any]:
        """Updates that show a request's settings, if this page has its model."""
        self.music.shelf.find(request.model)
        if request.separate is None:
            request = dataclasses.replace(request, separate=not is_clean(self.music, request.model))
        return self.form.fill(request) | {
            self.parts.melody: gr.update(open=request.frames is not None),
            self.parts.timeline: gr.update(open=bool(request.timeline)),
        }

    def _clip(self, history: list[Clip], index: int | None) -> Clip:
        if index is None or not 0 <= index < len(history):
            raise gr.Error("There is no clip yet.", print_exception=False)
        if not history[index].path.is_file():
            raise gr.Error(
                "The clip has expired on the server: make it again from its settings.", print_exception=False
            )
        return history[index]

    def _select(self, history: list[Clip], index: int) -> dict[Any, Any]:
        """Updates that show one clip of the visit."""
        shown, clip = self.shown, self._clip(history, index)
        text = stored.link(clip.request, clip.seed)
        return {
            self.history: history,
            shown.made: gr.update(visible=True),
            shown.clips: gr.update(choices=_choices(history), value=index),
            shown.player: gr.update(value=str(clip.path), loop=clip.request.loop),
            shown.seen: result.show_pictures(clip),
            shown.measured: "",
            shown.share: f"?s={text}" if text else "",
            # Until they hold this clip, and not the one before.
            **{button: gr.update(interactive=False) for button in shown.downloads},
        }


def _choices(history: list[Clip]) -> list[tuple[str, int]]:
    return [(f"{i + 1} · {_title(clip)}", i) for i, clip in enumerate(history)]


def _title(clip: Clip) -> str:
    words = clip.request.prompt or "no description"
    short = words if len(words) <= 22 else f"{words[:21].rstrip(' ,')}…"
    return f"{short} · seed {clip.seed}"


def connect(music: Service, form: Form, actions: Actions, parts: Parts, shown: Result) -> Events:
    """Join widgets and handlers, in the current page."""
    history = gr.State([])
    events = Events(music, form, parts, shown, history)
    every = [
        *form.inputs, parts.melody, parts.timeline, history, shown.status, shown.live, shown.made, shown.clips,
        shown.player, shown.seen, shown.measured, shown.share, shown.other, shown.compare_part, shown.compared,
        *shown.downloads,
    ]  # fmt: skip
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    free: dict[str, Any] = quiet | {"concurrency_limit": None}

    beside: list[Any] = [events.beside, [history, shown.clips], every]
    run = actions.go.click(events.generate, [history, *form.inputs], every, **free)
    run.then(*beside, **free)
    run.then(events.cost, events.costs, actions.cost, **free)
    actions.stop.click(events.stop, None, shown.status, **free)
    shown.clips.input(events.choose, [history, shown.clips], every, **free)
    shown.player.change(*beside, **free)
    gr.on(
        [form.melody.change, form.clean.input], events.listen, [form.melody, form.clean, form.model], every,
        api_visibility="private", show_progress="minimal", show_progress_on=[form.melody], concurrency_limit=2,
    )  # fmt: skip
    form.melody.clear(events.unheard, None, every, **free)
    form.continue_from.change(events.given, form.continue_from, every, **free)
    form.model.change(events.precisions, form.model, form.precision, trigger_mode="always_last", **free)
    form.model.input(events.suits, [form.model, form.melody], form.clean, **free)
    gr.on([one.change for one in events.costs], events.cost, events.costs, actions.cost, **free)
    shown.measure.click(
        events.measure, [history, shown.clips], shown.measured, api_visibility="private", show_progress="minimal",
        concurrency_limit=1,
    )  # fmt: skip
    shown.as_melody.click(events.use_as_melody, [history, shown.clips], every, **free)
    shown.go_on.click(events.use_to_continue, [history, shown.clips], every, **free)
    # The server does not know under which address the visitor sees it.
    shown.share.change(
        None, shown.share, shown.share, js=assets.read("absolute_link.js").strip(), api_visibility="private"
    )
    shown.other.input(events.compare, [history, shown.clips, shown.other], shown.compared, **free)
    shown.restore.upload(events.restore, shown.restore, every, **free)
    return events
