"""Residual vector quantisation (RVQ) with fixed codebooks: vectors -> indices -> vectors.

Each codebook quantises the residual of the ones before it (Zeghidour et al. 2021, section III-C).
"""

from __future__ import annotations

import torch
from torch import nn


class ResidualQuantiser(nn.Module):
    """codebooks: [Q, N, D], Q quantisers of N entries."""

    codebooks: torch.Tensor

    def __init__(self, num_quantisers: int, num_entries: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("codebooks", torch.zeros(num_quantisers, num_entries, dim))

    def encode(self, vectors: torch.Tensor, count: int | None = None) -> torch.Tensor:
        """Vectors [..., D] -> indices, int64 [..., Q]: the nearest entry of each codebook by Euclidean distance.

        Args:
            vectors: [..., D].
            count: Use the first `count` quantisers in place of all Q.
        """
        residual, indices = vectors, []
        for codebook in self.codebooks[:count]:
            nearest = torch.cdist(residual.reshape(1, -1, residual.shape[-1]), codebook[None])[0].argmin(dim=-1)
            nearest = nearest.view(residual.shape[:-1])
            residual = residual - codebook[nearest]
            indices.append(nearest)
        return torch.stack(indices, dim=-1)

    def decode(self, indices: torch.Tensor) -> torch.Tensor:
        """Indices [..., Q] -> vectors [..., D], the sum of the entries."""
        parts = [self.codebooks[q][indices[..., q]] for q in range(indices.shape[-1])]
        return torch.stack(parts).sum(dim=0)

    def forward(self, vectors: torch.Tensor, count: int | None = None) -> torch.Tensor:
        """Quantise vectors [..., D] by the first `count` quantisers, or all."""
        return self.decode(self.encode(vectors, count))
