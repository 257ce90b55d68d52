"""A cache of values computed from audio, keyed by the audio's content, with a limit in bytes."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable

from musicgen.audio import Audio


class ContentCache:
    """Sounds by the sound that they were computed from; the ones not asked for the longest go first. Safe for threads.

    What is kept is neither copied nor pickled with its owner.

    Args:
        size: Bytes that all kept sounds may have together. A larger one is not kept.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._reset()

    def _reset(self) -> None:
        self._kept: OrderedDict[bytes, Audio] = OrderedDict()
        self._used = 0
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, int]:
        return {"size": self.size}

    def __setstate__(self, state: dict[str, int]) -> None:
        self.size = state["size"]
        self._reset()

    def get(self, source: Audio, compute: Callable[[], Audio]) -> Audio:
        """The kept result for a sound, else the one of `compute`, which is kept. Callers do not write into it.

        Args:
            source: What the result depends on: its samples and its rate.
            compute: Makes the result.
        """
        key = _digest(source)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = compute()
        with self._lock:
            if key not in self._kept and _bytes(made) <= self.size:
                self._kept[key] = made
                self._used += _bytes(made)
                while self._used > self.size:
                    self._used -= _bytes(self._kept.popitem(last=False)[1])
        return made


def _bytes(audio: Audio) -> int:
    return audio.wave.numel() * audio.wave.element_size()


def _digest(audio: Audio) -> bytes:
    wave = audio.wave.detach().cpu().contiguous().numpy()
    hashed = hashlib.blake2b(repr((wave.shape, str(wave.dtype), audio.rate)).encode(), digest_size=32)
    hashed.update(wave.data)
    return hashed.digest()
