"""Safe reading of untrusted .npy files: no pickles, and no larger allocation than the file's size."""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Sequence

import numpy as np

MOST_BYTES = 1 << 30
"""The largest total size of an unpacked archive."""


def read(data: bytes) -> np.ndarray:
    """The array in the bytes of a .npy file. Raises ValueError where the header tells of other data than there are."""
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version[0]}.{version[1]} of NumPy's format is not known")
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, fortran, dtype = header(file)
    except ValueError:
        raise
    except (
        Exception
    ) as error:  # of Python's parsers, which NumPy uses: TokenError, SyntaxError, RecursionError and others
        raise ValueError(f"a header that is none of NumPy's ({type(error).__name__})") from error
    if dtype.hasobject:
        raise ValueError("an array of objects, which may run code")
    held = len(data) - file.tell()
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != held:
        raise ValueError(f"an array of shape {list(shape)} of {dtype} in {held} bytes")
    values = np.frombuffer(data, dtype, offset=file.tell()).copy()
    return values.reshape(shape, order="F" if fortran else "C")


def read_archive(file: str | os.PathLike[str], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Arrays of a .npz file.

    Args:
        file: its path.
        names: of the arrays.

    Raises:
        ValueError: an array is none, or all together would take more than MOST_BYTES.
        KeyError: one is not there.
        zipfile.BadZipFile, OSError: the file cannot be read.
    """
    with zipfile.ZipFile(file) as archive:
        entries = [archive.getinfo(f"{name}.npy") for name in names]
        if sum(entry.file_size for entry in entries) > MOST_BYTES:
            raise ValueError(f"its arrays unpack to more than {MOST_BYTES >> 20} MB")
        return {name: read(archive.read(entry)) for name, entry in zip(names, entries, strict=True)}
