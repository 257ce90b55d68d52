"""Padding of audio files: the same samples in a file of another length.

The hidden reference and the open reference have the same samples. Files of equal length would identify it to anybody who
looks at the browser's network panel, so each copy gets padding of its own, which decoders skip.
"""

from __future__ import annotations

import struct

STREAMINFO_END = 4 + 4 + 34
"""A FLAC file starts with a marker of 4 bytes and a STREAMINFO block: a header of 4 bytes, 34 of data (RFC 9639, §8)."""

MAX_PADDING = 4096


def pad_flac(data: bytes, length: int) -> bytes:
    """Insert a PADDING block after STREAMINFO (RFC 9639, §8.3).

    Args:
        data: a FLAC file.
        length: of the block's data in bytes.
    """
    last = data[4] & 0x80
    header = bytes([data[4] & 0x7F]) + data[5:STREAMINFO_END]
    return data[:4] + header + bytes([last | 1]) + struct.pack(">I", length)[1:] + bytes(length) + data[STREAMINFO_END:]


def pad_mp3(data: bytes, length: int) -> bytes:
    """Prepend an empty ID3v2.3 tag; its size is written in groups of 7 bits.

    Args:
        data: an MP3 file.
        length: of the tag's body in bytes.
    """
    size = bytes((length >> shift) & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\x00\x00" + size + bytes(length) + data
