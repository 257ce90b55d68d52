"""Live playback of a clip during its generation: 16-bit samples, which the browser plays without gaps through the Web Audio
API.

Gradio's streamed audio is lossy, needs ffmpeg on the server, and has gaps when its first segment is late. The component's value
is JSON: {"run": id, "rate": Hz, "channels": C, "skipped": seconds before the first chunk, "chunks": [[number, base64 of int16],
…], "ended": false}. Each value repeats the last chunk of the value before it, because the page can miss a value.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import gradio as gr

from . import assets

if TYPE_CHECKING:
    from musicgen.serving.service import PlaybackChunk

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
    """The player, hidden until there is audio."""
    return gr.HTML(
        value=empty_value(""),
        html_template=TEMPLATE,
        css_template=assets.read("live.css"),
        js_on_load=assets.read("live.js"),
        elem_id="live",
    )


def empty_value(run_id: str) -> str:
    """The first value of a run."""
    return json.dumps({"run": run_id, "chunks": []})


class LiveStream:
    """The values of one run.

    Args:
        run_id: identifies the run: with a new one, the player starts again.
        seconds_skipped: of the clip, before the first chunk.
    """

    def __init__(self, run_id: str, seconds_skipped: float = 0.0) -> None:
        self.run_id, self._number, self._seconds_skipped = run_id, 0, seconds_skipped
        self._last_chunks: list[tuple[int, str]] = []
        self._format: dict[str, float] = {}

    def append(self, chunks: Sequence[PlaybackChunk]) -> str:
        """The value that adds chunks of audio."""
        encoded = []
        for chunk in chunks:
            encoded.append((self._number, base64.b64encode(chunk.samples.tobytes()).decode()))
            self._number += 1
        sent = [*self._last_chunks, *encoded]
        self._last_chunks = encoded[-1:]
        self._format = {
            "rate": chunks[-1].rate,
            "channels": chunks[-1].samples.shape[1],
            "skipped": self._seconds_skipped,
        }
        return json.dumps({"run": self.run_id, **self._format, "chunks": sent})

    def end(self) -> str:
        """The last value of the run."""
        return json.dumps({"run": self.run_id, **self._format, "chunks": self._last_chunks, "ended": True})
