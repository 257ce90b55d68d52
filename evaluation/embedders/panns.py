"""PANNs' CNN14 (Kong et al. 2020): an audio tagger whose layer before the classifier is the embedding.

Conventions, those of kadtk's `panns-cnn14-32k`: 32 kHz mono, the unprocessed file, the whole clip at once; log-mel of 1024
samples every 320, 64 bands 50–14,000 Hz (librosa's: Slaney's scale and norm), in dB; six blocks of two convolutions; mean over
bands, maximum plus mean over time; the linear layer `fc1` and its activation: one vector of 2,048 for a clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache

import torch
from torch import nn

from musicgen.errors import CheckpointError

from ..clips.resampling import View
from . import weights
from .base import Array, CheckpointEmbedder, EmbedderSpec

PUBLISHED = weights.Published(
    "panns",
    "Cnn14_mAP=0.431.pth",
    "https://zenodo.org/record/3987831/files/Cnn14_mAP%3D0.431.pth",
    327,
)
RATE = 32_000
"""Hz."""
WINDOW, HOP, BANDS = 1024, 320, 64
LOW, HIGH = 50.0, 14_000.0
"""Hz."""
WIDTHS = (64, 128, 256, 512, 1024, 2048)
"""Channels of the blocks. Each but the last halves time and bands."""
FLOOR = 1e-10
"""Power of a band that counts as silence."""
SHORTEST = (2 ** (len(WIDTHS) - 1) - 1) * HOP
"""Samples; of less, no frame would be left after the blocks."""


class Block(nn.Module):
    """[n, width of the block before, frames, bands] -> [n, width, frames, bands]."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))


class Cnn14(nn.Module):
    """Log-mel [n, frames, 64] -> [n, 2048]. Parameters are named as in the published file, whose classes it leaves out.

    Args:
        widths: channels of the six blocks.
    """

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(BANDS)
        for number, (inputs, width) in enumerate(zip((1, *widths[:-1]), widths, strict=True), 1):
            self.add_module(f"conv_block{number}", Block(inputs, width))
        self.fc1 = nn.Linear(widths[-1], widths[-1])
        self.blocks = len(widths)

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        x = self.bn0(mel.transpose(1, 2)[..., None]).permute(0, 3, 2, 1)  # [n, 1, frames, bands]
        for number in range(1, self.blocks + 1):
            x = self.get_submodule(f"conv_block{number}")(x)
            if number < self.blocks:
                x = nn.functional.avg_pool2d(x, 2)
        frames = x.mean(dim=3)  # [n, width, frames]
        return torch.relu(self.fc1(frames.amax(dim=2) + frames.mean(dim=2)))


class PannsEmbedder(CheckpointEmbedder):
    """Rows [1, 2048]: one vector per clip."""

    name, published = "panns", PUBLISHED
    version = "1"
    view: View = "fadtk"
    rate = RATE

    def prepare(self, wave: torch.Tensor, clip_id: str) -> list[torch.Tensor]:  # noqa: ARG002
        return [log_mel(wave)] if len(wave) >= SHORTEST else []

    @torch.inference_mode()
    def embed(self, inputs: torch.Tensor) -> Sequence[Array]:
        return [row[None] for row in self._module(inputs.to(self.device)).cpu().numpy()]

    @cached_property
    def _module(self) -> nn.Module:
        with torch.device("meta"):
            network = Cnn14(WIDTHS)
        network.to_empty(device="cpu")
        checkpoint = weights.read_checkpoint(self.file)
        if not isinstance(checkpoint.get("model"), dict):
            raise CheckpointError(f"{self.file}: no tensors under `model`, where PANNs' files have them")
        # The spectrogram's and the mel bands' constants, and the classes, have no part in the embedding.
        unused = ("spectrogram_extractor.", "logmel_extractor.", "fc_audioset.")
        state = {name: tensor for name, tensor in checkpoint["model"].items() if not name.startswith(unused)}
        weights.load_state(network, state, self.file)
        return network.eval().to(self.device)


def log_mel(wave: torch.Tensor) -> torch.Tensor:
    """Log-mel in dB, [frames, 64], of [samples] at 32 kHz: a Hann window, frames centred, the ends mirrored."""
    window = torch.hann_window(WINDOW)
    spectrum = torch.stft(wave, WINDOW, HOP, window=window, center=True, pad_mode="reflect", return_complex=True)
    power = torch.view_as_real(spectrum).square().sum(-1)  # [513, frames]
    return 10 * (power.T @ _filters()).clamp(min=FLOOR).log10()


@lru_cache(maxsize=1)
def _filters() -> torch.Tensor:
    from torchaudio.functional import melscale_fbanks

    return melscale_fbanks(WINDOW // 2 + 1, LOW, HIGH, BANDS, RATE, norm="slaney", mel_scale="slaney")


EMBEDDERS = (EmbedderSpec("panns", lambda context: PannsEmbedder(context.weights, context.device), PUBLISHED),)
