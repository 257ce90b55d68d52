"""Residual vector quantisation with a fixed set of codebooks: vectors -> indices -> vectors.

Each codebook quantises what the ones before it left over. Learning the codebooks is training's business.
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

    def encode(self, vectors: torch.Tensor) -> torch.Tensor:
        """[..., D] -> indices [..., Q]: the nearest entry by Euclidean distance, quantiser after quantiser."""
        residual, indices = vectors, []
        for codebook in self.codebooks:
            nearest = torch.cdist(residual.reshape(1, -1, residual.shape[-1]), codebook[None])[0].argmin(dim=-1)
            nearest = nearest.view(residual.shape[:-1])
            residual = residual - codebook[nearest]
            indices.append(nearest)
        return torch.stack(indices, dim=-1)

    def decode(self, indices: torch.Tensor) -> torch.Tensor:
        """Indices [..., Q] -> [..., D], the sum of the entries."""
        parts = [codebook[indices[..., q]] for q, codebook in enumerate(self.codebooks)]
        return torch.stack(parts).sum(dim=0)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """[..., D] -> the same vectors, quantised."""
        return self.decode(self.encode(vectors))
