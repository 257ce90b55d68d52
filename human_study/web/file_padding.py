"""The same sound in a file of another length.

The hidden reference is the open reference: equal files would give it away to anybody who opens the browser's network
page. Each copy gets its own padding, which decoders skip.
"""

from __future__ import annotations

import struct

STREAMINFO_END = 4 + 4 + 34
"""A FLAC file starts with its marker and one STREAMINFO block of 34 bytes behind a header of 4 (RFC 9639, §8)."""

MAX_PADDING = 4096


def pad_flac(data: bytes, length: int) -> bytes:
    """Insert a PADDING block of `length` zero bytes behind STREAMINFO."""
    last = data[4] & 0x80
    header = bytes([data[4] & 0x7F]) + data[5:STREAMINFO_END]
    return data[:4] + header + bytes([last | 1]) + struct.pack(">I", length)[1:] + bytes(length) + data[STREAMINFO_END:]


def pad_mp3(data: bytes, length: int) -> bytes:
    """Put an ID3v2 tag of `length` zero bytes in front; its size is written in groups of 7 bits."""
    size = bytes((length >> shift) & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\x00\x00" + size + bytes(length) + data
