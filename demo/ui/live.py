"""The sound of a clip while it is made: plain samples, played without a gap by the browser's own audio clock.

Gradio's streamed audio is lossy, needs ffmpeg on the server, and stumbles when its first segment is late; this needs neither.
Its value is JSON: {"run": id, "rate": Hz, "channels": C, "parts": [[number, base64 of int16], …], "ended": false}. Each value
repeats the part before it, since a page that is busy may skip a value.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import gradio as gr

from . import assets

if TYPE_CHECKING:
    from ..service import Sound

TEMPLATE = """
<div class="live" hidden>
  <audio playsinline></audio>
  <button type="button" data-do="toggle" aria-label="Pause the sound">❚❚</button>
  <span class="text">Live</span>
  <span class="meter" aria-hidden="true"><i></i></span>
  <span class="time" role="timer">0 s</span>
</div>
"""


def build() -> gr.HTML:
    return gr.HTML(
        value=silence(""),
        html_template=TEMPLATE,
        css_template=assets.read("live.css"),
        js_on_load=assets.read("live.js"),
        elem_id="live",
    )


def silence(run: str) -> str:
    """The value with which a run begins."""
    return json.dumps({"run": run, "parts": []})


class Feed:
    """One run's values, one after the other."""

    def __init__(self, run: str) -> None:
        self.run, self._number = run, 0
        self._before: list[tuple[int, str]] = []
        self._kind: dict[str, int] = {}

    def value(self, sounds: Sequence[Sound]) -> str:
        """The value for the next parts."""
        parts = []
        for sound in sounds:
            parts.append((self._number, base64.b64encode(sound.samples.tobytes()).decode()))
            self._number += 1
        sent = [*self._before, *parts]
        self._before = parts[-1:]
        self._kind = {"rate": sounds[-1].rate, "channels": sounds[-1].samples.shape[1]}
        return json.dumps({"run": self.run, **self._kind, "parts": sent})

    def end(self) -> str:
        """The value when no more will come."""
        return json.dumps({"run": self.run, **self._kind, "parts": self._before, "ended": True})
