"""Audio files in formats that the program reads and never writes, made with FFmpeg's encoders (PyAV)."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import torch

RATES = {"libopus": 48_000, "libopencore_amrnb": 8_000}
"""Hz that an encoder needs; others take all usual ones."""

FORMATS = {
    "flac": "s16", "alac": "s16p", "wavpack": "s16p", "tta": "s16", "libopus": "flt", "libopencore_amrnb": "s16", "mp2": "s16",
    "pcm_s16le": "s16",
}  # fmt: skip
"""Samples that an encoder takes; others take planar floats."""


def melody(seconds: float = 3.0, rate: int = 44_100, channels: int = 1) -> torch.Tensor:
    """float32 [C, T]: a rising tone, so that no two moments are alike; the right channel is quieter."""
    t = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    wave = 0.4 * torch.sin(2 * torch.pi * (200 * t + 60 * t**2))
    return torch.stack([wave * (1 - 0.3 * channel) for channel in range(channels)]).float()


def encode(path: Path, wave: torch.Tensor, rate: int, codec: str, container: str | None = None) -> Path:
    """Write float32 [C, T] at `rate` Hz as `path`; the container is that of the extension where none is named."""
    path.parent.mkdir(parents=True, exist_ok=True)
    layout = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1", 16: "hexadecagonal"}[wave.shape[0]]
    target = RATES.get(codec, rate)
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=target, layout=layout, format=FORMATS.get(codec, "fltp"))
        stream.bit_rate = 12_200 if codec == "libopencore_amrnb" else 128_000
        # Packed: PyAV cannot make a planar frame of 8 channels.
        frame = av.AudioFrame.from_ndarray(wave.numpy().T.reshape(1, -1), format="flt", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        resampler = av.AudioResampler(stream.format, layout, target, frame_size=stream.frame_size or 1024)
        for source in (frame, None):
            for part in resampler.resample(source):
                file.mux(stream.encode(part))
        file.mux(stream.encode(None))
    return path
