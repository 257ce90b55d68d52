"""Playback on the sound card through PortAudio (the optional package `sounddevice`)."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch

from musicgen import extras
from musicgen.errors import InputError


class Player:
    """Plays parts of a waveform one after the other, in a `with` block; leaving it waits for the end of the sound.

    Args:
        rate: Hz.
        channels: C.

    Raises:
        InputError: The package, PortAudio or a sound card is missing.
    """

    def __init__(self, rate: int, channels: int) -> None:
        try:
            sounddevice: Any = extras.load("sounddevice", "play", "--play")
        except OSError as error:  # the package is there, PortAudio is not
            raise InputError(f"--play needs PortAudio: {error} (apt install libportaudio2)") from error
        try:
            self._stream = sounddevice.OutputStream(samplerate=rate, channels=channels, dtype="float32")
            self._stream.start()
        except sounddevice.PortAudioError as error:
            raise InputError(f"--play: the sound card cannot be opened ({error}): is one connected?") from error

    def write(self, wave: torch.Tensor) -> None:
        """Play a part, float32 [C, T]; waits while the card has enough to play. Samples beyond [-1, 1] are clipped."""
        self._stream.write(wave.detach().cpu().float().clamp(-1, 1).T.contiguous().numpy())

    def __enter__(self) -> Player:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # `stop` waits for what is buffered; an interruption is silent at once.
        self._stream.stop() if kind is None else self._stream.abort()
        self._stream.close()
