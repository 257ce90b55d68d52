"""The host names that a server accepts.

A request with another host name comes from a web page whose DNS name was pointed to this machine (DNS rebinding).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from ipaddress import ip_address

ANY = "*"
_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")


def admitted(host: str, hosts: Sequence[str]) -> bool:
    """Whether requests with a Host header are answered.

    Args:
        host: the header's value.
        hosts: names or patterns (`fnmatch`) of hosts, in lower case; ANY admits every host. Addresses are always admitted:
            nobody else's name leads to them.
    """
    if ANY in hosts:
        return True
    name = name_of(host)
    if name is None:
        return False
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return is_named(name, hosts)
    return True


def default_hosts(server_name: str, own_name: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    """The hosts under whose names a server is reached without a proxy.

    Args:
        server_name: the name or address that the server listens at.
        own_name: the machine's name in its network.
        environment: of the program. On a Space the server is public, and its names are the hub's.
    """
    if environment.get("SPACE_ID"):
        return (ANY,)
    names = ("localhost", server_name, own_name, f"{own_name}.local")
    return tuple(dict.fromkeys(name.lower() for name in names if name))


def is_loopback(name: str) -> bool:
    """Whether a server that listens at a name or address is reached by its own machine alone."""
    try:
        return name == "localhost" or ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def name_of(host: str) -> str | None:
    """The name or address in a Host header, without its port; None for what is neither."""
    match = _HOST.fullmatch(host)
    return match["name"].lower().rstrip(".") if match else None


def is_named(name: str, hosts: Sequence[str]) -> bool:
    """Whether a name, in lower case, is one of these names or fits one of these patterns."""
    return any(fnmatchcase(name, pattern) for pattern in hosts)
