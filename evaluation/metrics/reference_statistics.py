"""Statistics of the references in a file, so that FAD can be computed without the references' audio.

An .npz file of one embedder: `mean` [d], `covariance` [d, d] (n − 1), `n` windows, and `about`, JSON with the embedder's name
and version, the sha256 of its weights, the preparation of the audio and the suite. Statistics are used only with the same
network, version and preparation.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from musicgen import audio, npy
from musicgen.errors import InputError

from ..clips import clip
from ..embedders.base import Embedder
from . import fad

KEYS = ("embedder", "version", "weights", "preparation", "suite")


@dataclass(frozen=True)
class ReferenceStatistics:
    """Mean and covariance of a reference set in one embedding.

    Attributes:
        gaussian: n, mean and covariance.
        embedder: its name.
        version: of the embedder.
        weights: sha256 of its weights, "" without.
        preparation: of the audio: view, version, rate.
        suite: name and version.
    """

    gaussian: fad.Gaussian
    embedder: str
    version: str
    weights: str
    preparation: str
    suite: str

    @staticmethod
    def of(gaussian: fad.Gaussian, embedder: Embedder, suite: str) -> ReferenceStatistics:
        """The statistics of embeddings that `embedder` computed of a suite's references."""
        return ReferenceStatistics(
            gaussian, embedder.name, embedder.version, embedder.weights, preparation_of(embedder), suite
        )

    def save(self, file: Path) -> None:
        """Write the .npz file, atomically."""
        about = json.dumps({key: getattr(self, key) for key in KEYS})
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer, mean=self.gaussian.mean, covariance=self.gaussian.covariance, n=self.gaussian.n, about=about
        )
        audio.write_bytes(file, buffer.getvalue())

    def check(self, embedder: Embedder, file: str) -> None:
        """Refuse statistics of another network, version or preparation than `embedder`'s, with an InputError."""
        for what, theirs, ours in (
            ("version of the embedder", self.version, embedder.version),
            ("weights", self.weights, embedder.weights),
            ("preparation of the audio", self.preparation, preparation_of(embedder)),
        ):
            if theirs != ours:
                raise InputError(f"{file}: {self.embedder}: another {what}: {theirs[:16]!r} there, {ours[:16]!r} here")


def preparation_of(embedder: Embedder) -> str:
    """How audio is prepared for an embedder, as text."""
    return f"{embedder.view}:{clip.VERSIONS[embedder.view]}@{embedder.rate}"


def load_statistics(file: Path) -> ReferenceStatistics:
    """Read what `ReferenceStatistics.save` wrote.

    Raises:
        InputError: the file cannot be read or is not such a file.
    """
    try:
        stored = npy.read_archive(file, ("about", "mean", "covariance", "n"))
        about = json.loads(str(stored["about"]))
        mean, covariance, n = (np.asarray(stored[key], dtype=np.float64) for key in ("mean", "covariance", "n"))
        values = {key: str(about[key]) for key in KEYS}
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error})") from error
    except (KeyError, TypeError, ValueError, RecursionError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"{file}: not statistics of references ({error}): make them by the command statistics"
        ) from error
    _check_shapes(file, mean, covariance, n)
    count = int(n)
    return ReferenceStatistics(fad.Gaussian(count, mean, covariance * (count - 1)), **values)


def _check_shapes(
    file: Path, mean: npt.NDArray[np.float64], covariance: npt.NDArray[np.float64], n: npt.NDArray[np.float64]
) -> None:
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)) or n.ndim != 0 or n < 2:
        raise InputError(
            f"{file}: mean [d], covariance [d, d] and n of 2 or more expected, not {list(mean.shape)}, "
            f"{list(covariance.shape)} and {n.tolist()}"
        )
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise InputError(f"{file}: mean or covariance hold NaN or infinite values")
