"""Reading and writing tags in audio files without re-encoding the audio.

| file | tags |
|---|---|
| WAV | LIST/INFO: title, comment; the chunk _PMX: an XMP packet |
| MP3 | ID3v2.4: TIT2, COMM, TXXX for all others; PRIV: an XMP packet |
| FLAC, OGG | Vorbis comments |
| MP4 | an XMP packet in its box; title and comment are written with the video |

FFmpeg's muxer (PyAV) copies FLAC with its comments. Its muxers do not write XMP; for MP3 they rewrite the first frame, by which
players trim the start and the end; for Ogg Vorbis they lose samples. For these formats the few bytes are written here, because
libraries that write all of them are under the GPL. Names of tags are in lower case here, and in any case in files.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from musicgen import decoding, ogg_pages, xmp

_INFO = {"title": b"INAM", "comment": b"ICMT"}
"""Tag -> its chunk in a WAV file's LIST/INFO."""
_MAX_TEXT = 2 << 20
"""Bytes of a tag in a WAV file: more than any settings have."""
_MAX_CHUNKS = 1_000
"""Chunks and boxes of a file that are looked at."""
_XMP_CHUNK = b"_PMX"
_XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
"""The type of the box of XMP in files of ISO's base media format."""


def embed(data: bytes, extension: str, tags: Mapping[str, str]) -> bytes:
    """An audio file with tags.

    Args:
        data: the file, without tags.
        extension: ".wav", ".flac", ".mp3", ".ogg" or ".mp4".
        tags: text by name, in lower case.

    Returns:
        The file with the tags; the sound is bit for bit the same.

    Source: RIFF (Multimedia Programming Interface, 1991), ID3v2.4.0, XMP specification part 3.
    """
    if not tags:
        return data
    if extension == ".wav":
        return _with_chunks(data, tags)
    if extension == ".mp3":
        return _id3(tags) + data
    if extension == ".mp4":
        packet = xmp.packet(tags)
        return data + struct.pack(">I", len(packet) + 24) + b"uuid" + _XMP_BOX + packet if packet else data
    comments = {_vorbis(name): text for name, text in tags.items()}
    return ogg_pages.with_comments(data, comments) if extension == ".ogg" else _remuxed_flac(data, comments)


def read(path: Path) -> dict[str, str]:
    """The tags of an audio file by name, in lower case. Raises InputError as `decoding.opened`."""
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] == b"RIFF":
            return _of_chunks(file)
        packet = _boxed_packet(file) if head[4:8] == b"ftyp" else b""
    return decoding.tags(path) | xmp.parse(packet)


def is_riff(path: Path) -> bool:
    """Whether a file is a WAV file, whose tags are read without the rest of it."""
    with path.open("rb") as file:
        return file.read(4) == b"RIFF"


def _remuxed_flac(data: bytes, comments: Mapping[str, str]) -> bytes:
    import av

    made = io.BytesIO()
    # bitexact: the same bytes each time.
    with (
        av.open(io.BytesIO(data), "r") as source,
        av.open(made, "w", format="flac", options={"fflags": "+bitexact"}) as target,
    ):
        track = source.streams.audio[0]
        copied = target.add_stream_from_template(track)
        target.metadata.update(comments)
        for packet in source.demux(track):
            if packet.dts is not None:
                packet.stream = copied
                target.mux(packet)
    return made.getvalue()


def _vorbis(name: str) -> str:
    return name if name in _INFO else name.upper()


def _id3(tags: Mapping[str, str]) -> bytes:
    """An ID3v2.4 tag."""
    utf8 = b"\x03"
    frames = []
    for name, text in tags.items():
        if name == "title":
            frames.append((b"TIT2", utf8 + text.encode()))
        elif name == "comment":
            frames.append((b"COMM", utf8 + b"eng\0" + text.encode()))
        else:
            frames.append((b"TXXX", utf8 + name.upper().encode() + b"\0" + text.encode()))
    if packet := xmp.packet(tags):
        frames.append((b"PRIV", b"XMP\0" + packet))
    body = b"".join(kind + _synchsafe(len(content)) + b"\0\0" + content for kind, content in frames)
    return b"ID3\x04\0\0" + _synchsafe(len(body)) + body


def _synchsafe(size: int) -> bytes:
    """28 bits in four bytes whose highest bits are 0."""
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))


def riff_chunks(tags: Mapping[str, str]) -> bytes:
    """The chunks of a WAV file that hold its tags, anywhere in it."""
    texts = b"".join(riff_chunk(_INFO[name], text.encode() + b"\0") for name, text in tags.items() if name in _INFO)
    packet = xmp.packet(tags)
    return (riff_chunk(b"LIST", b"INFO" + texts) if texts else b"") + (
        riff_chunk(_XMP_CHUNK, packet) if packet else b""
    )


def riff_chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a WAV file; name: four characters."""
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def _with_chunks(wav: bytes, tags: Mapping[str, str]) -> bytes:
    body = wav[8:] + b"\0" * (len(wav) % 2) + riff_chunks(tags)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _of_chunks(file: BinaryIO) -> dict[str, str]:
    """The tags of a WAV file; those whose chunk was cut are missing. A long one is cut."""
    names = {chunk: name for name, chunk in _INFO.items()}
    found: dict[str, str] = {}
    described: dict[str, str] = {}
    for name, place, size in _chunks(file, 12, os.fstat(file.fileno()).st_size):
        file.seek(place)
        if name == _XMP_CHUNK:
            described = xmp.parse(file.read(min(size, xmp.MAX_PACKET)))
        elif name == b"LIST" and file.read(4) == b"INFO":
            for part, begin, length in _chunks(file, place + 4, place + size):
                if part in names:
                    file.seek(begin)
                    text = file.read(min(length, _MAX_TEXT)).rstrip(b"\0").decode(errors="replace")
                    found.setdefault(names[part], text)
    return described | found


def _chunks(file: BinaryIO, position: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(name, place of the content, its bytes) of the chunks from `position` on, as far as they are whole."""
    for _ in range(_MAX_CHUNKS):
        file.seek(position)
        head = file.read(8)
        size = int.from_bytes(head[4:], "little")
        if len(head) < 8 or position + 8 > end:
            return
        if position + 8 + size <= end:
            yield head[:4], position + 8, size
        position += 8 + size + size % 2


def _boxed_packet(file: BinaryIO) -> bytes:
    """The XMP packet among the outermost boxes of an MP4 file; b"" where there is none."""
    position, end = 0, os.fstat(file.fileno()).st_size
    for _ in range(_MAX_CHUNKS):
        if position >= end:
            break
        file.seek(position)
        head = file.read(24)
        if len(head) < 8:
            break
        size = int.from_bytes(head[:4], "big")
        if size == 1:  # in the eight bytes behind the type
            size = int.from_bytes(head[8:16], "big")
        elif head[4:8] == b"uuid" and head[8:] == _XMP_BOX:
            return file.read(min(max(0, size - 24), xmp.MAX_PACKET))
        if size < 8:
            break
        position += size
    return b""
