"""Starts the service and the page, and ends both when the program is interrupted."""

from __future__ import annotations

import atexit
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from musicgen import extras, file_descriptor_limit, logs, plugins, signals
from musicgen.errors import InputError

from . import deploy, zero_gpu
from .configuration import Configuration
from .service import Service

CONTAINERS = (Path("/.dockerenv"), Path("/run/.containerenv"))
"""Files that container engines create in a container."""


def run(configuration: Configuration, environment: Mapping[str, str]) -> None:
    """Serve the page until the program is interrupted, or deploy it to a Space.

    Raises:
        InputError: for a port that is in use, packages or plug-ins that are not there, and a Space that cannot be created.
    """
    if configuration.space:
        print(f"The Space is at {deploy.deploy(configuration.space, configuration.hardware)}")
        return
    port = requested_port(environment)
    signals.interrupt_on_termination()
    logs.use_one_line_records()
    file_descriptor_limit.raise_limit()
    plugins.load_plugins(configuration.plugins)
    os.umask(0o077)  # what visitors send and get is for this user alone
    service, served = Service(configuration), False
    try:
        if zero_gpu.is_active():
            service.preload()
        with extras.needed("demo", "the page"):
            from . import ui  # imports Gradio, which reads its folders from the environment that the service has set

            page = ui.build(service)
        open_browser = has_desktop(environment) if configuration.open_browser is None else configuration.open_browser
        served = True  # the page can be served, and the program interrupted, before `launch` returns
        ui.launch(page, service, server_port=port, inbrowser=open_browser, prevent_thread_lock=True)
        # PyTorch and the model take longer to load, so the page is served first.
        service.warm_up()
        page.block_thread()
    except KeyboardInterrupt:
        if not served:
            raise  # after that, an interrupt is the normal end of the program
    finally:
        service.close(warm_up_timeout=2)
    # Threads may still import libraries, or compute what a page shows, such as a clip's scores. The interpreter's own end would
    # wait for them, or kill them inside PyTorch, which then aborts the process. What libraries have registered is still done:
    # they delete temporary folders.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def requested_port(environment: Mapping[str, str]) -> int | None:
    """The port in GRADIO_SERVER_PORT, None where the variable is not set.

    Raises:
        InputError: for a value that is no port, and for a port that is in use.
    """
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
            f"port {text} of {host} is not available ({error.strerror}): stop the program that uses it, or set "
            "another port in GRADIO_SERVER_PORT"
        ) from error
    return int(text)


def has_desktop(environment: Mapping[str, str]) -> bool:
    """Whether the program was started in a terminal of a desktop, where a browser can be opened."""
    remote = ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY", "CI", "container", "KUBERNETES_SERVICE_HOST", "SPACE_ID")
    if not sys.stdout.isatty() or any(environment.get(name) for name in remote):
        return False
    if any(path.exists() for path in CONTAINERS):
        return False
    displays = ("DISPLAY", "WAYLAND_DISPLAY")
    return sys.platform in ("darwin", "win32") or any(environment.get(name) for name in displays)
