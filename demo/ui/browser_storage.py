"""State that the browser keeps in its local storage: the visit's token, the selected clip, and the settings.

A client can change this state, so each value is validated before a component gets it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from . import assets


@dataclass(frozen=True)
class BrowserStorage:
    """The components.

    Attributes:
        visit: the token of the visit, "" until the page has it; in between what the browser has stored.
        greeting: a state: the message that the status line shows when the page is ready.
    """

    visit: gr.Textbox
    greeting: gr.State


@dataclass(frozen=True)
class BrowserState:
    """What a browser has stored.

    Attributes:
        visit: the token, "" without one.
        clip: id of the clip that was shown, None without one.
        settings: name of an input -> its value.
    """

    visit: str = ""
    clip: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


def build() -> BrowserStorage:
    """Add the components, which are not seen, to the current `gr.Blocks`."""
    visit = gr.Textbox("", elem_id="visit", label="Visit", visible="hidden")
    return BrowserStorage(visit, gr.State(""))


def script(names: Sequence[str]) -> str:
    """The JavaScript that stores the visit, the clip that is shown, and the settings.

    Args:
        names: of the inputs, in the order of the values that it gets.
    """
    return assets.read("remember.js").strip().replace("NAMES", json.dumps(list(names)))


def read(stored: str | None) -> BrowserState:
    """The state that a browser has stored. Damaged state is dropped."""
    try:
        values = json.loads(stored or "{}")
    except (ValueError, RecursionError):
        return BrowserState()
    if not isinstance(values, dict):
        return BrowserState()
    visit, clip, settings = (values.get(name) for name in ("visit", "clip", "settings"))
    return BrowserState(
        visit if isinstance(visit, str) else "",
        clip if isinstance(clip, str) else None,
        settings if isinstance(settings, dict) else {},
    )


def file_name(path: object) -> str:
    """The name of a file that a browser remembers; "" for none."""
    return Path(path).name if isinstance(path, str) and "\0" not in path else ""


def describe_gone(past: BrowserState, known: bool, expired: int, keep_hours: float, lasts: bool) -> str:
    """What of a visit is gone, as a sentence; "" for nothing.

    Args:
        past: what the browser remembers.
        known: whether the server knows the visit.
        expired: number of its clips that were deleted.
        keep_hours: time after which clips are deleted.
        lasts: whether the server finds its clips again when it is restarted.
    """
    if past.clip is not None and not known:
        while_running = "" if lasts else ", as long as the server is not restarted"
        return f"The clips of your last visit are gone: they are kept for {keep_hours:g} hours{while_running}."
    if expired:
        clips = "One clip was" if expired == 1 else f"{expired} clips were"
        return f"{clips} deleted after {keep_hours:g} hours."
    return ""
