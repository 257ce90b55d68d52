"""Tests reach this machine alone: what else a process connects to or looks up is refused, and noted for the test run.

Python imports a module of this name when it starts; tests/conftest.py puts this folder on the path of the processes that
tests start, so that they are watched too. It imports the standard library alone, and little of it.
"""

import os
import socket
import sys
from ipaddress import ip_address

NOTES = "MUSICGEN_TESTS_REACHED"
"""The variable that names the file of notes: a line for each address."""
CLOUD_METADATA = ("169.254.169.254", "metadata.google.internal")
"""Where Ray's head process asks in which cloud it runs. Ray has no switch for it; docs/security.md says so."""


def _here(host: object) -> bool:
    """Whether a host is this machine."""
    if not host or host in ("localhost", b"localhost", socket.gethostname()):
        return True
    try:
        address = ip_address(host.decode() if isinstance(host, bytes) else str(host).partition("%")[0])
    except ValueError:
        return False  # a name
    return address.is_loopback or address.is_unspecified


def _numeric(host: object) -> bool:
    try:
        ip_address(str(host))
    except ValueError:
        return False
    return True


def _watch(event: str, arguments: tuple) -> None:
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        connection, address = arguments
        if address is None or connection.family not in (socket.AF_INET, socket.AF_INET6) or _here(address[0]):
            return
        what = f"connect to {address[0]} port {address[1]}"
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        if _here(arguments[0]) or _numeric(arguments[0]):
            return
        what = f"look up {arguments[0]}"
    else:
        return
    if any(host in what for host in CLOUD_METADATA) and "ray/dashboard" in " ".join(getattr(sys, "argv", [])):
        raise PermissionError(f"tests reach this machine alone: {what}")
    with open(os.environ[NOTES], "a") as notes:  # noqa: PTH123 (pathlib would slow down the start of every process)
        notes.write(what + "\n")
    raise PermissionError(f"tests reach this machine alone, and this one tried to {what}")


if NOTES in os.environ:
    sys.addaudithook(_watch)
