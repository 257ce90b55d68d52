"""The named endpoints of the API, for gradio_client, HTTP clients and MCP clients.

from gradio_client import Client, handle_file
client = Client("http://127.0.0.1:7860")
file, more, about = client.predict(prompt="lofi, slow", duration=5, api_name="/generate")
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import gradio as gr

from musicgen.errors import InputError
from musicgen.options import LIMITERS, LOOP_CUTS
from musicgen.serving import clip_metadata
from musicgen.serving.adapters import show
from musicgen.serving.clip_store import FORMATS
from musicgen.serving.progress import Progress
from musicgen.serving.stored_clip import StoredClip

from ..service import Service
from . import messages
from .events import streams
from .form import make_request


def build(service: Service) -> None:
    """Add the endpoints to the current `gr.Blocks`. Their components are hidden."""
    limits = service.limits
    with gr.Row(visible=False):
        fields: list[Any] = [
            gr.Textbox(value="", label="prompt"),
            gr.Dropdown(service.catalog.choices(), value=service.catalog.default(), label="model"),
            gr.Number(value=10.0, label=f"duration: seconds of the result, {limits.max_duration:g} at most"),
            gr.Number(value=None, label="seed: a whole number, None draws one"),
            gr.Number(value=1, label=f"variations: up to {limits.max_variations}"),
            gr.Audio(type="filepath", label="melody to follow: a recording, or a MIDI file"),
            gr.Checkbox(
                value=None,  # type: ignore[arg-type]
                label="separate: drop drums and bass from the melody first; None as in the model's training",
            ),
            (edited := gr.JSON(value=None, label="frames: an edited melody, pitch classes 0 to 11, one each 0.128 s")),
            gr.Audio(type="filepath", label="continue_from: the result begins with it"),
            gr.Textbox(value="", label="timeline: lines such as '0:10 the drums come in'"),
            gr.Number(value=None, label="guidance_scale: None as the model says"),
            gr.Number(value=None, label="melody_guidance_scale: None guides both by guidance_scale"),
            gr.Textbox(value="", label="negative_prompt"),
            gr.Number(value=1.0, label="temperature"),
            gr.Number(value=250, label="top_k: 0 keeps all"),
            gr.Number(value=0.0, label="top_p: 0 keeps all"),
            gr.Textbox(value="auto", label="precision: auto, float32 (exact), bfloat16, float16, int8 or int4"),
            gr.Checkbox(value=False, label="loop: seamless"),
            gr.Textbox(value="flac", label=f"format: {', '.join(FORMATS)}"),
            (adapters := gr.JSON(value=None, label="adapters: the operator's LoRA adapters, such as ['jazz:0.5']")),
            gr.Textbox(value="", label="chords in place of a melody, one a bar: C G Am F"),
            gr.Number(value=None, label="bpm of the chords, None is 120"),
            gr.Textbox(value="", label="metre of the chords, 4/4 unless given"),
            gr.Audio(type="filepath", label="style: a recording that the result sounds like, for MusicGen-Style"),
            gr.Number(value=None, label="style_guidance_scale: None guides all by guidance_scale"),
            gr.Number(value=None, label="style_seconds: length of the style's excerpt, 1.5 to 4.5"),
            gr.Number(value=None, label="style_codebooks: 1 to 6, the fewer the freer"),
            gr.Textbox(value="codec", label="decoder: codec, the model's own, or mbd, multi-band diffusion"),
            (conditions := gr.JSON(value=None, label="conditions: of further conditioners, such as ['energy=0.5']")),
            gr.Checkbox(value=True, label="limit_peaks: so that the clip reaches its loudness"),
            gr.Checkbox(value=True, label="loop_at_bars: loops are cut at bars, by their beats"),
        ]
        # The type that clients are told; that of `gr.JSON` is no valid JSON schema, which MCP clients and servers check.
        for field, kind in ((edited, "integer"), (adapters, "string"), (conditions, "string")):
            vars(field)["api_info"] = lambda kind=kind: {"type": "array", "items": {"type": kind}}
        file = gr.File(label="clip")
        more = gr.File(label="further variations", file_count="multiple")
        about = gr.JSON(label="about")
        frames = gr.JSON(label="frames")
        model_list = gr.JSON(label="models")
        clip_settings = gr.JSON(label="settings")
        recording = gr.Audio(type="filepath", label="recording")
        clip = gr.File(type="filepath", label="clip")
        separate_recording = gr.Checkbox(value=False, label="separate")
        trigger = gr.Button()

    async def generate(
        request: gr.Request, prompt: str, model: str, duration: float, seed: float | None = None,
        variations: float = 1, melody: str | None = None, separate: bool | None = None, frames: Any = None,
        continue_from: str | None = None, timeline: str = "", guidance_scale: float | None = None,
        melody_guidance_scale: float | None = None, negative_prompt: str = "", temperature: float = 1.0,
        top_k: float = 250, top_p: float = 0.0, precision: str = "auto", loop: bool = False, format: str = "flac",
        adapters: Any = None, chords: str = "", bpm: float | None = None, metre: str = "", style: str | None = None,
        style_guidance_scale: float | None = None, style_seconds: float | None = None,
        style_codebooks: float | None = None, decoder: str = "codec", conditions: Any = None,
        limit_peaks: bool = True, loop_at_bars: bool = True,
    ) -> tuple[str, list[str], dict[str, Any]]:  # fmt: skip
        """Generate music from a description, a melody, chords or a style: the clip, further variations, their properties."""
        with messages.gradio_errors(melody, style, continue_from):
            if format not in FORMATS:
                raise InputError(f"unknown format {str(format)[:20]!r}: one of {', '.join(FORMATS)}")
            generation_request = make_request(
                prompt=prompt, model=model, duration=duration, variations=variations, seed=seed, melody=melody,
                separate=separate, frames=_check_frames(frames), continue_from=continue_from, timeline=timeline,
                guidance_scale=guidance_scale, melody_guidance_scale=melody_guidance_scale,
                negative_prompt=negative_prompt, temperature=temperature, top_k=top_k, top_p=top_p,
                precision=precision, loop=loop, adapters=service.catalog.adapters.parse(_check_texts("adapters", adapters)),
                chords=chords, bpm=bpm, metre=metre, style=style, style_guidance_scale=style_guidance_scale,
                style_seconds=style_seconds, style_codebooks=style_codebooks, decoder=decoder,
                conditions=_check_texts("conditions", conditions), limit_peaks=limit_peaks,
                loop_at_bars=loop_at_bars,
            )  # fmt: skip
            following = streams.stream_events(service, request, generation_request)
            clips = [event async for event in following if isinstance(event, StoredClip)]
            if not clips:
                raise InputError("stopped before there was any sound")
            files = [
                str(file) for file in await asyncio.gather(*(
                    asyncio.to_thread(service.clip_store.convert, clip.path, format) for clip in clips
                ))
            ]  # fmt: skip
        first = clips[0]
        return files[0], files[1:], {
            "summary": first.summary, "seed": first.seed, "seconds": first.seconds, "rate": first.rate,
            "channels": first.channels, "precision": first.request.precision, "unknown": first.unknown,
            "complete": first.complete, "link": clip_metadata.make_link(first.request, first.seed),
        }  # fmt: skip

    async def progress(
        request: gr.Request, prompt: str, model: str, duration: float, seed: float | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """Follow a generation: {"place": n} while it waits, then {"done": fraction, "left": seconds}, finally its summary."""
        with messages.gradio_errors():
            generation_request = make_request(prompt=prompt, model=model, duration=duration, seed=seed)
            async for event in streams.stream_events(service, request, generation_request):
                if isinstance(event, int):
                    yield {"place": event}
                elif isinstance(event, StoredClip):
                    yield {"done": 1.0, "summary": event.summary, "seed": event.seed}
                elif isinstance(event, Progress):
                    yield {"done": event.fraction, "left": event.seconds_left}

    def melody(recording: str, separate: bool) -> list[int]:
        """The melody of a recording, as a model is conditioned on it: one pitch class (0 is C) each 0.128 s."""
        with messages.gradio_errors(recording):
            if not recording:
                raise InputError("there is no recording")
            return list(service.engine.extract_melody(Path(recording), separate))

    def models() -> list[dict[str, Any]]:
        """The offered models: name, size in bytes, licence, whether they follow melodies and generate stereo."""
        return [{k: v for k, v in dataclasses.asdict(info).items() if k != "source"} for info in service.catalog]

    def settings(clip: str) -> dict[str, Any]:
        """The settings in the file of a clip."""
        with messages.gradio_errors(clip):
            if not clip:
                raise InputError("there is no clip")
            restored, needed = clip_metadata.read_file(Path(clip), Path(clip).name, service.catalog)
        return {
            "prompt": restored.prompt, "model": restored.model, "duration": restored.duration, "seed": restored.seed,
            "options": restored.options.as_dict(), "frames": restored.frames, "precision": restored.precision,
            "timeline": [[entry.start, entry.prompt] for entry in restored.timeline], "loop": restored.loop,
            "adapters": show(restored.adapters),
            "chords": None if restored.chords is None else dataclasses.asdict(restored.chords),
            "conditions": [f"{name}={value}" for name, value in restored.conditions],
            "decoder": restored.decoder,
            "loop_at_bars": restored.loop_cut != LOOP_CUTS[0],
            "limit_peaks": restored.limiter != LIMITERS[0],
            "needs": list(needed.values()),
        }  # fmt: skip

    def stop(request: gr.Request) -> int:
        """Stop this client's generations and keep the audio so far. Returns their number."""
        session = messages.visitor_id(request)
        if not session:
            raise messages.to_gradio_error(
                InputError(
                    "a call without a session_hash has nothing to stop: close the connection of the call that generates"
                )
            )
        return service.stop(session)

    # The names of the functions are the names of the MCP tools.
    num_stopped = gr.Number(visible=False)
    # MCP tools that are queued would call this server in one session for all clients, and without a password.
    queue = not service.configuration.mcp
    for function in (progress, stop):  # they need a session, which MCP clients do not have
        vars(function)["_mcp_type"] = "none"
    unlimited: dict[str, Any] = {"concurrency_limit": None, "queue": queue}
    trigger.click(generate, fields, [file, more, about], api_name="generate", **unlimited)
    trigger.click(progress, fields[:4], about, api_name="progress", **unlimited)
    trigger.click(melody, [recording, separate_recording], frames, api_name="melody", concurrency_limit=2, queue=queue)
    trigger.click(models, None, model_list, api_name="models", **unlimited)
    trigger.click(settings, clip, clip_settings, api_name="settings", **unlimited)
    trigger.click(stop, None, num_stopped, api_name="stop", **unlimited)


def _check_frames(value: Any) -> tuple[int, ...] | None:
    if value is None or value == []:
        return None
    if not isinstance(value, list):
        raise InputError("frames is not a list of pitch classes")
    return tuple(value)


_EXAMPLES = {
    "adapters": "adapters is not a list of names, each with a weight or without: ['jazz:0.5']",
    "conditions": "conditions is not a list of NAME=VALUE: ['energy=0.5']",
}


def _check_texts(name: str, value: Any) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise InputError(_EXAMPLES[name])
    return value
