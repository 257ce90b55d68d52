"""A melody editor: a chromagram that is drawn, played and edited in the browser.

The component's value is JSON: {"frames": [0 to 11, …]}, one pitch class for each chroma frame.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import gradio as gr

from musicgen.errors import InputError

from . import assets
from .texts import EDITOR_HINT

SECONDS_PER_FRAME = 4096 / 32_000
"""As in musicgen.chroma, which is not imported here because it imports PyTorch."""
PITCH_CLASSES = ("C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B")

TEMPLATE = f"""
<div class="melody-editor">
  <p class="hint" id="melody-hint">{EDITOR_HINT}</p>
  <div class="grid">
    <div class="names" aria-hidden="true">{"".join(f"<span>{name}</span>" for name in reversed(PITCH_CLASSES))}</div>
    <div class="scroll"><canvas tabindex="0" role="application" aria-label="Melody editor" aria-describedby="melody-hint"
      ></canvas><i class="playhead" hidden></i></div>
  </div>
  <p class="where" role="status" aria-live="polite"></p>
  <div class="tools">
    <button type="button" data-do="play">Listen</button>
    <button type="button" data-do="out" aria-label="Zoom out">−</button>
    <button type="button" data-do="in" aria-label="Zoom in">+</button>
    <label>Snap <select data-of="snap"><option value="0">off</option><option value="0.25">¼ s</option>
      <option value="0.5">½ s</option><option value="1">1 s</option></select></label>
    <button type="button" data-do="down">Transpose −1</button>
    <button type="button" data-do="up">Transpose +1</button>
    <label>from <input type="number" min="0" step="0.5" value="0" data-of="from" aria-label="Keep from second"></label>
    <label>to <input type="number" min="0" step="0.5" value="0" data-of="to" aria-label="Keep to second"></label>
    <button type="button" data-do="trim">Trim</button>
    <button type="button" data-do="undo">Undo</button>
    <button type="button" data-do="clear">Remove</button>
  </div>
</div>
"""


def build() -> gr.HTML:
    """The editor, hidden until there is a melody."""
    return gr.HTML(
        value=dump(()),
        html_template=TEMPLATE,
        css_template=assets.read("melody_editor.css"),
        js_on_load=assets.read("melody_editor.js"),
        visible=False,
        elem_id="melody-editor",
    )


def dump(frames: Sequence[int]) -> str:
    """The component's value for a melody."""
    return json.dumps({"frames": list(frames)})


def load(value: str | None) -> tuple[int, ...] | None:
    """The melody in a component's value. The pitch classes are validated with the request.

    Returns:
        The frames, None for an empty melody.

    Raises:
        InputError: for a value of another form.
    """
    if not value:
        return None
    try:
        frames = json.loads(value)["frames"]
        if not isinstance(frames, list):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError("the edited melody is damaged: upload its recording again") from error
    return tuple(frames) or None


def is_melody(value: object) -> bool:
    """Whether a value that a browser remembers is that of a melody."""
    try:
        frames = load(value) if isinstance(value, str) else None
    except InputError:
        return False
    return frames is not None and all(type(frame) is int and 0 <= frame < len(PITCH_CLASSES) for frame in frames)
