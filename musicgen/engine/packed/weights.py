"""A language model's weights as the compiled step reads them: where they are, nothing copied but norms and shifts; or, of a
model in float32, a copy in 16 bits."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from musicgen.engine.linear import Int4Linear, Int8Linear
from musicgen.engine.packed import TERMS
from musicgen.engine.packed.step import Weights
from musicgen.lm import LanguageModel
from musicgen.transformer import Block, CrossAttention


class Table:
    """Of a model with packed weights, which stay where they are, or of one in float32 of which `holds` is true. What the table
    points at lives as long as it."""

    def __init__(self, lm: LanguageModel) -> None:
        self._held: list[torch.Tensor] = []
        products: list[list[int]] = []
        norms: list[nn.LayerNorm] = []
        texts: list[list[int]] = []
        for block in lm.blocks:
            assert isinstance(block, Block)
            own, text = block.self_attention, block.cross_attention
            products += [entry(own.qkv, self._held), entry(own.out, self._held)]
            if isinstance(text, CrossAttention):
                products += [entry(text.query, self._held), entry(text.out, self._held)]
                texts.append(entry(text.key_value, self._held))
            products += [entry(block.ffn_in, self._held), entry(block.ffn_out, self._held)]
            norms += [norm for norm in (block.norm_self, block.norm_cross, block.norm_ffn) if norm is not None]
        products.append(entry(lm.heads, self._held))
        numbers = torch.stack([torch.stack([norm.weight, norm.bias]) for norm in (*norms, lm.norm)]).detach().float()
        layers, gelu = lm.config.num_layers, lm.config.activation == "gelu"
        self.weights = Weights(
            np.array(products, dtype=np.int64), np.ascontiguousarray(numbers.numpy()), layers, bool(texts), gelu
        )
        self.texts = np.array(texts, dtype=np.int64)
        """Entries [L, 6] of what makes keys and values of a text."""


def holds(lm: LanguageModel) -> bool:
    """Whether 16 bits lose nothing of any weight that a step multiplies with: so it is where they were stored in 16 bits."""
    layers = (module for module in lm.modules() if isinstance(module, nn.Linear))
    return all(layer.bias is None and torch.equal(layer.weight.half().float(), layer.weight) for layer in layers)


def entry(layer: nn.Module, held: list[torch.Tensor]) -> list[int]:
    """A layer as an entry of a table (`products.CODES` and what follows it); `held` gets what it points at."""
    if isinstance(layer, nn.Linear):
        codes = layer.weight.detach().half().contiguous()
        held.append(codes)
        return [codes.data_ptr(), 0, 0, codes.shape[1], codes.shape[0], 16]
    assert isinstance(layer, Int8Linear | Int4Linear)
    codes, scale = layer.codes.contiguous(), layer.scale.float().contiguous()
    held += [codes, scale]
    outputs = codes.shape[0]
    if isinstance(layer, Int8Linear):
        return [codes.data_ptr(), scale.data_ptr(), 0, codes.shape[1], outputs, 8]
    shift = layer.shift
    shift = nn.functional.pad(shift, (0, -shift.shape[1] % TERMS)).contiguous()
    held.append(shift)
    return [codes.data_ptr(), scale.data_ptr(), shift.data_ptr(), codes.shape[1] * codes.shape[2] * 2, outputs, 4]
