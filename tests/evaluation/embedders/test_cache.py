"""The cache: whole entries or none, damage found, old entries collected."""

import os
import time

import numpy as np
import pytest

from evaluation.embedders.cache import SUFFIX, Cache
from musicgen.errors import InputError

KEY = "ab" + "0" * 62


def test_what_is_put_is_got(tmp_path):
    cache = Cache(tmp_path)
    assert cache.get(KEY) is None
    assert KEY not in cache
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    cache.put(KEY, array, "passt a.wav")
    assert KEY in cache
    assert np.array_equal(cache.get(KEY), array)
    (entry,) = cache.entries()
    assert (entry.key, entry.label) == (KEY, "passt a.wav")


def test_damage_counts_as_absent(tmp_path):
    cache = Cache(tmp_path)
    cache.put(KEY, np.ones(5), "x")
    other = "cd" + "0" * 62
    cache.put(other, np.ones(5), "y")
    file = tmp_path / "ab" / f"{KEY}{SUFFIX}"
    file.write_bytes(file.read_bytes()[:-3])
    assert cache.verify() == [KEY]
    assert [entry.key for entry in cache.entries()] == [other]
    file = tmp_path / "cd" / f"{other}{SUFFIX}"
    file.write_bytes(b"garbage")
    assert cache.get(other) is None
    assert not file.exists()


def test_old_entries_and_torn_files_are_collected(tmp_path):
    cache = Cache(tmp_path)
    cache.put(KEY, np.ones(5), "x")
    cache.put("cd" + "0" * 62, np.ones(5), "y")
    long_ago = time.time() - 40 * 86_400
    os.utime(tmp_path / "ab" / f"{KEY}{SUFFIX}", (long_ago, long_ago))
    torn = tmp_path / "ab" / ".tmp-x"
    torn.write_bytes(b"half")
    os.utime(torn, (long_ago, long_ago))
    count, size = cache.collect(30)
    assert count == 1
    assert size > 4
    assert not torn.exists()
    assert len(list(cache.entries())) == 1


def test_a_cache_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot write to the cache"):
        Cache(tmp_path / "file").put(KEY, np.ones(2), "x")
