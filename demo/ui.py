"""The page's widgets, and nothing else: what they do is `service`'s business."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from demo import service
from demo.service import Request, Service
from musicgen import catalog
from musicgen.errors import MusicGenError
from musicgen.options import GenerationOptions

TITLE = "MusicGen"
INTRODUCTION = "# MusicGen\nMusic from a description, a melody, or both."
NOTES = f"""
Everything is computed on this machine; nothing you enter leaves it. The models make instrumental music: they cannot sing.
The weights of the `facebook/` models are licensed {catalog.WEIGHTS_LICENCE}: not for commercial use. They are fetched from
the hub when first chosen; without a network, put a model folder into the hub cache or use `python -m musicgen generate
--model FOLDER`.
"""
EXAMPLES = [
    "90s rock song with electric guitar and heavy drums",
    "lofi slow bpm electro chill with organic samples",
    "An 80s driving pop song with heavy drums and synth pads in the background",
    "A cheerful country song with acoustic guitars",
    "string quartet, baroque, lively, in D minor",
]

log = logging.getLogger(__name__)


def build(music: Service) -> gr.Blocks:
    """The page."""
    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            with gr.Column():
                prompt = gr.Textbox(
                    label="Description", lines=3, placeholder=EXAMPLES[0], max_length=service.MAX_PROMPT
                )
                gr.Examples(EXAMPLES, prompt, label="Worth trying")
                model = gr.Dropdown(service.choices(), value=service.default_model(), label="Model")
                duration = gr.Slider(1, service.MAX_DURATION, value=10, step=0.5, label="Duration (seconds)")
                melody = gr.Audio(
                    label="Melody to follow (melody models)",
                    type="filepath",
                    sources=["upload", "microphone"],
                    buttons=[],
                )
                clean = gr.Checkbox(label="The melody is clean or hummed: skip the separation of drums and bass")
                with gr.Accordion("Advanced", open=False):
                    seed = gr.Number(label="Seed (empty: a new one)", value=None, precision=0, minimum=0)
                    guidance = gr.Slider(
                        1, 10, value=3, step=0.1, label="Guidance: how closely to follow the description"
                    )
                    temperature = gr.Slider(0.1, 2, value=1, step=0.05, label="Temperature: higher is wilder")
                    top_k = gr.Slider(0, 2048, value=250, step=1, label="Top-k (0: all)")
            with gr.Column():
                with gr.Row():
                    go = gr.Button("Generate", variant="primary")
                    stop = gr.Button("Stop", variant="stop")
                status = gr.Markdown("Ready.", elem_id="status")
                result = gr.Audio(
                    label="Result", type="filepath", interactive=False, buttons=["download"], elem_id="result"
                )
                gr.Markdown(NOTES)

        inputs = [prompt, model, duration, melody, clean, seed, guidance, temperature, top_k]

        def generate(*values: Any) -> Iterator[tuple[Any, ...]]:
            yield from _generate(music, *values)

        run = go.click(generate, inputs, [result, status], api_name="generate", concurrency_limit=4)
        stop.click(lambda: "Stopped.", None, status, cancels=[run], api_visibility="private")
    return page


def launch(page: gr.Blocks, **arguments: Any) -> None:
    """Serve the page, on 127.0.0.1 unless GRADIO_SERVER_NAME says otherwise."""
    page.queue(max_size=32).launch(theme=gr.themes.Soft(), max_file_size="50mb", show_error=True, **arguments)


def _generate(
    music: Service, prompt: str, model: str, duration: float, melody: str | None, clean: bool, seed: float | None,
    guidance: float, temperature: float, top_k: float,
) -> Iterator[tuple[Any, ...]]:  # fmt: skip
    """(file, status) as the clip is made. Closing the generator (Stop, a closed tab) ends the work within a step."""
    cancel, events = threading.Event(), queue.SimpleQueue[tuple[str, Any]]()

    def work() -> None:
        try:
            request = Request(
                prompt=prompt or "",
                model=model,
                duration=duration,
                melody=Path(melody) if melody else None,
                separate=not clean,
                seed=None if seed is None else int(seed),
                options=GenerationOptions(guidance_scale=guidance, temperature=temperature, top_k=int(top_k)),
            )
            clip = music.generate(request, lambda what, share: events.put(("progress", (what, share))), cancel)
            events.put(("clip", clip))
        except MusicGenError as error:
            # The visitor's own name of the file, without the place where the server keeps it.
            events.put(("error", str(error).replace(f"{Path(melody).parent}/", "") if melody else str(error)))
        except Exception:
            log.exception("generation failed")
            events.put(("error", "something went wrong on the server; its log says what"))

    threading.Thread(target=work, daemon=True).start()
    start = time.monotonic()
    try:
        while True:
            kind, value = _latest(events)
            if kind == "progress":
                what, share = value
                yield None, _progress(what, share, time.monotonic() - start)
            elif kind == "clip":
                yield str(value.path), f"Done in {time.monotonic() - start:.1f} s: {value.summary}."
                return
            else:
                raise gr.Error(value, title="Not generated", duration=None, print_exception=False)
    finally:
        cancel.set()


def _latest(events: queue.SimpleQueue[tuple[str, Any]]) -> tuple[str, Any]:
    """The newest event: progress that the page had no time for is skipped."""
    event = events.get()
    while event[0] == "progress" and not events.empty():
        event = events.get()
    return event


def _progress(what: str, share: float, seconds: float) -> str:
    left = f", about {seconds * (1 - share) / share:.0f} s left" if share > 0.02 else ""
    return f"{what} ({share:.0%}{left})"
