"""The left half of the page: everything that a visitor sets, and how it becomes a request and back."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from musicgen.errors import InputError
from musicgen.options import GenerationOptions

from ..request import MAX_SEED, PRECISIONS, number
from ..service import Request, Service, clean, format_timeline, parse_timeline, whole
from . import melody_editor, texts


@dataclass(frozen=True)
class Form:
    """The widgets, in the order in which `request` takes their values."""

    prompt: gr.Textbox
    model: gr.Dropdown
    duration: gr.Slider
    variations: gr.Slider
    seed: gr.Number
    lock: gr.Checkbox
    melody: gr.Audio
    clean: gr.Checkbox
    frames: gr.HTML
    continue_from: gr.Audio
    timeline: gr.Textbox
    guidance: gr.Slider
    apart: gr.Checkbox
    melody_guidance: gr.Slider
    negative: gr.Textbox
    temperature: gr.Slider
    top_k: gr.Slider
    top_p: gr.Slider
    precision: gr.Dropdown
    loop: gr.Checkbox

    @property
    def inputs(self) -> list[Any]:
        """As `request` takes their values."""
        return [getattr(self, field.name) for field in dataclasses.fields(self)]

    def request(self, *values: Any) -> Request:
        """The widgets' values as a request. Raises InputError."""
        given = dict(zip((field.name for field in dataclasses.fields(self)), values, strict=True))
        return make_request(
            prompt=given["prompt"],
            model=given["model"],
            duration=given["duration"],
            variations=given["variations"],
            seed=given["seed"] if given["lock"] else None,
            melody=given["melody"],
            separate=not given["clean"],
            frames=melody_editor.load(given["frames"]),
            continue_from=given["continue_from"],
            timeline=given["timeline"],
            guidance_scale=given["guidance"],
            melody_guidance_scale=given["melody_guidance"] if given["apart"] else None,
            negative_prompt=given["negative"],
            temperature=given["temperature"],
            top_k=given["top_k"],
            top_p=given["top_p"],
            precision=given["precision"],
            loop=given["loop"],
        )

    def fill(self, request: Request) -> dict[Any, Any]:
        """Updates that show a request's settings. Recordings are not among them: a file names them only."""
        options = request.options
        return {
            self.prompt: request.prompt,
            self.model: request.model,
            self.duration: request.duration,
            self.variations: 1,
            self.seed: request.seed,
            self.lock: request.seed is not None,
            self.melody: None,
            self.clean: not request.separate,
            self.frames: gr.update(value=melody_editor.dump(request.frames or ()), visible=request.frames is not None),
            self.continue_from: None,
            self.timeline: format_timeline(request.timeline),
            self.guidance: options.guidance_scale,
            self.apart: options.melody_guidance_scale is not None,
            self.melody_guidance: (
                options.guidance_scale if options.melody_guidance_scale is None else options.melody_guidance_scale
            ),
            self.negative: options.negative_prompt or "",
            self.temperature: options.temperature,
            self.top_k: options.top_k,
            self.top_p: options.top_p,
            self.precision: request.precision,
            self.loop: request.loop,
        }


def make_request(
    *, prompt: str | None, model: str, duration: float, variations: float = 1, seed: float | None = None,
    melody: str | None = None, separate: bool | None = None, frames: tuple[int, ...] | None = None,
    continue_from: str | None = None, timeline: str | None = "", guidance_scale: float = 3.0,
    melody_guidance_scale: float | None = None, negative_prompt: str | None = "", temperature: float = 1.0,
    top_k: float = 250, top_p: float = 0.0, precision: str = "auto", loop: bool = False,
) -> Request:  # fmt: skip
    """Plain values, as widgets and the API give them, as a request. Raises InputError."""
    for value, name in ((prompt, "description"), (negative_prompt, "negative prompt"), (timeline, "timeline")):
        if value is not None and len(value) > 50_000:
            raise InputError(f"the {name} has {len(value)} characters: far too many")
    return Request(
        prompt=clean(prompt),
        model=model,
        duration=number(duration, "duration", -math.inf, math.inf),
        seed=None if seed is None else whole(seed, "seed", 0, MAX_SEED),
        variations=whole(variations, "variations", 1, 1_000),
        options=GenerationOptions(
            guidance_scale=guidance_scale,
            melody_guidance_scale=melody_guidance_scale,
            negative_prompt=clean(negative_prompt) or None,
            temperature=temperature,
            top_k=whole(top_k, "top_k", 0, 1_000_000),
            top_p=top_p,
        ),
        melody=Path(melody) if melody else None,
        frames=frames,
        separate=None if separate is None else bool(separate),
        continue_from=Path(continue_from) if continue_from else None,
        timeline=parse_timeline(timeline),
        precision=precision,
        loop=bool(loop),
    )


def precisions(auto: str | None) -> list[tuple[str, str]]:
    """The precision's choices. auto: what the first one is for the chosen model here, None where nobody knows yet."""
    first = "auto: what suits model and machine" if auto is None else f"auto: {auto} for this model here"
    return [(first, "auto"), *((name, name) for name in PRECISIONS[1:])]


def is_clean(music: Service, model: str) -> bool:
    """Whether a melody is left as it is unless the visitor says otherwise: as in the training of the model that follows it."""
    follower = music.shelf.follower(model)
    return follower is None or not follower.separated


@dataclass(frozen=True)
class Actions:
    """What starts and ends a generation."""

    go: gr.Button
    stop: gr.Button
    cost: gr.Markdown


@dataclass(frozen=True)
class Parts:
    """What is folded away until it is needed."""

    melody: gr.Accordion
    timeline: gr.Accordion


def build(music: Service) -> tuple[Form, Actions, Parts]:
    """The widgets, in the current column."""
    limits = music.limits
    prompt = gr.Textbox(
        label="Description", lines=3, max_lines=6, placeholder=next(iter(texts.EXAMPLES.values())), elem_id="prompt",
        info="Instruments, style, mood, tempo.",
    )  # fmt: skip
    gr.Examples(
        [[example] for example in texts.EXAMPLES.values()], [prompt], label="Worth trying",
        example_labels=list(texts.EXAMPLES), api_visibility="private",
    )  # fmt: skip
    model = gr.Dropdown(music.shelf.choices(), value=music.shelf.default(), label="Model", elem_id="model")
    duration = gr.Slider(
        1, limits.max_duration, value=min(10, limits.max_duration), step=0.5, label="Duration (seconds)",
        elem_id="duration",
    )  # fmt: skip
    cost = gr.Markdown("", elem_id="cost", min_height=22)
    with gr.Row(elem_id="actions"):
        go = gr.Button("Generate", variant="primary", scale=3, elem_id="go")
        stop = gr.Button("Stop", variant="secondary", scale=1, elem_id="stop")
    with gr.Accordion("Melody: hum or upload a tune to follow", open=False, elem_id="melody-part") as melody_part:
        melody = gr.Audio(
            label="Melody", type="filepath", sources=["upload", "microphone"], buttons=[], elem_id="melody-file"
        )
        clean_box = gr.Checkbox(value=is_clean(music, music.shelf.default()), label=texts.CLEAN)
        frames = melody_editor.build()
    with gr.Accordion("Continue a clip", open=False):
        continue_from = gr.Audio(
            label="The result begins with this clip", type="filepath", sources=["upload", "microphone"], buttons=[],
            elem_id="continue-file",
        )  # fmt: skip
    with gr.Accordion("Timeline: change the description as the music plays", open=False) as timeline_part:
        timeline = gr.Textbox(
            label="Times and descriptions", lines=3, placeholder=texts.TIMELINE_EXAMPLE, elem_id="timeline",
            info="One line each, minutes:seconds first. Until the first time the description above holds.",
        )  # fmt: skip
    with gr.Accordion("More settings", open=False, elem_id="more"):
        with gr.Row():
            variations = gr.Slider(1, limits.max_variations, value=1, step=1, label="Variations", elem_id="variations")
            precision = gr.Dropdown(
                precisions(None), value="auto", label="Precision", elem_id="precision",
                info="float32 is exact; what else is there depends on the machine.",
            )  # fmt: skip
        with gr.Row():
            # No precision=0, which would round: what is no whole number is refused.
            seed = gr.Number(label="Seed", value=None, minimum=0, maximum=MAX_SEED, elem_id="seed")
            lock = gr.Checkbox(value=False, label="Keep this seed (the same music again)", elem_id="lock")
        negative = gr.Textbox(label="Steer away from", placeholder="noise, low quality")
        guidance = gr.Slider(
            1, 10, value=3, step=0.1, label="Guidance", info="How closely to follow description and melody."
        )
        with gr.Row():
            apart = gr.Checkbox(value=False, label="Guide text and melody apart (half as slow again)")
            melody_guidance = gr.Slider(1, 10, value=3, step=0.1, label="Melody guidance")
        temperature = gr.Slider(0.1, 2, value=1, step=0.05, label="Temperature", info="Higher is wilder.")
        with gr.Row():
            top_k = gr.Slider(0, 2048, value=250, step=1, label="Top-k (0: all)")
            top_p = gr.Slider(0, 1, value=0, step=0.01, label="Top-p (0: all)")
        loop = gr.Checkbox(value=False, label="Seamless loop: the end is mixed into the beginning (a second shorter)")
    form = Form(
        prompt, model, duration, variations, seed, lock, melody, clean_box, frames, continue_from, timeline, guidance,
        apart, melody_guidance, negative, temperature, top_k, top_p, precision, loop,
    )  # fmt: skip
    return form, Actions(go, stop, cost), Parts(melody_part, timeline_part)
