"""Residual vector quantisation (RVQ) with codebooks updated by moving averages (Défossez et al. 2022, section 3.2).

Codebook k quantises the residual of the ones before it. Its entries are not trained by gradient: each is the moving average of
the vectors assigned to it (van den Oord et al. 2017, appendix A.1), initialised by k-means, and replaced by a vector of the
batch if it is hardly used. There is no quantiser dropout, as in MusicGen's tokeniser. All random choices use the generator
that is passed in; nothing synchronises with the device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

SMOOTHING = 1e-5
"""Laplace smoothing of the counts: no entry is divided by 0."""


@dataclass(frozen=True)
class Quantised:
    """vectors: [B, D, T], with straight-through gradient; codes: int64 [B, K, T]; commitment: loss, scalar."""

    vectors: torch.Tensor
    codes: torch.Tensor
    commitment: torch.Tensor


class ResidualCodebooks(nn.Module):
    """embed: [K, N, D], the entries; embed_sum: [K, N, D] and counts: [K, N], the moving averages behind them."""

    embed: torch.Tensor
    embed_sum: torch.Tensor
    counts: torch.Tensor

    def __init__(self, codebooks: int, size: int, dim: int, *, decay: float = 0.99, dead_share: float = 0.05) -> None:
        super().__init__()
        self.decay = decay
        self.dead_share = dead_share
        self.register_buffer("embed", torch.zeros(codebooks, size, dim))
        self.register_buffer("embed_sum", torch.zeros(codebooks, size, dim))
        self.register_buffer("counts", torch.zeros(codebooks, size))

    def forward(self, latents: torch.Tensor, generator: torch.Generator | None = None) -> Quantised:
        """Quantise float32 [B, D, T]. With a generator (training), the codebooks are updated."""
        residual = latents.transpose(1, 2)  # [B, T, D]
        total = torch.zeros_like(residual)
        codes, commitment = [], latents.new_zeros(())
        for k in range(self.embed.shape[0]):
            flat = residual.detach().flatten(0, 1)
            chosen = nearest(flat, self.embed[k])
            entry = F.embedding(chosen, self.embed[k]).view_as(residual)
            # Summed over D: the squared distance, whatever the width.
            commitment = commitment + (residual - entry).square().sum(dim=-1).mean()
            if generator is not None:
                self._update(k, flat, chosen, generator)
            codes.append(chosen.view(residual.shape[:2]))
            total, residual = total + entry, residual - entry
        quantised = total.transpose(1, 2)
        straight = latents + (quantised - latents).detach()
        return Quantised(straight, torch.stack(codes, dim=1), commitment / len(codes))

    @torch.no_grad()
    def initialise(self, latents: torch.Tensor, iterations: int, generator: torch.Generator) -> None:
        """Initialise all codebooks by k-means of vectors [M, D], each on the residual of the ones before it."""
        residual = latents
        for k in range(self.embed.shape[0]):
            centres, counts = kmeans(residual, self.embed.shape[1], iterations, generator)
            # The averages start at their steady state for batches like this one.
            self.embed[k], self.counts[k] = centres, counts
            self.embed_sum[k] = centres * counts[:, None]
            residual = residual - centres[nearest(residual, centres)]

    @torch.no_grad()
    def _update(self, k: int, vectors: torch.Tensor, chosen: torch.Tensor, generator: torch.Generator) -> None:
        counts, sums = tally(vectors, chosen, self.embed.shape[1])
        self.counts[k].lerp_(counts, 1 - self.decay)
        self.embed_sum[k].lerp_(sums, 1 - self.decay)
        mean = len(vectors) / self.embed.shape[1]
        dead = self.counts[k] < self.dead_share * mean
        substitutes = vectors[_draw(len(vectors), len(dead), generator)]
        # A replaced entry gets the mean count, otherwise it would be replaced again at the next step.
        self.counts[k] = torch.where(dead, mean, self.counts[k])
        self.embed_sum[k] = torch.where(dead[:, None], substitutes * mean, self.embed_sum[k])
        total = self.counts[k].sum()
        smoothed = (self.counts[k] + SMOOTHING) / (total + len(dead) * SMOOTHING) * total
        self.embed[k] = self.embed_sum[k] / smoothed[:, None]


def nearest(vectors: torch.Tensor, entries: torch.Tensor) -> torch.Tensor:
    """Vectors [M, D], entries [N, D] -> indices [M] of the nearest entries, the first one at a tie."""
    # |x - e|² without |x|², which is the same for all entries.
    return torch.addmm(entries.square().sum(dim=-1), vectors, entries.t(), alpha=-2).argmin(dim=-1)


def tally(vectors: torch.Tensor, chosen: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Count and sum of the vectors [M, D] assigned to each entry: [N] and [N, D]."""
    # A matrix product, not index_add, which is not deterministic on a GPU.
    one_hot = (chosen[:, None] == torch.arange(size, device=chosen.device)).to(vectors.dtype)
    return one_hot.sum(dim=0), one_hot.t() @ vectors


def kmeans(
    vectors: torch.Tensor, size: int, iterations: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Lloyd's algorithm on vectors [M, D], initialised with random ones. Returns centres [N, D] and counts [N]."""
    order = torch.randperm(len(vectors), generator=generator, device=generator.device)
    centres = vectors[order.repeat(-(-size // len(vectors)))[:size]]
    counts, sums = tally(vectors, nearest(vectors, centres), size)
    for _ in range(iterations):
        substitutes = vectors[_draw(len(vectors), size, generator)]
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], substitutes)
        counts, sums = tally(vectors, nearest(vectors, centres), size)
    return centres, counts


def _draw(total: int, count: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randint(total, (count,), generator=generator, device=generator.device)
