"""The left column of the page: the inputs of a generation request, and their conversion to a request and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from musicgen.catalog import DECODERS
from musicgen.chords import chart_of
from musicgen.errors import InputError
from musicgen.options import LIMITERS, LOOP_CUTS, GenerationOptions
from musicgen.serving.adapters import Weighted
from musicgen.serving.models import ModelCatalog
from musicgen.serving.request import (
    MAX_SEED,
    ClipRequest,
    check_integer,
    check_number,
    clean_prompt,
    parse_conditions,
    parse_timeline,
)

from ..service import Service
from . import melody_editor, next_clip, texts
from .fields import FIELDS, MAX_TEXT
from .next_clip import NextClip


class Inputs(dict[str, Any]):
    """Name -> the component of each of FIELDS, in the order in which `to_request` takes their values."""

    @property
    def components(self) -> list[Any]:
        """The components as Gradio's event listeners take them."""
        return list(self.values())

    def named(self, *values: Any) -> dict[str, Any]:
        """The components' values by name."""
        return dict(zip(self, values, strict=True))

    def to_request(self, catalog: ModelCatalog, *values: Any) -> ClipRequest:
        """Convert the components' values to a request.

        Args:
            catalog: the offered models and adapters.
            values: of the components.

        Raises:
            InputError: for a value of the wrong type, and one that is out of range for all models.
        """
        arguments: dict[str, Any] = {}
        for name, value in self.named(*values).items():
            read = FIELDS[name].read
            arguments |= {name: value} if read is None else read(value, catalog)
        if not (arguments["chords"] or "").strip():
            arguments |= {"bpm": None, "metre": ""}  # left from chords that are gone
        return make_request(**arguments)

    def fill(self, request: ClipRequest) -> dict[Any, Any]:
        """Component updates that show a request. Inputs of files are cleared, because settings have only the files' names."""
        return {component: FIELDS[name].show(request) for name, component in self.items()}

    def restore(self, values: Mapping[str, Any], is_file: Callable[[str], bool]) -> dict[Any, Any]:
        """Component updates that show values that a browser remembers, as far as they are ones that the components can have.

        Args:
            values: name -> value, from a stranger.
            is_file: whether a path is a file that may be shown.
        """
        updates: dict[Any, Any] = {}
        for name, component in self.items():
            value = values.get(name)
            if name == "frames":
                if melody_editor.is_melody(value):
                    updates[component] = gr.update(value=value, visible=True)
            elif _can_have(component, value, is_file):
                updates[component] = value
        return updates


def _can_have(component: Any, value: object, is_file: Callable[[str], bool]) -> bool:
    """Whether a component can have a value."""
    if isinstance(component, gr.Checkbox):
        return isinstance(value, bool)
    if isinstance(component, gr.Slider):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and component.minimum <= value <= component.maximum  # type: ignore[operator]
    if isinstance(component, gr.Dropdown) and component.multiselect:
        return isinstance(value, list) and all(isinstance(one, str) and len(one) <= MAX_TEXT for one in value)
    if not isinstance(value, str):
        return False
    if isinstance(component, gr.Dropdown):
        return value in [choice for _, choice in component.choices]
    return is_file(value) if isinstance(component, gr.Audio | gr.File) else len(value) <= MAX_TEXT


def make_request(
    *, prompt: str | None, model: str, duration: float, variations: float = 1, seed: float | None = None,
    melody: str | None = None, midi: str | None = None, separate: bool | None = None,
    frames: tuple[int, ...] | None = None, chords: str | None = "", bpm: float | None = None, metre: str | None = "",
    style: str | None = None, style_guidance_scale: float | None = None, style_seconds: float | None = None,
    style_codebooks: float | None = None, continue_from: str | None = None, timeline: str | None = "",
    guidance_scale: float | None = None, melody_guidance_scale: float | None = None, negative_prompt: str | None = "",
    temperature: float = 1.0, top_k: float = 250, top_p: float = 0.0, precision: str = "auto", loop: bool = False,
    adapters: Weighted = (), conditions: Sequence[str] = (), decoder: str = DECODERS[0],
    limit_peaks: bool = True, loop_at_bars: bool = True,
) -> ClipRequest:  # fmt: skip
    """Convert the values of components or of an API call to a request.

    Raises:
        InputError: for a value of the wrong type, and one that is out of range for all models.
    """
    written = {
        "description": prompt, "negative prompt": negative_prompt, "timeline": timeline, "chart of chords": chords,
        "conditions": "\n".join(conditions),
    }  # fmt: skip
    for name, text in written.items():
        if text is not None and len(text) > MAX_TEXT:
            raise InputError(f"the {name} has {len(text)} characters: far too many")
    if melody and midi:
        raise InputError("the melody is given twice, as a recording and as a MIDI file: remove one of them")
    tune = melody or midi
    return ClipRequest(
        prompt=clean_prompt(prompt),
        model=model,
        duration=check_number(duration, "duration", -math.inf, math.inf),
        seed=None if seed is None else check_integer(seed, "seed", 0, MAX_SEED),
        variations=check_integer(variations, "variations", 1, 1_000),
        options=GenerationOptions(
            guidance_scale=guidance_scale,
            melody_guidance_scale=melody_guidance_scale,
            style_guidance_scale=style_guidance_scale,
            style_seconds=style_seconds,
            style_codebooks=None if style_codebooks is None else check_integer(style_codebooks, "codebooks", 1, 100),
            negative_prompt=clean_prompt(negative_prompt) or None,
            temperature=temperature,
            top_k=check_integer(top_k, "top_k", 0, 1_000_000),
            top_p=top_p,
        ),
        melody=Path(tune) if tune else None,
        frames=frames,
        separate=None if separate is None else bool(separate),
        chords=chart_of((chords or "").strip() or None, bpm, (metre or "").strip() or None),
        style=Path(style) if style else None,
        continue_from=Path(continue_from) if continue_from else None,
        timeline=parse_timeline(timeline),
        precision=precision,
        loop=bool(loop),
        loop_cut=LOOP_CUTS[-1] if loop_at_bars else LOOP_CUTS[0],
        limiter=LIMITERS[-1] if limit_peaks else LIMITERS[0],
        adapters=adapters,
        conditions=parse_conditions(conditions),
        decoder=decoder,
    )


@dataclass(frozen=True)
class Actions:
    """The buttons that start and stop a generation, the text about its cost, and file -> button of the example melodies."""

    generate: gr.Button
    stop: gr.Button
    cost: gr.Markdown
    melodies: dict[str, gr.Button]


@dataclass(frozen=True)
class Accordions:
    """The accordions that an event handler opens."""

    melody: gr.Accordion
    style: gr.Accordion
    continue_from: gr.Accordion
    timeline: gr.Accordion
    more: gr.Accordion

    @property
    def of_settings(self) -> list[gr.Accordion]:
        """Those that are opened where restored settings have something in them."""
        return [self.melody, self.style, self.continue_from, self.timeline]

    def show(self, filled: set[str], takes_style: bool) -> dict[Any, Any]:
        """Component updates that open the accordions with something in them.

        Args:
            filled: names of the fields that have a value, or need one.
            takes_style: whether the model follows a style.
        """
        return {
            self.melody: gr.update(open=bool(filled & {"melody", "frames", "midi", "chords"})),
            self.style: gr.update(open="style" in filled, visible=takes_style or "style" in filled),
            self.continue_from: gr.update(open="continue_from" in filled),
            self.timeline: gr.update(open="timeline" in filled),
        }


def build(service: Service) -> tuple[Inputs, Actions, Accordions, NextClip]:
    """Add the components to the current `gr.Column`."""
    inputs = Inputs()

    def place(*names: str) -> None:
        inputs.update({name: FIELDS[name].build(service) for name in names})

    place("prompt")
    gr.Examples(
        [[example] for example in texts.EXAMPLES.values()], [inputs["prompt"]], label="Worth trying",
        example_labels=list(texts.EXAMPLES), api_visibility="private",
    )  # fmt: skip
    place("model", "duration")
    cost = gr.Markdown("", elem_id="cost", min_height=22)
    parts = next_clip.build()
    with gr.Row(elem_id="actions"):
        generate = gr.Button("Generate", variant="primary", scale=3, elem_id="generate")
        stop = gr.Button("Stop", variant="secondary", scale=1, elem_id="stop")
    with gr.Accordion(
        "Melody: hum or upload a tune to follow, or write chords", open=False, elem_id="melody-accordion"
    ) as melody_accordion:
        place("melody")
        with gr.Row(elem_id="melodies"):
            melodies = {
                name: gr.Button(label, size="sm", min_width=90) for name, label in texts.EXAMPLE_MELODIES.items()
            }
        place("melody_is_clean", "frames")
        with gr.Row():
            place("chords", "bpm", "metre")
        place("midi")
    takes_style = service.catalog.get(service.catalog.default()).style is not False
    with gr.Accordion(
        "Style: a recording that the clip sounds like", open=False, visible=takes_style, elem_id="style-accordion"
    ) as style_accordion:
        place("style")
        with gr.Row():
            place("style_guidance_scale", "style_seconds", "style_codebooks")
    with gr.Accordion("Continue a clip", open=False, elem_id="continue-accordion") as continue_accordion:
        place("continue_from")
    with gr.Accordion("Timeline: change the description as the music plays", open=False) as timeline_accordion:
        place("timeline")
    with gr.Accordion("More settings", open=False, elem_id="more-settings") as more_accordion:
        with gr.Row():
            place("variations", "precision")
        place("seed", "negative_prompt", "guidance_scale", "melody_guidance_scale", "temperature")
        with gr.Row():
            place("top_k", "top_p")
        place("decoder", "adapters", "conditions", "loop", "loop_at_bars", "limit_peaks")
    accordions = Accordions(melody_accordion, style_accordion, continue_accordion, timeline_accordion, more_accordion)
    return inputs, Actions(generate, stop, cost, melodies), accordions, parts
