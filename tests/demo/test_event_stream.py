"""The page hears of every event, in whatever order answers reach it; where a server is gone, it loads itself anew."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from tests.demo.proxy import as_it_comes, proxy, with_headers
from tests.demo.test_browser import PATIENCE, SECOND, generate, said, set_slider, visit
from tests.demo.test_browser import wait_until as wait_in_page

pytestmark = pytest.mark.timeout(900)
MOST_HELD_SECONDS = 5.0
TAIL_SECONDS = 0.02
"""Between the last message of a stream and the end of its body: the page cancels it in this time."""
END = b'data: {"msg":"close_stream"'
JOIN, DATA = "/gradio_api/queue/join", "/gradio_api/queue/data"


class LateEnds:
    """Delivers the end of each event stream after the answer that another event is accepted.

    Where that answer has passed just before the end arrives here, no other event may follow: the end is held for some seconds.
    """

    def __init__(self) -> None:
        self.held = self.streams = 0
        self._accepted = asyncio.Event()

    async def __call__(self, request: Request, answered: httpx.Response) -> Response:
        if request.url.path == JOIN:
            given = with_headers(Response(await answered.aread(), answered.status_code), answered)
            given.background = BackgroundTask(self._accepted.set)  # once the answer is out
            return given
        if request.url.path == DATA:
            self.streams += 1
            return with_headers(StreamingResponse(self._held(answered), answered.status_code), answered)
        return await as_it_comes(request, answered)

    async def _held(self, answered: httpx.Response) -> AsyncIterator[bytes]:
        parts = answered.aiter_raw()
        async for part in parts:
            before, end, after = part.partition(END)
            if before:
                yield before
            if end:
                # Read to its end first: its connection would else be used again when the server is closing it as idle.
                rest = [end, after, *[each async for each in parts]]
                self.held += 1
                self._accepted.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._accepted.wait(), MOST_HELD_SECONDS)
                yield b"".join(rest)
                await asyncio.sleep(TAIL_SECONDS)


class LateAnswers:
    """Delivers the answer that an event is accepted after all that the open stream has said of the event, its end included."""

    def __init__(self) -> None:
        self.late = self.open = 0
        self._ended: set[str] = set()
        self._heard = asyncio.Condition()

    async def __call__(self, request: Request, answered: httpx.Response) -> Response:
        if request.url.path == JOIN:
            body = await answered.aread()
            event = json.loads(body)["event_id"]
            async with self._heard:
                self.late += self.open > 0
                await self._heard.wait_for(lambda: not self.open or event in self._ended)
            return with_headers(Response(body, answered.status_code), answered)
        if request.url.path == DATA:
            return with_headers(StreamingResponse(self._watched(answered), answered.status_code), answered)
        return await as_it_comes(request, answered)

    async def _watched(self, answered: httpx.Response) -> AsyncIterator[bytes]:
        self.open += 1
        try:
            async for line in answered.aiter_lines():
                yield f"{line}\n".encode()
                message = json.loads(line.removeprefix("data:")) if line else {}
                async with self._heard:
                    if message.get("msg") == "process_completed":
                        self._ended.add(message["event_id"])
                    self._heard.notify_all()
        finally:
            self.open -= 1
            async with self._heard:
                self._heard.notify_all()


@pytest.fixture
def tab(browser):
    context = browser.new_context(locale="en-GB", reduced_motion="reduce")
    context.set_default_timeout(PATIENCE * SECOND)
    tab = context.new_page()
    # Told where a test fails: the page loads itself anew after these.
    tab.on("response", lambda answer: print(answer.status, answer.url) if answer.status >= 400 else None)
    tab.on("requestfailed", lambda request: print(request.failure, request.url))
    tab.on("domcontentloaded", lambda page: print("loaded", page.url))
    yield tab
    context.close()


def test_an_event_is_heard_that_is_accepted_before_the_end_of_the_last_stream_is_read(tab, address: str) -> None:
    late = LateEnds()
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url) if DATA in request.url else None)
    with proxy([address], late) as url:
        visit(tab, url)
        for _ in range(3):
            assert "Done" in generate(tab, "a clip", 1.0)
        # The browser sends no request twice: each of two streams would have some of the events.
        wait_in_page(tab, lambda: late.streams <= len(asked), 5)
    assert late.held > 3


@pytest.mark.slow
def test_an_event_that_ends_before_it_is_known_to_be_accepted_leaves_no_stream_open(tab, address: str) -> None:
    late = LateAnswers()
    with proxy([address], late) as url:
        visit(tab, url)
        tab.fill("#prompt textarea", "a clip")
        set_slider(tab, "duration", 20)
        tab.click("#generate")
        wait_in_page(tab, lambda: late.open > 0)
        tab.fill("#prompt textarea", "the next one")  # what that is made from is an event, too
        said(tab, "Done")
        wait_in_page(tab, lambda: late.open == 0)
    assert late.late > 0


@pytest.mark.parametrize("status", [502, 503, 504])
def test_the_page_loads_itself_anew_where_no_server_takes_an_event(tab, address: str, status: int) -> None:
    """A proxy answers, because the server is gone; the next one is there."""
    visit(tab, address)
    loads: list[str] = []
    tab.on("domcontentloaded", lambda page: loads.append(page.url))
    tab.route(f"**{JOIN}*", lambda route: route.fulfill(status=status, body="<html>"), times=1)
    tab.fill("#prompt textarea", "x")  # what the next clip is made from is an event
    wait_in_page(tab, lambda: loads)
    said(tab, "Ready")
    assert "Done" in generate(tab, "a clip", 1.0)


def test_the_page_loads_itself_anew_where_its_events_are_gone(tab, address: str) -> None:
    """The server that had accepted an event has been replaced by one that does not know it."""
    visit(tab, address)
    loads: list[str] = []
    tab.on("domcontentloaded", lambda page: loads.append(page.url))
    tab.route(f"**{DATA}*", lambda route: route.fulfill(status=404, body="there are no such events"), times=1)
    tab.fill("#prompt textarea", "x")
    wait_in_page(tab, lambda: loads)
    said(tab, "Ready")
