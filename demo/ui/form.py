"""The left column of the page: the inputs of a generation request, and their conversion to a request and back."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from musicgen.errors import InputError
from musicgen.options import GenerationOptions
from musicgen.timeline import format_timeline

from ..adapters import Weighted
from ..adapters import show as show_adapters
from ..models import ModelCatalog
from ..request import (
    MAX_SEED,
    PRECISIONS,
    PageRequest,
    check_integer,
    check_number,
    clean_prompt,
    parse_timeline,
)
from ..service import Service
from . import melody_editor, next_clip, texts
from .next_clip import NextClip

MAX_TEXT = 50_000
"""Characters of a text field."""


@dataclass(frozen=True)
class Inputs:
    """The input components, in the order in which `to_request` takes their values."""

    prompt: gr.Textbox
    model: gr.Dropdown
    duration: gr.Slider
    variations: gr.Slider
    seed: gr.Textbox
    melody: gr.Audio
    melody_is_clean: gr.Checkbox
    frames: gr.HTML
    continue_from: gr.Audio
    timeline: gr.Textbox
    guidance_scale: gr.Slider
    melody_guidance_scale: gr.Textbox
    negative_prompt: gr.Textbox
    temperature: gr.Slider
    top_k: gr.Slider
    top_p: gr.Slider
    precision: gr.Dropdown
    loop: gr.Checkbox
    adapters: gr.Dropdown

    @property
    def components(self) -> list[Any]:
        """The components as Gradio's event listeners take them."""
        return [getattr(self, name) for name in self.names]

    @property
    def names(self) -> list[str]:
        """The components' names."""
        return [field.name for field in dataclasses.fields(self)]

    def named(self, *values: Any) -> dict[str, Any]:
        """The components' values by name."""
        return dict(zip(self.names, values, strict=True))

    def to_request(self, catalog: ModelCatalog, *values: Any) -> PageRequest:
        """Convert the components' values to a request.

        Args:
            catalog: the offered models and adapters.
            values: of the components.

        Raises:
            InputError: for a value of the wrong type, and one that is out of range for all models.
        """
        named = self.named(*values)
        return make_request(
            prompt=named["prompt"],
            model=named["model"],
            duration=named["duration"],
            variations=named["variations"],
            seed=optional_number(named["seed"], "seed"),
            melody=named["melody"],
            separate=not named["melody_is_clean"],
            frames=melody_editor.load(named["frames"]),
            continue_from=named["continue_from"],
            timeline=named["timeline"],
            guidance_scale=named["guidance_scale"],
            melody_guidance_scale=optional_number(named["melody_guidance_scale"], "the guidance for the melody"),
            negative_prompt=named["negative_prompt"],
            temperature=named["temperature"],
            top_k=named["top_k"],
            top_p=named["top_p"],
            precision=named["precision"],
            loop=named["loop"],
            adapters=catalog.adapters.parse(named["adapters"] or ()),
        )

    def fill(self, request: PageRequest) -> dict[Any, Any]:
        """Component updates that show a request. Audio inputs are cleared, because settings have only the names of files."""
        options = request.options
        return {
            self.prompt: request.prompt,
            self.model: request.model,
            self.duration: request.duration,
            self.variations: 1,
            self.seed: "" if request.seed is None else str(request.seed),
            self.melody: None,
            self.melody_is_clean: not request.separate,
            self.frames: gr.update(value=melody_editor.dump(request.frames or ()), visible=request.frames is not None),
            self.continue_from: None,
            self.timeline: format_timeline(request.timeline),
            self.guidance_scale: options.guidance_scale,
            self.melody_guidance_scale: (
                "" if options.melody_guidance_scale is None else f"{options.melody_guidance_scale:g}"
            ),
            self.negative_prompt: options.negative_prompt or "",
            self.temperature: options.temperature,
            self.top_k: options.top_k,
            self.top_p: options.top_p,
            self.precision: request.precision,
            self.loop: request.loop,
            self.adapters: show_adapters(request.adapters),
        }

    def restore(self, values: Mapping[str, Any], is_file: Callable[[str], bool]) -> dict[Any, Any]:
        """Component updates that show values that a browser remembers, as far as they are ones that the components can have.

        Args:
            values: name -> value, from a stranger.
            is_file: whether a path is a file that may be shown.
        """
        updates: dict[Any, Any] = {}
        for name in self.names:
            component, value = getattr(self, name), values.get(name)
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
    return is_file(value) if isinstance(component, gr.Audio) else len(value) <= MAX_TEXT


def make_request(
    *, prompt: str | None, model: str, duration: float, variations: float = 1, seed: float | None = None,
    melody: str | None = None, separate: bool | None = None, frames: tuple[int, ...] | None = None,
    continue_from: str | None = None, timeline: str | None = "", guidance_scale: float = 3.0,
    melody_guidance_scale: float | None = None, negative_prompt: str | None = "", temperature: float = 1.0,
    top_k: float = 250, top_p: float = 0.0, precision: str = "auto", loop: bool = False,
    adapters: Weighted = (),
) -> PageRequest:  # fmt: skip
    """Convert the values of components or of an API call to a request.

    Raises:
        InputError: for a value of the wrong type, and one that is out of range for all models.
    """
    for value, name in ((prompt, "description"), (negative_prompt, "negative prompt"), (timeline, "timeline")):
        if value is not None and len(value) > MAX_TEXT:
            raise InputError(f"the {name} has {len(value)} characters: far too many")
    return PageRequest(
        prompt=clean_prompt(prompt),
        model=model,
        duration=check_number(duration, "duration", -math.inf, math.inf),
        seed=None if seed is None else check_integer(seed, "seed", 0, MAX_SEED),
        variations=check_integer(variations, "variations", 1, 1_000),
        options=GenerationOptions(
            guidance_scale=guidance_scale,
            melody_guidance_scale=melody_guidance_scale,
            negative_prompt=clean_prompt(negative_prompt) or None,
            temperature=temperature,
            top_k=check_integer(top_k, "top_k", 0, 1_000_000),
            top_p=top_p,
        ),
        melody=Path(melody) if melody else None,
        frames=frames,
        separate=None if separate is None else bool(separate),
        continue_from=Path(continue_from) if continue_from else None,
        timeline=parse_timeline(timeline),
        precision=precision,
        loop=bool(loop),
        adapters=adapters,
    )


def optional_number(text: str | None, name: str) -> float | None:
    """The number in a text field; None for an empty one.

    Args:
        text: what the visitor typed.
        name: of the field, for the message.

    Raises:
        InputError: for a text that is no number.
    """
    typed = (text or "").strip()
    if not typed:
        return None
    try:
        return int(typed) if len(typed) < 20 and typed.lstrip("-").isdecimal() else float(typed)
    except ValueError:
        raise InputError(f"{name} is {typed[:30]!r}: it must be a number, or empty") from None


def precisions(auto: str | None) -> list[tuple[str, str]]:
    """Choices of the precision.

    Args:
        auto: the precision that "auto" selects for the model on this machine, None while it is not known.
    """
    first = "auto: depends on model and machine" if auto is None else f"auto: {auto} for this model here"
    return [(first, "auto"), *((name, name) for name in PRECISIONS[1:])]


def default_melody_is_clean(service: Service, model: str) -> bool:
    """The default of the check box that skips the separation of melodies: as in the training of the melody model."""
    melody_model = service.catalog.melody_model(model)
    return melody_model is None or not melody_model.separated


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
    continue_from: gr.Accordion
    timeline: gr.Accordion
    more: gr.Accordion


def build(service: Service) -> tuple[Inputs, Actions, Accordions, NextClip]:
    """Add the components to the current `gr.Column`."""
    limits = service.limits
    prompt = gr.Textbox(
        label="Description", lines=3, max_lines=6, placeholder=texts.PROMPT_PLACEHOLDER, elem_id="prompt",
        info="Instruments, style, mood, tempo.",
    )  # fmt: skip
    gr.Examples(
        [[example] for example in texts.EXAMPLES.values()], [prompt], label="Worth trying",
        example_labels=list(texts.EXAMPLES), api_visibility="private",
    )  # fmt: skip
    model = gr.Dropdown(service.catalog.choices(), value=service.catalog.default(), label="Model", elem_id="model")
    duration = gr.Slider(
        1, limits.max_duration, value=min(10, limits.max_duration), step=0.5, label="Duration (seconds)",
        elem_id="duration",
    )  # fmt: skip
    cost = gr.Markdown("", elem_id="cost", min_height=22)
    parts = next_clip.build()
    with gr.Row(elem_id="actions"):
        generate = gr.Button("Generate", variant="primary", scale=3, elem_id="generate")
        stop = gr.Button("Stop", variant="secondary", scale=1, elem_id="stop")
    with gr.Accordion(
        "Melody: hum or upload a tune to follow", open=False, elem_id="melody-accordion"
    ) as melody_accordion:
        melody = gr.Audio(
            label="Melody", type="filepath", sources=["upload", "microphone"], buttons=[], elem_id="melody-file"
        )
        with gr.Row(elem_id="melodies"):
            melodies = {
                name: gr.Button(label, size="sm", min_width=90) for name, label in texts.EXAMPLE_MELODIES.items()
            }
        melody_is_clean = gr.Checkbox(
            value=default_melody_is_clean(service, service.catalog.default()), label=texts.MELODY_IS_CLEAN
        )
        frames = melody_editor.build()
    with gr.Accordion("Continue a clip", open=False, elem_id="continue-accordion") as continue_accordion:
        continue_from = gr.Audio(
            label="The result begins with this clip", type="filepath", sources=["upload", "microphone"], buttons=[],
            elem_id="continue-file",
        )  # fmt: skip
    with gr.Accordion("Timeline: change the description as the music plays", open=False) as timeline_accordion:
        timeline = gr.Textbox(
            label="Times and descriptions", lines=3, placeholder=texts.TIMELINE_EXAMPLE, elem_id="timeline",
            info="One line for each change: minutes:seconds, then the new description.",
        )  # fmt: skip
    with gr.Accordion("More settings", open=False, elem_id="more-settings") as more_accordion:
        with gr.Row():
            variations = gr.Slider(1, limits.max_variations, value=1, step=1, label="Variations", elem_id="variations")
            precision = gr.Dropdown(
                precisions(None), value="auto", label="Precision", elem_id="precision",
                info="float32 is exact; the available precisions depend on the machine.",
            )  # fmt: skip
        # Text, because gr.Number shows 0 where it has no value, and that would be asked for.
        seed = gr.Textbox(
            label="Seed", max_lines=1, elem_id="seed", placeholder="a new one for each clip",
            info="The same seed with the same settings is the same music.",
        )  # fmt: skip
        negative_prompt = gr.Textbox(label="Negative prompt", placeholder="noise, low quality")
        guidance_scale = gr.Slider(
            1, 10, value=3, step=0.1, label="Guidance", info="How closely to follow description and melody."
        )
        melody_guidance_scale = gr.Textbox(
            label="Guidance for the melody", max_lines=1, elem_id="melody-guidance",
            placeholder="as the guidance above", info="How closely to follow the melody alone; takes half as long again.",
        )  # fmt: skip
        temperature = gr.Slider(
            0.1, 2, value=1, step=0.05, label="Temperature", info="Higher values give more varied music."
        )
        with gr.Row():
            top_k = gr.Slider(0, 2048, value=250, step=1, label="Top-k (0: all)")
            top_p = gr.Slider(0, 1, value=0, step=0.01, label="Top-p (0: all)")
        adapters = gr.Dropdown(
            service.catalog.adapters.choices(), value=[], multiselect=True, allow_custom_value=True,
            visible=len(service.catalog.adapters) > 0, label="LoRA adapters", elem_id="adapters",
            info="Each as it was trained; type a name and a weight for more or less of it: jazz:0.5",
        )  # fmt: skip
        loop = gr.Checkbox(value=False, label="Seamless loop: the end is mixed into the beginning (a second shorter)")
    inputs = Inputs(
        prompt, model, duration, variations, seed, melody, melody_is_clean, frames, continue_from, timeline,
        guidance_scale, melody_guidance_scale, negative_prompt, temperature, top_k, top_p, precision, loop, adapters,
    )  # fmt: skip
    accordions = Accordions(melody_accordion, continue_accordion, timeline_accordion, more_accordion)
    return inputs, Actions(generate, stop, cost, melodies), accordions, parts
