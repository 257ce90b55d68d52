"""Assembles the parts of an API server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI

from musicgen.serving.clip_store import ClipStore
from musicgen.serving.engines.base import EngineClient
from musicgen.serving.index import Index
from musicgen.serving.limits import Limits
from musicgen.serving.servers import Servers
from musicgen.serving.service import GenerationService
from musicgen.serving.web.app import create_app
from musicgen.serving.web.generations import Generations
from musicgen.serving.web.keys import Keys
from musicgen.serving.web.metrics import Metrics

if TYPE_CHECKING:
    from musicgen.content_credentials import Signer
    from musicgen.watermark import Watermark


@dataclass(frozen=True)
class Api:
    """An API that is not served yet. `service.close` ends it."""

    service: GenerationService
    generations: Generations
    app: FastAPI


def assemble(
    engine: EngineClient, folder: Path, limits: Limits, keys: Keys, hosts: Sequence[str], *, workers: int,
    downloads: bool = True, signer: Signer | None = None, watermark: Watermark | None = None,
) -> Api:  # fmt: skip
    """Assemble an API.

    Args:
        engine: generates.
        folder: of clips, uploads and accepted requests, which servers may share.
        limits: of a request and of the queue.
        keys: of the clients.
        hosts: whose names are answered, as of `hosts.admitted`.
        workers: generations that run at the same time.
        downloads: whether clients may start the download of a published model.
        signer: what signs the clips; None where nothing does.
        watermark: what is mixed into every clip; None for nothing.
    """
    servers = Servers(folder / "servers")
    store = ClipStore(
        folder / "store", limits.keep_hours, limits.disk_gb * 1e9, signer, index=Index(folder / "index.sqlite3"),
        servers=servers,
    )  # fmt: skip
    service = GenerationService(engine, limits, store, workers=workers, downloads=downloads, watermark=watermark)
    metrics = Metrics(service)
    generations = Generations(service)
    return Api(service, generations, create_app(generations, metrics, keys, hosts))
