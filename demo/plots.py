"""Plots of a clip: waveform, spectrogram and chromagram.

The images are RGBA with a transparent background, so that they suit the light and the dark theme.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 960, 160
"""Pixels of a waveform or spectrogram."""
ROW_HEIGHT = 8
"""Pixels of one pitch class in a chromagram."""
ACCENT = (124, 108, 240)
"""RGB of waveforms and of a clip's own pitch classes."""
REFERENCE_COLOR = (140, 140, 160, 110)
"""RGBA of the reference melody's pitch classes."""
_COLORMAP = np.array(
    [(124, 108, 240, 0), (110, 96, 235, 150), (146, 92, 224, 230), (240, 130, 120, 255), (255, 205, 110, 255)]
)
"""RGBA for levels from 0 to 1 at equal distances, interpolated between them."""
NUM_CHROMA = 12


def waveform(samples: np.ndarray, rate: int) -> Image.Image:  # noqa: ARG001 (the signature of all plots of samples)
    """Waveform, the channels one below the other: the range of the samples in each column of pixels.

    Args:
        samples: float32 [C, T].
        rate: Hz.
    """
    height = HEIGHT // len(samples)
    return Image.fromarray(np.concatenate([_channel_waveform(channel, height) for channel in samples]))


def _channel_waveform(samples: np.ndarray, height: int) -> np.ndarray:
    """Samples [T] -> RGBA [height, WIDTH, 4]."""
    edges = np.linspace(0, len(samples), WIDTH + 1).astype(int)
    ends = np.maximum(edges[1:], edges[:-1] + 1)
    columns = [samples[a:b] if a < len(samples) else samples[-1:] for a, b in zip(edges[:-1], ends, strict=True)]
    low = np.array([column.min() for column in columns]).clip(-1, 1)
    high = np.array([column.max() for column in columns]).clip(-1, 1)
    middle = (height - 1) / 2
    top, bottom = middle - high * middle * 0.96, middle - low * middle * 0.96
    rows = np.arange(height)[:, None]
    coverage = np.clip(np.minimum(rows - top + 1, bottom - rows + 1), 0, 1)
    image = np.zeros((height, WIDTH, 4), np.uint8)
    image[..., :3] = ACCENT
    image[..., 3] = (coverage * 255).astype(np.uint8)
    return image


def spectrogram(samples: np.ndarray, rate: int) -> Image.Image:
    """Spectrogram of the mono mix: decibels over time and a logarithmic frequency axis from 30 Hz to 16 kHz.

    Args:
        samples: float32 [C, T].
        rate: Hz.
    """
    mono, size = samples.mean(axis=0), 4096
    mono = np.pad(mono, (size // 2, size // 2 + max(0, size - len(mono))))
    starts = np.linspace(0, len(mono) - size, WIDTH // 2).astype(int)
    power = np.abs(np.fft.rfft(mono[starts[:, None] + np.arange(size)] * np.hanning(size), axis=1)) ** 2
    frequencies = np.geomspace(min(16_000, rate / 2), 30, HEIGHT)
    bins = frequencies / (rate / size)
    lower = np.floor(bins).astype(int).clip(0, power.shape[1] - 2)
    weight = (bins - lower)[:, None]
    rows = power.T[lower] * (1 - weight) + power.T[lower + 1] * weight
    decibels = 10 * np.log10(rows + 1e-10)
    level = np.clip((decibels - decibels.max() + 75) / 75, 0, 1) if decibels.max() > -80 else np.zeros_like(decibels)
    return _apply_colormap(level).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)


def chromagram(frames: Sequence[int]) -> Image.Image:
    """Chromagram with C in the lowest row.

    Args:
        frames: one pitch class (0 to 11, 0 is C) for each chroma frame.
    """
    level = np.zeros((NUM_CHROMA, len(frames)))
    for index, pitch_class in enumerate(frames):
        level[NUM_CHROMA - 1 - pitch_class, index] = 0.62
    return _apply_colormap(level).resize((WIDTH, NUM_CHROMA * ROW_HEIGHT), Image.Resampling.NEAREST)


def chroma_comparison(reference: Sequence[int], result: Sequence[int]) -> Image.Image:
    """Chromagram of a result as bars over that of its reference melody as pale cells.

    Args:
        reference: pitch classes of the reference melody, which is repeated where it is shorter than the result.
        result: pitch classes of the result.
    """
    image = np.zeros((NUM_CHROMA * ROW_HEIGHT, len(result), 4), np.uint8)
    for index, pitch_class in enumerate(result):
        bottom = (NUM_CHROMA - reference[index % len(reference)]) * ROW_HEIGHT
        image[bottom - ROW_HEIGHT : bottom, index] = REFERENCE_COLOR
        bottom = (NUM_CHROMA - pitch_class) * ROW_HEIGHT
        image[bottom - ROW_HEIGHT * 3 // 4 : bottom - ROW_HEIGHT // 4, index] = (*ACCENT, 255)
    return Image.fromarray(image).resize((WIDTH, NUM_CHROMA * ROW_HEIGHT), Image.Resampling.NEAREST)


def _apply_colormap(level: np.ndarray) -> Image.Image:
    """Levels [H, W] from 0 to 1 -> RGBA."""
    position = level * (len(_COLORMAP) - 1)
    lower = np.floor(position).astype(int).clip(0, len(_COLORMAP) - 2)
    weight = (position - lower)[..., None]
    return Image.fromarray((_COLORMAP[lower] * (1 - weight) + _COLORMAP[lower + 1] * weight).astype(np.uint8))


def data_url(image: Image.Image) -> str:
    """The image as a `data:` URL of a PNG file, which needs no file on the server."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
