"""The Gradio components of the page and their event handlers. `service` generates the music."""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

import gradio as gr
import httpx
from gradio.http_server import INITIAL_PORT_VALUE
from starlette.middleware import Middleware
from uvicorn.config import HTTP_PROTOCOLS

from musicgen.errors import InputError
from musicgen.serving import hosts
from musicgen.serving.connections import BoundedConnection

from ..service import Service
from . import api, browser_storage, events, form, guard, logins, result, sessions, texts, theme
from .events import streams
from .page import Page
from .parts import PageParts
from .presence_middleware import PresenceMiddleware
from .relay import Relay
from .training import panel

MIN_COLUMN = 280
"""Pixels: a phone of 320 with its margins."""


def build(service: Service) -> gr.Blocks:
    """Build the page for a service."""
    # The store deletes what is old. Gradio, asked to, would at its end delete what other workers still give out.
    with Page(service.clip_store, title=texts.TITLE, analytics_enabled=False) as page:
        api.build(service)  # first, because Gradio numbers endpoints whose name is already in use
        gr.Markdown(texts.INTRODUCTION, elem_id="heading")
        with gr.Row():
            with gr.Column(scale=6, min_width=MIN_COLUMN):
                inputs, actions, accordions, next_clip = form.build(service)
                training = None if service.trainings is None else panel.build(service, service.trainings)
            with gr.Column(scale=5, min_width=MIN_COLUMN, elem_id="output"):
                outputs = result.build(elsewhere=bool(service.configuration.engine))
        parts = PageParts(service, inputs, actions, accordions, next_clip, outputs, browser_storage.build())
        events.connect(page, parts, training)
    return page


def launch(page: gr.Blocks, service: Service, *, server_port: int | None = None, **arguments: Any) -> None:
    """Serve the page, on 127.0.0.1 unless GRADIO_SERVER_NAME is set.

    Args:
        page: the page that `build` returned.
        service: its service.
        server_port: None selects the first free port from 7860 on and prints it if it is not 7860.
        arguments: further arguments of `gr.Blocks.launch`.

    Raises:
        InputError: where the port, or every port that Gradio tries, is in use.
    """
    configuration = service.configuration
    name = arguments.get("server_name") or os.environ.get("GRADIO_SERVER_NAME") or "127.0.0.1"
    if configuration.downloads is None:
        service.downloads = hosts.is_loopback(name) and not configuration.share
    public = (*configuration.hosts, *(("*.gradio.live",) if configuration.share else ()))
    rules = guard.Rules(
        hosts=public + hosts.default_hosts(name, socket.gethostname(), os.environ),
        origins=public,
        upload_bytes=configuration.limits.upload_mb * 1_000_000,
        auth=configuration.auth,
    )
    middleware = [Middleware(guard.Guard, rules=rules, store=service.clip_store)]
    if service.workers is not None:
        middleware.append(Middleware(Relay, workers=service.workers))
    middleware.append(
        Middleware(
            PresenceMiddleware,
            presence=service.presence,
            session_of=lambda event_id: streams.session_of(page, event_id),
            has_results=lambda session: streams.has_results(page, session),
        )
    )
    # Gradio leaves the choice of the protocol to uvicorn.
    HTTP_PROTOCOLS["auto"] = f"{BoundedConnection.__module__}:{BoundedConnection.__name__}"
    page.queue(max_size=None, default_concurrency_limit=8)
    sessions.bound_queue(page, service.presence)
    service.when_gone.append(lambda session: sessions.forget(page, session, service.presence))
    try:
        page.launch(
            theme=theme.theme(),
            css=theme.CSS,
            head=theme.HEAD,
            max_file_size=configuration.limits.upload_mb * 1_000_000,
            allowed_paths=[str(service.clip_store.folder)],
            auth=configuration.auth,
            share=configuration.share,
            mcp_server=configuration.mcp or None,
            app_kwargs={"middleware": middleware},
            show_error=True,
            footer_links=["api", "settings"],
            ssr_mode=False,
            server_port=server_port,
            **arguments,
        )
    except OSError as error:  # raised by Gradio when it has tried all ports
        tried = f"port {server_port}" if server_port is not None else f"the ports from {INITIAL_PORT_VALUE} on"
        raise InputError(f"the page cannot be served: {tried} cannot be used ({error})") from error
    except (ValueError, httpx.HTTPError) as error:
        if isinstance(error, ValueError) and "localhost is not accessible" not in str(error):
            raise
        # Gradio asks its own page once and waits three seconds.
        page.close()
        raise InputError(
            f"the page at {page.local_url} does not answer this machine's own request ({str(error)[:80]}): either a proxy "
            "takes it (set NO_PROXY=127.0.0.1,localhost), or localhost has no address (/etc/hosts), or the machine is too busy "
            "(start again)"
        ) from error
    page.app.state_holder = sessions.BoundedStateHolder(page.app.state_holder)
    if service.workers is not None:
        logins.share(page.app, service.workers)
        service.workers.register(configuration.worker_url or _own_url(name, page.server_port))
    if server_port is None and page.server_port != INITIAL_PORT_VALUE:
        print(
            f"Port {INITIAL_PORT_VALUE} is taken by another program: the page is at {page.local_url}", file=sys.stderr
        )


def _own_url(name: str, port: int) -> str:
    """Where other workers on this machine reach the page."""
    host = "127.0.0.1" if name in ("0.0.0.0", "::", "[::]", "localhost") else name
    return f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{port}"
