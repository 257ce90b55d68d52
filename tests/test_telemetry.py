"""The programs as users run them, with nobody's telemetry switched off by hand: nothing leaves the machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SWITCHES = ("DO_NOT_TRACK", "HF_HUB_DISABLE_TELEMETRY", "RAY_USAGE_STATS_ENABLED", "WANDB_MODE", "HF_HUB_OFFLINE")
"""What tests/conftest.py sets for the other tests."""

PROGRAM = """
import time
import httpx
from demo import ui
from demo.configuration import Configuration
from musicgen.serving.request import ClipRequest
from demo.service import Service
service = Service(Configuration(models=("mini",)))
page = ui.build(service)
ui.launch(page, service, server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
assert httpx.get(page.local_url, trust_env=False).status_code == 200
assert httpx.get(page.local_url + "config", trust_env=False).status_code == 200
assert service.submit("me", ClipRequest("drums", "mini", 0.5)).wait(120)
time.sleep(1.0)
service.close()
page.close()
print("served")
"""


def test_the_page_calls_nobody(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if name not in SWITCHES}
    notes = tmp_path / "reached"
    notes.touch()
    environment = kept | {"MUSICGEN_TESTS_REACHED": str(notes), "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert "served" in done.stdout, done.stderr[-1_000:]
    assert notes.read_text() == ""


def test_ray_sends_no_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Ray itself sees it when it is about to start."""
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    from ray._common.usage import usage_lib

    from evaluation.pipeline import cluster

    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED")
    enabled: list[bool] = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_arguments: enabled.append(usage_lib.usage_stats_enabled()))
    cluster.connect("local")
    assert enabled == [False]
