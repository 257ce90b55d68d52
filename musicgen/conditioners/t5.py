"""The encoder of T5 (Raffel et al. 2020) and of T5 1.1 and FLAN-T5, which gate the feed-forward layers (Shazeer 2020).

Parameters have the names of transformers' `T5EncoderModel`, so its weights load without renaming. The network is reimplemented
because importing transformers' model classes takes longer than generating a short clip. Shapes: B rows, L tokens, D width, H
heads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator
from torch import nn
from torch.nn import functional as F


def _gelu_tanh(x: torch.Tensor) -> torch.Tensor:
    """GELU's approximation by tanh (Hendrycks and Gimpel 2016). PyTorch's fused form rounds otherwise, and int8 activations
    amplify that into other codes."""
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x.pow(3))))


ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"relu": F.relu, "gated-gelu": _gelu_tanh}
"""By `feed_forward_proj`: of T5, and of T5 1.1 and FLAN-T5."""


class T5Config(BaseModel):
    """The settings of an encoder; names and defaults as in transformers' configuration files. Other settings are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", validate_by_name=True)

    model_type: Literal["t5"] = "t5"
    vocab_size: PositiveInt = 32_128
    d_model: PositiveInt = 512
    d_kv: PositiveInt = 64
    d_ff: PositiveInt = 2_048
    num_layers: PositiveInt = 6
    num_heads: PositiveInt = 8
    relative_attention_num_buckets: PositiveInt = 32
    relative_attention_max_distance: PositiveInt = 128
    dropout_rate: float = Field(default=0.1, ge=0, lt=1)
    layer_norm_epsilon: float = Field(default=1e-6, gt=0)
    initializer_factor: float = Field(default=1.0, gt=0)
    feed_forward_proj: Literal["relu", "gated-gelu"] = "relu"
    is_encoder_decoder: bool = True
    pad_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 1
    name_or_path: str | None = Field(default=None, alias="_name_or_path")
    """The hub name, where the encoder was loaded by it."""

    @model_validator(mode="after")
    def _positions(self) -> Self:
        if self.relative_attention_num_buckets < 4 or self.relative_attention_num_buckets % 2:
            raise ValueError(
                f"relative_attention_num_buckets is {self.relative_attention_num_buckets}: even, at least 4"
            )
        if self.relative_attention_max_distance <= self.relative_attention_num_buckets // 4:
            raise ValueError(
                f"relative_attention_max_distance is {self.relative_attention_max_distance}: more than a quarter of the "
                f"{self.relative_attention_num_buckets} buckets"
            )
        return self

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values, as transformers reads them."""
        unnamed = {"name_or_path"} if self.name_or_path is None else None
        return self.model_dump(by_alias=True, exclude=unnamed) | {"architectures": ["T5EncoderModel"]}


class T5Encoder(nn.Module):
    """Token ids -> hidden states.

    Args:
        config: The settings. The weights are drawn from PyTorch's global generator, as T5's were.
    """

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.config = config
        self.shared = nn.Embedding(config.vocab_size, config.d_model)
        self.encoder = _Stack(config)
        self.tie_weights()
        self._initialise()

    def tie_weights(self) -> None:
        """Make the two names of the embedding one tensor."""
        self.encoder.embed_tokens.weight = self.shared.weight

    @property
    def device(self) -> torch.device:
        return self.shared.weight.device

    def forward(self, ids: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Encode texts.

        Args:
            ids: Token ids, int64 [B, L].
            real: bool [B, L], False at padding, which is not attended.

        Returns:
            Hidden states [B, L, D].
        """
        return self.encoder(self.shared(ids), real)

    @torch.no_grad()
    def _initialise(self) -> None:
        """The distributions of Mesh TensorFlow, which T5 was trained from."""
        config, factor = self.config, self.config.initializer_factor
        self.shared.weight.normal_(0.0, factor)
        block: Any
        for block in self.encoder.block:
            attention, feed_forward = block.layer[0].SelfAttention, block.layer[1].DenseReluDense
            attention.q.weight.normal_(0.0, factor * (config.d_model * config.d_kv) ** -0.5)
            for layer in (attention.k, attention.v):
                layer.weight.normal_(0.0, factor * config.d_model**-0.5)
            attention.o.weight.normal_(0.0, factor * (config.num_heads * config.d_kv) ** -0.5)
            if attention.relative_attention_bias is not None:
                attention.relative_attention_bias.weight.normal_(0.0, factor * config.d_model**-0.5)
            for name, layer in feed_forward.named_children():
                if not isinstance(layer, nn.Linear):
                    continue
                width = config.d_ff if name == "wo" else config.d_model
                layer.weight.normal_(0.0, factor * width**-0.5)


class _Stack(nn.Module):
    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.d_model)
        self.block = nn.ModuleList(T5Block(config, first=i == 0) for i in range(config.num_layers))
        self.final_layer_norm = _RMSNorm(config)
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(self, x: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        first: Any = self.block[0]
        bias = first.layer[0].SelfAttention.position_bias(x.shape[1]).to(x.dtype)
        hidden = torch.where(real, 0.0, torch.finfo(x.dtype).min).to(x.dtype)
        bias = bias + hidden[:, None, None, :]
        x = self.dropout(x)
        for block in self.block:
            x = block(x, bias)
        return self.dropout(self.final_layer_norm(x))


class T5Block(nn.Module):
    """One layer: self-attention, feed-forward.

    Args:
        config: The settings.
        first: Whether it is the first layer, which holds the position bias of all.
    """

    def __init__(self, config: T5Config, *, first: bool) -> None:
        super().__init__()
        self.layer = nn.ModuleList([_AttentionLayer(config, first=first), _FeedForwardLayer(config)])

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """x: [B, L, D]; bias: [B or 1, H, L, L], added to the attention scores. Returns [B, L, D]."""
        attention, feed_forward = self.layer
        return feed_forward(attention(x, bias))


class _AttentionLayer(nn.Module):
    def __init__(self, config: T5Config, *, first: bool) -> None:
        super().__init__()
        self.SelfAttention = _SelfAttention(config, first=first)
        self.layer_norm = _RMSNorm(config)
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return x + self.dropout(self.SelfAttention(self.layer_norm(x), bias))


class _SelfAttention(nn.Module):
    """Bidirectional self-attention whose scores are not scaled: the initialisation of `q` did that."""

    def __init__(self, config: T5Config, *, first: bool) -> None:
        super().__init__()
        inner = config.num_heads * config.d_kv
        self.q, self.k, self.v = (nn.Linear(config.d_model, inner, bias=False) for _ in range(3))
        self.o = nn.Linear(inner, config.d_model, bias=False)
        self.relative_attention_bias = (
            nn.Embedding(config.relative_attention_num_buckets, config.num_heads) if first else None
        )
        self.heads, self.dropout = config.num_heads, config.dropout_rate
        self.max_distance = config.relative_attention_max_distance

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        q, k, v = (layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout, scale=1.0)
        return self.o(attended.transpose(1, 2).flatten(-2))

    def position_bias(self, length: int) -> torch.Tensor:
        """The learned bias [1, H, length, length] by the distance from query to key."""
        assert self.relative_attention_bias is not None
        positions = torch.arange(length, device=self.relative_attention_bias.weight.device)
        buckets = distance_buckets(
            positions[None, :] - positions[:, None], self.relative_attention_bias.num_embeddings, self.max_distance
        )
        return self.relative_attention_bias(buckets).permute(2, 0, 1)[None]


class _FeedForwardLayer(nn.Module):
    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.DenseReluDense = _FeedForward(config)
        self.layer_norm = _RMSNorm(config)
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.dropout(self.DenseReluDense(self.layer_norm(x)))


class _FeedForward(nn.Module):
    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.gated = config.feed_forward_proj.startswith("gated")
        if self.gated:
            self.wi_0 = nn.Linear(config.d_model, config.d_ff, bias=False)
            self.wi_1 = nn.Linear(config.d_model, config.d_ff, bias=False)
        else:
            self.wi = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.wo = nn.Linear(config.d_ff, config.d_model, bias=False)
        self.dropout = nn.Dropout(config.dropout_rate)
        self.kind = config.feed_forward_proj

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        activation = ACTIVATIONS[self.kind]
        inner = activation(self.wi_0(x)) * self.wi_1(x) if self.gated else activation(self.wi(x))
        return self.wo(self.dropout(inner))


class _RMSNorm(nn.Module):
    """Root mean square normalisation (Zhang and Sennrich 2019), in float32."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.d_model))
        self.epsilon = config.layer_norm_epsilon

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean_square = x.float().pow(2).mean(-1, keepdim=True)
        return self.weight * (x * torch.rsqrt(mean_square + self.epsilon)).to(self.weight.dtype)


def distance_buckets(distance: torch.Tensor, num_buckets: int, max_distance: int) -> torch.Tensor:
    """T5's bucket of each distance (Raffel et al. 2020, section 2.1).

    Half of the buckets are for keys after the query. Of each half, the first half are for one distance each, the others for
    ranges that grow logarithmically up to `max_distance`; all larger distances share the last.

    Args:
        distance: Position of the key minus that of the query, int64 [...].
        num_buckets: Of both directions together.
        max_distance: In tokens.

    Returns:
        int64 [...], 0 to num_buckets - 1.
    """
    half = num_buckets // 2
    exact = half // 2
    steps = distance.abs()
    # As single precision gives it, in this order: at the borders another rounding would choose the neighbour.
    logarithmic = torch.log(steps.clamp(min=1).float() / exact) / math.log(max_distance / exact) * (half - exact)
    far = (exact + logarithmic.long()).clamp(max=half - 1)
    return torch.where(steps < exact, steps, far) + half * (distance > 0)
