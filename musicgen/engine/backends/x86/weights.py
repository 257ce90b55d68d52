"""The weights of a language model as the kernels read them: a table of addresses.

Quantised weights are read in place; only norms and shifts are copied. The weights of a float32 model are copied to float16.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from musicgen.engine.backends.x86 import GROUP_MULTIPLE
from musicgen.engine.backends.x86.step import StepWeights
from musicgen.engine.linear import Int4Linear, Int8Linear
from musicgen.lm import LanguageModel
from musicgen.transformer import Block, CrossAttention


class WeightTable:
    """Keeps the tensors alive that its entries point at.

    Args:
        lm: An int8 or int4 model, or a float32 model for which `fp16_lossless` holds.

    Attributes:
        weights: What a step reads.
        cross_key_values: Entries [L, 6] of the layers that compute the keys and values of cross-attention; empty without it.
    """

    def __init__(self, lm: LanguageModel) -> None:
        self._tensors: list[torch.Tensor] = []
        linears: list[list[int]] = []
        norms: list[nn.LayerNorm] = []
        cross_key_values: list[list[int]] = []
        for block in lm.blocks:
            assert isinstance(block, Block)
            own, cross = block.self_attention, block.cross_attention
            linears += [table_entry(own.qkv, self._tensors), table_entry(own.out, self._tensors)]
            if isinstance(cross, CrossAttention):
                linears += [table_entry(cross.query, self._tensors), table_entry(cross.out, self._tensors)]
                cross_key_values.append(table_entry(cross.key_value, self._tensors))
            linears += [table_entry(block.ffn_in, self._tensors), table_entry(block.ffn_out, self._tensors)]
            norms += [norm for norm in (block.norm_self, block.norm_cross, block.norm_ffn) if norm is not None]
        linears.append(table_entry(lm.heads, self._tensors))
        affine = torch.stack([torch.stack([norm.weight, norm.bias]) for norm in (*norms, lm.norm)]).detach().float()
        layers, gelu = lm.config.num_layers, lm.config.activation == "gelu"
        self.weights = StepWeights(
            np.array(linears, dtype=np.int64),
            np.ascontiguousarray(affine.numpy()),
            layers,
            bool(cross_key_values),
            gelu,
        )
        self.cross_key_values = np.array(cross_key_values, dtype=np.int64)


def fp16_lossless(lm: LanguageModel) -> bool:
    """Whether all weights of the linear layers are exact in float16: those of a model that was stored in half precision are."""
    layers = (module for module in lm.modules() if isinstance(module, nn.Linear))
    return all(layer.bias is None and torch.equal(layer.weight.half().float(), layer.weight) for layer in layers)


def table_entry(layer: nn.Module, tensors: list[torch.Tensor]) -> list[int]:
    """Returns a layer's entry in a weight table: the columns `gemv.CODES` and following.

    Args:
        layer: nn.Linear without bias, Int8Linear or Int4Linear, on the CPU.
        tensors: The tensors that the entry points at are appended; the caller has to keep them alive.
    """
    if isinstance(layer, nn.Linear):
        codes = layer.weight.detach().half().contiguous()
        tensors.append(codes)
        return [codes.data_ptr(), 0, 0, codes.shape[1], codes.shape[0], 16]
    assert isinstance(layer, Int8Linear | Int4Linear)
    codes, scale = layer.codes.contiguous(), layer.scale.float().contiguous()
    tensors += [codes, scale]
    outputs = codes.shape[0]
    if isinstance(layer, Int8Linear):
        return [codes.data_ptr(), scale.data_ptr(), 0, codes.shape[1], outputs, 8]
    shift = layer.shift
    shift = nn.functional.pad(shift, (0, -shift.shape[1] % GROUP_MULTIPLE)).contiguous()
    tensors.append(shift)
    return [codes.data_ptr(), scale.data_ptr(), shift.data_ptr(), codes.shape[1] * codes.shape[2] * 2, outputs, 4]
