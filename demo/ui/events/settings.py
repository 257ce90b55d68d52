"""Settings that come from elsewhere: from a link, from the browser's memory, from an uploaded clip."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.events import Dependency

from musicgen.errors import MusicGenError
from musicgen.serving import clip_metadata
from musicgen.serving.request import FILES, ClipRequest

from .. import assets, browser_storage, result, texts
from ..fields import default_melody_is_clean
from ..messages import Updates, gradio_errors, visitor_id
from ..next_clip import ADDED_BY
from ..parts import UNLIMITED, PageParts
from .clips import ClipEvents
from .generation import GenerationEvents
from .inputs import InputEvents


class SettingsEvents:
    """The events that show settings. They return component updates."""

    def __init__(self, parts: PageParts) -> None:
        self.parts = parts

    def restore_visit(self, request: gr.Request, remembered: str) -> Updates:
        """Show what the browser remembers: its clips and settings, or those of the link.

        Args:
            request: of the page that was loaded.
            remembered: what its browser has stored.
        """
        past = browser_storage.read(remembered)
        visit, known, expired = self.parts.service.visits.enter(visitor_id(request), past.visit)
        updates: Updates = {self.parts.browser_storage.visit: visit.token}
        gone = browser_storage.describe_gone(
            past, known, expired, self.parts.service.limits.keep_hours, self.parts.service.workers is not None
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
            updates |= self.parts.show_clip(visit, shown)
        return updates | {self.parts.browser_storage.greeting: message}

    async def greet(self, message: str) -> AsyncIterator[Updates]:
        """Show the progress of the service's warm-up, then the message of `restore_visit`."""
        if not self.parts.service.warmed_up:
            yield {self.parts.outputs.status: result.show_status(texts.WARMING_UP)}
            await self.parts.service.changes.wait_until(lambda: self.parts.service.warmed_up)
        yield {self.parts.outputs.status: result.show_status(message)}

    def restore(self, file: str | None) -> Updates:
        """Show the settings in an uploaded clip."""
        if not file:
            return {self.parts.outputs.status: gr.skip()}
        name = Path(file).name
        with gradio_errors(file):
            request, needed = clip_metadata.read_file(Path(file), name, self.parts.service.catalog)
            updates = self._show_request(request, needed)
        message = f"Restored the settings of {name}.{_add_again(needed)}"
        return updates | {self.parts.outputs.status: result.show_status(message)}

    def _show_request(self, request: ClipRequest, needed: dict[str, str]) -> Updates:
        """Updates that show a request and the audio files that it needs. Raises InputError if its model is not offered."""
        self.parts.service.catalog.get(request.model)
        self.parts.service.catalog.adapters.check(request.adapters)
        if request.separate is None:
            request = dataclasses.replace(
                request, separate=not default_melody_is_clean(self.parts.service, request.model)
            )
        filled = {name for name in ("frames", "chords", "timeline") if getattr(request, name)} | needed.keys()
        takes_style = self.parts.service.catalog.get(request.model).style is not False
        return (
            self.parts.inputs.fill(request)
            | {self.parts.next_clip.needed: needed}
            | self.parts.accordions.show(filled, takes_style)
        )

    def _show_remembered(self, values: Mapping[str, Any], needed: Mapping[str, str]) -> Updates:
        """Updates that show the settings that a browser remembers, and the files that they were made with."""
        restored = self.parts.inputs.restore(values, self.parts.service.clip_store.holds)
        filled = {name for name, component in self.parts.inputs.items() if restored.get(component)}
        gone = {
            name: browser_storage.file_name(values.get(source))
            for name in FILES
            for source in ADDED_BY.get(name, (name,))
            if browser_storage.file_name(values.get(source))
            and source not in filled
            and not (source == "melody" and "frames" in filled)
        }
        model = restored.get(self.parts.inputs["model"], self.parts.service.catalog.default())
        takes_style = self.parts.service.catalog.get(model).style is not False
        return (
            restored
            | {self.parts.next_clip.needed: dict(needed) | gone}
            | self.parts.accordions.show(filled, takes_style)
        )


def _add_again(needed: dict[str, str]) -> str:
    if not needed:
        return ""
    return f" Add {' and '.join(needed.values())} again: settings have only the names of audio files."


def connect(
    page: gr.Blocks, parts: PageParts, inputs: InputEvents, clips: ClipEvents, generation: GenerationEvents
) -> tuple[SettingsEvents, Dependency]:
    """Attach the events of a page. Loaded, it shows what the browser remembers, and has it remember what changes from then on.

    Returns:
        The events, and the one after which a session has its visit.
    """
    outputs, form, remembered = parts.outputs, parts.inputs, parts.browser_storage
    events = SettingsEvents(parts)
    restored = outputs.restore.upload(
        events.restore, outputs.restore, [*parts.of_settings, outputs.status], **UNLIMITED
    )
    inputs.then_describe_next_clip(restored)
    loaded = page.load(
        events.restore_visit, remembered.visit,
        [*parts.of_settings, *parts.of_clip, remembered.visit, remembered.greeting],
        js=assets.read("recall.js").strip(), **UNLIMITED,
    )  # fmt: skip
    clips.then_convert(loaded)
    inputs.then_describe_next_clip(loaded)
    loaded.then(None, js=assets.read("forget_link.js").split("\n", 1)[1].strip(), api_visibility="private")
    inputs.then_describe_cost(loaded.then(events.greet, remembered.greeting, outputs.status, **UNLIMITED))
    loaded.then(generation.rejoin, None, parts.of_progress, **UNLIMITED)
    inputs.then_describe_cost(loaded)
    loaded.then(inputs.update_precisions, form["model"], form["precision"], **UNLIMITED)
    remember: dict[str, Any] = {
        "fn": None, "inputs": [remembered.visit, outputs.clips, *form.components], "outputs": None,
        "js": browser_storage.script(list(form)), "api_visibility": "private",
    }  # fmt: skip
    loaded.then(**remember)
    gr.on([component.change for component in (*form.components, outputs.clips)], **remember)
    return events, loaded
