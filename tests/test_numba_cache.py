import os
import subprocess
import sys
from pathlib import Path

import pytest

LIBROSA = "from musicgen.chroma import _filters; print(tuple(_filters().shape))"
AVX512 = "import numba; import musicgen.engine.backends.avx512.gemv; print(numba.config.CACHE_DIR)"


def run(code: str, tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "XDG_"))}
    # Not beside the packages' files, which whoever runs the tests can write.
    kept |= {"NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator,UserWideCacheLocator", "TMPDIR": str(tmp_path)}
    return subprocess.run([sys.executable, "-c", code], env=kept | environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("code", "environment"),
    [(LIBROSA, {"XDG_CACHE_HOME": "/proc/nothing"}), (AVX512, {"HOME": "/proc/nothing"})],
    ids=["librosa", "avx512"],
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
    result = run(AVX512, tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert result.returncode == 0, result.stderr
    assert not result.stdout.strip()
    assert list((tmp_path / "cache" / "musicgen").glob("compiled-*"))


def test_a_folder_that_was_named_stays(tmp_path):
    result = run(AVX512, tmp_path, XDG_CACHE_HOME="/proc/nothing", NUMBA_CACHE_DIR=str(tmp_path / "named"))
    assert result.stdout.strip() == str(tmp_path / "named")
