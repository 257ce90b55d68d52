"""From the command line to the page and back: settings, a free port, the service, the page, and the end of all of it."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from musicgen import extras
from musicgen.errors import InputError

from . import deploy, zero_gpu
from .configuration import Configuration
from .service import Service

CONTAINERS = (Path("/.dockerenv"), Path("/run/.containerenv"))
"""What container engines leave in a container."""


def run(settings: Configuration, environment: Mapping[str, str]) -> None:
    """Serve the page until it is interrupted, or do what else the flags say.

    Raises:
        InputError: for a port that is taken, packages that are missing, a Space that cannot be made.
    """
    if settings.deploy:
        print(f"The Space is at {deploy.deploy(settings.deploy, settings.hardware)}")
        return
    port = asked_port(environment)
    # A container's first process ignores what it has no handler for, and a closed terminal leaves no time to clean up.
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)
    service, served = Service(settings), False
    try:
        if zero_gpu.active():
            service.preload()
        with extras.needed("demo", "the page"):
            from . import ui  # Gradio, which reads at its import where the service keeps its files

            page = ui.build(service)
        browse = has_desktop(environment) if settings.open is None else settings.open
        served = True  # the page may answer, and be interrupted, before `launch` returns
        ui.launch(page, service, server_port=port, inbrowser=browse, prevent_thread_lock=True)
        # The page answers first; PyTorch and the model, which take longer, are loaded behind it.
        service.warm_up()
        page.block_thread()
    except KeyboardInterrupt:
        if not served:
            raise  # otherwise it is how the service ends
    finally:
        service.close()


def asked_port(environment: Mapping[str, str]) -> int | None:
    """The port that GRADIO_SERVER_PORT asks for, None where it asks for none. Raises InputError if it cannot be had."""
    text = environment.get("GRADIO_SERVER_PORT")
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal()) or not 0 < int(text) < 65_536:
        raise InputError(f"GRADIO_SERVER_PORT is {text!r}: it must be a port, from 1 to 65535")
    host = environment.get("GRADIO_SERVER_NAME") or "127.0.0.1"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), int(text), type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise InputError(
            f"port {text} of {host} cannot be had ({error.strerror}): stop what uses it, or name another in GRADIO_SERVER_PORT"
        ) from error
    return int(text)


def has_desktop(environment: Mapping[str, str]) -> bool:
    """Whether whoever started the program sits at a screen on which a browser can be opened."""
    elsewhere = ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY", "CI", "container", "KUBERNETES_SERVICE_HOST", "SPACE_ID")
    if not sys.stdout.isatty() or any(environment.get(name) for name in elsewhere):
        return False
    if any(mark.exists() for mark in CONTAINERS):
        return False
    screens = ("DISPLAY", "WAYLAND_DISPLAY")
    return sys.platform in ("darwin", "win32") or any(environment.get(name) for name in screens)
