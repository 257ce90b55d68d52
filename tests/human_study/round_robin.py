"""A proxy in front of several servers: each connection goes to the next one, or where it does not answer, the one after."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Iterator, Sequence


@contextlib.contextmanager
def round_robin(port: int, servers: Sequence[int]) -> Iterator[list[int]]:
    """Serve on a port of 127.0.0.1. Yields how many connections each server got.

    Args:
        port: of the proxy.
        servers: ports of the servers.
    """
    counts = [0] * len(servers)
    turns = itertools.count()
    loop = asyncio.new_event_loop()

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for _ in servers:
            index = next(turns) % len(servers)
            with contextlib.suppress(OSError):
                pair = await asyncio.open_connection("127.0.0.1", servers[index])
                counts[index] += 1
                return pair
        return None

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pair = await connect()
        if pair is None:
            writer.close()
            return
        await asyncio.gather(copy(reader, pair[1]), copy(pair[0], writer))

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
        yield counts
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
