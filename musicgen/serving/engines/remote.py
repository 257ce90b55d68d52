"""An engine that sends its requests to another `musicgen serve` by HTTP.

Clips depend only on request and seed. So if the server of a generation is lost, the generation is requested again, and its
stream continues where it was.
"""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np

from musicgen.cancellation import Cancellation
from musicgen.errors import InputError
from musicgen.midi import is_midi
from musicgen.serving.adapters import AdapterCatalog, AdapterInfo
from musicgen.serving.api_schema import body_of
from musicgen.serving.engines.base import AudioChunk, Report
from musicgen.serving.engines.retrying import RETRY_TIMEOUT_SECONDS, WAITING, EngineLost, with_retries
from musicgen.serving.models import ModelCatalog, ModelInfo
from musicgen.serving.request import ClipRequest

SILENCE_SECONDS = 45.0
"""Three times the longest silence of a server that lives."""
_RETRY_INTERVAL_SECONDS = 1.0
_INFO = (
    "name",
    "licence",
    "size",
    "stereo",
    "melody",
    "origin",
    "separated",
    "style",
    "sounds",
    "longest",
    "generator",
    "multi_band",
)


class EngineUnreachable(EngineLost):
    """The engine does not answer."""


class RemoteEngine:
    """Generates on another server; the methods are those of `EngineClient`.

    Args:
        url: of the server.
        key: for it; "" for a server without keys.
        is_leaving: whether this process is ending, and another one goes on with what it has asked for: then the server is not
            told to cancel a generation that has a key.

    Raises:
        InputError: the URL is none, or the server does not answer.
    """

    def __init__(self, url: str, key: str = "", is_leaving: Callable[[], bool] = lambda: False) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise InputError(f"the engine's address {url[:100]!r} is no URL: it must be like http://127.0.0.1:8650")
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(
            base_url=url, headers=headers, timeout=httpx.Timeout(30.0, read=SILENCE_SECONDS), follow_redirects=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=20), trust_env=False,
        )  # fmt: skip
        self._url, self.max_replicas, self._is_leaving = url, 1, is_leaving
        try:
            infos = self._asked("GET", "/v1/models").json()
            adapters = [AdapterInfo(**one) for one in self._asked("GET", "/v1/adapters").json()]
        except EngineLost as error:
            raise InputError(f"{error}: start it (musicgen serve), or correct the address") from error
        self.catalog = ModelCatalog.of((_info(one) for one in infos), AdapterCatalog.of(adapters))
        self._here = {one["name"]: bool(one["here"]) for one in infos}

    def prepare(self) -> None:
        """Import what finishes clips."""
        import musicgen.postprocessing  # noqa: F401

    def check(self, request: ClipRequest) -> None:
        """Nothing: the server refuses itself what it cannot generate."""

    def stream(
        self, request: ClipRequest, seed: int, report: Report, cancellation: Cancellation, key: str = ""
    ) -> Iterator[AudioChunk]:
        """Generate a clip, as `EngineClient.stream` says. A lost server's generation is asked for again by its key, so that a
        server that has it goes on with it."""
        known = key or secrets.token_hex(16)

        def is_left() -> bool:
            return bool(key) and self._is_leaving()

        return with_retries(
            lambda: self._attempt(request, seed, report, cancellation, known, is_left), report, cancellation
        )

    def extract_melody(self, recording: Path, separate: bool) -> tuple[int, ...]:
        """The melody of a recording, as `EngineClient.extract_melody` says; computed in this process."""
        from musicgen.serving import melody

        return melody.extract(recording, separate)

    def resolve_precision(self, model: str, precision: str) -> str | None:  # noqa: ARG002
        """Any precision but "auto" unchanged."""
        return None if precision == "auto" else precision

    def is_downloaded(self, model: str) -> bool:
        """Whether the server need not download a model's files."""
        return self._here.get(model, False)

    def can_download(self) -> bool:
        """Whether the server may be asked for what it does not have: it says no itself."""
        return True

    def has_multi_band_diffusion(self) -> bool:
        """Whether the server may be asked for it: it says no itself where it does not have it."""
        return True

    def step_bytes(self, model: str, precision: str) -> None:
        """Not known."""

    def bandwidth(self) -> None:
        """Not known."""

    def replicas(self) -> int:
        """1 while the server takes requests."""
        try:
            return int(self._client.get("/ready", timeout=2.0).status_code == 200)
        except httpx.HTTPError:
            return 0

    def loaded(self) -> list[tuple[str, str]]:
        """Not known: the server's own metrics say it."""
        return []

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _attempt(
        self,
        request: ClipRequest,
        seed: int,
        report: Report,
        cancellation: Cancellation,
        key: str,
        is_left: Callable[[], bool],
    ) -> Generator[AudioChunk]:
        """Ask for a clip, which the server keeps where it is left to another process."""
        uploads: dict[str, str] = {}
        identifier = ""
        try:
            for field, path in request.files.items():
                # The page has extracted the melody of a recording already.
                if field != "melody" or is_midi(path) or request.frames is None:
                    uploads[field] = self._upload(path)
            body = body_of(request, uploads).model_copy(update={"seed": seed, "variations": 1, "loop": False})
            identifier = self._asked(
                "POST",
                "/v1/generations",
                cancellation,
                json=body.model_dump(mode="json"),
                headers={"idempotency-key": key},
            ).json()["id"]

            def cancel() -> None:
                if not is_left():
                    self._delete(f"/v1/generations/{identifier}")

            withdraw = cancellation.on_cancel(cancel)
            try:
                yield from self._follow(identifier, report, cancellation)
            finally:
                withdraw()
        except EngineUnreachable:
            identifier = ""  # it may have the generation, with which it goes on
            raise
        finally:
            if not is_left():
                if identifier:
                    self._delete(f"/v1/generations/{identifier}")
                for upload in uploads.values():
                    self._delete(f"/v1/files/{upload}")

    def _follow(self, identifier: str, report: Report, cancellation: Cancellation) -> Iterator[AudioChunk]:
        last, ended = -1, False
        deadline = time.monotonic() + RETRY_TIMEOUT_SECONDS
        while not ended:
            headers = {"last-event-id": str(last)} if last >= 0 else {}
            try:
                with self._client.stream(
                    "GET", f"/v1/generations/{identifier}/events", params={"audio": "pcm_f32le"}, headers=headers
                ) as answer:
                    if answer.status_code != 200:
                        answer.read()
                        cancellation.raise_if_cancelled()
                        raise EngineLost(f"the engine {self._url} does not know the generation any more")
                    for name, data, number in _events(answer.iter_lines()):
                        deadline = time.monotonic() + RETRY_TIMEOUT_SECONDS
                        last = last if number is None else number
                        if name == "audio":
                            samples = (
                                np.frombuffer(base64.b64decode(data["samples"]), "<f4")
                                .reshape(-1, data["channels"])
                                .T.copy()
                            )
                            yield AudioChunk(samples, data["rate"], data["precision"], data["unknown"])
                        elif name == "progress":
                            report(data["fraction"], data["message"])
                        elif name == "position":
                            report(0.0, f"waiting for the engine, {data['position']} in its queue")
                        elif name == "error":
                            cancellation.raise_if_cancelled()
                            raise InputError(data["message"])
                        elif name == "done":
                            ended = True
            except httpx.HTTPError as error:
                cancellation.raise_if_cancelled()
                if time.monotonic() > deadline:
                    raise EngineUnreachable(f"the engine {self._url} does not answer ({_reason(error)})") from error
                report(0.0, WAITING)
                time.sleep(_RETRY_INTERVAL_SECONDS)
        cancellation.raise_if_cancelled()
        if last < 0:
            raise EngineLost(
                f"the engine {self._url} has made the generation so long ago that its sound is only in a file"
            )

    def _upload(self, path: Path) -> str:
        answer = self._asked("POST", "/v1/files", params={"name": path.name}, content=path.read_bytes())
        return str(answer.json()["id"])

    def _asked(
        self, method: str, path: str, cancellation: Cancellation | None = None, **arguments: Any
    ) -> httpx.Response:
        """The answer to a request, which is repeated for a while where the server has no room.

        Raises:
            EngineLost: the server does not answer.
            InputError: it refuses.
        """
        end = time.monotonic() + RETRY_TIMEOUT_SECONDS
        while True:
            if cancellation is not None:
                cancellation.raise_if_cancelled()
            try:
                answer = self._client.request(method, path, **arguments)
            except httpx.HTTPError as error:
                raise EngineUnreachable(f"the engine {self._url} does not answer ({_reason(error)})") from error
            if answer.is_success:
                return answer
            if answer.status_code in (429, 503) and time.monotonic() < end:
                time.sleep(_RETRY_INTERVAL_SECONDS)
                continue
            if answer.status_code in (404, 502, 503, 504):
                raise EngineLost(f"the engine {self._url} answers {answer.status_code}")
            raise InputError(_refusal(answer))

    def _delete(self, path: str) -> None:
        with contextlib.suppress(httpx.HTTPError):
            self._client.delete(path)


def _info(values: dict[str, Any]) -> ModelInfo:
    conditions = values["conditions"]
    return ModelInfo(
        **{name: values[name] for name in _INFO},
        source="",
        conditions=None if conditions is None else tuple(conditions),
    )


def _events(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any], int | None]]:
    """(name, data, id) of server-sent events, of which each datum is one line."""
    name, data, number = "", "", None
    for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            data = value
        elif field == "id":
            number = int(value)
        elif not line and name:
            yield name, json.loads(data), number
            name, data, number = "", "", None


def _refusal(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"the engine answers {answer.status_code}"


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
