"""The clip store: expiry and formats."""

import os
import time
from pathlib import Path

import pytest

from demo.clip_store import ClipStore
from musicgen.errors import InputError


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


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    store = ClipStore(tmp_path, hours=1)
    with pytest.raises(InputError, match="unknown format"):
        store.convert(tmp_path / "clip.flac", "../../etc/passwd")
    with pytest.raises(InputError, match="has expired"):
        store.convert(tmp_path / "clip.flac", "wav")
    store.close()
