"""Serve a study to raters, on 127.0.0.1 by default. For a public address, run it behind a reverse proxy with https."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from urllib.parse import urlsplit

from musicgen.errors import InputError

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", type=Path, help="study folder, made by `build`")
    parser.add_argument(
        "--database", metavar="URL", help="postgresql://user@host/name (default: SQLite in the study folder)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8600)
    parser.add_argument(
        "--public-url", metavar="URL", help="the address that raters see, such as https://study.example.org"
    )


def run(arguments: argparse.Namespace) -> None:
    serve(arguments.study, arguments.database, arguments.host, arguments.port, arguments.public_url)


def serve(folder: Path, database_url: str | None, host: str, port: int, public_url: str | None) -> None:
    """Serve a study until interrupted.

    Args:
        folder: the study folder.
        database_url: None for SQLite inside it.
        host: address to listen on.
        port: to listen on.
        public_url: the address that raters see.

    Raises:
        InputError: `host` is public and there is no public URL, or the study is damaged.
    """
    import uvicorn

    from ..database import study_database
    from ..design import manifest
    from ..sessions.prolific import ProlificClient
    from ..web.app import create_app

    if host not in LOOPBACK and public_url is None:
        raise InputError(
            f"--host is {host}: state the address that raters see with --public-url; requests with another Host are refused"
        )
    study = manifest.read(folder)
    manifest.check_audio(study)
    database = study_database.open_database(study, database_url)
    names = (*LOOPBACK, *((urlsplit(public_url).hostname or "",) if public_url else ()))
    token = os.environ.get("PROLIFIC_TOKEN", "")
    prolific = ProlificClient(token) if token else None
    secure = public_url is not None and public_url.startswith("https://")
    app = create_app(study, database, hosts=names, secure=secure, prolific=prolific)
    address = public_url or f"http://{'127.0.0.1' if host in LOOPBACK else host}:{port}"
    print(f"study:  {address}/", flush=True)
    print(f"admin:  {address}/admin  (token: {study.path / manifest.ADMIN_TOKEN})", flush=True)
    try:
        # No access log: query strings contain the worker ids of raters.
        uvicorn.run(app, host=host, port=port, access_log=False, log_level="warning", timeout_keep_alive=75)
    finally:
        database.dispose()
