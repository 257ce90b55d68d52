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

STYLE = """
.live { display: flex; gap: 10px; align-items: center; padding: 8px 14px; border-radius: var(--block-radius);
  border: 1px solid var(--border-color-primary); background: var(--block-background-fill); color: var(--body-text-color); }
.live[hidden] { display: none; }
.live button { width: 44px; height: 44px; margin: 0; padding: 0; border-radius: 50%; border: none; font-size: 0.8rem;
  line-height: 1; text-align: center; flex: none;
  background: var(--button-secondary-background-fill); color: var(--button-secondary-text-color); }
.live .meter { flex: 1; height: 6px; border-radius: 3px; background: var(--border-color-primary); overflow: hidden; }
.live .meter i { display: block; height: 100%; width: 0; background: var(--color-accent); }
.live .text, .live .time { font-size: 0.85rem; color: var(--body-text-color-subdued); }
.live .time { font-variant-numeric: tabular-nums; min-width: 5em; text-align: right; }
"""

SCRIPT = """
let context = null, out = null, run = null, next = 0, start = 0, made = 0, sources = [], timer = null, ended = false;
const find = (what) => element.querySelector(what);
// A browser lets sound begin only after a click: Generate is one.
const unlock = () => {
  if (!context) {
    context = new AudioContext();
    out = context.createMediaStreamDestination();
    find('audio').srcObject = out.stream;
  }
  context.resume();
  find('audio').play().catch(() => {});
};
document.addEventListener('click', (event) => {
  const on = (what) => event.target.closest && event.target.closest(what);
  if (on('#go')) unlock();
  // Not two sounds at once: who plays a clip has heard enough of this one.
  if (!on('#result .play-pause-button, #compare [data-do=play]') || !context) return;
  if (ended) reset(); else if (context.state === 'running') pause(true);
});
const heard = () => Math.max(0, Math.min(made, context.currentTime - start));
const show = () => {
  if (!context || !made) return;
  const time = heard();
  element.dataset.heard = time.toFixed(2);
  find('.meter i').style.width = 100 * time / made + '%';
  find('.time').textContent = `${Math.floor(time)} of ${Math.floor(made)} s`;
  // Heard to the end: the clip itself is there now.
  if (context.currentTime > start + made + (ended ? 0.3 : 4)) { find('.live').hidden = true; clearInterval(timer); }
};
const reset = () => {
  sources.forEach((source) => { source.onended = null; try { source.stop(); } catch {} });
  sources = []; made = 0; next = -1; start = 0; element.dataset.heard = 0;
  clearInterval(timer);
  find('.live').hidden = true;
};
const pause = (on) => {
  const button = find('[data-do=toggle]');
  if (on) context.suspend(); else unlock();
  button.textContent = on ? '▶' : '❚❚';
  button.setAttribute('aria-label', on ? 'Play the sound' : 'Pause the sound');
};
const add = (text, rate, channels) => {
  const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0)), values = new Int16Array(bytes.buffer);
  const buffer = context.createBuffer(channels, values.length / channels, rate);
  for (let c = 0; c < channels; c++) {
    const wave = buffer.getChannelData(c);
    for (let i = 0; i < wave.length; i++) wave[i] = values[i * channels + c] / 32768;
  }
  const source = context.createBufferSource();
  source.buffer = buffer;
  source.connect(out);
  // Late sound makes a pause, never an overlap.
  if (!made) start = context.currentTime + 0.1;
  else if (start + made < context.currentTime) start = context.currentTime + 0.05 - made;
  source.start(start + made);
  made += buffer.duration;
  sources.push(source);
};
const take = () => {
  let value;
  try { value = JSON.parse(props.value || '{}'); } catch { return; }
  if (value.run !== run) { run = value.run; reset(); if (context) pause(false); }
  ended = Boolean(value.ended);
  if (!value.parts || !value.parts.length) return;
  unlock();
  find('.live').hidden = false;
  for (const [number, text] of value.parts) {
    if (number > next) { add(text, value.rate, value.channels); next = number; }
  }
  clearInterval(timer);
  timer = setInterval(show, 200);
};
element.addEventListener('click', (event) => {
  if (event.target.dataset && event.target.dataset.do === 'toggle') pause(context.state === 'running');
});
watch('value', take);
"""


def build() -> gr.HTML:
    return gr.HTML(value=silence(""), html_template=TEMPLATE, css_template=STYLE, js_on_load=SCRIPT, elem_id="live")


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
