"""How much of the disk the files of one network take: each has a share, so that nobody fills the space of all others."""

from __future__ import annotations

import heapq
import ipaddress
from collections import Counter
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


class Shares:
    """Bytes on the disk by network, each until its file expires. The network "" has no share of its own, and is not counted.

    Args:
        seconds: after which a file expires.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._entries: dict[str, list[tuple[float, int]]] = {}
        """Network -> (when its file was made, bytes), the oldest first; what was deleted has negative ones."""
        self._totals: Counter[str] = Counter()

    def add(self, network: str, size: int, made: float) -> None:
        """Count a file, or with negative bytes the end of one.

        Args:
            network: whose file it is.
            size: bytes.
            made: when the file was made, seconds since the epoch.
        """
        if network:
            heapq.heappush(self._entries.setdefault(network, []), (made, size))
            self._totals[network] += size

    def used(self, network: str, now: float) -> int:
        """Bytes of the files of a network that have not expired.

        Args:
            network: whose files.
            now: seconds since the epoch.
        """
        entries = self._entries.get(network)
        if entries is None:
            return 0
        while entries and entries[0][0] < now - self._seconds:
            self._totals[network] -= heapq.heappop(entries)[1]
        if not entries:
            del self._entries[network], self._totals[network]
        return max(0, self._totals[network])

    def forget_expired(self, now: float) -> None:
        """Forget the networks whose files have all expired."""
        for network in list(self._entries):
            self.used(network, now)
