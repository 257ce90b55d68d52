"""Text -> condition, by T5 or FLAN-T5 (paper section 2.3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase, T5EncoderModel

from musicgen.conditioners.condition import Condition
from musicgen.errors import InputError

MAX_TOKENS = 512
"""T5's own training length."""


class T5Conditioner(nn.Module):
    """A frozen T5 encoder and the learned projection to the language model's width.

    `mask_padding`: whether a batch hides the padding of its shorter texts, so that a clip does not depend on the texts
    beside it. False repeats the reference implementation, which leaves padding in attention as zero vectors.
    """

    mask_padding = True

    def __init__(self, encoder: T5EncoderModel, tokenizer: PreTrainedTokenizerBase, projection: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.tokenizer = tokenizer
        self.projection = projection

    @torch.no_grad()
    def hidden(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """The encoder's states [B, L, width] and mask [B, L] (bool); no gradient reaches the encoder."""
        tokens = self.tokenizer(list(texts), padding=True, return_tensors="pt").to(self.encoder.device)
        if tokens.input_ids.shape[1] > MAX_TOKENS:
            longest = max(texts, key=len)
            raise InputError(
                f"the description {longest[:40]!r}… has {tokens.input_ids.shape[1]} tokens: the text encoder takes "
                f"{MAX_TOKENS} at most, about {4 * MAX_TOKENS} characters"
            )
        states = self.encoder(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state
        return states, tokens.attention_mask.bool()

    def forward(self, texts: Sequence[str | None]) -> Condition:
        """One row a text. None and "" are the null text: a single zero vector."""
        states, real = self.hidden([text or "" for text in texts])
        absent = torch.tensor([not text for text in texts], device=real.device)[:, None]
        values = self.projection(states) * (real & ~absent)[..., None]
        first = torch.arange(real.shape[1], device=real.device)[None] == 0
        mask = torch.where(absent, first, real)
        return Condition(values, mask if self.mask_padding else torch.ones_like(mask))
