"""The inputs of the page: for each its component, and the conversion between the component's value and a request.

To add an input, add a `Field` here, place it in `form.py`, and add an attribute to `ClipRequest`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from musicgen.catalog import DECODERS
from musicgen.errors import InputError
from musicgen.options import LIMITERS, LOOP_CUTS
from musicgen.serving import adapters
from musicgen.serving.limits import MIN_DURATION
from musicgen.serving.models import ModelCatalog
from musicgen.serving.request import PRECISIONS, ClipRequest
from musicgen.timeline import format_timeline

from ..service import Service
from . import melody_editor, texts

MAX_TEXT = 50_000
"""Characters of a text field."""


@dataclass(frozen=True)
class Field:
    """One input.

    Attributes:
        build: makes the component.
        show: the component's value, or its `gr.update`, for a request. Files are not shown: settings have only their names.
        read: the arguments of `make_request` for the component's value and the offered models; raises InputError. None
            passes the value on under the field's own name.
    """

    build: Callable[[Service], Any]
    show: Callable[[ClipRequest], Any]
    read: Callable[[Any, ModelCatalog], Mapping[str, Any]] | None = None


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


def _text(number: float | None) -> str:
    if number is None:
        return ""
    return str(number) if isinstance(number, int) else f"{number:g}"


def _optional(
    argument: str, called: str, label: str, of: Callable[[ClipRequest], float | None], **properties: Any
) -> Field:
    """A number that may be left out. A text box, because `gr.Number` shows 0 where it has no value."""
    return Field(
        lambda _: gr.Textbox(label=label, max_lines=1, **properties),
        lambda request: _text(of(request)),
        lambda value, _: {argument: optional_number(value, called)},
    )


def _upload(label: str, elem_id: str) -> Callable[[Service], Any]:
    return lambda _: gr.Audio(
        label=label, type="filepath", sources=["upload", "microphone"], buttons=[], elem_id=elem_id
    )


FIELDS: dict[str, Field] = {
    "prompt": Field(
        lambda _: gr.Textbox(
            label="Description", lines=3, max_lines=6, placeholder=texts.PROMPT_PLACEHOLDER, elem_id="prompt",
            info="Instruments, style, mood, tempo.",
        ),
        lambda request: request.prompt,
    ),
    "model": Field(
        lambda service: gr.Dropdown(
            service.catalog.choices(), value=service.catalog.default(), label="Model", elem_id="model"
        ),
        lambda request: request.model,
    ),
    "duration": Field(
        lambda service: gr.Slider(
            # Gradio's sliders have no ends at the same place.
            1 if service.limits.max_duration > 1 else MIN_DURATION, service.limits.max_duration,
            value=min(10, service.limits.max_duration), step=0.5,
            label="Duration (seconds)", elem_id="duration",
        ),
        lambda request: request.duration,
    ),
    "variations": Field(
        lambda service: gr.Slider(
            1, max(2, service.limits.max_variations), value=1, step=1, label="Variations", elem_id="variations",
            visible=service.limits.max_variations > 1,
        ),
        lambda _: 1,
    ),
    "seed": _optional(
        "seed", "seed", "Seed", lambda request: request.seed, elem_id="seed", placeholder="a new one for each clip",
        info="The same seed with the same settings is the same music.",
    ),
    "melody": Field(_upload("Melody", "melody-file"), lambda _: None),
    "melody_is_clean": Field(
        lambda service: gr.Checkbox(
            value=default_melody_is_clean(service, service.catalog.default()), label=texts.MELODY_IS_CLEAN
        ),
        lambda request: not request.separate,
        lambda value, _: {"separate": not value},
    ),
    "frames": Field(
        lambda _: melody_editor.build(),
        lambda request: gr.update(
            value=melody_editor.dump(request.frames or ()), visible=request.frames is not None
        ),
        lambda value, _: {"frames": melody_editor.load(value)},
    ),
    "midi": Field(
        lambda _: gr.File(
            label="or a MIDI file", type="filepath", file_types=[".mid", ".midi"], height=140, elem_id="midi-file"
        ),
        lambda _: None,
    ),
    "chords": Field(
        lambda _: gr.Textbox(
            label="or chords, one a bar", max_lines=1, placeholder="C G Am F", elem_id="chords", scale=3,
            min_width=180,
        ),
        lambda request: "" if request.chords is None else request.chords.chords,
    ),
    "bpm": _optional(
        "bpm", "the tempo of the chords", "BPM",
        lambda request: None if request.chords is None else request.chords.bpm, elem_id="bpm", placeholder="120",
        min_width=70,
    ),
    "metre": Field(
        lambda _: gr.Textbox(
            label="Metre", max_lines=1, placeholder="4/4", elem_id="metre", min_width=70
        ),
        lambda request: "" if request.chords is None else request.chords.metre,
    ),
    "style": Field(_upload("Style", "style-file"), lambda _: None),
    "style_guidance_scale": _optional(
        "style_guidance_scale", "the guidance for the style", "Guidance",
        lambda request: request.options.style_guidance_scale, elem_id="style-guidance",
        placeholder="joint", info="For the style alone: half as long again.", min_width=140,
    ),
    "style_seconds": _optional(
        "style_seconds", "the length of the style's excerpt", "Seconds",
        lambda request: request.options.style_seconds, elem_id="style-seconds", placeholder="3",
        info="Of the excerpt, 1.5 to 4.5; the seed places it.", min_width=140,
    ),
    "style_codebooks": _optional(
        "style_codebooks", "the codebooks of the style", "Closeness", lambda request: request.options.style_codebooks,
        elem_id="style-codebooks", placeholder="3", info="Codebooks, 1 to 6: the fewer, the freer.", min_width=140,
    ),
    "continue_from": Field(_upload("The result begins with this clip", "continue-file"), lambda _: None),
    "timeline": Field(
        lambda _: gr.Textbox(
            label="Times and descriptions", lines=3, placeholder=texts.TIMELINE_EXAMPLE, elem_id="timeline",
            info="One line for each change: minutes:seconds, then the new description.",
        ),
        lambda request: format_timeline(request.timeline),
    ),
    "precision": Field(
        lambda _: gr.Dropdown(
            precisions(None), value="auto", label="Precision", elem_id="precision",
            info="float32 is exact; the available precisions depend on the machine.",
        ),
        lambda request: request.precision,
    ),
    "negative_prompt": Field(
        lambda _: gr.Textbox(label="Negative prompt", placeholder="noise, low quality"),
        lambda request: request.options.negative_prompt or "",
    ),
    "guidance_scale": _optional(
        "guidance_scale", "the guidance", "Guidance", lambda request: request.options.guidance_scale,
        placeholder="as the model says (1 to 10)", info="How closely to follow description and melody; 1: without guidance.",
    ),
    "melody_guidance_scale": _optional(
        "melody_guidance_scale", "the guidance for the melody", "Guidance for the melody",
        lambda request: request.options.melody_guidance_scale, elem_id="melody-guidance",
        placeholder="as the guidance above", info="How closely to follow the melody alone; takes half as long again.",
    ),
    "temperature": Field(
        lambda _: gr.Slider(
            0.1, 2, value=1, step=0.05, label="Temperature", info="Higher values give more varied music."
        ),
        lambda request: request.options.temperature,
    ),
    "top_k": Field(
        lambda _: gr.Slider(0, 2048, value=250, step=1, label="Top-k (0: all)"),
        lambda request: request.options.top_k,
    ),
    "top_p": Field(
        lambda _: gr.Slider(0, 1, value=0, step=0.01, label="Top-p (0: all)"),
        lambda request: request.options.top_p,
    ),
    "decoder": Field(
        lambda _: gr.Dropdown(
            [("the model's own", "codec"), ("multi-band diffusion", "mbd")], value=DECODERS[0], label="Decoder",
            elem_id="decoder", info="Diffusion sounds cleaner and takes minutes; for music at 32 kHz.",
        ),
        lambda request: request.decoder,
    ),
    "adapters": Field(
        lambda service: gr.Dropdown(
            service.catalog.adapters.choices(), value=[], multiselect=True, allow_custom_value=True,
            visible=len(service.catalog.adapters) > 0, label="LoRA adapters", elem_id="adapters",
            info="Each as it was trained; type a name and a weight for more or less of it: jazz:0.5",
        ),
        lambda request: adapters.show(request.adapters),
        lambda value, catalog: {"adapters": catalog.adapters.parse(value or ())},
    ),
    "conditions": Field(
        lambda service: gr.Textbox(
            label="Further conditions", lines=2, placeholder="energy=0.5", elem_id="conditions",
            info="Of models with conditioners of their own: NAME=VALUE, one a line.",
            visible=service.catalog.get(service.catalog.default()).takes_conditions,
        ),
        lambda request: "\n".join(f"{name}={value}" for name, value in request.conditions),
        lambda value, _: {"conditions": (value or "").splitlines()},
    ),
    "loop": Field(
        lambda _: gr.Checkbox(
            value=False, label="Seamless loop"
        ),
        lambda request: request.loop,
    ),
    "loop_at_bars": Field(
        lambda _: gr.Checkbox(
            value=True, label="Loops are cut at bars, by their beats", elem_id="loop-at-bars"
        ),
        lambda request: request.loop_cut != LOOP_CUTS[0],
    ),
    "limit_peaks": Field(
        lambda _: gr.Checkbox(
            value=True, label="Full loudness: high peaks are limited for it", elem_id="limit-peaks"
        ),
        lambda request: request.limiter != LIMITERS[0],
    ),
}  # fmt: skip
"""Name -> the input. A browser remembers the values under these names."""
