"""The same function as named endpoints, for gradio_client, for programs, and for MCP clients.

from gradio_client import Client, handle_file
client = Client("http://127.0.0.1:7860")
file, more, about = client.predict(prompt="lofi, slow", duration=5, api_name="/generate")
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import gradio as gr

from musicgen.errors import InputError

from .. import stored
from ..files import FORMATS
from ..service import Clip, Service
from . import events
from .form import make_request


def build(music: Service) -> None:
    """The endpoints, in the current page; their fields are not shown."""
    limits = music.limits
    with gr.Row(visible=False):
        fields: list[Any] = [
            gr.Textbox(value="", label="prompt"),
            gr.Dropdown(music.shelf.choices(), value=music.shelf.default(), label="model"),
            gr.Number(value=10.0, label=f"duration: seconds of the result, {limits.max_duration:g} at most"),
            gr.Number(value=None, label="seed: a whole number, None draws one"),
            gr.Number(value=1, label=f"variations: up to {limits.max_variations}"),
            gr.Audio(type="filepath", label="melody to follow"),
            gr.Checkbox(
                value=None,  # type: ignore[arg-type]
                label="separate: drop drums and bass from the melody first; None as in the model's training",
            ),
            gr.JSON(value=None, label="frames: an edited melody, pitch classes 0 to 11, one each 0.128 s"),
            gr.Audio(type="filepath", label="continue_from: the result begins with it"),
            gr.Textbox(value="", label="timeline: lines such as '0:10 the drums come in'"),
            gr.Number(value=3.0, label="guidance_scale"),
            gr.Number(value=None, label="melody_guidance_scale: None guides both by guidance_scale"),
            gr.Textbox(value="", label="negative_prompt"),
            gr.Number(value=1.0, label="temperature"),
            gr.Number(value=250, label="top_k: 0 keeps all"),
            gr.Number(value=0.0, label="top_p: 0 keeps all"),
            gr.Textbox(value="auto", label="precision: auto, float32 (exact), bfloat16, float16, int8 or int4"),
            gr.Checkbox(value=False, label="loop: seamless"),
            gr.Textbox(value="flac", label=f"format: {', '.join(FORMATS)}"),
        ]
        file = gr.File(label="clip")
        more = gr.File(label="further variations", file_count="multiple")
        about = gr.JSON(label="about")
        pitches = gr.JSON(label="frames")
        offers = gr.JSON(label="models")
        found = gr.JSON(label="settings")
        recording = gr.Audio(type="filepath", label="recording")
        clip = gr.File(type="filepath", label="clip")
        is_song = gr.Checkbox(value=False, label="separate")
        trigger = gr.Button()

    async def generate(
        request: gr.Request, prompt: str, model: str, duration: float, seed: float | None = None,
        variations: float = 1, melody: str | None = None, separate: bool | None = None, frames: Any = None,
        continue_from: str | None = None, timeline: str = "", guidance_scale: float = 3.0,
        melody_guidance_scale: float | None = None, negative_prompt: str = "", temperature: float = 1.0,
        top_k: float = 250, top_p: float = 0.0, precision: str = "auto", loop: bool = False, format: str = "flac",
    ) -> tuple[str, list[str], dict[str, Any]]:  # fmt: skip
        """Make music from a description, a melody, or both: the clip, further variations, and what they are."""
        try:
            if format not in FORMATS:
                raise InputError(f"unknown format {str(format)[:20]!r}: one of {', '.join(FORMATS)}")
            asked = make_request(
                prompt=prompt, model=model, duration=duration, variations=variations, seed=seed, melody=melody,
                separate=separate, frames=_frames(frames), continue_from=continue_from, timeline=timeline,
                guidance_scale=guidance_scale, melody_guidance_scale=melody_guidance_scale,
                negative_prompt=negative_prompt, temperature=temperature, top_k=top_k, top_p=top_p,
                precision=precision, loop=loop,
            )  # fmt: skip
            job = music.submit(events.visitor(request), asked)
            clips = [event async for event in events.follow(music, job) if isinstance(event, Clip)]
            if not clips:
                raise InputError("stopped before there was any sound")
            files = [str(music.files.convert(one.path, format)) for one in clips]
        except Exception as error:
            raise events.refused(error, melody, continue_from) from None
        first = clips[0]
        return files[0], files[1:], {
            "summary": first.summary, "seed": first.seed, "seconds": first.seconds, "rate": first.rate,
            "channels": first.channels, "precision": first.request.precision, "unknown": first.unknown,
            "complete": first.complete, "link": stored.link(first.request, first.seed),
        }  # fmt: skip

    async def progress(
        request: gr.Request, prompt: str, model: str, duration: float, seed: float | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """Follow a generation: {"place": n} while it waits, then {"done": share, "left": seconds}, at last its summary."""
        try:
            asked = make_request(prompt=prompt, model=model, duration=duration, seed=seed)
            async for event in events.follow(music, music.submit(events.visitor(request), asked)):
                if isinstance(event, int):
                    yield {"place": event}
                elif isinstance(event, Clip):
                    yield {"done": 1.0, "summary": event.summary, "seed": event.seed}
                elif hasattr(event, "share"):
                    yield {"done": event.share, "left": event.left}
        except Exception as error:
            raise events.refused(error) from None

    def melody(recording: str, separate: bool) -> list[int]:
        """The melody of a recording as a model would follow it: one pitch class (0 is C) each 0.128 s."""
        try:
            if not recording:
                raise InputError("there is no recording")
            return list(music.melody(Path(recording), separate))
        except Exception as error:
            raise events.refused(error, recording) from None

    def models() -> list[dict[str, Any]]:
        """The models on offer: name, size in bytes, licence, whether they follow melodies and make stereo."""
        return [{k: v for k, v in dataclasses.asdict(one).items() if k != "source"} for one in music.shelf]

    def settings(clip: str) -> dict[str, Any]:
        """The settings inside a clip that was made here."""
        try:
            if not clip:
                raise InputError("there is no clip")
            asked, needed = stored.of_file(Path(clip), Path(clip).name, music.shelf)
        except Exception as error:
            raise events.refused(error, clip) from None
        return {
            "prompt": asked.prompt, "model": asked.model, "duration": asked.duration, "seed": asked.seed,
            "options": asked.options.as_dict(), "frames": asked.frames, "precision": asked.precision,
            "timeline": [[one.start, one.prompt] for one in asked.timeline], "loop": asked.loop, "needs": needed,
        }  # fmt: skip

    def stop(request: gr.Request) -> int:
        """End what this client is having made, and keep what there is of it; how many clips that were."""
        return music.stop(events.visitor(request))

    # MCP clients know them by the functions' names.
    stopped = gr.Number(visible=False)
    free: dict[str, Any] = {"concurrency_limit": None}
    trigger.click(generate, fields, [file, more, about], api_name="generate", **free)
    trigger.click(progress, fields[:4], about, api_name="progress", **free)
    trigger.click(melody, [recording, is_song], pitches, api_name="melody", concurrency_limit=2)
    trigger.click(models, None, offers, api_name="models", **free)
    trigger.click(settings, clip, found, api_name="settings", **free)
    trigger.click(stop, None, stopped, api_name="stop", **free)


def _frames(value: Any) -> tuple[int, ...] | None:
    if value is None or value == []:
        return None
    if not isinstance(value, list):
        raise InputError("frames is not a list of pitch classes")
    return tuple(value)
