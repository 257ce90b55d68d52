"""What the form does while it is filled in: melodies, MIDI files, chords, the model, and what a generation costs."""

from __future__ import annotations

import functools
import html
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.events import Dependency

from musicgen import file_warnings, midi
from musicgen.catalog import DECODERS
from musicgen.chords import chart_of
from musicgen.errors import MusicGenError
from musicgen.serving.model_cache import LOAD_MEMORY_FACTOR
from musicgen.serving.models import ModelInfo

from .. import melody_editor, result
from ..fields import default_melody_is_clean, optional_number, precisions
from ..messages import Updates, gradio_errors, said_of, sentence, to_gradio_error
from ..next_clip import DESCRIBED
from ..parts import UNLIMITED, PageParts

EXAMPLE_MELODIES = Path(__file__).parent.with_name("melodies")
"""Written by tools/make_example_melodies.py."""


class InputEvents:
    """The events of the form. They return component updates."""

    def __init__(self, parts: PageParts) -> None:
        self.parts = parts

    def extract_melody(self, recording: str | None, melody_is_clean: bool, model: str) -> Updates:
        """Show the melody of a new recording in the editor, and select a melody model if a text model is selected."""
        if not recording:
            return {self.parts.inputs["frames"]: gr.skip()}
        if midi.is_midi(recording):  # browsers take it for audio
            return self.clear_melody() | self.check_midi(recording, model)
        try:
            with file_warnings.collected() as said:
                frames = self.parts.service.engine.extract_melody(Path(recording), separate=not melody_is_clean)
        except Exception as error:
            gradio_error = to_gradio_error(error, recording)
            gr.Warning(gradio_error.message, duration=15)
            message = f"The melody cannot be used: {sentence(html.unescape(gradio_error.message))}"
            return self.clear_melody() | {self.parts.outputs.status: result.show_status(message)}
        updates: Updates = {self.parts.inputs["frames"]: gr.update(value=melody_editor.dump(frames), visible=True)}
        message = f"The clip follows the melody of {Path(recording).name}.{said_of(said, recording)}"
        return updates | {self.parts.outputs.status: result.show_status(message)} | self._choose_melody_model(model)

    def check_midi(self, file: str | None, model: str) -> Updates:
        """Read a new MIDI file, and select a melody model if the selected one follows none."""
        if not file:
            return {self.parts.outputs.status: gr.skip()}
        try:
            count = len(midi.notes(file))
        except Exception as error:
            gradio_error = to_gradio_error(error, file)
            gr.Warning(gradio_error.message, duration=15)
            message = f"The MIDI file cannot be used: {sentence(html.unescape(gradio_error.message))}"
            return {self.parts.outputs.status: result.show_status(message)}
        message = f"The MIDI file has {count} note{'s' if count > 1 else ''} without its drums."
        return {self.parts.outputs.status: result.show_status(message)} | self._choose_melody_model(model)

    def check_chords(self, chords: str | None, bpm: str | None, metre: str | None, model: str) -> Updates:
        """Read the chords when they have been typed, and select a melody model if the selected one follows none."""
        if not (chords or "").strip():
            return {self.parts.outputs.status: gr.skip()}
        try:
            tempo = optional_number(bpm, "the tempo of the chords")
            chart = chart_of(chords, tempo, (metre or "").strip() or None)
        except MusicGenError as error:
            message = f"The chords cannot be used: {sentence(error.told('page'))}"
            return {self.parts.outputs.status: result.show_status(message)}
        bars = 0 if chart is None else len(chart.bars())
        message = f"The clip follows {bars} bar{'s' if bars > 1 else ''} of chords."
        return {self.parts.outputs.status: result.show_status(message)} | self._choose_melody_model(model)

    def _choose_melody_model(self, model: str) -> Updates:
        """Updates that select a melody model and say so; none where the selected one is one."""
        melody_model = self.parts.service.catalog.melody_model(model)
        if melody_model is None or melody_model.name == model:
            return {}
        message = f"{model} follows no melody, so the model is now {melody_model.name}."
        return {
            self.parts.outputs.status: result.show_status(message),
            self.parts.inputs["model"]: melody_model.name,
        }

    def show_inputs_of_model(self, model: str, style: str | None) -> Updates:
        """Show the inputs that not every model has, where the model has them or they hold something."""
        try:
            info = self.parts.service.catalog.get(model)
        except MusicGenError:
            return {self.parts.inputs["conditions"]: gr.skip()}
        return {
            self.parts.accordions.style: gr.update(visible=info.style is not False or bool(style)),
            self.parts.inputs["conditions"]: gr.update(visible=info.takes_conditions),
        }

    def use_example_melody(self, name: str) -> Updates:
        """Set one of the example melodies as the melody.

        Args:
            name: of its file in EXAMPLE_MELODIES.
        """
        path = self.parts.service.clip_store.copy(EXAMPLE_MELODIES / name)
        return {self.parts.inputs["melody"]: str(path), self.parts.inputs["melody_is_clean"]: True}

    def clear_melody(self) -> Updates:
        """Hide the melody editor when the recording has been removed."""
        return {self.parts.inputs["frames"]: gr.update(value=melody_editor.dump(()), visible=False)}

    def clear_melody_without_recording(self, recording: str | None) -> Updates:
        """Hide the melody editor again if the recording was removed while its melody was extracted."""
        return {self.parts.inputs["frames"]: gr.skip()} if recording else self.clear_melody()

    async def update_precisions(self, model: str) -> Any:
        """Show which precision "auto" selects for the model, as soon as PyTorch has been imported."""
        await self.parts.service.changes.wait_until(lambda: self.parts.service.warmed_up)
        try:
            return gr.update(choices=precisions(self.parts.service.resolve_precision(model, "auto")))
        except MusicGenError:
            return gr.skip()

    def update_melody_is_clean(self, model: str, recording: str | None) -> Any:
        """Set the check box to the default of a newly selected model, unless there is a recording."""
        return gr.skip() if recording else default_melody_is_clean(self.parts.service, model)

    def extend_duration(self, recording: str | None) -> Updates:
        """Set the duration to more than that of a clip that is to be continued."""
        if not recording:
            return {self.parts.inputs["duration"]: gr.skip()}
        with gradio_errors(recording), file_warnings.collected() as said:
            seconds = self.parts.service.duration_of(Path(recording))
        max_duration = self.parts.service.limits.max_duration
        if seconds >= max_duration:
            gr.Warning(f"The clip is {seconds:.1f} s long and a result {max_duration:g} s at most: cut it first.")
            return {self.parts.inputs["duration"]: gr.skip()}
        message = f"Your clip is {seconds:.1f} s long; the duration is that of clip and continuation together."
        message += said_of(said, recording)
        return {
            self.parts.inputs["duration"]: min(max_duration, round(seconds * 2 + 20) / 2),
            self.parts.outputs.status: result.show_status(message),
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
            info = self.parts.service.catalog.get(model)
            seconds = self.parts.service.expected_seconds(model, precision, duration, round(variations))
            first = self.parts.service.measured_seconds(model, precision, duration, round(variations)) is None
            downloaded = info.origin == "published" and self.parts.service.engine.is_downloaded(model)
            apart = [
                name
                for name, scale in (("melody", melody_guidance), ("style", style_guidance))
                if (scale or "").strip()
            ]
            quota = self.parts.service.describe_gpu_quota(model, precision, duration, variations, bool(apart))
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
            here = "" if self.parts.service.engine.has_multi_band_diffusion() else ", which is downloaded first"
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
        published = [other.size for other in self.parts.service.catalog if other.origin == "published"]
        better = (
            f": the published ones (facebook/…) sound far better, from {min(published) / 1e9:.1f} GB to download"
            if published
            else ""
        )
        return f" {info.name} is a small demonstration{better}."

    def describe_next_clip(self, request: gr.Request, needed: dict[str, str], *values: Any) -> Updates:
        """Show what the next clip will be made from, and keep which files its settings lack."""
        self.parts.service.visits.keep_needed(self.parts.visit(request), needed)
        return self.parts.next_clip.show(self.parts.inputs.named(*values) | {"needed": needed})

    def removals(self) -> dict[str, Updates]:
        """Part of the next clip -> what removes it."""
        inputs = self.parts.inputs
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
            "needed": {self.parts.next_clip.needed: {}},
        }

    @property
    def _extraction(self) -> dict[str, Any]:
        parts = self.parts
        return {
            "fn": self.extract_melody,
            "inputs": [parts.inputs["melody"], parts.inputs["melody_is_clean"], parts.inputs["model"]],
            "outputs": [parts.inputs["frames"], parts.inputs["model"], parts.outputs.status],
            "api_visibility": "private", "show_progress": "minimal", "show_progress_on": [parts.inputs["melody"]],
            "concurrency_limit": 2,
        }  # fmt: skip

    def then_extract_melody(self, event: Dependency) -> None:
        """After an event that sets the recording: its melody."""
        self._after_extraction(event.then(**self._extraction))

    def _after_extraction(self, event: Dependency) -> None:
        # A recording may be removed while its melody is extracted.
        inputs = self.parts.inputs
        event.then(self.clear_melody_without_recording, inputs["melody"], inputs["frames"], **UNLIMITED)

    @property
    def _description(self) -> dict[str, Any]:
        next_clip = self.parts.next_clip
        return {
            "fn": self.describe_next_clip, "inputs": [next_clip.needed, *self.parts.inputs.components],
            "outputs": [next_clip.summary, *next_clip.buttons.values()], **UNLIMITED,
        }  # fmt: skip

    def then_describe_next_clip(self, event: Dependency) -> None:
        """After an event that sets inputs, which may not tell that they have changed."""
        event.then(**self._description)

    def then_describe_cost(self, event: Dependency) -> None:
        """After an event that changes what a generation costs."""
        event.then(self.describe_cost, self.parts.of_cost, self.parts.actions.cost, **UNLIMITED)


def connect(parts: PageParts) -> InputEvents:
    """Attach the events of a page."""
    inputs, outputs, next_clip = parts.inputs, parts.outputs, parts.next_clip
    events = InputEvents(parts)
    events._after_extraction(gr.on([inputs["melody"].input, inputs["melody_is_clean"].input], **events._extraction))
    for name, button in parts.actions.melodies.items():
        example = button.click(
            functools.partial(events.use_example_melody, name), None, [inputs["melody"], inputs["melody_is_clean"]],
            **UNLIMITED,
        )  # fmt: skip
        events.then_extract_melody(example)
    inputs["melody"].clear(events.clear_melody, None, inputs["frames"], **UNLIMITED)
    inputs["continue_from"].input(
        events.extend_duration, inputs["continue_from"], [inputs["duration"], outputs.status], **UNLIMITED
    )
    inputs["model"].change(
        events.update_precisions, inputs["model"], inputs["precision"], trigger_mode="always_last", **UNLIMITED
    )
    inputs["model"].change(
        events.show_inputs_of_model, [inputs["model"], inputs["style"]],
        [parts.accordions.style, inputs["conditions"]], trigger_mode="always_last", **UNLIMITED,
    )  # fmt: skip
    inputs["model"].input(
        events.update_melody_is_clean, [inputs["model"], inputs["melody"]], inputs["melody_is_clean"], **UNLIMITED
    )
    inputs["midi"].upload(
        events.check_midi, [inputs["midi"], inputs["model"]], [inputs["midi"], inputs["model"], outputs.status],
        **UNLIMITED,
    )  # fmt: skip
    inputs["chords"].blur(
        events.check_chords, [inputs["chords"], inputs["bpm"], inputs["metre"], inputs["model"]],
        [inputs["model"], outputs.status], **UNLIMITED,
    )  # fmt: skip
    gr.on(
        [component.change for component in parts.of_cost], events.describe_cost, parts.of_cost, parts.actions.cost,
        **UNLIMITED,
    )  # fmt: skip
    described = [*(inputs[name] for name in DESCRIBED), next_clip.needed]
    gr.on([component.change for component in described], trigger_mode="always_last", **events._description)
    for part, updates in events.removals().items():
        # Made anew for each click, because Gradio empties the updates that it gets.
        removed = next_clip.buttons[part].click(
            lambda part=part: events.removals()[part], None, list(updates), **UNLIMITED
        )
        events.then_describe_next_clip(removed)
    return events
