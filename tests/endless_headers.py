"""A client whose request has headers without end."""

import socket
from urllib.parse import urlsplit

MOST = 10_000_000


def bytes_taken(address: str) -> int:
    """Bytes of headers that a server takes before it refuses the request; MOST where it does not."""
    parts = urlsplit(address)
    sent = 0
    with socket.create_connection((parts.hostname or "", parts.port or 80)) as client:
        client.settimeout(20)
        try:
            client.sendall(f"GET / HTTP/1.1\r\nHost: {parts.hostname}\r\n".encode())
            while sent < MOST:
                client.sendall(b"X-%d: " % sent + b"a" * 10_000 + b"\r\n")
                sent += 10_000
        except OSError:
            return sent
    return sent
