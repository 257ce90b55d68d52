"""Two clips at one playhead: switching goes on at the same moment. Its value is JSON, {"a": url, "b": url}."""

from __future__ import annotations

import json
from pathlib import Path

import gradio as gr

TEMPLATE = """
<div class="compare">
  <audio preload="auto" loop></audio><audio preload="auto" loop></audio>
  <button type="button" data-do="play" aria-pressed="false">Play</button>
  <button type="button" data-do="0" aria-pressed="true">A</button>
  <button type="button" data-do="1" aria-pressed="false">B</button>
  <span class="time" role="timer">0.0 s</span>
</div>
"""
STYLE = """
.compare { display: flex; gap: 8px; align-items: center; }
.compare button { min-width: 56px; min-height: 44px; border: 1px solid var(--border-color-primary); border-radius: 6px;
  background: var(--button-secondary-background-fill); color: var(--button-secondary-text-color); }
.compare button[aria-pressed=true] { border: 2px solid var(--color-accent); font-weight: 600; }
.compare .time { color: var(--body-text-color-subdued); font-variant-numeric: tabular-nums; }
"""
SCRIPT = """
let now = 0;
const clips = () => [...element.querySelectorAll('audio')];
const press = (name, on) => element.querySelector(`[data-do="${name}"]`).setAttribute('aria-pressed', String(on));
const load = () => {
  let value = {};
  try { value = JSON.parse(props.value || '{}'); } catch { value = {}; }
  const playing = element.querySelector('[data-do=play]').getAttribute('aria-pressed') === 'true';
  clips().forEach((clip, i) => {
    const url = [value.a, value.b][i] || '';
    if ((clip.getAttribute('src') || '') !== url) {
      if (url) clip.setAttribute('src', url); else clip.removeAttribute('src');
      if (url && playing) clip.play();
    }
    clip.muted = i !== now;
    clip.ontimeupdate = () => {
      if (i === now) element.querySelector('.time').textContent = clip.currentTime.toFixed(1) + ' s';
    };
  });
};
element.addEventListener('click', (event) => {
  const name = event.target.dataset && event.target.dataset.do, both = clips();
  if (!name) return;
  if (name === 'play') {
    const start = both[now].paused;
    both.forEach((clip) => (start && clip.getAttribute('src') ? clip.play() : clip.pause()));
    press('play', start);
    event.target.textContent = start ? 'Pause' : 'Play';
    return;
  }
  const time = both[now].currentTime;
  now = Number(name);
  if (Math.abs(both[now].currentTime - time) > 0.05 && time < both[now].duration) both[now].currentTime = time;
  both.forEach((clip, i) => { clip.muted = i !== now; press(String(i), i === now); });
});
watch('value', load);
load();
"""


def build() -> gr.HTML:
    return gr.HTML(
        value=dump(None, None), html_template=TEMPLATE, css_template=STYLE, js_on_load=SCRIPT, elem_id="compare"
    )


def dump(a: Path | None, b: Path | None) -> str:
    """The value for two clips' files."""
    return json.dumps({"a": _address(a), "b": _address(b)})


def _address(clip: Path | None) -> str:
    """Relative, so that it holds behind a proxy too."""
    return f"gradio_api/file={clip}" if clip is not None else ""
