"""Bounds of connections, by a real server whose application answers each request when the test lets it."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn

from demo.ui.relay import IDLE_SECONDS
from musicgen.serving import connections
from musicgen.serving.connections import BoundedConnection
from musicgen.serving.web.server import listen
from tests.serving.api_server import wait_until

REQUEST = b"GET /%b HTTP/1.1\r\nhost: x\r\n%b\r\n"
HALF = b"GET / HTTP/1.1\r\nhost: x\r\nx-"


@contextlib.contextmanager
def server(finish: threading.Event | None = None) -> Iterator[int]:
    """A server; its port. finish: when requests for /slow are answered."""

    async def app(scope, receive, send) -> None:
        body = b""
        while (message := await receive()).get("more_body"):
            body += message["body"]
        if scope["path"] == "/slow" and finish is not None:
            await asyncio.to_thread(finish.wait, 30)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    with listen("127.0.0.1", 0) as listening:
        config = uvicorn.Config(app, http=BoundedConnection, ws="none", lifespan="off")
        running = uvicorn.Server(config)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            running.should_exit = running.force_exit = True
            thread.join(20)


def connected(port: int, address: str = "127.0.0.1") -> socket.socket:
    """A connection from one of this machine's addresses."""
    return socket.create_connection(("127.0.0.1", port), 20, (address, 0))


def answered(one: socket.socket) -> bytes:
    """What comes until the server hangs up, or until a whole answer is there."""
    told = b""
    while not told.endswith(b"ok") and (part := one.recv(4096)):
        told += part
    return told


def test_a_head_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing, half a head, one byte after the other, half a head after an answer: the server hangs up. It waits for
    a slow answer and for a late body."""
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    finish = threading.Event()
    with server(finish) as port, contextlib.ExitStack() as stack:
        silent, half, slow, late, again = (stack.enter_context(connected(port)) for _ in range(5))
        half.sendall(HALF)
        slow.sendall(REQUEST % (b"slow", b""))
        late.sendall(REQUEST % (b"", b"content-length: 2\r\n"))
        again.sendall(REQUEST % (b"", b""))
        assert answered(again).startswith(b"HTTP/1.1 200 ")
        again.sendall(HALF)
        assert [answered(one) for one in (silent, half, again)] == [b"", b"", b""]
        drops = stack.enter_context(connected(port))
        drops.settimeout(0.05)
        ended = False
        for byte in HALF * 20:
            with contextlib.suppress(TimeoutError):
                try:
                    drops.sendall(bytes([byte]))
                    ended = drops.recv(1) == b""
                except ConnectionError:
                    ended = True
            if ended:
                break
        assert ended
        finish.set()
        late.sendall(b"xx")
        assert [answered(one)[:13] for one in (slow, late)] == [b"HTTP/1.1 200 "] * 2


def test_an_idle_connection_outlasts_its_client_s_reuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that closes it first, as uvicorn does after five seconds, breaks off a request that is just coming."""
    longest = connections.KEEP_ALIVE_SECONDS
    assert longest > max(60, IDLE_SECONDS)
    with server() as port, connected(port) as one, connected(port) as short:
        one.sendall(REQUEST % (b"", b""))
        assert answered(one).startswith(b"HTTP/1.1 200 ")
        monkeypatch.setattr(connections, "KEEP_ALIVE_SECONDS", 0.5)
        short.sendall(REQUEST % (b"", b""))
        assert answered(short).startswith(b"HTTP/1.1 200 ")
        assert answered(short) == b""
        time.sleep(6)
        one.sendall(REQUEST % (b"", b""))
        assert answered(one).startswith(b"HTTP/1.1 200 ")


def test_a_network_and_all_together_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST", 6)
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "192.0.2.1,198.51.100.0/24")
    with server() as port, contextlib.ExitStack() as stack:

        def admitted(address: str) -> bool:
            one = stack.enter_context(connected(port, address))
            with contextlib.suppress(ConnectionError):  # refused before the request has come
                one.sendall(REQUEST % (b"", b""))
                return answered(one).startswith(b"HTTP/1.1 200 ")
            return False

        first = [stack.enter_context(connected(port)) for _ in range(3)]
        refused = stack.enter_context(connected(port))
        told = answered(refused)
        assert told.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 5\r\n" in told
        assert json.loads(told.partition(b"\r\n\r\n")[2])["error"]["message"].startswith(
            "the server has no connection free"
        )
        assert [admitted("127.0.0.2") for _ in range(4)] == [True] * 3 + [False]
        assert not admitted("127.0.0.3")
        first[0].close()
        wait_until(lambda: admitted("127.0.0.3"))


def test_a_proxy_has_no_limit_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine is one unless FORWARDED_ALLOW_IPS says something else."""
    monkeypatch.setattr(connections, "MOST", 6)
    monkeypatch.delenv("FORWARDED_ALLOW_IPS", raising=False)
    for proxies in (None, "127.0.0.0/8", "*"):
        if proxies is not None:
            monkeypatch.setenv("FORWARDED_ALLOW_IPS", proxies)
        with server() as port, contextlib.ExitStack() as stack:
            for _ in range(6):
                one = stack.enter_context(connected(port))
                one.sendall(REQUEST % (b"", b""))
                assert answered(one).startswith(b"HTTP/1.1 200 ")
            assert answered(stack.enter_context(connected(port))).startswith(b"HTTP/1.1 503 ")


def test_who_asks_for_a_websocket_gets_an_answer() -> None:
    with server() as port, connected(port) as one:
        one.sendall(REQUEST % (b"", b"connection: upgrade\r\nupgrade: websocket\r\n"))
        assert answered(one).startswith(b"HTTP/1.1 200 ")
