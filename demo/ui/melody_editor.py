"""The chromagram that a visitor edits: drawn, heard and changed in the browser; its value is JSON, {"frames": [0 to 11, …]}."""

from __future__ import annotations

import json
from collections.abc import Sequence

import gradio as gr

from musicgen.errors import InputError

from . import assets
from .texts import EDITOR_HINT

SECONDS_PER_FRAME = 4096 / 32_000
"""Of the chroma (musicgen.chroma, which needs PyTorch: not imported while the page is built)."""
PITCH_CLASSES = ("C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B")

TEMPLATE = f"""
<div class="melody-editor">
  <p class="hint" id="melody-hint">{EDITOR_HINT}</p>
  <div class="grid">
    <div class="names" aria-hidden="true">{"".join(f"<span>{name}</span>" for name in reversed(PITCH_CLASSES))}</div>
    <div class="scroll"><canvas tabindex="0" role="application" aria-label="Melody editor" aria-describedby="melody-hint"
      ></canvas></div>
  </div>
  <p class="where" role="status" aria-live="polite"></p>
  <div class="tools">
    <button type="button" data-do="down">Transpose −1</button>
    <button type="button" data-do="up">Transpose +1</button>
    <label>from <input type="number" min="0" step="0.5" value="0" data-of="from" aria-label="Keep from second"></label>
    <label>to <input type="number" min="0" step="0.5" value="0" data-of="to" aria-label="Keep to second"></label>
    <button type="button" data-do="trim">Trim</button>
    <button type="button" data-do="play">Listen</button>
    <button type="button" data-do="undo">Undo</button>
    <button type="button" data-do="clear">Remove</button>
  </div>
</div>
"""


def build() -> gr.HTML:
    """The widget, hidden until there is a melody."""
    return gr.HTML(
        value=dump(()),
        html_template=TEMPLATE,
        css_template=assets.read("melody_editor.css"),
        js_on_load=assets.read("melody_editor.js"),
        visible=False,
        elem_id="melody-editor",
    )


def dump(frames: Sequence[int]) -> str:
    return json.dumps({"frames": list(frames)})


def load(value: str | None) -> tuple[int, ...] | None:
    """The frames; None when there are none. What they hold is checked with the request."""
    if not value:
        return None
    try:
        frames = json.loads(value)["frames"]
        if not isinstance(frames, list):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError("the edited melody is damaged: upload its recording again") from error
    return tuple(frames) or None
