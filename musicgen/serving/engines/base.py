"""The interface of engines, whether they run in this process, on another server or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from musicgen.cancellation import Cancellation
from musicgen.serving.models import ModelCatalog
from musicgen.serving.request import ClipRequest

if TYPE_CHECKING:
    import numpy as np

WARM_UP_SECONDS = 1.0
"""Length of the clip that is generated before the first request: it compiles kernels and fills caches."""

Report = Callable[[float, str], None]
"""Called with the fraction done, 0 to 1, and a message."""


class AudioChunk(NamedTuple):
    """The next audio of a clip.

    Attributes:
        samples: float32 [C, T].
        rate: Hz.
        precision: in which the model computes.
        unknown: share of the description's tokens that the model's vocabulary lacks, 0 to 1.
    """

    samples: np.ndarray
    rate: int
    precision: str
    unknown: float


Stream = Callable[[ClipRequest, int, Report, Cancellation, str], Iterator[AudioChunk]]
"""As `EngineClient.stream`."""


class EngineClient(Protocol):
    """Generates clips. Methods are called from several threads at the same time."""

    catalog: ModelCatalog
    max_replicas: int
    """The most engines that generate at the same time."""

    def prepare(self) -> None:
        """Import what the first clip needs. It may take seconds."""

    def check(self, request: ClipRequest) -> None:
        """Check what the engine's machine tells of a request before its model is loaded.

        Args:
            request: valid, of a model that can follow it (`capabilities.check`).

        Raises:
            MusicGenError: for a precision that the device does not have, a description that is too long, and an adapter that
                is damaged or does not fit the model.
        """

    def stream(
        self, request: ClipRequest, seed: int, report: Report, cancellation: Cancellation, key: str = ""
    ) -> Iterator[AudioChunk]:
        """Generate a clip.

        Args:
            request: what to generate.
            seed: of the clip.
            report: called as the generation goes on.
            cancellation: ends the generation.
            key: names the generation. An engine outside of this process that generates it already, because a process that was
                killed has asked for it, goes on with it. "" for one that is asked for once.

        Raises:
            MusicGenError: for a request that the model cannot follow.
        """

    def extract_melody(self, recording: Path, separate: bool) -> tuple[int, ...]:
        """The melody of a recording, as a model is conditioned on it.

        Args:
            recording: an audio file.
            separate: whether to remove drums and bass with Demucs first.

        Returns:
            The pitch class of each chroma frame.

        Raises:
            InputError: for a file without a melody.
        """

    def resolve_precision(self, model: str, precision: str) -> str | None:
        """The precision in which a model runs.

        Returns:
            For "auto" the model's precision, None where only loading the model tells; any other precision unchanged.

        Raises:
            InputError: for a precision that is not available.
        """

    def is_downloaded(self, model: str) -> bool:
        """Whether a model's files need not be downloaded."""

    def can_download(self) -> bool:
        """Whether files that are not here can be downloaded."""

    def has_multi_band_diffusion(self) -> bool:
        """Whether the files of the decoder "mbd" need not be downloaded."""

    def step_bytes(self, model: str, precision: str) -> int | None:
        """Bytes of the weights that a step of a model reads, None where that is not known."""

    def bandwidth(self) -> float | None:
        """Bytes a second that the engine's memory gives, measured now; None where that is not known."""

    def replicas(self) -> int:
        """Number of engines that answer; 0 while there is none."""

    def loaded(self) -> list[tuple[str, str]]:
        """Name and precision of the models in memory, on any replica."""

    def close(self) -> None:
        """Unload the models."""
