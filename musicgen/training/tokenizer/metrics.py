"""Metrics of reconstructions by any codec: pure functions on mono waves; rates in Hz."""

from __future__ import annotations

from functools import lru_cache

import torch
import torchaudio

from musicgen import chroma
from musicgen.errors import InputError
from musicgen.tokenizers import Tokenizer
from musicgen.training.tokenizer.losses import magnitudes, mel_filters

MEL_WINDOW = 2048
"""Samples; the hop is a quarter."""
MEL_BANDS = 128
MEL_FLOOR_DB = -80.0
"""Floor, relative to a full-scale sine."""


def log_mel_distance(original: torch.Tensor, made: torch.Tensor, rate: int) -> float:
    """Mean absolute difference of log mel spectrograms, in dB, of two waves [T]."""
    _same_length(original, made)
    return float((_log_mel(original, rate) - _log_mel(made, rate)).abs().mean())


def si_sdr(original: torch.Tensor, made: torch.Tensor) -> float:
    """Scale-invariant signal-to-distortion ratio of two waves [T], in dB (Le Roux et al. 2019, equation 4)."""
    _same_length(original, made)
    original, made = original.double() - original.double().mean(), made.double() - made.double().mean()
    wanted = (original @ made) / (original @ original).clamp(min=1e-12) * original
    noise = (made - wanted).square().sum()
    return float(10 * torch.log10(wanted.square().sum().clamp(min=1e-12) / noise.clamp(min=1e-12)))


def chroma_agreement(original: torch.Tensor, made: torch.Tensor, rate: int) -> float:
    """Share of frames in which both waves [T] have the same strongest pitch class, among frames where the original
    sounds; 1 if there are none."""
    _same_length(original, made)
    waves = torch.stack([original, made])
    if rate != chroma.SAMPLE_RATE:
        waves = torchaudio.functional.resample(waves, rate, chroma.SAMPLE_RATE)
    first, second = chroma.chroma(waves)
    sounding = first.amax(dim=-1) > 0.5  # 1 in sound, 0 in silence
    if not sounding.any():
        return 1.0
    return float((first.argmax(dim=-1) == second.argmax(dim=-1))[sounding].float().mean())


def perplexity(codes: torch.Tensor, size: int) -> list[float]:
    """Codes [B, K, T] -> for each codebook, exp of the entropy of its entries: 1 to `size`."""
    shares = _shares(codes, size)
    return (-(shares * shares.clamp(min=1e-12).log()).sum(dim=1)).exp().tolist()


def usage(codes: torch.Tensor, size: int) -> list[float]:
    """Codes [B, K, T] -> for each codebook, the share of entries that occur."""
    return (_shares(codes, size) > 0).double().mean(dim=1).tolist()


@torch.no_grad()
def evaluate(tokenizer: Tokenizer, waves: list[torch.Tensor], device: torch.device) -> dict[str, float]:
    """All metrics of a tokeniser.

    Args:
        tokenizer: On `device`.
        waves: float32 [T] each, at the tokeniser's rate.
        device: Of the tokeniser.

    Returns:
        Means over the waves; perplexity and usage of every codebook over all waves together.
    """
    rate = tokenizer.sample_rate
    mel, ratio, agreement, codes = [], [], [], []
    for wave in waves:
        code = tokenizer.encode(wave[None, None].to(device))
        made = tokenizer.decode(code)[0, 0, : len(wave)].cpu()
        codes.append(code.cpu())
        mel.append(log_mel_distance(wave, made, rate))
        ratio.append(si_sdr(wave, made))
        agreement.append(chroma_agreement(wave, made, rate))
    together = torch.cat([part[0] for part in codes], dim=1)[None]
    table = {"log_mel_db": _mean(mel), "si_sdr_db": _mean(ratio), "chroma_agreement": _mean(agreement)}
    uneven = perplexity(together, tokenizer.codebook_size)
    used = usage(together, tokenizer.codebook_size)
    for k in range(tokenizer.num_codebooks):
        table |= {f"perplexity_{k + 1}": uneven[k], f"usage_{k + 1}": used[k]}
    return table


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _shares(codes: torch.Tensor, size: int) -> torch.Tensor:
    counts = torch.stack([torch.bincount(book.flatten(), minlength=size) for book in codes.unbind(1)]).double()
    return counts / counts.sum(dim=1, keepdim=True)


def _log_mel(wave: torch.Tensor, rate: int) -> torch.Tensor:
    mel = _filters(rate) @ magnitudes(wave[None], torch.hann_window(MEL_WINDOW))[0]
    return (20 * mel.log10()).clamp(min=MEL_FLOOR_DB)


@lru_cache(maxsize=4)
def _filters(rate: int) -> torch.Tensor:
    return mel_filters(rate, MEL_WINDOW, MEL_BANDS)


def _same_length(original: torch.Tensor, made: torch.Tensor) -> None:
    if original.dim() != 1 or original.shape != made.shape:
        raise InputError(
            f"two mono waves of one length are compared, not {list(original.shape)} and {list(made.shape)}"
        )
