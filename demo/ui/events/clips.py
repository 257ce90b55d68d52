"""The clips of the visit: selecting, comparing, converting, scoring, deleting, and using one for the next clip."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.events import Dependency

from musicgen.errors import MusicGenError
from musicgen.serving.clip_store import FORMATS

from ... import derived_files
from .. import assets, compare, history, result
from ..finished_clips import FinishedClips
from ..messages import Updates, gradio_errors, plain
from ..parts import PRIVATE, UNLIMITED, PageParts
from .inputs import InputEvents


class ClipEvents:
    """The events of the history and of the selected clip. They return component updates."""

    def __init__(self, parts: PageParts) -> None:
        self.parts = parts

    def select_clip(self, request: gr.Request, clip_id: str | None) -> Updates:
        """Show another clip of the history."""
        visit = self.parts.visit(request)
        if visit.find(clip_id) is None:
            return {self.parts.outputs.clips: gr.skip()}
        return self.parts.show_clip(visit, self.parts.clip(request, clip_id))

    def show_takes(self, request: gr.Request, clip_id: str | None, finished: str) -> Any:
        """Show the takes that were made with the selected clip, best first.

        Args:
            request: of the page.
            clip_id: the selected clip.
            finished: a `FinishedClips`: takes are compared when all of its generation are there, so that the comparison takes
                no time from the generation.
        """
        visit = self.parts.visit(request)
        clip = visit.find(clip_id)
        if clip is None:
            return result.show_takes((), (), "")
        takes = [one for one in visit.clips if one.generation == clip.generation and one.path.is_file()]
        if len(takes) < 2:  # there is nothing to compare
            return result.show_takes((), (), "")
        generation = FinishedClips.load(finished)
        if any(take.id == generation.first for take in takes) and not generation.message:
            return result.show_takes((), (), "")
        with gradio_errors():
            return result.show_takes(takes, [self.parts.service.take_score(take) for take in takes], clip.id)

    def update_downloads_and_comparison(self, request: gr.Request, clip_id: str | None) -> Updates:
        """Convert the selected clip to the other formats, and offer the other clips for comparison."""
        visit = self.parts.visit(request)
        clip = visit.find(clip_id)
        if clip is None:
            return {self.parts.outputs.downloads[0]: gr.skip()}
        others = [choice for choice in history.choices(visit) if choice[1] != clip_id]
        other = others[-1][1] if others else None
        updates: Updates = {
            self.parts.outputs.other: gr.update(choices=others, value=other),
            self.parts.outputs.comparison_accordion: gr.update(visible=bool(others)),
            self.parts.outputs.comparison: self.compare(request, clip_id, other),
        }
        for name, button in zip(FORMATS, self.parts.outputs.downloads, strict=True):
            try:
                file = str(self.parts.service.clip_store.convert(clip.path, name))
                updates[button] = gr.update(value=file, interactive=True)
            except MusicGenError as error:
                gr.Warning(plain(error.told("page")))
        return updates

    def show_tempo_and_key(self, request: gr.Request, clip_id: str | None) -> str:
        """Tempo and key of the selected clip, which are measured when it is shown already."""
        clip = self.parts.visit(request).find(clip_id)
        if clip is None or not clip.path.is_file():
            return ""
        with gradio_errors():
            return result.show_tempo_key(self.parts.service.tempo_and_key(clip))

    def score(self, request: gr.Request, clip_id: str | None) -> str:
        """CLAP score and chroma similarity of the selected clip."""
        clip = self.parts.clip(request, clip_id)
        with gradio_errors():
            return result.show_scores(self.parts.service.score(clip))

    def make_video(self, request: gr.Request, clip_id: str | None) -> Updates:
        """Offer the selected clip as a video with its waveform."""
        clip = self.parts.clip(request, clip_id)
        with gradio_errors():
            file = derived_files.video(self.parts.service.clip_store, clip.path)
        outputs = self.parts.outputs
        return {outputs.video: gr.update(value=str(file), visible=True), outputs.make_video: gr.update(visible=False)}

    def make_daw(self, request: gr.Request, clip_id: str | None, transcriber: str) -> Updates:
        """Offer the selected clip as a ZIP for a DAW."""
        clip = self.parts.clip(request, clip_id)
        with gradio_errors():
            file = derived_files.daw(self.parts.service.clip_store, clip.path, transcriber)
        outputs = self.parts.outputs
        return {outputs.daw: gr.update(value=str(file), visible=True), outputs.make_daw: gr.update(visible=False)}

    def toggle_favourite(self, request: gr.Request, clip_id: str | None) -> Updates:
        """Mark the selected clip as a favourite, or no longer."""
        visit, clip = self.parts.visit(request), self.parts.clip(request, clip_id)
        self.parts.service.visits.toggle_favourite(visit, clip.id)
        return {
            self.parts.outputs.clips: gr.update(choices=history.choices(visit), value=clip.id),
            self.parts.outputs.favourite: history.favourite_label(visit, clip),
        }

    def delete_clip(self, request: gr.Request, clip_id: str | None) -> Updates:
        """Delete the selected clip and show another one. Without an id, which a visitor's "no" gives, nothing happens."""
        visit = self.parts.visit(request)
        clip = visit.find(clip_id)
        if clip is None:
            return {self.parts.outputs.clips: gr.skip()}
        self.parts.service.delete_clip(visit, clip)
        said: Updates = {self.parts.outputs.status: result.show_status(f"Deleted: {history.title(clip)}.")}
        left = [one for one in visit.clips if one.path.is_file()]
        if left:
            return self.parts.show_clip(visit, left[-1]) | said
        return said | {
            self.parts.outputs.clip_panel: gr.update(visible=False),
            self.parts.outputs.clips: gr.update(choices=[], value=None),
            self.parts.outputs.player: None,
        }

    def use_as_melody(self, request: gr.Request, clip_id: str | None) -> Updates:
        """Set the selected clip as the melody."""
        clip = self.parts.clip(request, clip_id)
        opened = {self.parts.accordions.melody: gr.update(open=True)}
        return opened | {self.parts.inputs["melody"]: str(clip.path), self.parts.inputs["melody_is_clean"]: True}

    def continue_clip(self, request: gr.Request, clip_id: str | None) -> Updates:
        """Set the selected clip as the clip to continue."""
        clip = self.parts.clip(request, clip_id)
        return {
            self.parts.inputs["continue_from"]: str(clip.path),
            self.parts.accordions.continue_from: gr.update(open=True),
        }

    def use_seed(self, request: gr.Request, clip_id: str | None) -> Updates:
        """Set the seed of the selected clip."""
        return {
            self.parts.inputs["seed"]: str(self.parts.clip(request, clip_id).seed),
            self.parts.accordions.more: gr.update(open=True),
        }

    def compare(self, request: gr.Request, a: str | None, b: str | None) -> str:
        """The value of the comparison player for two clips of the history."""
        clips = [self.parts.visit(request).find(clip_id) for clip_id in (a, b)]
        return compare.dump(*(None if clip is None else clip.path for clip in clips))

    def then_convert(self, event: Dependency) -> None:
        """After an event that shows a clip: its downloads, and the clips that it can be compared with."""
        outputs = self.parts.outputs
        event.then(
            self.update_downloads_and_comparison, outputs.clips,
            [outputs.other, outputs.comparison_accordion, outputs.comparison, *outputs.downloads], **UNLIMITED,
        )  # fmt: skip


def connect(parts: PageParts, inputs: InputEvents) -> ClipEvents:
    """Attach the events of a page. Those of its form go on where a clip is put into an input."""
    outputs, form, accordions = parts.outputs, parts.inputs, parts.accordions
    events = ClipEvents(parts)
    one_at_a_time: dict[str, Any] = PRIVATE | {"concurrency_limit": 1}
    gr.on(
        [outputs.finished_clips.change, outputs.clips.change], events.show_takes, [outputs.clips, outputs.finished_clips],
        outputs.takes, trigger_mode="always_last", **one_at_a_time,
    )  # fmt: skip
    outputs.clips.change(
        events.show_tempo_and_key, outputs.clips, outputs.tempo_key, trigger_mode="always_last", **one_at_a_time
    )
    for chosen in (outputs.takes, outputs.clips):
        events.then_convert(chosen.input(events.select_clip, chosen, parts.of_clip, **UNLIMITED))
    outputs.favourite.click(events.toggle_favourite, outputs.clips, [outputs.clips, outputs.favourite], **UNLIMITED)
    deleted = outputs.delete.click(
        events.delete_clip, outputs.clips, [*parts.of_clip, outputs.status], js=assets.read("ask.js").strip(),
        **UNLIMITED,
    )  # fmt: skip
    events.then_convert(deleted)
    outputs.other.input(events.compare, [outputs.clips, outputs.other], outputs.comparison, **UNLIMITED)
    # The browser completes the link, because the server does not know the URL under which the visitor sees the page.
    outputs.link.change(
        None, outputs.link, outputs.link, js=assets.read("absolute_link.js").strip(), api_visibility="private"
    )

    shown: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal", "concurrency_limit": 1}
    outputs.score.click(events.score, outputs.clips, outputs.scores, **shown)
    outputs.make_video.click(
        events.make_video, outputs.clips, [outputs.video, outputs.make_video],
        show_progress_on=[outputs.make_video], **shown,
    )  # fmt: skip
    outputs.make_daw.click(
        events.make_daw, [outputs.clips, outputs.transcriber], [outputs.daw, outputs.make_daw],
        show_progress_on=[outputs.make_daw], **shown,
    )  # fmt: skip
    outputs.transcriber.change(
        lambda: [gr.update(visible=False), gr.update(visible=True)], None, [outputs.daw, outputs.make_daw], **UNLIMITED
    )

    # What these put into an audio input is no event of that input's own, as a visitor's file is.
    as_melody = outputs.as_melody.click(
        events.use_as_melody, outputs.clips, [form["melody"], form["melody_is_clean"], accordions.melody], **UNLIMITED
    )
    inputs.then_extract_melody(as_melody)
    continued = outputs.continue_clip.click(
        events.continue_clip, outputs.clips, [form["continue_from"], accordions.continue_from], **UNLIMITED
    )
    continued.then(inputs.extend_duration, form["continue_from"], [form["duration"], outputs.status], **UNLIMITED)
    outputs.same_seed.click(events.use_seed, outputs.clips, [form["seed"], accordions.more], **UNLIMITED)
    return events
