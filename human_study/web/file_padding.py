"""Padding of audio files: the same samples in a file of another size.

The hidden reference and the open reference have the same samples. Files of equal size would identify the hidden one in the
browser's network panel. So each copy, and other files whose size would reveal something, gets different padding, which decoders
skip.
"""

from __future__ import annotations

import struct

STREAMINFO_END = 4 + 4 + 34
"""A FLAC file starts with a marker of 4 bytes and a STREAMINFO block: a header of 4 bytes, 34 of data (RFC 9639, §8)."""

MAX_PADDING = 4096
"""Of the part that is random."""

MAX_BLOCK = 2**24 - 1
"""Bytes of a FLAC block's data."""


def pad_flac(data: bytes, length: int) -> tuple[bytes, memoryview]:
    """Insert PADDING blocks after STREAMINFO (RFC 9639, §8.3).

    Args:
        data: a FLAC file.
        length: of the blocks' data in bytes, all of them together.

    Returns:
        The file's beginning, and the rest of it, which is no copy.
    """
    last = data[4] & 0x80
    header = bytes([data[4] & 0x7F]) + data[5:STREAMINFO_END]
    sizes = [MAX_BLOCK] * (length // MAX_BLOCK) + [length % MAX_BLOCK]
    blocks = [bytes([1]) + struct.pack(">I", size)[1:] + bytes(size) for size in sizes]
    blocks[-1] = bytes([last | 1]) + blocks[-1][1:]
    return data[:4] + header + b"".join(blocks), memoryview(data)[STREAMINFO_END:]


def pad_mp3(data: bytes, length: int) -> tuple[bytes, memoryview]:
    """Prepend an empty ID3v2.3 tag; its size is written in groups of 7 bits.

    Args:
        data: an MP3 file.
        length: of the tag's body in bytes.

    Returns:
        The file's beginning, and the rest of it, which is no copy.
    """
    size = bytes((length >> shift) & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\x00\x00" + size + bytes(length), memoryview(data)
