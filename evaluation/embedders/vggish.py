"""VGGish (Hershey et al. 2017), the embedding of FAD, with two front ends whose numbers are not comparable.

    vggish_tf      the paper's: Google's FAD tool. Peak to −1 dBFS and 16 bits (audiocraft's files), then divided by the
                   largest positive sample (at least 0.1); windows of 1 s every 0.5 s, of each the first 96 of 98 frames
    vggish_torch   the usual one: frechet-audio-distance and most others, through torchvggish. The unprocessed file;
                   consecutive windows of 96 frames, 0.96 s

Both: 16 kHz; log-mel of 25 ms every 10 ms, 64 bands 125–7500 Hz; the last layer before its activation, 128-d, without PCA and
quantisation; torchvggish's weights, which were converted from Google's. 0.5 s is 50 hops and the spectrum has no padding, so
one log-mel spectrogram per clip gives all windows of vggish_tf: frames 50 i to 50 i + 95.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import nn

from ..clips.resampling import View
from . import weights
from .base import Array, CheckpointEmbedder, EmbedderSpec

PUBLISHED = weights.Published(
    "vggish",
    "vggish-10086976.pth",
    "https://github.com/harritaylor/torchvggish/releases/download/v0.1/vggish-10086976.pth",
    275,
    sha256_prefix="10086976",
)
RATE = 16_000
"""Hz."""
FRAME, HOP, SPECTRUM = 400, 160, 512
"""Samples: 25 ms, 10 ms, and the transform's length."""
BANDS, LOW, HIGH = 64, 125.0, 7500.0
WINDOW = 96
"""Frames that the network sees at once."""
HEADROOM = 10 ** (-1 / 20)


class VGGish(nn.Module):
    """Log-mel [n, 1, 96, 64] -> [n, 128], before the last activation. Parameters are named as torchvggish names them."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for group in ((64,), (128,), (256, 256), (512, 512)):
            for width in group:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.embeddings = nn.Sequential(
            nn.Linear(512 * 4 * 6, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 128)
        )

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        # TensorFlow's layout: time, band, channel.
        return self.embeddings(self.features(mel).permute(0, 2, 3, 1).flatten(1))


class VGGishEmbedder(CheckpointEmbedder):
    """Rows [windows, 128].

    Args:
        name: vggish_tf or vggish_torch, which chooses the front end.
        files: where the weights are.
        device: PyTorch's name of it.
    """

    published = PUBLISHED
    version = "3"
    rate = RATE

    def __init__(self, name: str, files: weights.Weights, device: str = "cpu") -> None:
        super().__init__(files, device)
        self.name = name
        self.paper = name == "vggish_tf"
        self.view: View = "paper" if self.paper else "toolkit"

    def prepare(self, wave: torch.Tensor, clip_id: str) -> list[torch.Tensor]:  # noqa: ARG002
        if not self.paper:
            mel = log_mel(wave)
            return [mel[None, i : i + WINDOW] for i in range(0, len(mel) - WINDOW + 1, WINDOW)]
        mel = log_mel(scale_to_peak(quantise_16_bits(wave)))
        starts = range(0, len(wave) - RATE + 1, RATE // 2)
        return [mel[None, start // HOP : start // HOP + WINDOW] for start in starts]

    @torch.inference_mode()
    def embed(self, inputs: torch.Tensor) -> Sequence[Array]:
        rows = self._module(inputs.to(self.device)).cpu().numpy()
        return [row[None] for row in rows]

    @cached_property
    def _module(self) -> VGGish:
        with torch.device("meta"):
            network = VGGish()
        network.to_empty(device="cpu")
        weights.load_state(network, weights.read_state_dict(self.file), self.file)
        for layer in network.embeddings:
            if isinstance(layer, nn.Linear):  # column-major weights are twice as fast for the ten rows of a clip
                layer.weight.data = layer.weight.data.t().contiguous().t()
        # PyTorch's annotations leave memory_format out.
        return network.eval().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def quantise_16_bits(wave: torch.Tensor) -> torch.Tensor:
    """[samples] with the peak at −1 dBFS, rounded to 16 bits; silence as it is."""
    peak = wave.abs().max()
    if peak == 0:
        return wave
    return ((wave * (HEADROOM / peak)) * 32_768).round().clamp(-32_768, 32_767) / 32_768


def scale_to_peak(wave: torch.Tensor) -> torch.Tensor:
    """[samples] divided by the largest positive sample, at least 0.1, as Google's front end does."""
    return wave / wave.max().clamp(min=0.1)


def log_mel(wave: torch.Tensor) -> torch.Tensor:
    """Log-mel, float32 [frames, 64], of [samples] at 16 kHz; without padding: no frames for less than 25 ms."""
    samples = wave.double()
    if len(samples) < FRAME:
        return torch.zeros(0, BANDS)
    frames = samples.unfold(0, FRAME, HOP) * torch.hann_window(FRAME, dtype=torch.float64)
    spectrum = torch.fft.rfft(frames, SPECTRUM).abs()
    return torch.log(spectrum @ _filters() + 0.01).float()


@lru_cache(maxsize=1)
def _filters() -> torch.Tensor:
    """Triangles on HTK's mel scale, over frequency in mel: [257, 64]; the lowest bin has weight 0."""
    bins = _mel(np.linspace(0, RATE / 2, SPECTRUM // 2 + 1))[:, None]
    edges = np.linspace(_mel(np.array(LOW)), _mel(np.array(HIGH)), BANDS + 2)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    triangles = np.maximum(0, np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)))
    triangles[0] = 0
    return torch.from_numpy(triangles)


def _mel(hertz: np.ndarray) -> np.ndarray:
    return np.asarray(1127 * np.log1p(hertz / 700))


EMBEDDERS = (
    EmbedderSpec("vggish_tf", lambda context: VGGishEmbedder("vggish_tf", context.weights, context.device), PUBLISHED),
    EmbedderSpec(
        "vggish_torch", lambda context: VGGishEmbedder("vggish_torch", context.weights, context.device), PUBLISHED
    ),
)
