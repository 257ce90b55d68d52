"""Streaming through a convolutional network, for streaming decoders.

A position is computed when all positions of its receptive field to the right are known; these are context, and are computed
again with the next chunk. At the start and the end of the sequence, the network's own padding is used.
"""

from __future__ import annotations

from collections.abc import Callable

import torch


class Slices:
    """The network and the positions that it still needs.

    Args:
        network: [B, D, n] -> [B, E, n * hop].
        radius: Of the receptive field, in input positions.
        hop: Output samples for each input position.
    """

    def __init__(self, network: Callable[[torch.Tensor], torch.Tensor], radius: int, hop: int) -> None:
        self.network, self.radius, self.hop = network, radius, hop
        self._held: torch.Tensor | None = None
        self._done = 0  # leading positions that have been decoded already: left context

    def push(self, x: torch.Tensor, last: bool) -> torch.Tensor | None:
        """[B, D, n] -> the output that is complete now, [B, E, m * hop]; None if there is none."""
        held = x if self._held is None else torch.cat([self._held, x], dim=-1)
        ready = held.shape[-1] if last else held.shape[-1] - self.radius
        if ready <= self._done:
            self._held = held
            return None
        out = self.network(held)[..., self._done * self.hop : ready * self.hop]
        cut = max(0, ready - self.radius)
        self._held, self._done = held[..., cut:], ready - cut
        return out
