"""Compiled code is kept where that is possible; where it is not, or what was kept is damaged, it is compiled anew."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

LIBROSA = "from musicgen.chroma import _filters; print(tuple(_filters().shape))"
KERNELS = "import numba; import musicgen.engine.backends.x86.gemv; print(numba.config.CACHE_DIR)"


def run(code: str, tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "XDG_"))}
    # Not beside the packages' files, which whoever runs the tests can write.
    kept |= {"NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator,UserWideCacheLocator", "TMPDIR": str(tmp_path)}
    return subprocess.run([sys.executable, "-c", code], env=kept | environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("code", "environment"),
    [
        pytest.param(LIBROSA, {"XDG_CACHE_HOME": "/proc/nothing"}, id="librosa", marks=pytest.mark.slow),
        pytest.param(KERNELS, {"HOME": "/proc/nothing"}, id="x86"),
    ],
)
def test_compiles_where_no_cache_can_be_written_and_leaves_nothing(code, environment, tmp_path):
    result = run(code, tmp_path, **environment)
    assert result.returncode == 0, result.stderr
    assert not list(tmp_path.glob("musicgen-compiled-*"))


def test_numba_alone_refuses(tmp_path):
    """Else the test above shows nothing."""
    result = run(
        "from librosa.filters import chroma; chroma(sr=32000, n_fft=2048)", tmp_path, XDG_CACHE_HOME="/proc/nothing"
    )
    assert "no locator available" in result.stderr


def test_a_home_that_can_be_written_is_used(tmp_path):
    result = run(KERNELS, tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert result.returncode == 0, result.stderr
    assert not result.stdout.strip()
    assert list((tmp_path / "cache" / "musicgen").glob("compiled-*"))


def test_a_folder_that_was_named_stays(tmp_path):
    result = run(KERNELS, tmp_path, XDG_CACHE_HOME="/proc/nothing", NUMBA_CACHE_DIR=str(tmp_path / "named"))
    assert result.stdout.strip() == str(tmp_path / "named")


MODULE = """
import numba

@numba.njit(cache=True)
def twice(x):
    return 2 * x
"""
CALL = "from kept import twice; assert twice(21) == 42; print(sum(twice.stats.cache_hits.values()))"
FORGIVING = "from musicgen import numba_cache; numba_cache.provide(); "
FULL = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); "


def hits(code: str, folder: Path) -> int:
    """How many compiled functions came from the cache."""
    environment = {
        "PYTHONPATH": os.pathsep.join([str(folder), str(Path(__file__).parents[1])]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    result = run(code, folder, NUMBA_CACHE_DIR=str(folder / "cache"), **environment)
    assert result.returncode == 0, result.stderr
    return int(result.stdout)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A folder with a module whose compiled code is in a cache."""
    (tmp_path / "kept.py").write_text(MODULE)
    assert hits(FORGIVING + CALL, tmp_path) == 0
    assert hits(FORGIVING + CALL, tmp_path) == 1
    return tmp_path


@pytest.mark.parametrize(("suffix", "share"), [(".nbi", 0.0), (".nbi", 0.6), (".nbc", 0.6)])
def test_a_file_that_was_cut_is_written_anew(suffix: str, share: float, kept: Path) -> None:
    (file,) = (kept / "cache").rglob(f"*{suffix}")
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(AssertionError, match=r"EOFError|UnpicklingError|pickle data was truncated"):
        hits(CALL, kept)  # Numba alone
    assert hits(FORGIVING + CALL, kept) == 0
    assert hits(FORGIVING + CALL, kept) == 1


def test_a_full_disk_costs_a_compilation(tmp_path: Path) -> None:
    """A process that may write no byte stands for it."""
    (tmp_path / "kept.py").write_text(MODULE)
    with pytest.raises(AssertionError, match="File too large"):
        hits(FULL + CALL, tmp_path)
    assert hits(FULL + FORGIVING + CALL, tmp_path) == 0


TWO_THREADS = """
import sys, threading, time
from musicgen import numba_cache

failed = []

def work():
    try:
        numba_cache.provide()
    except ImportError as error:
        failed.append(error)

def work_later():
    while "numba.stencils.stencil" not in sys.modules:  # Numba is half imported
        time.sleep(0.0005)
    work()

threads = [threading.Thread(target=target) for target in (work, work_later)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(failed)
"""


def test_two_threads_import_numba_at_the_same_time(tmp_path):
    """As the page's warm-up and its first visitor's clip do."""
    assert run(TWO_THREADS, tmp_path).stdout.strip() == "[]"
