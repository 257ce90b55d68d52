"""What a Hugging Face Space builds from the repository: its settings, and one resolution of all that it installs."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
ZERO_GPU_PYTHON = ("3.10", "3.12")
ZERO_GPU_TORCH = ("2.8.0", "2.9.1", "2.10.0", "2.11.0")


@pytest.fixture
def settings() -> dict:
    return yaml.safe_load((ROOT / "README.md").read_text().split("---")[1])


@pytest.fixture
def pins() -> dict[str, str]:
    """Package -> version, of requirements.txt."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return dict(re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?==([\w.]+)", "\n".join(lines), flags=re.MULTILINE))


def test_a_space_gets_what_the_program_is_pinned_to(settings: dict, pins: dict[str, str]) -> None:
    assert pins["gradio"] == settings["sdk_version"]
    assert (settings["sdk"], (ROOT / settings["app_file"]).is_file()) == ("gradio", True)
    assert settings["python_version"] in ZERO_GPU_PYTHON
    assert pins["torch"] in ZERO_GPU_TORCH


def test_a_spaces_settings_are_what_the_hub_takes(settings: dict) -> None:
    known = {
        "title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "python_version", "app_file", "license",
        "short_description", "suggested_hardware", "startup_duration_timeout", "models", "preload_from_hub", "tags",
    }  # fmt: skip
    assert set(settings) <= known  # others, such as `hardware`, are ignored without a word
    assert 0 < len(settings["short_description"]) <= 60
    for entry in settings["preload_from_hub"]:
        repository, files = entry.split()  # a comma between files, no space
        assert repository in settings["models"]
        assert "model.safetensors" in files.split(",")
    assert {settings["colorFrom"], settings["colorTo"]} <= {
        "red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray",
    }  # fmt: skip


def test_git_takes_no_binary_for_text() -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if tracked.returncode:
        pytest.skip("no clone")
    binary = [
        name for name in tracked.stdout.decode().split("\0") if name and b"\0" in (ROOT / name).read_bytes()[:8000]
    ]
    assert len(binary) > 20
    attributes = subprocess.run(
        ["git", "check-attr", "-z", "--stdin", "text"], cwd=ROOT, input="\0".join(binary), capture_output=True, text=True,
        check=True,
    ).stdout.split("\0")[:-1]  # fmt: skip
    assert dict(zip(attributes[::3], attributes[2::3], strict=True)) == dict.fromkeys(binary, "unset")


@pytest.mark.slow
def test_what_a_space_installs_resolves_in_one_go(settings: dict, pins: dict[str, str], tmp_path: Path) -> None:
    """As the hub's builder asks pip: our requirements, and what it adds itself."""
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not installed")
    asked = (ROOT / "requirements.txt").read_text()
    sdk = f"gradio[oauth,mcp]=={settings['sdk_version']}"
    asked += "\n".join(["", sdk, "uvicorn>=0.14.0", "websockets>=10.4", "spaces", ""])
    (tmp_path / "asked.txt").write_text(asked)
    # For the Space's Python, by the interpreter that is here.
    command = [
        uv, "pip", "compile", "-q", "asked.txt", "-o", "resolved.txt", "--python-version", settings["python_version"],
        "--python-platform", "x86_64-manylinux_2_28", "--python", sys.executable, "--no-python-downloads",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=280)
    if re.search("error sending request|dns error|timed out|Could not connect", done.stderr):
        pytest.skip("no package registry can be reached")
    assert done.returncode == 0, done.stderr
    resolved = (tmp_path / "resolved.txt").read_text()
    for name, version in pins.items():
        assert re.search(
            rf"^{canonicalize_name(name)}(\[[\w,]+\])?=={re.escape(version)}$", resolved, flags=re.MULTILINE
        )
    assert re.search("^spaces==", resolved, flags=re.MULTILINE)
