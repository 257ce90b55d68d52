"""The line above the Generate button: the inputs of the next clip, each with a button that removes it."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from musicgen.errors import InputError

from . import melody_editor

PARTS = (
    "continue_from",
    "melody",
    "midi",
    "chords",
    "style",
    "timeline",
    "seed",
    "conditions",
    "decoder",
    "loop",
    "needed",
)
"""The parts in the order of their buttons."""
DESCRIBED = (
    "prompt", "continue_from", "melody", "frames", "midi", "chords", "style", "timeline", "seed", "conditions",
    "decoder", "loop",
)  # fmt: skip
"""The inputs that the line is about."""
SECTIONS = {"melody": "Melody", "style": "Style", "continue_from": "Continue a clip"}
"""File of a request -> the section of the page that its input is in."""
ADDED_BY = {"melody": ("melody", "midi")}
"""File of a request -> the inputs that it can be added to, where that is not one of the same name."""


@dataclass(frozen=True)
class NextClip:
    """The components.

    Attributes:
        summary: a sentence.
        buttons: part -> the button that removes it; visible while the part is set.
        needed: a state: file of a request -> the name of the one that restored settings were made with.
    """

    summary: gr.HTML
    buttons: dict[str, gr.Button]
    needed: gr.State

    def show(self, values: Mapping[str, Any]) -> dict[Any, Any]:
        """Component updates.

        Args:
            values: the values of the inputs by name, and `needed`.
        """
        labels = _labels(values)
        updates: dict[Any, Any] = {self.summary: _sentence(values)}
        for part, button in self.buttons.items():
            updates[button] = gr.update(visible=part in labels, value=f"{labels.get(part, '')} ✕")
        return updates


def build() -> NextClip:
    """Add the components to the current column."""
    with gr.Row(elem_id="next-clip"):
        summary = gr.HTML(_sentence({}), elem_id="next-clip-summary")
        buttons = {
            part: gr.Button("", size="sm", min_width=60, scale=0, visible=False, elem_id=f"remove-{part}")
            for part in PARTS
        }
    return NextClip(summary, buttons, gr.State({}))


def missing(values: Mapping[str, Any]) -> dict[str, str]:
    """The files that restored settings need and that have not been added: file of a request -> its name."""
    needed = values.get("needed") or {}
    return {
        name: file for name, file in needed.items() if not any(values.get(one) for one in ADDED_BY.get(name, (name,)))
    }


def check(values: Mapping[str, Any]) -> None:
    """Check that a clip can be made as the settings say.

    Raises:
        InputError: a file that the restored settings were made with has not been added.
    """
    for name, file in missing(values).items():
        raise InputError(
            f"these settings were made with {file}, which is not here: add it under '{SECTIONS[name]}', or remove it from the "
            "line above Generate to make another clip without it"
        )


def _labels(values: Mapping[str, Any]) -> dict[str, str]:
    """Part -> the label of its button, for the parts that are set."""
    labels = {}
    if values.get("continue_from"):
        labels["continue_from"] = f"begins with {_name(values['continue_from'])}"
    if values.get("melody"):
        labels["melody"] = f"follows {_name(values['melody'])}"
    elif melody_editor.load(values.get("frames")):
        labels["melody"] = "follows the edited melody"
    if values.get("midi"):
        labels["midi"] = f"follows {_name(values['midi'])}"
    chords = " ".join(str(values.get("chords") or "").split())
    if chords:
        labels["chords"] = f"follows the chords {_short(chords)}"
    if values.get("style"):
        labels["style"] = f"in the style of {_name(values['style'])}"
    conditions = _lines(values.get("conditions"))
    if conditions:
        labels["conditions"] = _short(", ".join(conditions))
    lines = _lines(values.get("timeline"))
    if lines:
        labels["timeline"] = f"{len(lines)} change{'s' if len(lines) > 1 else ''} of the description"
    seed = str(values.get("seed") or "").strip()
    if seed:
        labels["seed"] = f"seed {_short(seed)}"
    if values.get("decoder") == "mbd":
        labels["decoder"] = "decoded by diffusion"
    if values.get("loop"):
        labels["loop"] = "seamless loop"
    lacking = missing(values)
    if lacking:
        labels["needed"] = f"needs {' and '.join(_short(file) for file in lacking.values())}"
    return labels


def _sentence(values: Mapping[str, Any]) -> str:
    described = str(values.get("prompt") or "").strip()
    text = "The next clip: your description" if described else "The next clip: no description, so the model chooses"
    return f"<p>{html.escape(text)}{' ·' if _labels(values) else '.'}</p>"


def _lines(text: object) -> list[str]:
    return [line.strip() for line in str(text or "").splitlines() if line.strip()]


def _name(path: str) -> str:
    return _short(Path(path).name)


def _short(name: str) -> str:
    return name if len(name) <= 30 else f"{name[:18]}…{name[-11:]}"
