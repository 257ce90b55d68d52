"""The network of the `*_mini` metrics: a small tagger and a small CLAP with one convolutional encoder.

Trained on the composed corpus (`train_mini.py`), stored in this folder: metrics that run anywhere, offline. It knows the
corpus's 25 genres and its instruments, and nothing else; the numbers compare systems on the `synth` suite and are not FAD, KL
or CLAP of the published networks.

Conventions: mono at 32 kHz, normalised to RMS 0.1, so that loudness has no effect; log-mel [80 bands, 50 frames per second];
encoder: log-mel → [B, 128, T/16]; embedding: one vector [64] per second.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise

import torch
from torch import nn

RATE = 32_000
"""Hz."""
WINDOW = 2048
HOP = 640
BANDS = 80
LOW, HIGH = 40.0, 14_000.0
"""Hz, of the mel bands."""
WIDTH = 128
EMBEDDING = 64
JOINT = 64
"""Dimensions of the joint space of text and audio."""
LOUDNESS = 0.1
"""RMS that every clip is normalised to."""
_WORD = re.compile(r"[a-z0-9#]+")


class Encoder(nn.Module):
    """Convolutional encoder: log-mel [B, 80, T] -> [B, 128, T/16]."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 24, 48, 96, WIDTH)
        self.layers = nn.Sequential(*[_stage(a, b) for a, b in pairwise(widths)])

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        features = self.layers(mel[:, None])  # [B, 128, 5, T/16]
        return features.mean(dim=2) + features.amax(dim=2)


class Mini(nn.Module):
    """Tagger and CLAP. Attributes are the names of the parameters in mini.safetensors.

    Args:
        genres: classes of the tagger's genre head.
        instruments: classes of its lead instrument head.
        words: size of the text encoder's vocabulary.
    """

    def __init__(self, genres: int, instruments: int, words: int) -> None:
        super().__init__()
        self.ears = Encoder()
        self.embedding = nn.Conv1d(WIDTH, EMBEDDING, 1)
        self.genre = nn.Linear(EMBEDDING, genres)
        self.lead = nn.Linear(EMBEDDING, instruments)
        self.sound = nn.Sequential(nn.Linear(2 * WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, JOINT))
        self.words = nn.EmbeddingBag(words + 1, JOINT, mode="mean", padding_idx=0)
        self.text = nn.Sequential(nn.Linear(JOINT, WIDTH), nn.ReLU(), nn.Linear(WIDTH, JOINT))
        self.scale = nn.Parameter(torch.tensor(2.5))

    def encode_audio(self, mel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Log-mel [B, 80, T] -> (embeddings [B, 64, T/16], genre logits and lead logits [B, classes], joint [B, 64])."""
        features = self.ears(mel)
        embedding = self.embedding(features)
        pooled = embedding.mean(dim=2)
        joint = nn.functional.normalize(self._joint(features), dim=-1)
        return embedding, self.genre(pooled), self.lead(pooled), joint

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens [B, length], 0 for padding -> joint [B, 64]."""
        return nn.functional.normalize(self.project_text(tokens), dim=-1)

    def project_audio(self, mel: torch.Tensor) -> torch.Tensor:
        """Log-mel [B, 80, T] -> joint [B, 64] before normalisation."""
        return self._joint(self.ears(mel))

    def project_text(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens [B, length], 0 for padding -> joint [B, 64] before normalisation."""
        return self.text(self.words(tokens))

    def _joint(self, features: torch.Tensor) -> torch.Tensor:
        return self.sound(torch.cat([features.mean(dim=2), features.amax(dim=2)], dim=1))


def log_mel(wave: torch.Tensor) -> torch.Tensor:
    """Log-mel [B, 80, frames] of mono audio at 32 kHz [B, samples], normalised in loudness."""
    level = wave.square().mean(dim=-1, keepdim=True).sqrt()
    wave = wave * (LOUDNESS / level.clamp(min=1e-5))
    spectrum = torch.stft(
        wave, WINDOW, HOP, window=torch.hann_window(WINDOW, device=wave.device), center=True, return_complex=True
    )
    mel = _filters().to(wave.device) @ spectrum.abs().square()
    return (mel + 1e-3).log() / 4


def unigrams_and_bigrams(text: str) -> list[str]:
    """The words and bigrams of a text, lower-case: "slow piano" -> slow, piano, slow_piano."""
    words = _WORD.findall(text.lower())
    return words + [f"{a}_{b}" for a, b in pairwise(words)]


def tokenize(texts: list[str], vocabulary: dict[str, int]) -> torch.Tensor:
    """Tokens [B, longest], padded with 0; unknown words are left out."""
    rows = [[vocabulary[word] for word in unigrams_and_bigrams(text) if word in vocabulary] or [0] for text in texts]
    length = max(map(len, rows))
    return torch.tensor([row + [0] * (length - len(row)) for row in rows])


@lru_cache(maxsize=1)
def _filters() -> torch.Tensor:
    """Triangular filters, evenly spaced on HTK's mel scale, [80, WINDOW / 2 + 1]."""
    mel = torch.linspace(_mel(LOW), _mel(HIGH), BANDS + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    bins = torch.linspace(0, RATE / 2, WINDOW // 2 + 1)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return torch.minimum(rising, falling).clamp(min=0)


def _mel(hertz: float) -> float:
    return float(2595 * torch.log10(torch.tensor(1 + hertz / 700)))


def _stage(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )
