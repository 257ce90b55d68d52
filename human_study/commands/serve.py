"""Serve a study to raters, on 127.0.0.1 by default. For a public address, run it behind a reverse proxy with https."""

from __future__ import annotations

import argparse
import os
import socket
import threading
import webbrowser
from pathlib import Path
from urllib.parse import urlsplit

from musicgen import file_descriptor_limit, logs, signals
from musicgen.errors import InputError

from .common import LOOPBACK, public_url, whole_number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", type=Path, help="study folder, made by `build`")
    parser.add_argument(
        "--database", metavar="URL", help="postgresql://user@host/name (default: SQLite in the study folder)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=whole_number(1, 65535), default=8600)
    parser.add_argument(
        "--public-url", metavar="URL", help="the address that raters see, such as https://study.example.org"
    )


def run(arguments: argparse.Namespace) -> None:
    signals.interrupt_on_termination()
    serve(arguments.study, arguments.database, arguments.host, arguments.port, arguments.public_url)


def serve(
    folder: Path, database_url: str | None, host: str, port: int, seen: str | None, *, open_browser: bool = False
) -> None:
    """Serve a study until interrupted.

    Args:
        folder: the study folder.
        database_url: None for SQLite inside it.
        host: address to listen on.
        port: to listen on.
        seen: the address that raters see, None for that of the host.
        open_browser: whether to open the study in a browser.

    Raises:
        InputError: `host` is public and there is no public URL, the study is damaged or cannot be written, a secret is
            missing, raters from Prolific cannot be verified, or the port is in use.
    """
    from ..database import study_database
    from ..design import manifest
    from ..sessions.prolific import ProlificClient
    from ..web.app import check_verification, create_app
    from ..web.server import Server

    if host not in LOOPBACK and seen is None:
        raise InputError(
            f"--host is {host}: state the address that raters see with --public-url; requests with another Host are refused"
        )
    seen = None if seen is None else public_url(seen)
    study = manifest.read(folder)
    manifest.secret(study.path, manifest.SECRET)
    manifest.secret(study.path, manifest.ADMIN_TOKEN)
    manifest.check_audio(study)
    token = os.environ.get("PROLIFIC_TOKEN", "")
    prolific = ProlificClient(token) if token else None
    check_verification(study, prolific)
    database = study_database.open_database(study, database_url)
    names = (*LOOPBACK, *((urlsplit(seen).hostname or "",) if seen else ()))
    app = create_app(
        study, database, hosts=names, secure=seen is not None and seen.startswith("https://"), prolific=prolific
    )
    logs.use_one_line_records()
    file_descriptor_limit.raise_limit()
    listening = _listening_socket(host, port)
    shown = f"[{host}]" if ":" in host else host
    address = seen or f"http://{shown}:{port}"
    print(f"study:  {address}/", flush=True)
    print(f"admin:  {address}/admin  (token: {study.path / manifest.ADMIN_TOKEN})", flush=True)
    try:
        if open_browser:
            threading.Timer(1.5, webbrowser.open, [f"{address}/"]).start()
        Server(app).run(sockets=[listening])
    finally:
        listening.close()
        database.dispose()


def _listening_socket(host: str, port: int) -> socket.socket:
    """A socket on the address, so that it is printed only when it is this server's."""
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen()
    except OSError as error:
        listening.close()
        raise InputError(
            f"cannot listen on {host}, port {port} ({error.strerror or error}): is another server running there? Choose "
            "another --port"
        ) from error
    return listening
