"""The components of the section."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from musicgen.decoding import EXTENSIONS

from ...service import Service
from ...training.request import MAX_STEPS, MIN_CLIPS, MIN_STEPS, TrainingRequest, trainable
from ...training.trainings import Trainings

TITLE = "Train an adapter on your own clips"
DEFAULT_STEPS, DEFAULT_SAMPLE_EVERY = TrainingRequest.steps, TrainingRequest.sample_every


@dataclass(frozen=True)
class TrainingPanel:
    """The components.

    Attributes:
        news: what is new of the training besides its progress, as text; not seen. Its change shows the rest.
    """

    clips: gr.File
    captions: gr.Textbox
    name: gr.Textbox
    model: gr.Dropdown
    steps: gr.Slider
    sample_every: gr.Slider
    train: gr.Button
    go_on: gr.Button
    stop: gr.Button
    status: gr.HTML
    news: gr.Textbox
    sample: gr.Audio
    pack: gr.Button
    download: gr.DownloadButton

    @property
    def inputs(self) -> list[gr.components.Component]:
        """The inputs of a training."""
        return [self.clips, self.captions, self.name, self.model, self.steps, self.sample_every]


def build(service: Service, trainings: Trainings) -> TrainingPanel:
    """Add the section, which is closed, to the current column."""
    limits = trainings.training
    models = [info.name for info in service.catalog if trainable(info)]
    default = service.catalog.default()
    kept = " The operator keeps a copy of the adapter." if trainings.kept is not None else ""
    with gr.Accordion(TITLE, open=False, elem_id="training"):
        gr.Markdown(
            f"{MIN_CLIPS} to {limits.clips} clips of music that you may use, {limits.audio_seconds / 60:.3g} minutes together "
            f"at most. A training takes up to {limits.minutes:g} minutes and goes on when you leave the page; nobody else gets "
            f"the adapter, which is deleted with your clips after {service.limits.keep_hours:g} hours.{kept}",
            elem_id="training-hint",
        )
        clips = gr.File(
            label="Clips", file_count="multiple", type="filepath", file_types=["audio", *EXTENSIONS], height=150,
            elem_id="training-clips",
        )  # fmt: skip
        captions = gr.Textbox(
            label="What is heard in each clip", lines=3, max_lines=12, elem_id="training-captions",
            placeholder="song.mp3: slow folk on two guitars, 92 bpm, A minor",
            info="A line a clip: proposed from its name, tempo and key; say what you would type to get such music.",
        )  # fmt: skip
        with gr.Row():
            name = gr.Textbox(label="Name of the adapter", max_lines=1, elem_id="training-name", min_width=140)
            model = gr.Dropdown(
                models, value=default if default in models else next(iter(models), None), label="For the model",
                elem_id="training-model", min_width=140,
            )  # fmt: skip
        with gr.Row():
            steps = gr.Slider(
                MIN_STEPS,
                MAX_STEPS,
                value=DEFAULT_STEPS,
                step=10,
                label="Steps",
                elem_id="training-steps",
                min_width=140,
            )
            sample_every = gr.Slider(
                MIN_STEPS, 500, value=DEFAULT_SAMPLE_EVERY, step=10, label="A sample every … steps",
                elem_id="training-sample-every", min_width=140,
            )  # fmt: skip
        with gr.Row():
            train = gr.Button("Train", variant="primary", size="sm", min_width=80, elem_id="training-train")
            go_on = gr.Button("Go on", size="sm", min_width=80, visible=False, elem_id="training-go-on")
            stop = gr.Button("Stop", size="sm", min_width=80, visible=False, elem_id="training-stop")
        status = gr.HTML("", elem_id="training-status")
        news = gr.Textbox("", label="News", visible="hidden", elem_id="training-news")
        sample = gr.Audio(
            label="Sample", type="filepath", interactive=False, buttons=[], visible=False, elem_id="training-sample"
        )
        with gr.Row():
            pack = gr.Button("Pack the adapter", size="sm", min_width=120, visible=False, elem_id="training-pack")
            download = gr.DownloadButton(
                "Download the adapter", size="sm", min_width=120, visible=False, elem_id="training-download"
            )
    return TrainingPanel(
        clips, captions, name, model, steps, sample_every, train, go_on, stop, status, news, sample, pack, download
    )
