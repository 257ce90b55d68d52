"""The right half of the page: progress, the clip, its pictures, downloads, the history of the visit."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import gradio as gr

from .. import measure, pictures
from ..files import FORMATS
from ..measure import Figure
from ..service import Clip, Progress
from . import compare, live, texts


@dataclass(frozen=True)
class Result:
    """The widgets."""

    status: gr.HTML
    live: gr.HTML
    clips: gr.Dropdown
    player: gr.Audio
    seen: gr.HTML
    downloads: list[gr.DownloadButton]
    as_melody: gr.Button
    go_on: gr.Button
    measure: gr.Button
    measured: gr.HTML
    share: gr.Textbox
    other: gr.Dropdown
    compared: gr.HTML
    compare_part: gr.Accordion
    restore: gr.UploadButton
    made: gr.Column


def build() -> Result:
    """The widgets, in the current column."""
    status = gr.HTML(show_status(texts.READY), elem_id="status")
    sound = live.build()
    with gr.Column(visible=False, elem_id="made") as made:
        clips = gr.Dropdown([], label="Clip (this visit)", elem_id="clips")
        player = gr.Audio(
            label="Result", type="filepath", interactive=False, buttons=[], elem_id="result",
            waveform_options=gr.WaveformOptions(waveform_color="#9d95f0", waveform_progress_color="#6a5ae0"),
        )  # fmt: skip
        seen = gr.HTML("", elem_id="pictures")
        with gr.Row(elem_id="downloads"):
            downloads = [
                gr.DownloadButton(name.upper(), size="sm", min_width=60, elem_id=f"get-{name}") for name in FORMATS
            ]
        with gr.Row():
            as_melody = gr.Button("Use as melody", size="sm", min_width=100, elem_id="as-melody")
            go_on = gr.Button("Continue from here", size="sm", min_width=130, elem_id="go-on")
            measuring = gr.Button("Measure", size="sm", min_width=80, elem_id="measure", visible=measure.available())
        measured = gr.HTML("", elem_id="measured")
        with gr.Accordion("Compare with another clip", open=False, visible=False, elem_id="compare-part") as part:
            other = gr.Dropdown([], label="B (A is the clip above)", elem_id="other")
            compared = compare.build()
        share = gr.Textbox(
            label="Link to these settings", interactive=False, buttons=["copy"], lines=1, max_lines=1, elem_id="link"
        )
    restore = gr.UploadButton(
        "Restore the settings of a downloaded clip", type="filepath", file_types=["audio"], size="sm", elem_id="restore"
    )
    with gr.Group(elem_id="notes-part"):
        gr.Markdown(texts.NOTES, elem_id="notes", padding=True)
    return Result(
        status, sound, clips, player, seen, downloads, as_melody, go_on, measuring, measured, share, other, compared, part,
        restore, made,
    )  # fmt: skip


def show_status(text: str, share: float | None = None) -> str:
    """A line of text, and a bar while something is under way."""
    bar = ""
    if share is not None:
        percent = round(100 * min(1.0, max(0.0, share)))
        bar = (
            f'<div class="bar" role="progressbar" aria-label="Progress" aria-valuemin="0" aria-valuemax="100" '
            f'aria-valuenow="{percent}"><div style="width:{percent}%"></div></div>'
        )
    return f'<div class="status"><p role="status">{html.escape(text)}</p>{bar}</div>'


def show_progress(progress: Progress) -> str:
    left = "" if progress.left is None else f", {show_seconds(progress.left)} left"
    return show_status(f"{progress.what[:1].upper()}{progress.what[1:]} ({progress.share:.0%}{left})", progress.share)


def show_seconds(seconds: float) -> str:
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {round(seconds / 60)} min"


def show_figures(figures: Sequence[Figure]) -> str:
    """What was measured, as a table."""
    if not figures:
        return '<p role="status">There is nothing to measure: the clip has neither a description nor a melody.</p>'
    rows = "".join(
        f"<tr><th scope=row>{html.escape(one.name)}</th><td>{one.value:.2f}</td><td>{html.escape(one.meaning)}</td></tr>"
        for one in figures
    )
    return f'<table class="figures" aria-live="polite">{rows}</table>'


def show_pictures(clip: Clip) -> str:
    """Spectrogram and chromagram of a clip, with the melody that it was to follow over it."""
    from musicgen import audio

    from .. import melody

    recording = audio.read(clip.path)
    samples = recording.wave.numpy()
    figures = []
    if recording.wave.shape[0] == 2:
        figures.append(_figure("Left and right", pictures.waveform(samples, recording.rate)))
    figures.append(_figure("Spectrogram (30 Hz to 16 kHz)", pictures.spectrogram(samples, recording.rate)))
    reference = clip.request.frames
    if reference:
        same = melody.similarity(reference, clip.frames)
        label = f"What the model played (bars) over the melody (grey): {same:.0%} of the melody's pitch classes"
        figures.append(_figure(label, pictures.followed(reference, clip.frames), "chroma"))
    else:
        figures.append(
            _figure("Chromagram (C at the bottom, B at the top)", pictures.chromagram(clip.frames), "chroma")
        )
    return "".join(figures)


def _figure(caption: str, picture, kind: str = "") -> str:  # type: ignore[no-untyped-def]
    text = html.escape(caption)
    return (
        f'<figure class="sound {kind}"><figcaption>{text}</figcaption>'
        f'<img src="{pictures.data_url(picture)}" alt="{text}"></figure>'
    )
