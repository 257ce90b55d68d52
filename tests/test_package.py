"""The package as strangers install it: the wheel's contents, its dependencies, and its commands outside the repository."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tomllib
import urllib.request
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
import soundfile
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools import dependencies

ROOT = Path(__file__).parents[1]
INSTALLED = {"musicgen": "musicgen", "demo": "musicgen_demo", "evaluation": "musicgen_evaluation",
             "human_study": "musicgen_human_study"}  # fmt: skip
CACHES = shutil.ignore_patterns("__pycache__", "*.pyc")


def run(*command, **options) -> str:
    result = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=240, check=False, **options
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy of the sources, so that the repository stays as it is."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for folder in INSTALLED:
        shutil.copytree(ROOT / folder, source / folder, ignore=CACHES)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", built, source)
    return next(built.glob("*.whl"))


@pytest.fixture(scope="module")
def commands(wheel, tmp_path_factory) -> Path:
    """The folder of commands of an environment that holds the wheel; its dependencies are those that the tests run on."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder)
    packages = folder / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    run(sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet", "--no-deps", "--no-index",
        "--disable-pip-version-check", wheel)  # fmt: skip
    return folder / "bin"


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """An empty current folder, and nothing of the repository on Python's path."""
    monkeypatch.chdir(tmp_path)
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def test_the_wheel_holds_every_file_of_the_packages(wheel):
    there = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        f"{package}/{file.relative_to(ROOT / folder).as_posix()}"
        for folder, package in INSTALLED.items()
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and file.name != ".gitignore"
    }
    assert there >= expected
    assert {name for name in there if ".dist-info/" not in name} == expected


def test_torch_and_torchaudio_are_one_release():
    """What pip installs without the lock: torchaudio loads beside the very release of PyTorch that it was built with."""
    core = {one.name: one for one in map(Requirement, dependencies.requirements([]))}
    (torch,), (torchaudio,) = core["torch"].specifier, core["torchaudio"].specifier
    assert torch.operator == torchaudio.operator == "=="
    assert torch.version == torchaudio.version


def test_requirements_are_the_core_and_the_demo_as_locked():
    locked = [Requirement(line) for line in lines(ROOT / "constraints.txt")]
    pins = {}
    for requirement in locked:
        pins.setdefault(canonicalize_name(requirement.name), []).append(next(iter(requirement.specifier)).version)
    assert [dependencies.canonical(Requirement(line).name) for line in lines(ROOT / "requirements.txt")] == [
        canonicalize_name(Requirement(line).name) for line in dependencies.requirements(["demo"])
    ]
    for line in lines(ROOT / "requirements.txt"):
        requirement = Requirement(line)
        assert [next(iter(requirement.specifier)).version] == pins[canonicalize_name(requirement.name)], line
    for line in dependencies.requirements(["dev"]):
        requirement = Requirement(line)
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)][0], prereleases=True), line


def test_the_tests_run_on_the_locked_versions():
    wrong = [
        f"{requirement} but {version(requirement.name)}"
        for requirement in map(Requirement, lines(ROOT / "requirements.txt"))
        if requirement.marker is None or requirement.marker.evaluate()
        if not requirement.specifier.contains(version(requirement.name).split("+")[0])
    ]
    assert not wrong


def test_a_space_gets_the_gradio_that_is_locked():
    wanted = re.search(r"^sdk_version: (\S+)$", (ROOT / "README.md").read_text(), re.MULTILINE)[1]
    assert f"gradio[mcp]=={wanted}" in lines(ROOT / "requirements.txt")


def test_an_unknown_extra_is_named():
    with pytest.raises(SystemExit, match="no extra 'studi' in pyproject"):
        dependencies.requirements(["studi"])


def test_generate_and_list(commands, environment, tmp_path):
    run(
        commands / "musicgen",
        "generate",
        "sad jazz",
        "--duration",
        "1",
        "--output",
        "jazz.flac",
        "--seed",
        "1",
        env=environment,
    )
    assert soundfile.info(tmp_path / "jazz.flac").frames == 32000
    assert "mini-stereo-melody" in run(commands / "musicgen", "models", env=environment)
    where = run(commands / "python", "-c", "import musicgen; print(musicgen.__file__)", env=environment)
    assert not where.startswith(str(ROOT))


def test_evaluate(commands, environment, tmp_path):
    run(commands / "musicgen-evaluate", "generate", "synth", "--system", "mini", "--limit", "4", "--out", "samples",
        env=environment)  # fmt: skip
    run(commands / "musicgen-evaluate", "score", "synth", "samples", "--limit", "4",
        "--out", "result.json", env=environment)  # fmt: skip
    assert json.loads((tmp_path / "result.json").read_text())
    assert "| mini |" in run(commands / "musicgen-evaluate", "table", "result.json", env=environment)


def test_study(commands, environment, free_port):
    run(commands / "musicgen-study", "example", "--build-only", env=environment)
    with serving(commands / "musicgen-study", "example", "--port", free_port, environment=environment) as page:
        assert "<html" in page(f"http://127.0.0.1:{free_port}/")


def test_page(commands, environment, free_port):
    from gradio_client import Client

    environment["GRADIO_SERVER_PORT"] = str(free_port)
    with serving(commands / "musicgen", "demo", environment=environment) as page:
        assert "MusicGen" in page(f"http://127.0.0.1:{free_port}/")
        client = Client(f"http://127.0.0.1:{free_port}/", verbose=False)
        assert client.view_api(return_format="dict")["named_endpoints"]


@pytest.fixture
def free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class serving:
    """A server in a process of its own; `page(address)` waits until it answers."""

    def __init__(self, *command, environment):
        self.command, self.environment = [str(part) for part in command], environment

    def __enter__(self):
        self.process = subprocess.Popen(
            self.command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        return self.page

    def page(self, address: str) -> str:
        import time

        for _ in range(600):
            try:
                return urllib.request.urlopen(address, timeout=10).read().decode()
            except OSError:
                assert self.process.poll() is None, self.process.stderr.read()
                time.sleep(0.1)
        raise AssertionError(f"{address} does not answer")

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.process.stderr.close()


def lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]


def test_every_supported_python_is_named_in_one_way():
    described = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    minors = [int(one.rsplit(".", 1)[1]) for one in described["classifiers"] if re.search(r"Python :: 3\.\d+$", one)]
    assert described["requires-python"] == f">=3.{minors[0]},<3.{minors[-1] + 1}"
    assert f"(3, {minors[0]}) <= sys.version_info[:2] <= (3, {minors[-1]})" in (ROOT / "Makefile").read_text()
