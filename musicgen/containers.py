"""Checks of audio containers that decoders do not make: a chunk that is longer or shorter than the file says, and a second
recording after the first (files joined with `cat`), which most decoders silently skip. This module does not decode audio.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path

_EBML = rb"\x1a\x45\xdf\xa3.{1,8}\x42\x86\x81\x01"
_MP4 = rb"\x00\x00\x00.ftyp[A-Za-z0-9 ]{4}"
_ASF = rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c"
_W64 = rb"riff\x2e\x91\xcf\x11"
_CAF = rb"caff\x00\x01\x00\x00desc"
_CHUNKS = rb"RIFF....WAVE|RF64....WAVE|FORM....AIF[FC]"
_AU = rb"\.snd\x00\x00.."
_HEADERS = re.compile(b"|".join((_EBML, _MP4, _ASF, _W64, _CAF, _CHUNKS, _AU)), re.DOTALL)
"""How a file begins: WAV, RF64, AIFF, W64, CAF, AU, WebM and Matroska, ASF (WMA), MP4. MP3, AAC, Ogg and FLAC are missing on
purpose: their packets are read to the end, also those of joined files."""
_HEADER_BYTES = 24
"""The longest beginning that two files of one kind share."""
_READ = 1 << 20
_TAG = b"ID3"
_MPEG_SYNC = 0xFFE0
"""The first 11 bits of an MPEG audio frame."""
_LENGTHS = re.compile(rb"(?:Xing|Info)...(.)(....)|VBRI.{10}(....)", re.DOTALL)
"""What the first frame of an MP3 holds in place of sound: flags, of which the lowest says that the number of frames follows;
or, as Fraunhofer's encoder writes it, that number."""
_FIRST_FRAME = 256
"""Bytes that are searched for it."""
_MAX_CHUNKS = 10_000
"""Chunks of a file that are looked at: thousands of empty ones are no recording."""
_UNKNOWN = (0, 0x7FFF_0000)
"""A chunk's size that stands for "nobody knows": 0, and all from the second on."""


def joined_at(path: Path) -> int | None:
    """Where a second recording begins (in bytes), if the file is several of one kind end to end that cannot be read as one."""
    with path.open("rb") as file:
        first = file.read(_HEADER_BYTES)
        kind = _HEADERS.match(first)
        if kind is None:
            return None
        pattern = re.compile(_again(kind.group(), first), re.DOTALL)
        position, tail = len(first), b""
        while block := file.read(_READ):
            found = pattern.search(tail + block)
            if found:
                return position - len(tail) + found.start()
            position += len(block)
            tail = (tail + block)[-_HEADER_BYTES:]
    return None


def _again(kind: bytes, first: bytes) -> bytes:
    """The pattern of another header of this kind: all bytes but those that hold a length."""
    if kind[:4] in (b"RIFF", b"RF64", b"FORM"):
        return re.escape(kind[:4]) + b"...." + re.escape(kind[8:])
    if kind[:4] == b".snd":
        # Its magic number is short: format, rate and channels must be the same.
        return re.escape(first[:8]) + b"...." + re.escape(first[12:_HEADER_BYTES])
    for pattern in (_EBML, _MP4):
        if re.match(pattern, kind, re.DOTALL):
            return pattern
    return re.escape(kind)


def ogg_links(path: Path) -> int:
    """How many recordings an Ogg file is end to end: its pages say where one begins."""
    links, first = 0, False
    with path.open("rb") as file:
        while len(head := file.read(27)) == 27 and head[:4] == b"OggS":
            begins = bool(head[5] & 2)
            # Streams that run side by side begin together.
            links += begins and not first
            first = begins
            file.seek(sum(file.read(head[26])), 1)
    return links


def is_mpeg(path: Path) -> bool:
    """Whether a file begins as MPEG audio (MP3, MP2) and raw AAC do: with a frame, or with a tag in front of it."""
    with path.open("rb") as file:
        head = file.read(3)
    return head == _TAG or int.from_bytes(head[:2], "big") & _MPEG_SYNC == _MPEG_SYNC


def mpeg_frames(path: Path) -> int | None:
    """The number of frames that an MP3's header tells; None where it tells none."""
    with path.open("rb") as file:
        while (head := file.read(10))[:3] == _TAG and len(head) == 10:
            # The tag's length: four times 7 bits.
            file.seek(sum((byte & 0x7F) << 7 * place for place, byte in enumerate(reversed(head[6:]))), 1)
        found = _LENGTHS.search(head + file.read(_FIRST_FRAME))
    if found is None or (found[1] and not found[1][0] & 1):
        return None
    return int.from_bytes(found[2] or found[3], "big")


@dataclass(frozen=True)
class SoundChunk:
    """Bytes of a WAV or AIFF file's sound: declared by its header; held by the file at that place; and behind all chunks, where
    nothing should be."""

    declared: int
    held: int
    behind: int


def sound_chunk(path: Path) -> SoundChunk | None:
    """The sound of a WAV or AIFF file; None for other files, and where the header says that its length is not known."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        order, name = {b"RIFF": ("<", b"data"), b"FORM": (">", b"SSND")}.get(head[:4], ("", b""))
        if not order or head[8:] not in (b"WAVE", b"AIFF", b"AIFC"):
            return None
        position, found = 12, None
        for _ in range(_MAX_CHUNKS):
            if position + 8 > size:
                break
            file.seek(position)
            chunk, length = struct.unpack(f"{order}4sI", file.read(8))
            if not re.fullmatch(rb"[ -~]{4}", chunk):
                break
            if chunk == name and found is None:
                if length == _UNKNOWN[0] or length >= _UNKNOWN[1]:
                    return None
                found = SoundChunk(length, min(length, size - position - 8), 0)
            position += 8 + length + length % 2
    return found and SoundChunk(found.declared, found.held, max(0, size - position))
