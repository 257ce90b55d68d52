"""Token shards: WebDataset tar files and their index, on disk or in object storage.

index.json          the tokeniser; clips in each shard; the files that could not be used, with reasons
train-00000.tar     KEY.codes.npy int16 [K, T]; KEY.chroma.npy uint8 [T], the strongest pitch class around each frame
                    (for melody models); KEY.embeddings.npy float32 [W, D], CLAP's of windows of the clip (for CLAP models);
                    KEY.json, the clip's metadata
valid-00000.tar     the same, of the clips held out
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import IO, Any

import fsspec
import numpy as np
import webdataset

from musicgen import npy
from musicgen.errors import InputError
from musicgen.text_format import counted

INDEX = "index.json"


@dataclass(frozen=True)
class Sample:
    """One clip. codes: int16 [K, T]; chroma: uint8 [T] pitch classes, or None; metadata: its JSON; embeddings: float32 [W, D],
    CLAP's of windows (`clap_windows`), or None."""

    codes: np.ndarray
    chroma: np.ndarray | None
    metadata: dict[str, Any]
    embeddings: np.ndarray | None = None


@dataclass(frozen=True)
class Index:
    """The contents of a folder of shards. rate: frames a second, as "numerator/denominator"."""

    tokenizer: str
    num_codebooks: int
    codebook_size: int
    rate: str
    channels: int
    melody: str
    train: dict[str, int] = field(default_factory=dict)
    """Shard -> number of clips."""
    valid: dict[str, int] = field(default_factory=dict)
    frames: int = 0
    """T, summed over the training clips."""
    described: int | None = None
    """Clips with a text; None where the shards were written before it was counted."""
    not_used: list[str] = field(default_factory=list)
    embedder: str = ""
    """The network of the embeddings; empty where there are none."""
    window: float = 0.0
    """Seconds of music behind each embedding."""

    def __post_init__(self) -> None:
        for part in (self.train, self.valid):
            if not isinstance(part, dict):
                raise ValueError("its shards are no list of names and numbers")
            for name, count in part.items():
                if re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name) is None or type(count) is not int or count < 0:
                    raise ValueError(
                        f"{name[:60]!r}: {count!r} is not a shard's name in the folder and its number of clips"
                    )

    @property
    def clips(self) -> int:
        """Of both parts."""
        return sum(self.train.values()) + sum(self.valid.values())

    def text(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"


def read_index(folder: str) -> Index | None:
    """The index of a folder or URL, None if there is none; raises InputError if it is damaged."""
    url = f"{folder.rstrip('/')}/{INDEX}"
    try:
        with fsspec.open(url, "rb") as file:
            return Index(**json.loads(file.read()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, ImportError, RecursionError) as error:
        raise InputError(f"{url}: not readable as an index of token shards ({error})") from error


def read_shard(url: str, expected: int) -> list[Sample]:
    """All clips of a shard; raises InputError if it is damaged or has another number than `expected`."""
    samples: list[Sample] = []
    try:
        with fsspec.open(url, "rb") as stream:
            for group in webdataset.tariterators.group_by_keys(_files(stream, url)):
                samples.append(_decoded(group))
    except (OSError, ValueError, KeyError, EOFError, RecursionError, tarfile.TarError) as error:
        raise InputError(f"{url}: a damaged shard of tokens ({error}): write the tokens again") from error
    if len(samples) != expected:
        raise InputError(
            f"{url}: {counted(len(samples), 'clip')} where the index says {expected}: write the tokens again"
        )
    return samples


def _files(stream: IO[bytes], url: str) -> Iterator[dict[str, Any]]:
    """The files of a tar archive, as webdataset groups them. Only what takes as many bytes in the archive as it says: neither
    compressed archives nor files with holes, which are small and read as terabytes."""
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            if member.isreg() and not member.issparse():
                content = archive.extractfile(member)
                assert content is not None
                yield {"fname": member.name, "data": content.read(), "__url__": url}


def encoded(key: str, sample: Sample) -> dict[str, Any]:
    """A clip in the form that webdataset's TarWriter writes."""
    values: dict[str, Any] = {
        "__key__": key,
        "codes.npy": npy_bytes(sample.codes),
        "json": json.dumps(sample.metadata).encode(),
    }
    if sample.chroma is not None:
        values["chroma.npy"] = npy_bytes(sample.chroma)
    if sample.embeddings is not None:
        values["embeddings.npy"] = npy_bytes(sample.embeddings)
    return values


def _decoded(group: dict[str, Any]) -> Sample:
    chroma, embeddings = (npy.read(group[name]) if name in group else None for name in ("chroma.npy", "embeddings.npy"))
    return Sample(npy.read(group["codes.npy"]), chroma, json.loads(group["json"].decode()), embeddings)


def npy_bytes(array: np.ndarray) -> bytes:
    """An array as the contents of a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def iterate(folder: str, shards: dict[str, int]) -> Iterator[Sample]:
    """The clips of several shards, in order."""
    for name, count in shards.items():
        yield from read_shard(f"{folder.rstrip('/')}/{name}", count)
