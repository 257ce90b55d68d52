"""Writing a WAV file of unknown length to a pipe, for FFmpeg, SoX, or a player.

    RIFF ffffffff WAVE | fmt | LIST INFO, _PMX (the tags) | data ffffffff, samples to the end

A pipe cannot be rewound to fill in the sizes. By convention they are then the largest number, which FFmpeg writes too
(`ff_write_riff_header` for streams that cannot seek), and which FFmpeg, SoX and libsndfile read as "to the end".
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from typing import BinaryIO

import soundfile
import torch

from musicgen.tags import riff_chunk, riff_chunks

_UNKNOWN = 0xFFFFFFFF
_PCM = 1
_BYTES = 2
"""Of a sample: 16 bits, as `audio.write` has them."""


class WavStream:
    """Writes a WAV file part by part; nothing is held back.

    Args:
        file: Where to: a pipe, a socket, a file.
        rate: Hz.
        channels: C.
        tags: Text by name, read back by `audio.read_tags`.
    """

    def __init__(self, file: BinaryIO, rate: int, channels: int, tags: Mapping[str, str] | None = None) -> None:
        self._file, self._rate, self._channels = file, rate, channels
        frame = _BYTES * channels
        format_chunk = struct.pack("<HHIIHH", _PCM, channels, rate, rate * frame, frame, 8 * _BYTES)
        head = b"RIFF" + struct.pack("<I", _UNKNOWN) + b"WAVE" + riff_chunk(b"fmt ", format_chunk)
        head += riff_chunks(tags or {})
        self._file.write(head + b"data" + struct.pack("<I", _UNKNOWN))
        self._file.flush()

    def write(self, wave: torch.Tensor) -> None:
        """Append a part, float32 [C, T]; samples beyond [-1, 1] are clipped.

        Raises:
            BrokenPipeError: Nobody reads any more.
        """
        # Converted by libsndfile, as those of a file are.
        samples, buffer = wave.detach().cpu().float().clamp(-1, 1).numpy().T, io.BytesIO()
        with soundfile.SoundFile(
            buffer, "w", self._rate, self._channels, subtype="PCM_16", format="RAW", endian="LITTLE"
        ) as raw:
            raw.write(samples)
        self._file.write(buffer.getvalue())
        self._file.flush()
