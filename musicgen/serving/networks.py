"""The client network of a visitor, derived from their IP address. Limits per network cannot be evaded by starting another
session."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

IPV6_PREFIX = 64
"""Bits of an IPv6 address that its owner cannot choose: providers hand out networks of that size, and larger ones."""


def network_of(address: str, environment: Mapping[str, str]) -> str:
    """What a visitor's network address says of who they are.

    Args:
        address: of the visitor.
        environment: of the program. On a Space all visitors have the hub's addresses.

    Returns:
        An IPv4 address as it is; the network of an IPv6 address; what is no address as it is; "" on a Space.
    """
    if environment.get("SPACE_ID"):
        return ""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed.packed[: IPV6_PREFIX // 8].ljust(16, b"\0"), IPV6_PREFIX)))
