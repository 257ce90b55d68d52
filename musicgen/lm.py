"""The language model: pattern steps and conditions -> logits of the next step (paper section 2.4).

    sequence [B, K, S] --embed, sum over K--> [B, S, D] --positions, L blocks, norm--> [B, S, D] --heads--> [B, K, S, N]

Shapes: B rows, K codebooks, S pattern steps, N entries of a codebook, D width, L blocks, P prefix positions. Entry N of every
embedding table is the special token, used where a step has no code of a codebook. In melody models, melody and text are a
prefix of the sequence; in other models, the text is read by cross-attention.
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
    """The shape of a language model (sizes of the published models: paper section 3.2)."""

    dim: int
    num_heads: int
    num_layers: int
    num_codebooks: int
    codebook_size: int = 2048
    ffn_dim: int = 0
    """0: four times `dim`."""
    activation: str = "gelu"
    """GELU in the published weights, ReLU in the paper's text (section 2.4)."""
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
    """The conditions of a batch.

    Masks are False at padding, which is neither attended nor counted as a position.

    Attributes:
        cross: [B, L, D], vectors for cross-attention (L: their number).
        cross_mask: bool [B, L].
        prefix: [B, P, D], vectors before the steps.
        prefix_mask: bool [B, P]; padding may be anywhere but at the start.
        added: [B, D], added to the embedding of every step.
        positions: int64 [B, n], the positions of the first n steps, counted from the end of the prefix. Later steps count on
            from the last of them. None: 0, 1, 2 … The first call with a KV cache holds all of these steps.
    """

    cross: torch.Tensor | None = None
    cross_mask: torch.Tensor | None = None
    prefix: torch.Tensor | None = None
    prefix_mask: torch.Tensor | None = None
    added: torch.Tensor | None = None
    positions: torch.Tensor | None = None

    @property
    def prefix_length(self) -> int:
        return 0 if self.prefix is None else self.prefix.shape[1]

    @property
    def batch(self) -> int:
        """B, 0 without any condition."""
        return next((one.shape[0] for one in self._given), 0)

    def repeat(self, groups: int) -> bool:
        """Whether the B rows consist of `groups` groups of B / groups rows with equal conditions."""
        each = (one.unflatten(0, (groups, -1)) for one in self._given)
        return bool(self._given) and all(torch.equal(one, one[:1].expand_as(one)) for one in each)

    @property
    def _given(self) -> list[torch.Tensor]:
        every = (self.cross, self.cross_mask, self.prefix, self.prefix_mask, self.added)
        return [one for one in every if one is not None]

    def of(self, rows: slice) -> Conditions:
        """The conditions of some rows, without the padding that only other rows need."""
        cross, prefix = _of(rows, self.cross, self.cross_mask), _of(rows, self.prefix, self.prefix_mask)
        added, positions = (None if one is None else one[rows] for one in (self.added, self.positions))
        return Conditions(*cross, *prefix, added, positions)

    def repeated(self, rows: int) -> Conditions:
        """The conditions of one row, repeated for this number of rows."""
        given = (self.cross, self.cross_mask, self.prefix, self.prefix_mask, self.added, self.positions)
        return Conditions(*(None if one is None else one.expand(rows, *one.shape[1:]) for one in given))

    def placed(self, counted: torch.Tensor) -> torch.Tensor:
        """Position of each prefix vector and step.

        Args:
            counted: int64 [B or 1, P + S], without `positions`.

        Returns:
            int64 [B or 1, P + S].
        """
        if self.positions is None:
            return counted
        prefix, steps = counted.split([self.prefix_length, counted.shape[1] - self.prefix_length], dim=1)
        given = steps[:, :1] + self.positions[:, : steps.shape[1]].to(steps.device)
        rest = torch.arange(1, steps.shape[1] - given.shape[1] + 1, device=steps.device)
        return torch.cat([prefix.expand(len(given), -1), given, given[:, -1:] + rest], dim=1)

    @property
    def offsets(self) -> torch.Tensor:
        """int64 [B or 1], position less number of the steps behind `positions`."""
        if self.positions is None:
            return torch.zeros(1, dtype=torch.int64)
        return self.positions[:, -1] + 1 - self.positions.shape[1]


class LanguageModel(nn.Module):
    """A decoder-only transformer over pattern steps, with one embedding table and one head for each codebook."""

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

    @property
    def parts(self) -> list[str]:
        """Names of the submodules that hold all weights: the embedding, each block, the norm and the heads."""
        return ["embedding", *(f"blocks.{i}" for i in range(len(self.blocks))), "norm", "heads"]

    def forward(
        self,
        sequence: torch.Tensor,
        conditions: Conditions,
        cache: KVCache | None = None,
        predicting: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Compute logits.

        Args:
            sequence: int64 [B, K, S], codes and special tokens. With a cache, only the steps that the cache does not have.
            conditions: Of the B rows. A prefix is read on the first call with a cache.
            cache: Keys and values of earlier steps, extended in place; None computes everything.
            predicting: int64 [K, T], the steps of the codes (`Layout.steps`): computes only their logits, which in patterns
                with one code a step is a K-th of all.

        Returns:
            [B, K, S, N]; index s predicts step s + 1. With `predicting`, [B, K, T, N].
        """
        x = self.embed(sequence)
        if conditions.added is not None:
            x = x + conditions.added.to(x.dtype)[:, None]
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

    def bidirectional(self, sequence: torch.Tensor, conditions: Conditions, reach: int | None = None) -> torch.Tensor:
        """Logits of a model that sees all positions in both directions, as MAGNeT does.

        Args:
            sequence: int64 [B, K, T], entry N where a code is masked.
            conditions: Of the rows, without a prefix.
            reach: Positions to each side that self-attention reaches; None for all.

        Returns:
            [B, K, T, N]; index t predicts code t.
        """
        x = self.embed(sequence)
        if conditions.added is not None:
            x = x + conditions.added.to(x.dtype)[:, None]
        positions = torch.arange(x.shape[1], device=x.device)
        x = x + sinusoid(positions, self.config.dim).to(x.dtype)
        distance = (positions[:, None] - positions).abs()
        mask = (distance <= (x.shape[1] if reach is None else reach))[None, None]
        cross_mask = _attention_mask(conditions.cross_mask)
        condition = None if conditions.cross is None else conditions.cross.to(x.dtype)
        for layer, block in enumerate(self.blocks):
            x = block(x, mask, condition, cross_mask, None, layer)
        return self.predict(x)

    def start(
        self,
        conditions: Conditions,
        rows: int,
        capacity: int,
        clips: int = 1,  # noqa: ARG002 (all rows are one batch here)
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        """Begin an incremental run with a KV cache.

        Args:
            conditions: Of the rows.
            rows: Their number, guidance's included.
            capacity: Most steps of the run.
            clips: Number of clips; row r belongs to clip r % clips.

        Returns:
            A function from the next steps, int64 [rows, K, S] (the prefill first, then one at a time), to the logits of the
            last of them, float32 [rows, K, N].
        """
        cache = self.new_cache(rows, conditions.prefix_length + capacity)
        return lambda inputs: self(inputs, conditions, cache)[:, :, -1].float()

    def predict(self, x: torch.Tensor) -> torch.Tensor:
        """Final norm and heads: hidden states [B, S, D] -> logits [B, K, S, N]."""
        logits = self.heads(self.norm(x)).unflatten(-1, (self.config.num_codebooks, self.config.codebook_size))
        return logits.transpose(1, 2)

    def _predict_codes(self, x: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """Hidden states [B, S, D] -> [B, K, T, N], the logits of codebook k at the steps before `steps[k]`."""
        heads = self.heads.weight.unflatten(0, (self.config.num_codebooks, self.config.codebook_size))
        x = self.norm(x)
        return torch.stack([nn.functional.linear(x[:, steps[k] - 1], head) for k, head in enumerate(heads)], dim=1)

    def embed(self, sequence: torch.Tensor) -> torch.Tensor:
        """Codes [B, K, S] -> [B, S, D]: embeddings summed over codebooks."""
        offsets = torch.arange(self.config.num_codebooks, device=sequence.device) * (self.config.codebook_size + 1)
        return self.embedding(sequence + offsets[:, None]).sum(dim=1)

    def new_cache(self, batch: int, capacity: int) -> KVCache:
        """An empty KV cache for `batch` rows of at most `capacity` positions, prefix included."""
        c = self.config
        return KVCache(c.num_layers, batch, c.num_heads, c.dim // c.num_heads, capacity, self.embedding.weight)

    def _positions(self, conditions: Conditions, length: int, cache: KVCache | None) -> torch.Tensor:
        """int64 [B or 1, length], the positions of the new vectors; padding is not counted."""
        device = self.embedding.weight.device
        if cache is not None and cache.length > 0:
            seen = cache.mask[:, : cache.length].sum(dim=1, keepdim=True) + conditions.offsets.to(device)[:, None]
            return seen + torch.arange(length, device=device)
        if conditions.prefix_mask is None:
            return conditions.placed(torch.arange(length, device=device)[None])
        steps = length - conditions.prefix_length
        real = nn.functional.pad(conditions.prefix_mask, (0, steps), value=True)
        return conditions.placed(real.cumsum(dim=1) - 1)

    def _mask(
        self, conditions: Conditions, length: int, cache: KVCache | None, device: torch.device
    ) -> torch.Tensor | None:
        """Attention mask, bool [B, 1, length, keys]; None where causal attention, or one query over all keys, needs none."""
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
            # Padding attends itself, because a softmax over no keys is NaN; nothing else attends it.
            own = torch.eye(length, start + length, dtype=torch.bool, device=device)[None] if start == 0 else False
            causal = (causal & keys[:, None, :]) | own
        return causal[:, None]


def _of(
    rows: slice, vectors: torch.Tensor | None, mask: torch.Tensor | None
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Vectors and mask of some rows, cut to the positions that one of them needs."""
    if vectors is None or mask is None:
        return None if vectors is None else vectors[rows], None
    needed = mask[rows].any(dim=0)
    return vectors[rows][:, needed], mask[rows][:, needed]


def _attention_mask(mask: torch.Tensor | None) -> torch.Tensor | None:
    if mask is None or bool(mask.all()):
        return None
    return mask[:, None, None, :]
