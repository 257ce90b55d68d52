"""The script that keeps the event stream of Gradio's client open, in a real browser, before a server that the test plays."""

from collections.abc import Iterator

import pytest

from demo.ui import assets

SERVER = """
  window.requests = [];
  window.streams = [];
  window.fetch = async (input) => {
    const url = new URL(input.url ?? input, location.href);
    window.requests.push(url.pathname);
    if (url.pathname === '/queue/join') return Response.json({ event_id: url.searchParams.get('id') });
    const pipe = new TransformStream();
    window.streams.push(pipe.writable.getWriter());
    return new Response(pipe.readable, { headers: { 'content-type': 'text/event-stream' } });
  };
  window.say = (stream, ...parts) => {
    const bytes = new TextEncoder();
    for (const part of parts) window.streams[stream].write(bytes.encode(part)).catch(() => {});
  };
  window.heard = [];
  window.listen = async () => {
    const response = await fetch(new Request('http://page.test/queue/data?session_hash=s'));
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) { window.heard.push('end'); return; }
      window.heard.push(JSON.parse(value.slice(6)).msg);
    }
  };
"""


@pytest.fixture
def tab(browser) -> Iterator:
    context = browser.new_context()
    tab = context.new_page()
    tab.set_default_timeout(20_000)
    tab.route("http://page.test/", lambda route: route.fulfill(body="<p>", content_type="text/html"))
    tab.goto("http://page.test/")
    tab.add_script_tag(content=SERVER)
    tab.add_script_tag(content=assets.read("event_stream.js"))
    yield tab
    context.close()


def message(kind: str, event: str | None = None) -> str:
    return f'data: {{"msg": "{kind}", "event_id": {f"{chr(34)}{event}{chr(34)}" if event else "null"}}}\n\n'


def say(tab, stream: int, *parts: str) -> None:
    tab.evaluate("([stream, parts]) => say(stream, ...parts)", [stream, list(parts)])


def hears(tab, *messages: str) -> None:
    tab.wait_for_function("(messages) => heard.join() === messages.join()", arg=list(messages))


def join(tab, event: str) -> None:
    tab.evaluate("(id) => fetch(`/queue/join?id=${id}`).then((response) => response.json())", event)


def test_a_stream_that_ends_before_an_accepted_event_goes_on(tab) -> None:
    join(tab, "first")
    tab.evaluate("() => { listen(); }")
    say(tab, 0, message("process_starts", "first"), message("process_completed", "first"))
    hears(tab, "process_starts", "process_completed")
    join(tab, "second")  # accepted, and the server has decided to close before
    say(tab, 0, message("close_stream"))
    tab.wait_for_function("() => streams.length === 2")
    say(tab, 1, message("process_completed", "second")[:20], message("process_completed", "second")[20:])
    hears(tab, "process_starts", "process_completed", "process_completed")
    say(tab, 1, message("close_stream"))
    hears(tab, "process_starts", "process_completed", "process_completed", "close_stream")
    assert tab.evaluate("requests") == ["/queue/join", "/queue/data", "/queue/join", "/queue/data"]


def test_a_stream_without_outstanding_events_ends(tab) -> None:
    """Also where an event is over before its acceptance is read."""
    tab.evaluate("() => { listen(); }")
    say(tab, 0, message("process_completed", "fast"))
    hears(tab, "process_completed")
    join(tab, "fast")
    say(tab, 0, message("close_stream"))
    hears(tab, "process_completed", "close_stream")
    tab.evaluate("() => { streams[0].close(); }")
    hears(tab, "process_completed", "close_stream", "end")
    assert tab.evaluate("streams.length") == 1


def test_other_requests_are_left_alone(tab) -> None:
    assert tab.evaluate("async () => (await fetch('/queue/join?id=x')).json()") == {"event_id": "x"}
    tab.evaluate("() => { fetch('/config'); }")
    assert tab.evaluate("requests") == ["/queue/join", "/config"]
