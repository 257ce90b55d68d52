"""The limit of open files and connections of a server."""

from __future__ import annotations

import contextlib

MOST = 65_536


def raise_limit() -> int | None:
    """Raise this process's limit of open files to the system's, MOST at most.

    Programs start with a limit of 1,024 on most systems: that many idle connections would block all other clients of a server.

    Returns:
        The limit, None where the system tells none.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    with contextlib.suppress(ValueError, OSError):  # macOS has a lower limit than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
