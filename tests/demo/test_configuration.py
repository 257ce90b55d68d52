"""Flags and environment variables."""

from pathlib import Path

import httpx
import pytest

from demo import configuration
from demo.configuration import Configuration, Limits
from demo.service import Service
from musicgen.errors import InputError
from tests.demo.conftest import serving
from tests.demo.test_api import fields, post


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
        ["--engine", "http://127.0.0.1:8650", "--allow-training"],
        ["--engine", "http://127.0.0.1:8650", "--models", "mini"],
    ):
        with pytest.raises(InputError):
            configuration.parse(bad, {})


def test_a_page_with_the_smallest_limits_is_served(tmp_path: Path) -> None:
    """Gradio's sliders, for one, refuse two ends at the same place."""
    limits = Limits(
        max_duration=1.0, max_prompt=10, max_variations=1, max_timeline_entries=1, queue=1, per_visitor=1, per_address=1,
        queue_seconds=1.0, upload_mb=1, keep_hours=0.01, disk_gb=0.001, history=1,
    )  # fmt: skip
    with serving(Service(Configuration(limits=limits), tmp_path)) as address:
        assert httpx.get(address).status_code == 200
        assert "event: complete" in post(address, "generate", fields(duration=1.0))
        assert "it must lie between 0.5 and 1 s" in post(address, "generate", fields(duration=1.5))
        assert "variations is 2" in post(address, "generate", fields(variations=2))
    with pytest.raises(ValueError, match=r"max_duration is 0.5: it must be above 0.5 s, the shortest clip"):
        Limits(max_duration=0.5)
