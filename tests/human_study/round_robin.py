"""A proxy in front of several servers: each connection goes to the next one, or where it does not answer, the one after."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence


class Traffic:
    """What goes through the proxy.

    Attributes:
        counts: connections that each server got.
    """

    def __init__(self, num_servers: int) -> None:
        self.counts = [0] * num_servers
        self._actions: dict[int, tuple[Callable[[], object], threading.Event]] = {}

    def at_next_request(self, server: int, action: Callable[[], object]) -> threading.Event:
        """Do something once a server has been sent a request, which it has not answered. Returns what is set after that."""
        done = threading.Event()
        self._actions[server] = action, done
        return done

    def note_request(self, server: int) -> None:
        """Called by the proxy."""
        if planned := self._actions.pop(server, None):
            planned[0]()
            planned[1].set()


@contextlib.contextmanager
def round_robin(port: int, servers: Sequence[int]) -> Iterator[Traffic]:
    """Serve on a port of 127.0.0.1.

    Args:
        port: of the proxy.
        servers: ports of the servers.
    """
    traffic = Traffic(len(servers))
    turns = itertools.count()
    loop = asyncio.new_event_loop()

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter, int] | None:
        for _ in servers:
            index = next(turns) % len(servers)
            with contextlib.suppress(OSError):
                pair = await asyncio.open_connection("127.0.0.1", servers[index])
                traffic.counts[index] += 1
                return *pair, index
        return None

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: int | None = None) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                if server is not None:
                    traffic.note_request(server)
                await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = await connect()
        if connection is None:
            writer.close()
            return
        from_server, to_server, index = connection
        await asyncio.gather(copy(reader, to_server, index), copy(from_server, writer))

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=1000)
        ready.set()
        async with server:
            await stop.wait()

    ready, stop = threading.Event(), asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(run(),), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield traffic
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
