"""The page's widgets, and nothing else: what they do is `service`'s business."""

from __future__ import annotations

import sys
from typing import Any

import gradio as gr
from gradio.http_server import INITIAL_PORT_VALUE

from musicgen.errors import InputError

from ..service import Service
from . import api, events, form, result, texts, theme


def build(music: Service) -> gr.Blocks:
    """The page."""
    limits = music.limits
    kept = round(limits.keep_hours * 3600)
    with gr.Blocks(title=texts.TITLE, analytics_enabled=False, delete_cache=(min(600, kept), kept)) as page:
        api.build(music)  # first: its endpoints get the plain names
        gr.Markdown(texts.INTRODUCTION, elem_id="heading")
        with gr.Row():
            with gr.Column(scale=6, min_width=320):
                asked, actions, parts = form.build(music)
            with gr.Column(scale=5, min_width=320):
                shown = result.build()
        joined = events.connect(music, asked, actions, parts, shown)
        page.load(
            joined.opened, None, [*asked.inputs, parts.melody, parts.timeline, shown.status], api_visibility="private",
            concurrency_limit=None, show_progress="hidden",
        )  # fmt: skip
        page.load(
            joined.cost, joined.costs, actions.cost, api_visibility="private", concurrency_limit=None,
            show_progress="hidden",
        )  # fmt: skip
        page.load(joined.precisions, asked.model, asked.precision, api_visibility="private", concurrency_limit=None,
                  show_progress="hidden")  # fmt: skip
        page.unload(joined.closed)
    return page


def launch(page: gr.Blocks, music: Service, *, server_port: int | None = None, **arguments: Any) -> None:
    """Serve the page, on 127.0.0.1 unless GRADIO_SERVER_NAME says otherwise; without a port on the first free one from 7860
    on, which is named. Raises InputError where no port can be had."""
    configuration = music.configuration
    try:
        page.queue(max_size=None, default_concurrency_limit=8).launch(
            theme=theme.theme(),
            css=theme.CSS,
            head=theme.HEAD,
            max_file_size=configuration.limits.upload_mb * 1_000_000,
            allowed_paths=[str(music.files.folder)],
            auth=configuration.auth,
            share=configuration.share,
            mcp_server=configuration.mcp or None,
            show_error=True,
            footer_links=["api", "settings"],
            ssr_mode=False,
            server_port=server_port,
            **arguments,
        )
    except OSError as error:  # Gradio's own, when it has tried all
        tried = f"port {server_port}" if server_port is not None else f"the ports from {INITIAL_PORT_VALUE} on"
        raise InputError(f"the page cannot be served: {tried} cannot be had ({error})") from error
    if server_port is None and page.server_port != INITIAL_PORT_VALUE:
        print(
            f"Port {INITIAL_PORT_VALUE} is taken by another program: the page is at {page.local_url}", file=sys.stderr
        )
