"""Shared fixtures: no test reaches the network, and every model is tiny and random.

The stand-ins have the layout and the names of the published files; only their sizes differ. What a machine may lack is asked
for through `tests.machine`; the soundfont is a tiny one of `tests.soundfont`, but for the tests that measure the real one.
"""

import atexit
import os
import runpy
import shutil
import tempfile
from pathlib import Path

# Before any import that reads them. laion_clap and transformers would otherwise ask the network at import.
os.environ["HF_HUB_OFFLINE"] = "1"
FOLDER = Path(tempfile.mkdtemp(prefix="musicgen-tests-"))
os.environ["HF_HOME"] = str(FOLDER)
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
# The telemetry of libraries that ask nobody.
os.environ |= {
    "DO_NOT_TRACK": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "RAY_USAGE_STATS_ENABLED": "0", "WANDB_MODE": "disabled",
}  # fmt: skip

# Watches this process from now on, and those that it starts.
REACHED = FOLDER / "reached"
REACHED.touch()
os.environ["MUSICGEN_TESTS_REACHED"] = str(REACHED)
GUARD = str(Path(__file__).parent / "guard")
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (GUARD, os.environ.get("PYTHONPATH"))))
runpy.run_path(f"{GUARD}/sitecustomize.py")

import pytest  # noqa: E402
import torch  # noqa: E402

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported: its kernels run here too, slowly

from musicgen.errors import InputError  # noqa: E402
from musicgen.training.corpus import soundfont_path  # noqa: E402
from tests import machine, soundfont, standins  # noqa: E402

GOLDEN = Path(__file__).parent / "golden"
TEXTS = ["slow calm piano music", "a loud rock beat with fast drums and epic guitar"]
"""The two descriptions that the golden numbers were made with."""

torch.set_num_threads(min(2, torch.get_num_threads()))

SOUNDFONT = "MUSICGEN_SOUNDFONT"
REAL_SOUNDFONT = os.environ.get(SOUNDFONT)
"""What the person who runs the tests set, if anything."""
os.environ[SOUNDFONT] = str(soundfont.write(FOLDER / "sines.sf2"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--complete", action="store_true", help="fail where the machine lacks a browser, a database or the soundfont"
    )


def pytest_configure(config: pytest.Config) -> None:
    machine.complete = config.getoption("--complete")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    seed = getattr(config.option, "randomly_seed", None)
    if config.pluginmanager.hasplugin("randomly"):
        terminalreporter.write_line(f"This order of the tests again: pytest -p randomly -p randomly_seed={seed}")


@pytest.fixture(autouse=True)
def _this_machine_alone():
    """Fails the test during which another machine is called, whatever becomes of the refusal."""
    before = REACHED.stat().st_size
    yield
    if REACHED.stat().st_size > before:
        called = REACHED.read_text()[before:].splitlines()
        pytest.fail(f"the test reaches beyond this machine: {'; '.join(dict.fromkeys(called))}", pytrace=False)


@pytest.fixture(scope="session")
def renderer() -> None:
    """For tests that render: the soundfont is always there, the synthesiser is not."""
    pytest.importorskip("tinysoundfont", reason="the package tinysoundfont is not installed")


@pytest.fixture
def real_soundfont(renderer, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    """For tests that measure sound: the soundfont that the mix was made for, or the one that MUSICGEN_SOUNDFONT names."""
    if REAL_SOUNDFONT:
        monkeypatch.setenv(SOUNDFONT, REAL_SOUNDFONT)
    else:
        monkeypatch.delenv(SOUNDFONT)
    try:
        soundfont_path()
    except InputError as error:
        machine.lacks(str(error))


@pytest.fixture(scope="session")
def hub_cache():
    """The hub cache of this test session; `standins.publish` puts models into it."""
    cache = Path(os.environ["HF_HOME"]) / "hub"
    standins.publish(cache, "t5-base", GOLDEN / "t5_tiny")
    return cache


@pytest.fixture(scope="session")
def audiocraft_folder(hub_cache, tmp_path_factory):  # noqa: ARG001 (puts T5 into the cache)
    """kind -> folder with the golden checkpoints in audiocraft's own files."""

    def make(kind: str) -> Path:
        folder = tmp_path_factory.mktemp(f"audiocraft-{kind}")
        shutil.copy(GOLDEN / f"lm_{kind}" / "state_dict.bin", folder)
        shutil.copy(GOLDEN / "encodec" / "compression_state_dict.bin", folder)
        return folder

    return make
