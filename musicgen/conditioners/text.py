"""The text conditioner: T5 or FLAN-T5 (paper section 2.3)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from musicgen.conditioners.base import Conditioner
from musicgen.conditioners.condition import Condition
from musicgen.conditioners.t5 import T5Encoder
from musicgen.conditioners.text_tokenizer import TextTokenizer
from musicgen.errors import CheckpointError, InputError
from musicgen.options import check_text
from musicgen.transformer import STABLE_ROWS
from musicgen.weight_cache import WeightCache

MAX_TOKENS = 512
"""T5's own training length."""
CACHED_TEXTS = 64
"""Texts whose vectors are kept."""


class T5Conditioner(Conditioner):
    """A T5 encoder, frozen in the published models, and the learned projection to the language model's width.

    Each text is encoded alone, so that its vectors are the same bit for bit in any batch: those of a batch differ by rounding,
    which int8 activations amplify into other codes. They are kept while the weights do not change.

    Attributes:
        mask_padding: Whether the padding of shorter texts in one call is masked, so that a row does not depend on the other
            texts. False reproduces the reference implementation, which attends padding as zero vectors.
        length: Minimal number of vectors of a text: shorter ones are followed by zero vectors that are attended. In a prefix
            the distance between music and melody then does not depend on the text, and the null text is as long as any
            other. 0 for none, as in the published models.
    """

    mask_padding = True

    def __init__(self, encoder: T5Encoder, tokenizer: TextTokenizer, projection: nn.Module, length: int = 0) -> None:
        super().__init__()
        self.encoder = encoder
        self.tokenizer = tokenizer
        self.projection = projection
        self.length = length
        self._cache = WeightCache(self, _remember)

    @property
    def max_length(self) -> int:
        return MAX_TOKENS

    @property
    def min_length(self) -> int:
        return self.length

    def check(self, source: str) -> None:
        if not 0 <= self.length <= MAX_TOKENS:
            raise CheckpointError(f"{source}: texts of {self.length} vectors: {MAX_TOKENS} at most are possible")

    def prepare(self, value: Any, **options: Any) -> str:  # noqa: ARG002
        """A description; raises InputError for one that has more tokens than T5 was trained on."""
        text = check_text("the prompt", value)
        self.tokens([text])
        return text

    def null(self, batch: int, like: Condition) -> Condition:  # noqa: ARG002
        """Zero vectors, as many as each row's own text has."""
        return like.zeroed()

    def tokens(self, texts: Sequence[str], max_tokens: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokenise texts.

        Args:
            texts: B texts.
            max_tokens: Longer texts are truncated; None truncates nothing.

        Returns:
            Token ids, int64 [B, L], and their mask, bool [B, L], on the CPU.

        Raises:
            InputError: A text has more tokens than T5 was trained on.
        """
        ids, real = self.tokenizer.encode(texts, self.padding, max_tokens)
        if ids.shape[1] > MAX_TOKENS:
            longest = max(texts, key=len)
            raise InputError(
                f"the description {longest[:40]!r}… has {ids.shape[1]} tokens: the text encoder takes "
                f"{MAX_TOKENS} at most, about {4 * MAX_TOKENS} characters"
            )
        missing = max(0, self.length - ids.shape[1])
        return nn.functional.pad(ids, (0, missing), value=self.padding), nn.functional.pad(real, (0, missing))

    @property
    def padding(self) -> int:
        """The token id of padding."""
        return self.encoder.config.pad_token_id or 0

    def unknown(self, text: str) -> float:
        """The share of a text's tokens that the vocabulary lacks, 0 to 1."""
        return self.tokenizer.unknown(text)

    def hidden(self, ids: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Token ids [B, L] and mask [B, L] -> T5's hidden states [B, L, T5 width]."""
        return self.encoder(ids, real)

    def condition(self, states: torch.Tensor, real: torch.Tensor, absent: torch.Tensor) -> Condition:
        """Project hidden states [B, L, T5 width]; absent: bool [B], the rows without text, which become the null text."""
        real = real & ~absent[:, None]
        return self._masked(self.projection(states) * real[..., None], real)

    def forward(self, texts: Sequence[str | None]) -> Condition:
        """The condition of B texts. None and "" give the null text: one zero vector, or `length` of them.

        For inference: no gradients. Training calls `tokens`, `hidden` and `condition`.
        """
        vectors = self._cache.get()
        device = self.encoder.device
        each = [vectors(text) if text else vectors("")[:0] for text in texts]
        values = nn.utils.rnn.pad_sequence(each, batch_first=True)
        values = nn.functional.pad(values, (0, 0, 0, max(0, max(1, self.length) - values.shape[1])))
        counts = torch.tensor([len(one) for one in each], device=device)
        return self._masked(values, torch.arange(values.shape[1], device=device) < counts[:, None])

    def encode(self, prepared: Sequence[str | None]) -> Condition:
        """As `forward`, which encodes each text alone."""
        return self(prepared)

    def _masked(self, values: torch.Tensor, real: torch.Tensor) -> Condition:
        """Vectors [B, L, D], zero where not real [B, L], with the mask of what is attended."""
        least = torch.arange(real.shape[1], device=real.device) < max(1, self.length)
        return Condition(values, real | least if self.mask_padding else torch.ones_like(real))

    @torch.no_grad()
    def _encode(self, text: str) -> torch.Tensor:
        """The vectors [tokens, D] of one text, the same on any number of threads."""
        ids, real = self.tokens([text])
        missing = -ids.shape[1] % STABLE_ROWS
        ids = nn.functional.pad(ids, (0, missing), value=self.padding).to(self.encoder.device)
        real = nn.functional.pad(real, (0, missing)).to(self.encoder.device)
        return self.projection(self.hidden(ids, real))[0, : int(real.sum())]


def _remember(conditioner: T5Conditioner) -> Callable[[str], torch.Tensor]:
    """A function from a text to its vectors [tokens, D] that keeps the latest ones."""
    return functools.lru_cache(CACHED_TEXTS)(conditioner._encode)


class NoText(Conditioner):
    """In the place of a text encoder, for a model that was trained without descriptions: a condition of no vectors."""

    _nothing: torch.Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("_nothing", torch.zeros(1, 0, dim), persistent=False)

    @property
    def max_length(self) -> int:
        return 0

    def prepare(self, value: Any, **options: Any) -> str:  # noqa: ARG002
        """The empty description; raises InputError for any other."""
        text = check_text("the prompt", value)
        if text:
            raise InputError(
                f"the model was trained without descriptions and cannot follow {text[:40]!r}: ",
                python="pass ''",
                shell="pass '' as the description",
                page="leave the description empty, or choose another model",
            )
        return text

    def unknown(self, text: str) -> float:
        """The share of a text that is not followed: all of it."""
        return 1.0 if text else 0.0

    def forward(self, texts: Sequence[str | None]) -> Condition:
        """One row a text, each of them None or ""."""
        values = self._nothing.expand(len(texts), -1, -1)
        return Condition(values, values.new_ones(values.shape[:2], dtype=torch.bool))
