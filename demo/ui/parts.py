"""What the sections of the page share: its components, its service, and the visit and clip of an event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from musicgen.serving import clip_metadata
from musicgen.serving.stored_clip import StoredClip

from ..service import Service
from ..visits import Visit
from . import history, result
from .browser_storage import BrowserStorage
from .form import Accordions, Actions, Inputs
from .messages import Updates, visitor_id
from .next_clip import NextClip
from .result import Outputs

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
"""Of events that are not part of the API."""
UNLIMITED: dict[str, Any] = PRIVATE | {"concurrency_limit": None}


@dataclass(frozen=True)
class PageParts:
    """The components of a page, and its service."""

    service: Service
    inputs: Inputs
    actions: Actions
    accordions: Accordions
    next_clip: NextClip
    outputs: Outputs
    browser_storage: BrowserStorage

    @property
    def of_clip(self) -> list[Any]:
        """The components that show the selected clip. Gradio rebuilds each output of an event, those that are left as they are
        too: an event has those that it changes."""
        outputs = self.outputs
        return [
            outputs.clip_panel, outputs.clips, outputs.player, outputs.plots, outputs.scores, outputs.link,
            outputs.favourite, outputs.details, outputs.video, outputs.make_video, outputs.daw, outputs.make_daw,
            *outputs.downloads,
        ]  # fmt: skip

    @property
    def of_settings(self) -> list[Any]:
        """The components that show the settings of a request."""
        return [*self.inputs.components, self.next_clip.needed, *self.accordions.of_settings]

    @property
    def of_progress(self) -> list[Any]:
        """The components that follow a generation."""
        return [self.outputs.status, self.outputs.live, self.outputs.finished_clips]

    @property
    def of_cost(self) -> list[Any]:
        """The inputs that decide what a generation costs."""
        names = (
            "model", "precision", "duration", "variations", "melody_guidance_scale", "style_guidance_scale", "decoder",
        )  # fmt: skip
        return [self.inputs[name] for name in names]

    def visit(self, request: gr.Request) -> Visit:
        """The visit of the session that asks."""
        return self.service.visits.of(visitor_id(request))

    def clip(self, request: gr.Request, clip_id: str | None) -> StoredClip:
        """A clip of the visit. Raises gr.Error where there is none."""
        clip = self.visit(request).find(clip_id)
        if clip is None:
            raise gr.Error("There is no clip yet.", print_exception=False)
        if not clip.path.is_file():
            raise gr.Error(
                "The clip has expired on the server: make it again from its settings.", print_exception=False
            )
        return clip

    def show_clip(self, visit: Visit, clip: StoredClip) -> Updates:
        """Updates of `of_clip` that show one clip of the history."""
        outputs = self.outputs
        link = clip_metadata.make_link(clip.request, clip.seed)
        return {
            outputs.clip_panel: gr.update(visible=True),
            outputs.clips: gr.update(choices=history.choices(visit), value=clip.id),
            outputs.player: gr.update(value=str(clip.path), loop=clip.request.loop),
            outputs.plots: result.show_plots(clip),
            outputs.scores: "",
            outputs.link: f"?s={link}" if link else "",
            outputs.favourite: history.favourite_label(visit, clip),
            outputs.details: result.show_details(clip),
            outputs.video: gr.update(visible=False),
            outputs.make_video: gr.update(visible=True),
            outputs.daw: gr.update(visible=False),
            outputs.make_daw: gr.update(visible=True),
            # The buttons have the files of the previous clip until `update_downloads_and_comparison` is done.
            **{button: gr.update(interactive=False) for button in outputs.downloads},
        }
