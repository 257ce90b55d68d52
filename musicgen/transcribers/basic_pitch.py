"""Polyphonic transcription by basic-pitch (Bittner et al. 2022), whose package contains its network as ONNX.

The package requires TensorFlow < 2.15.1 on Linux, which conflicts with the requirements of this project. With ONNX Runtime it
does not need TensorFlow, so it is installed without its dependencies.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicgen import extras, numba_cache
from musicgen.notes import Note
from musicgen.transcribers.registry import Transcriber

if TYPE_CHECKING:
    from musicgen.audio import Audio

ONSET_THRESHOLD, FRAME_THRESHOLD = 0.5, 0.3
"""Of the network's probabilities, as its authors set them."""
SHORTEST_FRAMES = 11
"""Of a note: the authors' 127.7 ms in frames of 256 samples at 22.05 kHz."""
SHORTEST = 0.1277
"""Seconds of a recording: a shorter one holds no note."""
PACKAGES = ("basic_pitch", "onnxruntime", "mir_eval", "pretty_midi", "resampy", "sklearn")
"""The packages that its code imports."""


def is_installed() -> bool:
    """Whether the package is here, and what its code imports."""
    return all(extras.is_installed(package) for package in PACKAGES)


def transcribe(clip: Audio) -> list[Note]:
    """The notes of a recording, in the order of their onsets; several may sound at the same time.

    Args:
        clip: float32 [C, T].
    """
    from musicgen import audio

    if clip.duration < SHORTEST or not clip.wave.any():
        return []
    inference, note_creation, network = _loaded()
    with tempfile.TemporaryDirectory() as folder:  # its code takes a file's name, and no samples
        file = Path(folder) / "clip.wav"
        audio.write(file, clip.mono())
        found = inference.run_inference(file, network)
    _, events = note_creation.model_output_to_notes(
        found,
        onset_thresh=ONSET_THRESHOLD,
        frame_thresh=FRAME_THRESHOLD,
        min_note_len=SHORTEST_FRAMES,
        include_pitch_bends=False,
    )
    notes = [
        Note(float(onset), float(offset), int(pitch), min(127, max(1, round(127 * float(level)))))
        for onset, offset, pitch, level, _ in events
    ]
    return sorted(notes, key=lambda note: (note.onset, note.pitch))


@cache
def _loaded() -> tuple[Any, Any, Any]:
    """Its two modules, and the network in ONNX Runtime."""
    numba_cache.provide()
    with _without_hints():
        import basic_pitch
        from basic_pitch import inference, note_creation
    path = basic_pitch.build_icassp_2022_model_path(basic_pitch.FilenameSuffix.onnx)
    return inference, note_creation, inference.Model(path)


@contextmanager
def _without_hints() -> Iterator[None]:
    """Keep what the package logs on import to itself: that it could run on TensorFlow, CoreML and TensorFlow Lite too."""
    root = logging.getLogger()
    quiet = logging.NullHandler()  # without a handler its call would set up the whole program's log
    root.addHandler(quiet)
    root.addFilter(_is_no_hint)
    try:
        yield
    finally:
        root.removeFilter(_is_no_hint)
        root.removeHandler(quiet)


def _is_no_hint(record: logging.LogRecord) -> bool:
    return Path(record.pathname).parent.name != "basic_pitch"


TRANSCRIBER = Transcriber(
    "basic-pitch",
    "several voices",
    ("bass", "other", "vocals"),
    "notes.mid",
    transcribe,
    is_installed,
    'pip install "musicgen[transcription]" and then pip install --no-deps basic-pitch',
)
