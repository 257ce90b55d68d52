"""The right column of the page: progress, the clip, its plots and scores, downloads, and the history."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL import Image

from musicgen import transcribers
from musicgen.serving.adapters import show as show_adapters
from musicgen.serving.clip_store import FORMATS
from musicgen.serving.progress import Progress
from musicgen.serving.stored_clip import StoredClip

from .. import clip_scores, plots
from ..clip_scores import Score
from . import compare, live, texts


@dataclass(frozen=True)
class Outputs:
    """The components.

    Attributes:
        finished_clips: a `FinishedClips`, of the generation that the page follows; not seen.
        shown: a state: the value of `finished_clips` that was shown last.
    """

    status: gr.HTML
    live: gr.HTML
    finished_clips: gr.Textbox
    shown: gr.State
    clips: gr.Dropdown
    player: gr.Audio
    tempo_key: gr.HTML
    takes: gr.Radio
    plots: gr.HTML
    downloads: list[gr.DownloadButton]
    as_melody: gr.Button
    continue_clip: gr.Button
    same_seed: gr.Button
    score: gr.Button
    favourite: gr.Button
    delete: gr.Button
    make_video: gr.Button
    video: gr.DownloadButton
    make_daw: gr.Button
    transcriber: gr.Dropdown
    daw: gr.DownloadButton
    span_start: gr.Textbox
    span_end: gr.Textbox
    mark_start: gr.Button
    mark_end: gr.Button
    repaint: gr.Button
    details: gr.HTML
    scores: gr.HTML
    link: gr.Textbox
    other: gr.Dropdown
    comparison: gr.HTML
    comparison_accordion: gr.Accordion
    restore: gr.UploadButton
    clip_panel: gr.Column


def build(*, elsewhere: bool) -> Outputs:
    """Add the components to the current `gr.Column`.

    Args:
        elsewhere: whether another server generates.
    """
    where = texts.COMPUTED_ELSEWHERE if elsewhere else texts.COMPUTED_HERE
    status = gr.HTML(show_status(texts.OPENING), elem_id="status")
    live_player = live.build()
    finished_clips = gr.Textbox("", elem_id="finished-clips", label="Finished clips", visible="hidden")
    shown = gr.State("")
    with gr.Column(visible=False, elem_id="clip-panel") as clip_panel:
        clips = gr.Dropdown([], label="Your clips", elem_id="clips")
        player = gr.Audio(
            label="Result", type="filepath", interactive=False, buttons=[], elem_id="result",
            waveform_options=gr.WaveformOptions(waveform_color="#9d95f0", waveform_progress_color="#6a5ae0"),
        )  # fmt: skip
        tempo_key = gr.HTML("", elem_id="tempo-key", min_height=22)
        takes = gr.Radio([], label="Takes, best first", visible=False, elem_id="takes")
        clip_plots = gr.HTML("", elem_id="plots")
        with gr.Row(elem_id="downloads"):
            downloads = [
                gr.DownloadButton(f"Download {name.upper()}", size="sm", min_width=60, elem_id=f"download-{name}")
                for name in FORMATS
            ]
        with gr.Row():
            as_melody = gr.Button("Use as melody", size="sm", min_width=100, elem_id="as-melody")
            continue_clip = gr.Button("Continue this clip", size="sm", min_width=130, elem_id="continue-clip")
            same_seed = gr.Button("Use its seed", size="sm", min_width=100, elem_id="same-seed")
            score = gr.Button("Measure", size="sm", min_width=80, elem_id="score", visible=clip_scores.is_available())
        scores = gr.HTML("", elem_id="scores")
        with gr.Accordion("More", open=False, elem_id="more-of-clip"):
            with gr.Row():
                favourite = gr.Button("☆ Favourite", size="sm", min_width=100, elem_id="favourite")
                delete = gr.Button("Delete", size="sm", min_width=80, elem_id="delete")
                make_video = gr.Button("Make a video", size="sm", min_width=100, elem_id="make-video")
                video = gr.DownloadButton(
                    "Download MP4", size="sm", min_width=100, visible=False, elem_id="download-mp4"
                )
                make_daw = gr.Button("Pack for a DAW", size="sm", min_width=100, elem_id="make-daw")
                daw = gr.DownloadButton("Download ZIP", size="sm", min_width=100, visible=False, elem_id="download-zip")
            transcriber_names = transcribers.installed()
            transcriber = gr.Dropdown(
                [(f"{name}: {transcribers.find(name).voices}", name) for name in transcriber_names], value=transcribers.DEFAULT,
                label="Notes for the DAW by", visible=len(transcriber_names) > 1, elem_id="transcriber",
            )  # fmt: skip
            with gr.Group(elem_id="repaint-group"):
                gr.Markdown(texts.REPAINT, padding=True, elem_id="repaint-hint")
                with gr.Row(equal_height=True):
                    span_start = gr.Textbox(
                        label="From, seconds", placeholder="4", max_lines=1, min_width=90, elem_id="span-start"
                    )
                    span_end = gr.Textbox(
                        label="To, seconds", placeholder="6", max_lines=1, min_width=90, elem_id="span-end"
                    )
                with gr.Row():
                    mark_start = gr.Button("Starts here", size="sm", min_width=90, elem_id="mark-start")
                    mark_end = gr.Button("Ends here", size="sm", min_width=90, elem_id="mark-end")
                    repaint = gr.Button("Repaint", size="sm", variant="primary", min_width=90, elem_id="repaint")
            details = gr.HTML("", elem_id="details")
        with gr.Accordion(
            "Compare with another clip", open=False, visible=False, elem_id="comparison-accordion"
        ) as comparison_accordion:
            other = gr.Dropdown([], label="B (A is the clip above)", elem_id="other")
            comparison = compare.build()
        link = gr.Textbox(
            label="Link to these settings", interactive=False, buttons=["copy"], lines=1, max_lines=1, elem_id="link"
        )
    restore = gr.UploadButton(
        "Restore the settings of a downloaded clip",
        type="filepath",
        file_types=["audio", ".mp4"],
        size="sm",
        elem_id="restore",
    )
    with gr.Group(elem_id="notes-group"):
        gr.Markdown(texts.NOTES.format(where=where), elem_id="notes", padding=True)
    return Outputs(
        status, live_player, finished_clips, shown, clips, player, tempo_key, takes, clip_plots, downloads, as_melody,
        continue_clip, same_seed, score, favourite, delete, make_video, video, make_daw, transcriber, daw, span_start,
        span_end, mark_start, mark_end, repaint, details, scores, link, other, comparison, comparison_accordion, restore,
        clip_panel,
    )  # fmt: skip


def show_status(text: str, fraction: float | None = None) -> str:
    """HTML of the status line.

    Args:
        text: plain text.
        fraction: of the progress bar, 0 to 1; None hides the bar.
    """
    bar = ""
    if fraction is not None:
        percent = round(100 * min(1.0, max(0.0, fraction)))
        bar = (
            f'<div class="bar" role="progressbar" aria-label="Progress" aria-valuemin="0" aria-valuemax="100" '
            f'aria-valuenow="{percent}"><div style="width:{percent}%"></div></div>'
        )
    idle = " idle" if text == texts.READY else ""
    return f'<div class="status{idle}"><p role="status">{html.escape(text)}</p>{bar}</div>'


def show_progress(progress: Progress) -> str:
    """HTML of the status line during a generation."""
    left = "" if progress.seconds_left is None else f", {show_seconds(progress.seconds_left)} left"
    message = f"{progress.message[:1].upper()}{progress.message[1:]}"
    return show_status(f"{message} ({progress.fraction:.0%}{left})", progress.fraction)


def show_seconds(seconds: float) -> str:
    """An approximate time as text."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {round(seconds / 60)} min"


def show_scores(scores: Sequence[Score]) -> str:
    """HTML table of scores."""
    if not scores:
        return '<p role="status">There are no scores: the clip has neither a description nor a melody.</p>'
    rows = "".join(
        f"<tr><th scope=row>{html.escape(score.name)}</th><td>{score.value:.2f}</td>"
        f"<td>{html.escape(score.description)}</td></tr>"
        for score in scores
    )
    return f'<table class="score-table" aria-live="polite">{rows}</table>'


def show_tempo_key(tempo_and_key: str) -> str:
    """HTML of the line of what is heard in a clip."""
    return f"<p>{html.escape(tempo_and_key or 'Neither beats nor a key')}, as measured</p>"


def show_takes(takes: Sequence[StoredClip], scores: Sequence[Score | None], shown: str) -> Any:
    """The update of the row of takes: a card for each, best first.

    Args:
        takes: the variations of one generation, in the order of their seeds; one alone has no row.
        scores: of the takes; None where they cannot be compared.
        shown: id of the clip that is shown.
    """
    if len(takes) < 2:
        return gr.update(choices=[], value=None, visible=False)
    ranked = sorted(
        enumerate(zip(takes, scores, strict=True), 1),
        key=lambda one: -one[1][1].value if one[1][1] is not None else 0.0,
    )
    names = {score.name for score in scores if score is not None}
    label = f"Takes, best first by {', '.join(sorted(names))}" if names else "Takes"
    choices = [
        (f"take {number}{'' if score is None else f' · {score.value:.2f}'}", take.id)
        for number, (take, score) in ranked
    ]
    return gr.update(choices=choices, value=shown, label=label, visible=True)


def show_details(clip: StoredClip) -> str:
    """HTML table of a clip's technical properties."""
    rows = {
        "Description": clip.request.prompt,
        "Model": f"{clip.request.model}, {clip.request.precision}",
        "Seed": str(clip.seed),
        "Sound": f"{clip.seconds:.2f} s, {clip.layout}, {clip.rate} Hz",
        "Loudness": clip.level,
        "Loop": clip.loop,
        "Marked as made by a model": f"in {', '.join(clip.marks)}" if clip.marks else "",
        "LoRA adapters": ", ".join(show_adapters(clip.request.adapters)),
    }
    body = "".join(
        f"<tr><th scope=row>{name}</th><td>{html.escape(value)}</td></tr>" for name, value in rows.items() if value
    )
    return f'<details><summary>Details</summary><table class="score-table">{body}</table></details>'


def show_plots(clip: StoredClip) -> str:
    """HTML of a clip's plots: the waveform of stereo clips, the spectrogram, and the chromagram with the reference melody."""
    from musicgen import audio
    from musicgen.serving import melody

    recording = audio.read(clip.path)
    samples = recording.wave.numpy()
    figures = []
    if recording.wave.shape[0] == 2:
        figures.append(_figure("Left and right", plots.waveform(samples, recording.rate)))
    figures.append(_figure("Spectrogram (30 Hz to 16 kHz)", plots.spectrogram(samples, recording.rate)))
    reference = clip.request.frames
    if reference:
        similarity = melody.similarity(reference, clip.frames)
        caption = f"Melody of the clip (bars) over the reference melody (grey): {similarity:.0%} of the melody's pitch classes"
        figures.append(_figure(caption, plots.chroma_comparison(reference, clip.frames), "chroma"))
    else:
        figures.append(_figure("Chromagram (C at the bottom, B at the top)", plots.chromagram(clip.frames), "chroma"))
    return "".join(figures)


def _figure(caption: str, image: Image.Image, css_class: str = "") -> str:
    text = html.escape(caption)
    return (
        f'<figure class="plot {css_class}"><figcaption>{text}</figcaption>'
        f'<img src="{plots.data_url(image)}" alt="{text}"></figure>'
    )
