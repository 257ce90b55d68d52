"""The clip store: expiry and formats."""

import os
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from musicgen.errors import InputError
from musicgen.serving.clip_store import FILE_BYTES, ClipStore


def test_clips_expire(tmp_path: Path) -> None:
    store = ClipStore(tmp_path, hours=1)
    old, new = store.new_path("a.flac"), store.new_path("a.flac")
    old.write_bytes(b"x")
    new.write_bytes(b"x")
    os.utime(old, (time.time() - 4000, time.time() - 4000))
    assert store.delete_expired() == 1
    assert not old.exists()
    assert new.exists()
    assert store.delete_expired(time.time() + 8000) == 1
    assert list((tmp_path / "clips").iterdir()) == [] if (tmp_path / "clips").exists() else True
    store.close()


def test_the_total_is_not_below_nothing(tmp_path: Path) -> None:
    """A clip is deleted during a count that has not met it; the next count is right again."""
    store = ClipStore(tmp_path / "store", hours=1)
    (tmp_path / "a.bin").write_bytes(b"x" * 5_000)
    clip = store.copy(tmp_path / "a.bin")

    def count() -> int:
        store.delete(clip)
        return 0

    store.usage.counted(count)
    assert store.used_bytes() == store.count() == store.used_bytes() == 0
    store.close()


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["copy", "delete", "gradio", "expire", "count"]), st.integers(0, 3)), max_size=8
    )
)
def test_the_total_is_that_of_the_disk(tmp_path: Path, steps: list) -> None:
    """Whatever happens, it is no less than what the store has written, and after a count what the system says."""
    store = ClipStore(Path(tempfile.mkdtemp(dir=tmp_path)), hours=1)
    clips, foreign = [], 0
    for number, (step, which) in enumerate(steps):
        if step == "copy":
            source = tmp_path / f"source{number}.bin"
            source.write_bytes(bytes([number]) * 1_000 * (which + 1))
            clips.append(store.copy(source))
        elif step == "delete" and clips:
            store.delete(clips.pop(which % len(clips)))
        elif step == "gradio":
            (store.folder / f"other{number}").write_bytes(b"x" * 500)
            foreign += 500 + FILE_BYTES
        elif step == "expire":
            store.delete_expired(time.time() + 8_000)
            clips, foreign = [], 0
        elif step == "count":
            store.count()
            foreign = 0
        on_disk = sum(
            os.lstat(Path(folder, name)).st_size + FILE_BYTES
            for folder, _, names in os.walk(store.folder)
            for name in names
        )
        assert store.used_bytes() >= on_disk - foreign
    assert store.count() == store.used_bytes() == on_disk if steps else True
    store.close()


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    store = ClipStore(tmp_path, hours=1)
    with pytest.raises(InputError, match="unknown format"):
        store.convert(tmp_path / "clip.flac", "../../etc/passwd")
    with pytest.raises(InputError, match="has expired"):
        store.convert(tmp_path / "clip.flac", "wav")
    store.close()
