"""Load test with simulated raters and a server on this machine: measures the time to store a page, and counts lost pages.

The number of raters and the duration are limited, and the server must be on 127.0.0.1. The study needs `clock: false`, no
headphone check and an open link.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np

from musicgen.errors import InputError

MAX_RATERS = 2000
MAX_SECONDS = 600
RETRIES = 200


@dataclass
class LoadTestResult:
    """Outcome of a load test.

    Attributes:
        acknowledged: idempotency key -> receipt.
        questionnaires: number of questionnaires acknowledged.
        seconds: time to store each page.
        errors: one line for each rater who failed.
        retries: requests repeated because the server was unreachable.
    """

    acknowledged: dict[str, str] = field(default_factory=dict)
    questionnaires: int = 0
    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    retries: int = 0

    def percentile(self, share: float) -> float:
        """Quantile of the time to store a page, in seconds; NaN without pages.

        Args:
            share: between 0 and 1.
        """
        return float(np.quantile(self.seconds, share)) if self.seconds else float("nan")


async def run(
    url: str, raters: int, seconds: float, every: float, retry: bool = False, *, keep_alive: bool = True
) -> LoadTestResult:
    """Run a load test.

    Args:
        url: of the server.
        raters: number of simulated raters.
        seconds: duration.
        every: seconds between two pages of a rater.
        retry: repeat requests while the server is unreachable, as the rating page does.
        keep_alive: whether a rater keeps the connection; without it, a proxy may pass each request to another server.

    Raises:
        InputError: the server is not on 127.0.0.1, or a bound is exceeded.
    """
    try:
        here = urlsplit(url).hostname == "127.0.0.1" and urlsplit(url).port is not None
    except ValueError:
        here = False
    if not here:
        raise InputError(
            f"{url[:80]}: the load test is limited to a server on 127.0.0.1, such as http://127.0.0.1:8600"
        )
    if not (0 < raters <= MAX_RATERS and 0 < seconds <= MAX_SECONDS):
        raise InputError(f"{raters} raters for {seconds:g} s: at most {MAX_RATERS} raters and {MAX_SECONDS} s")
    if not 0 <= every <= MAX_SECONDS:
        raise InputError(f"{every:g} s between two pages: from 0 to {MAX_SECONDS} s")
    tally = LoadTestResult()
    start = time.monotonic()
    await asyncio.gather(
        *(_rater(url, tally, start, seconds, every, n / raters, retry, keep_alive) for n in range(raters))
    )
    return tally


async def _rater(
    url: str,
    tally: LoadTestResult,
    start: float,
    seconds: float,
    every: float,
    phase: float,
    retry: bool,
    keep_alive: bool,
) -> None:
    await asyncio.sleep(phase * every)
    limits = httpx.Limits(max_keepalive_connections=None if keep_alive else 0)
    async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False, limits=limits) as client:
        try:
            entered = await _call(client, tally, retry, "POST", "/api/enter", {"language": "en"})
            headers = {"X-CSRF-Token": entered["csrf"]}
            await _call(client, tally, retry, "POST", "/api/consent", {"agreed": True}, headers)
            pages = 0
            while time.monotonic() - start < seconds:
                state = await _call(client, tally, retry, "GET", "/api/state")
                if state["stage"] == "questionnaire":
                    path = f"/api/questionnaires/{state['place']}"
                    await _call(client, tally, retry, "POST", path, {"answers": complete_fields(state)}, headers)
                    tally.questionnaires += 1
                    continue
                if state["stage"] != "trial":
                    if not pages:
                        tally.errors.append(
                            f"no page before the stage {state['stage']!r}: the load test needs a study with `headphone_check: "
                            '"off"` and `clock: false`, and places for all its raters'
                        )
                    return
                trial, body = state["trial"], complete_answer(state["trial"])
                began = time.monotonic()
                path = f"/api/trials/{trial['lease']}"
                try:
                    stored = await _call(client, tally, retry, "POST", path, body, headers)
                except httpx.HTTPStatusError as error:
                    if error.response.status_code != 410:
                        raise
                    continue  # others have filled the page: there is another one
                tally.acknowledged[body["key"]] = stored["receipt"]
                tally.seconds.append(time.monotonic() - began)
                pages += 1
                await asyncio.sleep(max(0.0, every - (time.monotonic() - began)))
        except (httpx.HTTPError, httpx.InvalidURL, KeyError, TypeError, ValueError) as error:
            tally.errors.append(f"{type(error).__name__}: {error}"[:200])


def complete_answer(trial: dict[str, Any]) -> dict[str, Any]:
    """A complete submission with a random answer."""
    tracks = trial["clips"] + ([trial["reference"]] if trial["reference"] else [])
    heard = {track["token"]: [[0.0, track["seconds"]]] for track in tracks}
    return {"key": secrets.token_hex(16), "heard": heard} | ANSWERS[trial["answer"]](trial)


def complete_fields(state: dict[str, Any]) -> dict[str, Any]:
    """An answer to every field of a questionnaire."""
    answers = {"choice": lambda field: secrets.choice(field["options"]), "number": lambda field: field["range"][0]}
    return {field["name"]: answers.get(field["kind"], lambda _: "a text")(field) for field in state["fields"]}


def _random_values(trial: dict[str, Any]) -> dict[str, Any]:
    low, high = trial["scale"]
    return {"values": {clip["token"]: low + secrets.randbelow(high - low + 1) for clip in trial["clips"]}}


def _random_preference(trial: dict[str, Any]) -> dict[str, Any]:
    return {"preferred": secrets.choice([*(clip["token"] for clip in trial["clips"]), ""])}


def _random_match(trial: dict[str, Any]) -> dict[str, Any]:
    clips = [clip["token"] for clip in trial["clips"] if clip["label"] != "X"]
    return {"preferred": secrets.choice(clips)} | (
        {"confidence": 1 + secrets.randbelow(3)} if trial["confidence"] else {}
    )


ANSWERS = {"slider": _random_values, "label": _random_values, "preference": _random_preference, "match": _random_match}
"""Kind of answer -> a random one, see `design.methods`."""


async def _call(
    client: httpx.AsyncClient,
    tally: LoadTestResult,
    retry: bool,
    method: str,
    path: str,
    body: Any = None,
    headers: Any = None,
) -> dict[str, Any]:
    for attempt in range(RETRIES):
        try:
            response = await client.request(method, path, json=body, headers=headers)
            if response.status_code == 503 and retry and attempt < RETRIES - 1:
                tally.retries += 1
                await asyncio.sleep(float(response.headers.get("retry-after", "1")))
                continue
            response.raise_for_status()
            return dict(response.json())
        except httpx.TransportError:
            if not retry or attempt == RETRIES - 1:
                raise
            tally.retries += 1
            await asyncio.sleep(0.1)
    raise AssertionError("the loop above returns or raises")
