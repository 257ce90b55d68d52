"""Limits on open connections, and on the time that a connection may take to send a request.

uvicorn has no timeout for the first request of a connection, nor for the rest of a partial request. The limits of request
bodies are applied where the bodies are read.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from weakref import WeakKeyDictionary

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from musicgen import file_descriptor_limit
from musicgen.serving.networks import network_of

MOST = 8192
"""Connections of a server, fewer where the system allows fewer open files. 1,400 take less than 100 MB, as
tests/demo/test_slow_clients.py measures it."""
SHARE_OF_FILES = 0.75
"""The share of allowed open files that connections may use; the rest is for clips and models."""
SHARE_OF_NETWORK = 0.5
"""The share of connections that one network may have."""
HEAD_SECONDS = 30.0
"""Time in which the head of a request must have arrived, from the connection's beginning or from the request's first byte."""
KEEP_ALIVE_SECONDS = 75
"""Time for which an idle connection stays open: longer than the 60 s for which nginx and load balancers use one again. A server
that closes it first may break off a request that is just being sent."""
RETRY_SECONDS = 5
"""When to try again after a refusal."""
THIS_MACHINE = "127.0.0.1"
_TOLD = b'{"error":{"code":"connections","message":"the server has no connection free: try again"}}'
"""As of the API's refusals."""
_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: %d\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
    b"connection: close\r\n\r\n%b"
) % (RETRY_SECONDS, len(_TOLD), _TOLD)


class _OpenConnections:
    """The open connections of a server, by network.

    Args:
        proxies: addresses and networks, separated by commas, from which many clients come; "*" for all. THIS_MACHINE stands for
            all its addresses.
    """

    def __init__(self, proxies: str) -> None:
        files = file_descriptor_limit.raise_limit()
        self._most = MOST if files is None else min(MOST, int(files * SHARE_OF_FILES))
        self._named = [name.strip() for name in proxies.split(",")]
        self._count, self._of_network = 0, Counter[str]()

    def admit(self, address: str) -> str | None:
        """Count a connection.

        Args:
            address: of the client.

        Returns:
            What `leave` takes; None where there is no room for it.
        """
        network = "" if self._is_proxy(address) else network_of(address, os.environ)
        most = int(self._most * SHARE_OF_NETWORK) if network else self._most
        if self._count >= self._most or self._of_network[network] >= most:
            return None
        self._count += 1
        self._of_network[network] += 1
        return network

    def leave(self, network: str) -> None:
        """Count a connection no longer."""
        self._count -= 1
        self._of_network[network] -= 1
        if not self._of_network[network]:
            del self._of_network[network]

    def _is_proxy(self, address: str) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:  # of a socket in the file system
            return True
        if "*" in self._named or (parsed.is_loopback and THIS_MACHINE in self._named):
            return True
        return any(_holds(name, parsed) for name in self._named)


def _holds(name: str, address: IPv4Address | IPv6Address) -> bool:
    try:
        return address in ip_network(name)
    except ValueError:  # uvicorn takes names that are no addresses, too
        return False


_open: WeakKeyDictionary[ServerState, _OpenConnections] = WeakKeyDictionary()


class BoundedConnection(H11Protocol):
    """uvicorn's connection by h11, which bounds the headers of a request (httptools does not), with the limits above.

    A connection beyond them is answered with 503 and closed; one whose head comes too slowly is closed. The proxies in
    uvicorn's FORWARDED_ALLOW_IPS, this machine unless it is set, have no limit of their own.
    """

    _network: str | None = None
    """As of `_OpenConnections.admit`."""
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called at the beginning."""
        super().connection_made(transport)
        if self.server_state not in _open:
            allowed = self.config.forwarded_allow_ips or ""
            _open[self.server_state] = _OpenConnections(allowed if isinstance(allowed, str) else ",".join(allowed))
        self._network = _open[self.server_state].admit(self.client[0] if self.client else "")
        if self._network is None:
            transport.write(_REFUSAL)
            transport.close()
            return
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called at the end."""
        super().connection_lost(exc)
        self._stop_waiting()
        if self._network is not None:
            _open[self.server_state].leave(self._network)
            self._network = None

    def on_response_complete(self) -> None:
        """Called when an answer has been sent."""
        self.timeout_keep_alive = KEEP_ALIVE_SECONDS  # for the page, too: Gradio leaves uvicorn's five seconds
        super().on_response_complete()

    def data_received(self, data: bytes) -> None:
        """Called with what the client has sent."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._wait_for_head()
        else:
            self._stop_waiting()

    def _should_upgrade(self) -> bool:
        """Nothing here is a WebSocket: the request is answered as one without the wish (RFC 9110, section 7.8)."""
        return False

    def _wait_for_head(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(HEAD_SECONDS, self.timeout_keep_alive_handler)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
