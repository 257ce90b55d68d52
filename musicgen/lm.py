"""The language model: pattern steps and conditions -> logits of the next step (paper section 2.4).

    sequence [B, K, S] --embed, sum over K--> [B, S, D] --positions, L blocks, norm--> [B, S, D] --heads--> [B, K, S, N]

Entry N of every codebook's table is the special token: "no code of this codebook in this step". A melody condition is a
prefix of the sequence, a text condition is attended by cross-attention. It knows nothing of patterns, text or sampling.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from musicgen.errors import CheckpointError
from musicgen.transformer import ACTIVATIONS, Block, KVCache, sinusoid


@dataclass(frozen=True)
class LMConfig:
    """The shape of a language model."""

    dim: int
    num_heads: int
    num_layers: int
    num_codebooks: int
    codebook_size: int = 2048
    ffn_dim: int = 0
    """0: four times `dim`."""
    activation: str = "gelu"
    """GELU in the released weights, ReLU in the paper's text."""
    cross_attention: bool = True
    """False for models whose conditions are a prefix (the melody models)."""

    def __post_init__(self) -> None:
        if self.ffn_dim == 0:
            object.__setattr__(self, "ffn_dim", 4 * self.dim)
        for name in ("dim", "num_heads", "num_layers", "num_codebooks", "codebook_size", "ffn_dim"):
            if getattr(self, name) < 1:
                raise CheckpointError(f"{name} is {getattr(self, name)}: a language model needs 1 at least")
        if self.dim % (2 * self.num_heads) or self.dim < 4:
            raise CheckpointError(f"width {self.dim} does not split into {self.num_heads} heads of an even size")
        if self.activation not in ACTIVATIONS:
            raise CheckpointError(f"unknown activation {self.activation!r}: one of {', '.join(ACTIVATIONS)}")

    @property
    def special_token(self) -> int:
        return self.codebook_size


@dataclass(frozen=True)
class Conditions:
    """What the model is conditioned on, row by row.

    cross: [B, L, D] for cross-attention; prefix: [B, P, D] in front of the steps. The masks [B, L] and [B, P] (bool) are
    False at padding, which is neither attended nor counted as a position. A prefix may be padded anywhere but at its start.
    """

    cross: torch.Tensor | None = None
    cross_mask: torch.Tensor | None = None
    prefix: torch.Tensor | None = None
    prefix_mask: torch.Tensor | None = None

    @property
    def prefix_length(self) -> int:
        return 0 if self.prefix is None else self.prefix.shape[1]


class LanguageModel(nn.Module):
    """Codes and conditions in, logits out."""

    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        self.config = config
        c = config
        self.embedding = nn.Embedding(c.num_codebooks * (c.codebook_size + 1), c.dim)
        self.blocks = nn.ModuleList(
            Block(c.dim, c.num_heads, c.ffn_dim, c.activation, c.cross_attention) for _ in range(c.num_layers)
        )
        self.norm = nn.LayerNorm(c.dim)
        self.heads = nn.Linear(c.dim, c.num_codebooks * c.codebook_size, bias=False)

    def forward(
        self,
        sequence: torch.Tensor,
        conditions: Conditions,
        cache: KVCache | None = None,
        predicting: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """sequence [B, K, S] int64 of codes and special tokens -> logits [B, K, S, N]; those of index s predict step s + 1.

        With a cache, `sequence` is what comes after the steps the cache has seen; the prefix is read on the first call.
        With `predicting` [K, T], the steps of the codes: the logits of these alone, [B, K, T, N]. Where a pattern gives a code
        its own step, that is a K-th of them all.
        """
        x = self.embed(sequence)
        starting = cache is None or cache.length == 0
        if starting and conditions.prefix is not None:
            x = torch.cat([conditions.prefix.to(x.dtype), x], dim=1)
        positions = self._positions(conditions, x.shape[1], cache)
        x = x + sinusoid(positions, self.config.dim).to(x.dtype)
        mask = self._mask(conditions, x.shape[1], cache, x.device)
        cross_mask = _attention_mask(conditions.cross_mask)
        condition = None if conditions.cross is None else conditions.cross.to(x.dtype)
        for layer, block in enumerate(self.blocks):
            x = block(x, mask, condition, cross_mask, cache, layer)
        if cache is not None:
            cache.length += x.shape[1]
        x = x[:, x.shape[1] - sequence.shape[2] :]
        return self.predict(x) if predicting is None else self._predict_codes(x, predicting)

    def start(self, conditions: Conditions, rows: int, capacity: int) -> Callable[[torch.Tensor], torch.Tensor]:
        """A run of `rows` rows over at most `capacity` steps: what enters next [rows, K, S], many steps at first, then one
        -> logits [rows, K, N] of the last, float32."""
        cache = self.new_cache(rows, conditions.prefix_length + capacity)
        return lambda inputs: self(inputs, conditions, cache)[:, :, -1].float()

    def predict(self, x: torch.Tensor) -> torch.Tensor:
        """What leaves the last block [B, S, D] -> logits [B, K, S, N]."""
        logits = self.heads(self.norm(x)).unflatten(-1, (self.config.num_codebooks, self.config.codebook_size))
        return logits.transpose(1, 2)

    def _predict_codes(self, x: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """[B, S, D] -> [B, K, T, N]: codebook k's logits at the steps before `steps[k]`."""
        heads = self.heads.weight.unflatten(0, (self.config.num_codebooks, self.config.codebook_size))
        x = self.norm(x)
        return torch.stack([nn.functional.linear(x[:, steps[k] - 1], head) for k, head in enumerate(heads)], dim=1)

    def embed(self, sequence: torch.Tensor) -> torch.Tensor:
        """[B, K, S] -> [B, S, D]: the sum over the codebooks."""
        offsets = torch.arange(self.config.num_codebooks, device=sequence.device) * (self.config.codebook_size + 1)
        return self.embedding(sequence + offsets[:, None]).sum(dim=1)

    def new_cache(self, batch: int, capacity: int) -> KVCache:
        """An empty cache for `batch` rows of at most `capacity` positions, prefix included."""
        c = self.config
        return KVCache(c.num_layers, batch, c.num_heads, c.dim // c.num_heads, capacity, self.embedding.weight)

    def _positions(self, conditions: Conditions, length: int, cache: KVCache | None) -> torch.Tensor:
        """[B or 1, length] positions of the vectors that enter now, padding not counted."""
        device = self.embedding.weight.device
        if cache is not None and cache.length > 0:
            seen = cache.mask[:, : cache.length].sum(dim=1, keepdim=True)
            return seen + torch.arange(length, device=device)
        if conditions.prefix_mask is None:
            return torch.arange(length, device=device)[None]
        steps = length - conditions.prefix_length
        real = nn.functional.pad(conditions.prefix_mask, (0, steps), value=True)
        return real.cumsum(dim=1) - 1

    def _mask(
        self, conditions: Conditions, length: int, cache: KVCache | None, device: torch.device
    ) -> torch.Tensor | None:
        """[B, 1, length, keys] bool, or None where plain causal attention (or one step over all) says the same."""
        start = 0 if cache is None else cache.length
        padded = conditions.prefix_mask is not None and not bool(conditions.prefix_mask.all())
        if cache is not None and start == 0 and padded:
            cache.mask[:, : conditions.prefix_length] = conditions.prefix_mask  # type: ignore[assignment]
        if not padded and (start == 0 or length == 1):
            return None
        causal = torch.ones(length, start + length, dtype=torch.bool, device=device).tril(start)[None]
        if padded and conditions.prefix_mask is not None:
            steps = start + length - conditions.prefix_length
            keys = nn.functional.pad(conditions.prefix_mask, (0, steps), value=True)
            # A padding vector attends itself, so that no row of the softmax is empty; nobody attends it.
            own = torch.eye(length, start + length, dtype=torch.bool, device=device)[None] if start == 0 else False
            causal = (causal & keys[:, None, :]) | own
        return causal[:, None]


def _attention_mask(mask: torch.Tensor | None) -> torch.Tensor | None:
    if mask is None or bool(mask.all()):
        return None
    return mask[:, None, None, :]
