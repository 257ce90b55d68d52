"""The page's endpoints by their own descriptions: whatever is sent, it is answered in one line, and the log is not flooded."""

import logging
from pathlib import Path

import httpx
import pytest

from demo.configuration import Configuration, Limits
from demo.service import Service
from tests import openapi
from tests.demo.conftest import serving

QUICK = ("/gradio_api/run/{api_name}", "/gradio_api/queue/join", "/gradio_api/upload", "/gradio_api/cancel")
"""The paths that the quick test calls."""
ENDLESS = ("/gradio_api/heartbeat/{session_hash}", "/gradio_api/queue/data", "/gradio_api/upload_progress")
"""Event streams, which end when the client does."""


@pytest.mark.parametrize(
    ("description", "examples"),
    [
        ("openapi.json", 1),  # of each kind
        pytest.param("openapi.json", 30, marks=pytest.mark.slow),
        pytest.param("gradio_api/openapi.json", 30, marks=pytest.mark.slow),
    ],
)
def test_every_answer_is_one_line(
    tmp_path: Path, description: str, examples: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    service = Service(Configuration(limits=Limits(max_duration=5.0)), tmp_path)
    with serving(service) as address:
        document = httpx.get(f"{address}{description}").json()
        left_out = ENDLESS if examples > 1 else [path for path in document["paths"] if path not in QUICK]
        seen: dict[str, set[int]] = {}

        def check(case, answer) -> None:
            seen.setdefault(case.path, set()).add(answer.status_code)
            if answer.status_code >= 500:  # Gradio takes what it cannot read for an error of its own
                assert len(answer.text.splitlines()) == (case.method != "HEAD")
                assert "Traceback" not in answer.text
            assert str(Path.cwd()) not in answer.text, (case.formatted_path, answer.text)

        sent = sum(
            openapi.call(operation, address.rstrip("/"), examples, check)
            for operation in openapi.operations(document, left_out)
        )
        print(f"{sent} requests to {len(seen)} paths: {seen}")
        assert httpx.get(f"{address}config").status_code == 200
    told = [record for record in caplog.records if record.name == "demo.ui.guard"]
    assert len([record for record in told if record.exc_info]) <= 100
    assert all(len(record.getMessage().splitlines()) == 1 for record in told)
    print(f"{len(told)} lines in the log, {sum(record.exc_info is not None for record in told)} tracebacks")


def test_an_error_is_logged_with_one_traceback(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    service = Service(Configuration(), tmp_path)
    with serving(service) as address:
        for number in range(20):
            reply = httpx.post(f"{address}gradio_api/call/v2/x%0Aforged%20line{number}", json={"a\n\x1b[31m": number})
            assert (reply.status_code, len(reply.text.splitlines())) in {(500, 1), (404, 1)}
    told = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert 0 < len(told) <= 20
    assert sum(record.exc_info is not None for record in told) == 1
    assert all(len(record.getMessage().splitlines()) == 1 for record in told)
    assert not any("\x1b" in record.getMessage() for record in told)
