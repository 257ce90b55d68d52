"""The events of the page, in a module for each of its sections. A visitor's clips are those of the visit of the session that
asks."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from ..parts import PageParts
from ..training.events import connect as connect_training
from ..training.panel import TrainingPanel
from . import clips, generation, inputs, settings


@dataclass(frozen=True)
class PageEvents:
    """The event handlers of one page."""

    inputs: inputs.InputEvents
    clips: clips.ClipEvents
    generation: generation.GenerationEvents
    settings: settings.SettingsEvents


def connect(page: gr.Blocks, parts: PageParts, training: TrainingPanel | None = None) -> PageEvents:
    """Attach the event handlers to the components of a page, which is the current `gr.Blocks`."""
    of_inputs = inputs.connect(parts)
    of_clips = clips.connect(parts, of_inputs)
    of_generation = generation.connect(parts, of_inputs, of_clips)
    of_settings, loaded = settings.connect(page, parts, of_inputs, of_clips, of_generation)
    trainings = parts.service.trainings
    if training is not None and trainings is not None:
        connect_training(parts.service, trainings, training, parts.inputs["adapters"], loaded)
    return PageEvents(of_inputs, of_clips, of_generation, of_settings)
