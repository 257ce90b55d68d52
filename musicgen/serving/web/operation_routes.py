"""Routes for operators: liveness, readiness, metrics; and the list of models."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response

from musicgen.serving.api_schema import AdapterState, ModelState, Refusal, model_state
from musicgen.serving.web.errors import RETRY_SECONDS, Refused
from musicgen.serving.web.generations import Generations
from musicgen.serving.web.keys import Keys
from musicgen.serving.web.metrics import Metrics


def add_routes(app: FastAPI, generations: Generations, metrics: Metrics, keys: Keys) -> None:
    """Add the routes to the application."""
    service = generations.service

    @app.head("/health", include_in_schema=False)
    @app.get("/health", tags=["operation"])
    async def health() -> dict[str, str]:
        """Liveness: the server is running."""
        return {"status": "alive"}

    @app.head("/ready", include_in_schema=False)
    @app.get("/ready", tags=["operation"], responses={503: {"model": Refusal}})
    async def ready() -> dict[str, str]:
        """Readiness: the server accepts requests. Its warm-up has ended, an engine responds, and it is not shutting down."""
        if generations.draining:
            raise Refused(503, "draining", "the server is about to end", RETRY_SECONDS)
        if not service.warmed_up:
            raise Refused(503, "warming_up", "the default model is being loaded", RETRY_SECONDS)
        if not service.engine.replicas():
            raise Refused(503, "no_engine", "no engine answers", RETRY_SECONDS)
        return {"status": "ready"}

    @app.get("/metrics", tags=["operation"], response_class=Response)
    def read_metrics(request: Request) -> Response:
        """Metrics in Prometheus' text format."""
        keys.owner(request)
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/v1/models", tags=["models"])
    def models(request: Request) -> list[ModelState]:
        """The models; the first is the default."""
        keys.owner(request)
        default = service.catalog.default()
        infos = sorted(service.catalog, key=lambda info: info.name != default)
        return [model_state(info, service.engine.is_downloaded(info.name)) for info in infos]

    @app.get("/v1/adapters", tags=["models"])
    def adapters(request: Request) -> list[AdapterState]:
        """The operator's LoRA adapters."""
        keys.owner(request)
        known = service.catalog.adapters
        return [AdapterState(name=info.name, base=info.base, sha256=known.sha256(info.name)) for info in known]
