"""A clip as pictures: waveform, spectrogram, chromagram; PNG on a transparent ground, for light and dark pages alike.

Works on plain arrays: samples [C, T] float32 and the rate in Hz, or pitch classes a frame.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 960, 160
"""Pixels."""
CELL = 8
"""Of a pitch class' height."""
ACCENT, PALE = (124, 108, 240), (140, 140, 160, 110)
_RAMP = np.array(
    [(124, 108, 240, 0), (110, 96, 235, 150), (146, 92, 224, 230), (240, 130, 120, 255), (255, 205, 110, 255)]
)
"""RGBA from silence to the loudest, evenly spaced."""
NUM_CHROMA = 12


def waveform(samples: np.ndarray, rate: int) -> Image.Image:  # noqa: ARG001 (all pictures are called alike)
    """The range of the samples in each column, channel under channel."""
    height = HEIGHT // len(samples)
    return Image.fromarray(np.concatenate([_outline(one, height) for one in samples]))


def _outline(samples: np.ndarray, height: int) -> np.ndarray:
    edges = np.linspace(0, len(samples), WIDTH + 1).astype(int)
    ends = np.maximum(edges[1:], edges[:-1] + 1)
    columns = [samples[a:b] if a < len(samples) else samples[-1:] for a, b in zip(edges[:-1], ends, strict=True)]
    low = np.array([column.min() for column in columns]).clip(-1, 1)
    high = np.array([column.max() for column in columns]).clip(-1, 1)
    middle = (height - 1) / 2
    top, bottom = middle - high * middle * 0.96, middle - low * middle * 0.96
    rows = np.arange(height)[:, None]
    inside = np.clip(np.minimum(rows - top + 1, bottom - rows + 1), 0, 1)
    picture = np.zeros((height, WIDTH, 4), np.uint8)
    picture[..., :3] = ACCENT
    picture[..., 3] = (inside * 255).astype(np.uint8)
    return picture


def spectrogram(samples: np.ndarray, rate: int) -> Image.Image:
    """Decibels over time and frequency (30 Hz to 16 kHz, an octave as high as the next)."""
    mono, size = samples.mean(axis=0), 4096
    mono = np.pad(mono, (size // 2, size // 2 + max(0, size - len(mono))))
    starts = np.linspace(0, len(mono) - size, WIDTH // 2).astype(int)
    power = np.abs(np.fft.rfft(mono[starts[:, None] + np.arange(size)] * np.hanning(size), axis=1)) ** 2
    frequencies = np.geomspace(min(16_000, rate / 2), 30, HEIGHT)
    bins = frequencies / (rate / size)
    lower = np.floor(bins).astype(int).clip(0, power.shape[1] - 2)
    share = (bins - lower)[:, None]
    rows = power.T[lower] * (1 - share) + power.T[lower + 1] * share
    decibels = 10 * np.log10(rows + 1e-10)
    level = np.clip((decibels - decibels.max() + 75) / 75, 0, 1) if decibels.max() > -80 else np.zeros_like(decibels)
    return _coloured(level).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)


def chromagram(frames: Sequence[int]) -> Image.Image:
    """Pitch classes over time, C at the bottom."""
    level = np.zeros((NUM_CHROMA, len(frames)))
    for index, pitch in enumerate(frames):
        level[NUM_CHROMA - 1 - pitch, index] = 0.62
    return _coloured(level).resize((WIDTH, NUM_CHROMA * CELL), Image.Resampling.NEAREST)


def followed(reference: Sequence[int], result: Sequence[int]) -> Image.Image:
    """The result's pitch classes, bars, over those of the reference, pale cells; a reference that is shorter repeats."""
    picture = np.zeros((NUM_CHROMA * CELL, len(result), 4), np.uint8)
    for index, pitch in enumerate(result):
        bottom = (NUM_CHROMA - reference[index % len(reference)]) * CELL
        picture[bottom - CELL : bottom, index] = PALE
        bottom = (NUM_CHROMA - pitch) * CELL
        picture[bottom - CELL * 3 // 4 : bottom - CELL // 4, index] = (*ACCENT, 255)
    return Image.fromarray(picture).resize((WIDTH, NUM_CHROMA * CELL), Image.Resampling.NEAREST)


def _coloured(level: np.ndarray) -> Image.Image:
    """[H, W] from 0 to 1 -> RGBA."""
    place = level * (len(_RAMP) - 1)
    lower = np.floor(place).astype(int).clip(0, len(_RAMP) - 2)
    share = (place - lower)[..., None]
    return Image.fromarray((_RAMP[lower] * (1 - share) + _RAMP[lower + 1] * share).astype(np.uint8))


def data_url(picture: Image.Image) -> str:
    """The picture as an address that holds it: nothing to store, nothing to expire."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
