"""Helpers of the event handlers: the session of a request, and messages about errors and files."""

from __future__ import annotations

import contextlib
import html
import logging
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from musicgen.errors import CheckpointError, MusicGenError
from musicgen.serving.networks import network_of

from . import texts

HIDDEN = ("Cc", "Cf", "Cs")
"""Categories of characters that change how the text around them is shown: control characters, and marks of direction."""
MAX_MESSAGE = 700
"""Characters of an error that the page shows."""
log = logging.getLogger(__name__)

Updates = dict[Any, Any]
"""Component -> its new value, or the `gr.update` of its properties."""


def visitor_id(request: gr.Request) -> str:
    """The session of a page or an API client; "" for a call without one, such as those of MCP clients."""
    return str(getattr(request, "session_hash", None) or "")  # MCP's is Starlette's request


def network(request: gr.Request) -> str:
    """The network of a visitor. On a Space it is the hub's, for all visitors: "", which is not limited."""
    client = request.client
    return "" if client is None else network_of(str(client.host), os.environ)


def to_gradio_error(error: Exception, *files: str | None) -> gr.Error:
    """Convert an exception to the error that the page shows.

    Args:
        error: a MusicGenError, whose message is shown; any other exception is logged, and its message is not shown.
        files: paths on the server, which are shortened to the files' names in the message.
    """
    if isinstance(error, gr.Error):
        return error  # raised by `spaces`
    if not isinstance(error, MusicGenError):
        log.error("an event failed", exc_info=error)
        return gr.Error("something went wrong on the server; its log says what", print_exception=False)
    text = error.told("page")
    if isinstance(error, CheckpointError) and not error.has_message_for("page"):
        text = f"{text} ({texts.DAMAGED_MODEL})"
    for file in files:
        if file:
            text = without_folder(text, file)
    if len(text) > MAX_MESSAGE:  # it quotes a stranger's input
        text = f"{text[:MAX_MESSAGE]} …"
    return gr.Error(plain(text), duration=15, print_exception=False)


@contextlib.contextmanager
def gradio_errors(*files: str | None) -> Iterator[None]:
    """Raise `to_gradio_error` of what is raised inside; files as there."""
    try:
        yield
    except Exception as error:
        raise to_gradio_error(error, *files) from None


def reason(error: Exception, *files: str | None) -> str:
    """The sentence about an error in the page's own lines. Arguments as of `to_gradio_error`."""
    return sentence(html.unescape(to_gradio_error(error, *files).message))


def plain(text: str) -> str:
    """A text that may quote a visitor's file, for a toast, which Gradio shows as HTML."""
    visible = "".join(char if unicodedata.category(char) not in HIDDEN else " " for char in text)
    return html.escape(visible, quote=False)


def sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else f"{text}."


def said_of(lines: list[str], path: str) -> str:
    """The warnings about a file, appended to a sentence."""
    return "".join(f" {sentence(without_folder(line, path))}" for line in lines)


def without_folder(text: str, path: str) -> str:
    """A text with the name of a file on the server in place of its path."""
    return text.replace(f"{Path(path).parent}/", "")
