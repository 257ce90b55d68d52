"""Comments of an Ogg Vorbis file, written without touching its sound.

FFmpeg's muxer recomputes the sample positions of a Vorbis stream when it copies one, and loses samples. So this module writes
the header pages, and copies the audio pages unchanged except for their sequence numbers and checksums.

Source: RFC 3533 (Ogg pages), Vorbis I specification, sections 4.2 and 5 (header packets, comments).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from musicgen.errors import InputError

_HEADER = struct.Struct("<4sBBqIIIB")
_SERIAL = 1
"""Number of the stream: the same in each file, where an encoder draws one, so that equal clips are equal files."""
_MOST_SEGMENTS = 255
_COMMENT = b"\x03vorbis"
_HEADER_PACKETS = 3
"""Identification, comments, codebooks."""
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""Byte -> its bits in the other order."""


@dataclass(frozen=True)
class Page:
    """A page. flags: 1 continued packet, 2 first page, 4 last page; position: of its last sample; lacing: lengths of its
    segments."""

    flags: int
    position: int
    lacing: bytes
    content: bytes

    def pack(self, number: int) -> bytes:
        """The page as the number-th one of its file."""
        head = _HEADER.pack(b"OggS", 0, self.flags, self.position, _SERIAL, number, 0, len(self.lacing)) + self.lacing
        checksum = _checksum(head + self.content)
        return head[:22] + struct.pack("<I", checksum) + head[26:] + self.content


def with_comments(data: bytes, comments: Mapping[str, str]) -> bytes:
    """A file with further comments.

    Args:
        data: An Ogg file of one Vorbis stream whose sound begins on a page of its own, as the standard asks.
        comments: Name -> text.

    Raises:
        InputError: It is no such file.
    """
    pages = list(_pages(data))
    packets: list[bytes] = []
    used, held = 0, b""
    while len(packets) < _HEADER_PACKETS and used < len(pages):
        page, place = pages[used], 0
        for length in page.lacing:
            held += page.content[place : place + length]
            place += length
            if length < 255:
                packets.append(held)
                held = b""
        used += 1
    if len(packets) != _HEADER_PACKETS or held or not packets[1].startswith(_COMMENT):
        raise InputError("the Ogg file is no Vorbis stream with its header on pages of its own")
    added = [f"{name}={text}".encode() for name, text in comments.items()]
    header = [Page(2, 0, bytes([len(packets[0])]), packets[0]), *_paged([_extended(packets[1], added), packets[2]])]
    return b"".join(page.pack(number) for number, page in enumerate([*header, *pages[used:]]))


def _pages(data: bytes) -> Iterator[Page]:
    place = 0
    while place < len(data):
        if len(data) - place < _HEADER.size or data[place : place + 4] != b"OggS":
            raise InputError("the Ogg file is damaged: it has something between its pages")
        _, _, flags, position, _, _, _, count = _HEADER.unpack_from(data, place)
        place += _HEADER.size
        lacing = data[place : place + count]
        place += count
        yield Page(flags, position, lacing, data[place : place + sum(lacing)])
        place += sum(lacing)


def _paged(packets: list[bytes]) -> Iterator[Page]:
    """Packets without samples as pages."""
    lacing, content = b"", b"".join(packets)
    for packet in packets:
        lacing += b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255])
    begin, place = 0, 0
    while begin < len(lacing):
        part = lacing[begin : begin + _MOST_SEGMENTS]
        continued = begin > 0 and lacing[begin - 1] == 255
        # The position is that of the last sample of a packet that ends on the page; -1 where none does.
        yield Page(int(continued), 0 if min(part) < 255 else -1, part, content[place : place + sum(part)])
        begin, place = begin + len(part), place + sum(part)


def _extended(packet: bytes, added: list[bytes]) -> bytes:
    """A comment packet with further comments."""
    place = len(_COMMENT)
    (vendor,) = struct.unpack_from("<I", packet, place)
    start = place + 4 + vendor
    (count,) = struct.unpack_from("<I", packet, start)
    end = start + 4
    for _ in range(count):
        (length,) = struct.unpack_from("<I", packet, end)
        end += 4 + length
    texts = b"".join(struct.pack("<I", len(text)) + text for text in added)
    return packet[:start] + struct.pack("<I", count + len(added)) + packet[start + 4 : end] + texts + b"\x01"


def _checksum(page: bytes) -> int:
    """CRC-32 with the highest bit first, no inversion: zlib's, whose bits are in the other order, on reversed bytes."""
    reflected = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reflected:032b}"[::-1], 2)
