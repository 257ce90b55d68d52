"""A/B player: plays two clips on one clock, so that switching between them keeps the position to the sample.

The component's value is JSON: {"a": url, "b": url}.
"""

from __future__ import annotations

import json
from pathlib import Path

import gradio as gr

from . import assets

TEMPLATE = """
<div class="compare">
  <button type="button" data-do="play" aria-pressed="false">Play</button>
  <button type="button" data-do="0" aria-pressed="true">A</button>
  <button type="button" data-do="1" aria-pressed="false">B</button>
  <span class="time" role="timer">0.0 s</span>
</div>
"""


def build() -> gr.HTML:
    """The player."""
    return gr.HTML(
        value=dump(None, None),
        html_template=TEMPLATE,
        css_template=assets.read("compare.css"),
        js_on_load=assets.read("compare.js"),
        elem_id="compare",
    )


def dump(a: Path | None, b: Path | None) -> str:
    """The component's value for two files."""
    return json.dumps({"a": _url(a), "b": _url(b)})


def _url(clip: Path | None) -> str:
    """A relative URL, which is valid behind a reverse proxy too."""
    return f"gradio_api/file={clip}" if clip is not None else ""
