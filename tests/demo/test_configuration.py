"""Flags and environment variables."""

import pytest

from demo import configuration


def test_flags_override_the_environment() -> None:
    environment = {"MUSICGEN_DEMO_QUEUE": "5", "MUSICGEN_DEMO_MAX_DURATION": "60", "MUSICGEN_DEMO_MCP": "1"}
    found = configuration.parse(["--queue", "7", "--auth", "a:b:c"], environment)
    assert (found.limits.queue, found.limits.max_duration, found.mcp, found.share) == (7, 60.0, True, False)
    assert found.auth == ("a", "b:c")
    for bad in (
        ["--auth", "nobody"],
        ["--folder", "/nowhere"],
        ["--queue", "0"],
        ["--queue", "x"],
        ["--max-duration", "nan"],
    ):
        with pytest.raises(SystemExit):
            configuration.parse(bad, {})
