"""The event handlers of the section. A visitor's trainings are those of the visit to which the session of an event belongs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import gradio as gr

from musicgen.errors import InputError
from musicgen.serving.request import clean_prompt

from ...service import Service
from ...training.request import TrainingClip, TrainingRequest, captions_of
from ...training.run import Run
from ...training.trainings import TrainingJob, Trainings
from .. import result
from ..fields import MAX_TEXT
from ..messages import Updates, gradio_errors, network, reason, visitor_id
from . import status
from .panel import TrainingPanel


class TrainingHandlers:
    """The event handlers of one page. They return component updates."""

    def __init__(self, service: Service, trainings: Trainings, panel: TrainingPanel, adapters: gr.Dropdown) -> None:
        self.service, self.trainings, self.panel, self.adapters = service, trainings, panel, adapters

    def describe(self, files: list[str] | None, captions: str | None) -> Updates:
        """Propose a caption for each clip that has none yet."""
        names = [Path(file).name for file in files or ()]
        known = {
            name: line.removeprefix(f"{name}:").strip()
            for line in (captions or "").splitlines()
            for name in names
            if line.startswith(f"{name}:")
        }
        new = [(Path(file), name) for file, name in zip(files or (), names, strict=True) if name not in known]
        try:
            self._check_length(captions)
            proposed = dict(zip((name for _, name in new), self.trainings.propose(new), strict=True))
        except Exception as error:
            return {self.panel.status: self._refusal(error, *(files or ()))}
        lines = [f"{name}: {known.get(name) or proposed.get(name, '')}" for name in names]
        return {self.panel.captions: "\n".join(lines), self.panel.status: ""}

    async def train(self, request: gr.Request, *values: Any) -> AsyncIterator[Updates]:
        """Train an adapter, and follow the training. It goes on when the page is reloaded or left."""
        yield {self.panel.status: result.show_status("Reading the clips…", 0.0)}
        files = values[0] or []
        try:
            wanted = self._request(*values)
            job = await asyncio.to_thread(self.trainings.submit, self._visitor(request), wanted, network(request))
        except Exception as error:
            yield {self.panel.status: self._refusal(error, *files)}
            return
        async for updates in self._follow(job):
            yield updates

    async def go_on(self, request: gr.Request) -> AsyncIterator[Updates]:
        """Go on with the newest training from its last checkpoint, and follow it."""
        try:
            job = await asyncio.to_thread(self.trainings.go_on, self._visitor(request), network(request))
        except Exception as error:
            yield {self.panel.status: self._refusal(error)}
            return
        async for updates in self._follow(job):
            yield updates

    async def rejoin(self, request: gr.Request) -> AsyncIterator[Updates]:
        """Show the newest training of the visit, and follow it where it runs."""
        run = self.trainings.newest(self._visitor(request))
        yield {
            self.panel.status: "" if run is None else status.show(run),
            self.panel.news: _news(run, self._busy(request)),
        }
        for job in self.trainings.job_queue.jobs_of(self._visitor(request)):
            async for updates in self._follow(job):
                yield updates

    def stop(self, request: gr.Request) -> None:
        """Stop the visitor's training after its next step. `train` shows that."""
        self.trainings.stop(self._visitor(request))

    def show_news(self, request: gr.Request) -> Updates:
        """Show the newest sample, the buttons that have a use now, and the visitor's adapters among those to choose."""
        visitor, panel = self._visitor(request), self.panel
        run = self.trainings.newest(visitor)
        choices = self.service.catalog.adapters.choices(visitor)
        busy = self._busy(request)
        sample = None if run is None else run.snapshot.sample
        label = f"Sample after {int(sample.stem.split('-')[1])} steps" if sample is not None else "Sample"
        return {
            panel.sample: gr.update(value=str(sample) if sample else None, label=label, visible=sample is not None),
            panel.train: gr.update(interactive=not busy),
            panel.go_on: gr.update(visible=not busy and run is not None and run.snapshot.can_go_on),
            panel.stop: gr.update(visible=busy),
            panel.pack: gr.update(visible=run is not None and bool(run.snapshot.adapter)),
            panel.download: gr.update(visible=False),
            self.adapters: gr.update(choices=choices, visible=bool(choices)),
        }

    def pack(self, request: gr.Request) -> Updates:
        """Offer the newest adapter as a ZIP."""
        with gradio_errors():
            file = self.trainings.pack(self._visitor(request))
        panel = self.panel
        return {panel.download: gr.update(value=str(file), visible=True), panel.pack: gr.update(visible=False)}

    async def _follow(self, job: TrainingJob) -> AsyncIterator[Updates]:
        run, panel = job.payload, self.panel
        with contextlib.suppress(Exception):  # the run's snapshot says it
            async with contextlib.aclosing(self.trainings.job_queue.follow(job)) as happenings:
                async for event in happenings:
                    line = (
                        result.show_status(
                            f"Waiting: {event - 1} before you." if event > 1 else "Waiting: you are next."
                        )
                        if isinstance(event, int)
                        else status.show(run)
                    )
                    yield {panel.status: line, panel.news: _news(run, busy=not job.done)}
        yield {panel.status: status.show(run), panel.news: _news(run, busy=False)}

    def _request(
        self, files: list[str] | None, captions: str | None, name: str | None, model: str | None, steps: int, every: int
    ) -> TrainingRequest:
        self._check_length(captions)
        paths = [Path(file) for file in files or ()]
        names = [path.name for path in paths]
        texts = captions_of(captions or "", names)
        clips = [TrainingClip(path, path.name, text) for path, text in zip(paths, texts, strict=True)]
        return TrainingRequest(clean_prompt(name), model or "", tuple(clips), steps, every)

    @staticmethod
    def _check_length(captions: str | None) -> None:
        if captions is not None and len(captions) > MAX_TEXT:
            raise InputError(f"the captions have {len(captions)} characters together: far too many")

    def _busy(self, request: gr.Request) -> bool:
        """Whether a training of the visitor waits or runs. A done job is in the queue for a moment more."""
        return not all(job.done for job in self.trainings.job_queue.jobs_of(self._visitor(request)))

    def _visitor(self, request: gr.Request) -> str:
        return self.service.visits.of(visitor_id(request)).token

    @staticmethod
    def _refusal(error: Exception, *files: str) -> str:
        return result.show_status(f"Not trained: {reason(error, *files)}")


def _news(run: Run | None, busy: bool) -> str:
    """What is new of a training besides its progress, as text that changes with it.

    Whether it is busy is asked of its job: the run's snapshot says that it has stopped before the job is done.
    """
    if run is None:
        return "none"
    snapshot = run.snapshot
    sample = "" if snapshot.sample is None else snapshot.sample.name
    return f"{run.id[:8]} {'busy' if busy else snapshot.state} {sample} {snapshot.adapter}"


def connect(
    service: Service, trainings: Trainings, panel: TrainingPanel, adapters: gr.Dropdown, loaded: Any
) -> TrainingHandlers:
    """Attach the handlers to the components of the page, which is the current `gr.Blocks`.

    Args:
        service: of the page.
        trainings: its trainings.
        panel: the section's components.
        adapters: the page's input of adapters.
        loaded: the event after which a session has its visit.
    """
    handlers = TrainingHandlers(service, trainings, panel, adapters)
    unlimited: dict[str, Any] = {
        "api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None,
    }  # fmt: skip
    progress = [panel.status, panel.news]
    gr.on(
        [panel.clips.upload, panel.clips.delete, panel.clips.clear], handlers.describe, [panel.clips, panel.captions],
        [panel.captions, panel.status], api_visibility="private", show_progress="minimal",
        show_progress_on=[panel.captions], concurrency_limit=1,
    )  # fmt: skip
    panel.train.click(handlers.train, panel.inputs, progress, **unlimited)
    panel.go_on.click(handlers.go_on, None, progress, **unlimited)
    panel.stop.click(handlers.stop, None, None, **unlimited)
    panel.pack.click(handlers.pack, None, [panel.download, panel.pack], **unlimited)
    panel.news.change(
        handlers.show_news, None,
        [panel.sample, panel.train, panel.go_on, panel.stop, panel.pack, panel.download, adapters],
        trigger_mode="always_last", **unlimited,
    )  # fmt: skip
    loaded.then(handlers.rejoin, None, progress, **unlimited)
    return handlers
