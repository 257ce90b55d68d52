"""Shared fixtures: no test reaches the network, and every model is tiny and random.

The stand-ins have the layout and the names of the published files; only their sizes differ. What a machine may lack is asked
for through `tests.machine`; the soundfont is a tiny one of `tests.soundfont`, but for the tests that measure the real one.
"""

import atexit
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

# Before any import that reads them. laion_clap and transformers would otherwise ask the network at import.
os.environ["HF_HUB_OFFLINE"] = "1"
FOLDER = Path(tempfile.mkdtemp(prefix="musicgen-tests-"))
os.environ["HF_HOME"] = str(FOLDER)
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
# Worker processes of pytest-xdist share the cores: more threads than cores would wait for each other.
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
THREADS = max(1, min(2, (os.cpu_count() or 1) // WORKERS))
if WORKERS > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))  # of the programs that tests start, too
# The telemetry of libraries that ask nobody.
os.environ |= {
    "DO_NOT_TRACK": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "RAY_USAGE_STATS_ENABLED": "0", "WANDB_MODE": "disabled",
}  # fmt: skip

# A run in the background (nohup, a script's `&`) ignores Ctrl-C; the programs that tests start and interrupt would do so too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Uvicorn closes all logging handlers when it configures logging, and absl's, which TensorBoard brings, then closes the stream
# that it was made with, unless that is still standard error: pytest's file for what a test prints.
with contextlib.suppress(ImportError):
    import absl.logging

    absl.logging.get_absl_handler().python_handler.stream = sys.__stderr__

from tests import machine  # noqa: E402

machine.watch(FOLDER)

import pytest  # noqa: E402
import torch  # noqa: E402

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported: its kernels run here too, slowly

from musicgen.errors import InputError  # noqa: E402
from musicgen.training.corpus import soundfont_path  # noqa: E402
from tests import soundfont, standins  # noqa: E402
from tests.machine import (  # noqa: E402, F401 (pytest looks for them here)
    pytest_addoption,
    pytest_configure,
    pytest_terminal_summary,
    this_machine_alone,
)

GOLDEN = Path(__file__).parent / "golden"
TEXTS = ["slow calm piano music", "a loud rock beat with fast drums and epic guitar"]
"""The two descriptions that the golden numbers were made with."""

SOUNDFONT = "MUSICGEN_SOUNDFONT"
REAL_SOUNDFONT = None if os.environ.get(SOUNDFONT, "").endswith("sines.sf2") else os.environ.get(SOUNDFONT)
"""What the person who runs the tests set, if anything."""
os.environ[SOUNDFONT] = str(soundfont.write(FOLDER / "sines.sf2"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """PyTorch as if no test had been there before."""
    torch.manual_seed(0)
    torch.set_num_threads(THREADS)


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
    """The hub cache of this test session; `standins.publish` puts models into it, for a module."""
    cache = Path(os.environ["HF_HOME"]) / "hub"
    standins.publish(cache, "t5-base", GOLDEN / "t5_tiny")
    return cache


@pytest.fixture(scope="module", autouse=True)
def _hub_as_it_was(hub_cache: Path, tmp_path_factory: pytest.TempPathFactory):
    """What a module publishes is gone after it: others see what they publish themselves."""
    before = tmp_path_factory.mktemp("hub") / "before"
    shutil.copytree(hub_cache, before, symlinks=True)
    yield
    shutil.rmtree(hub_cache)
    shutil.move(before, hub_cache)


@pytest.fixture(scope="module")
def published_models(hub_cache: Path, audiocraft_folder, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tiny random models under the names of a published text model and a melody model, as if fetched."""
    small = standins.write(standins.transformers_model(), tmp_path_factory.mktemp("small"))
    standins.publish(hub_cache, "facebook/musicgen-small", small)
    standins.publish(hub_cache, "facebook/musicgen-melody", audiocraft_folder("melody"))


@pytest.fixture(scope="session")
def audiocraft_folder(hub_cache, tmp_path_factory):  # noqa: ARG001 (puts T5 into the cache)
    """kind -> folder with the golden checkpoints in audiocraft's own files."""

    def make(kind: str) -> Path:
        folder = tmp_path_factory.mktemp(f"audiocraft-{kind}")
        shutil.copy(GOLDEN / f"lm_{kind}" / "state_dict.bin", folder)
        shutil.copy(GOLDEN / "encodec" / "compression_state_dict.bin", folder)
        return folder

    return make
