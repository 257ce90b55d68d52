"""The language model as an OpenVINO graph: a ragged batch of tokens, with a paged KV cache.

    x [tokens, D] --L blocks--> [tokens, D] --last token of each row, norm, heads--> logits [rows, K * N]

The graph computes the same as `musicgen.lm` and `musicgen.transformer`, except for token and position embedding, which stay in
PyTorch. Its constants share the memory of the module's weights.

Inputs, named as those of OpenVINO's paged attention (B rows, all int32):

    past_lens [B]                  cached positions of each row
    subsequence_begins [B + 1]     first token of each row in x
    block_indices [blocks]         the rows' blocks in the KV cache, row after row
    block_indices_begins [B + 1]   first entry of each row in block_indices
    max_context_len                positions of the longest row
    last_tokens [B]                index in x of each row's last token

and for every layer l its cache, key_cache.l and value_cache.l. With cross-attention, for which all rows have the same number of
tokens, also cross_mask [B, 1, 1, T], added to the scores, and for every layer cross_key.l [B, H, D / H, T], scaled and
transposed, and cross_value.l [B, H, T, D / H].
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from musicgen.engine.linear import Int4Linear, Int8Linear
from musicgen.lm import LanguageModel
from musicgen.transformer import Block

if TYPE_CHECKING:
    import openvino


def build_graph(lm: LanguageModel) -> openvino.Model:
    """Returns the graph of a language model, not compiled; the module's docstring lists its inputs."""
    return _Builder(lm).model()


class _Builder:
    def __init__(self, lm: LanguageModel) -> None:
        import openvino
        from openvino import opset15

        self.ov, self.ops, self.lm = openvino, opset15, lm
        self.parameters: list[Any] = []
        int32 = openvino.Type.i32
        self.x = self._input("x", [-1, lm.config.dim])
        names = ("past_lens", "subsequence_begins", "block_indices", "block_indices_begins")
        self.pages = [self._input(name, [-1], int32) for name in names]
        self.max_context_len = self._input("max_context_len", [], int32)
        self.last_tokens = self._input("last_tokens", [-1], int32)
        self.cross_mask = self._input("cross_mask", [-1, 1, 1, -1]) if lm.config.cross_attention else None

    def model(self) -> openvino.Model:
        lm, x = self.lm, self.x
        for layer, block in enumerate(lm.blocks):
            assert isinstance(block, Block)
            x = self._block(x, block, layer)
        x = self.ops.gather(x, self.last_tokens, _constant(0))
        return self.ov.Model([linear(self._norm(x, lm.norm), lm.heads)], self.parameters, "language model")

    def _block(self, x: Any, block: Block, layer: int) -> Any:
        add = self.ops.add
        x = add(x, self._self_attention(self._norm(x, block.norm_self), block, layer))
        if block.norm_cross is not None:
            x = add(x, self._cross_attention(self._norm(x, block.norm_cross), block, layer))
        inner = linear(self._norm(x, block.norm_ffn), block.ffn_in)
        inner = self.ops.gelu(inner, "erf") if self.lm.config.activation == "gelu" else self.ops.relu(inner)
        return add(x, linear(inner, block.ffn_out))

    def _self_attention(self, x: Any, block: Block, layer: int) -> Any:
        dim, heads = self.lm.config.dim, self.lm.config.num_heads
        caches = [
            self._input(f"{kind}_cache.{layer}", [-1, heads, -1, -1], self.ov.Type.dynamic) for kind in ("key", "value")
        ]
        qkv = self.ops.variadic_split(linear(x, block.self_attention.qkv), -1, np.array([dim] * 3))
        none, floats = _constant([]), _constant([], np.float32)
        zero = _constant(0)
        scale = _constant((dim // heads) ** -0.5, np.float32)
        sliding_window, alibi_slopes = zero, floats
        # Inputs of features that are not used: scores, rotation, sparse attention, sinks, eviction, speculative decoding.
        unused = [none, none, none, floats, floats, zero, zero, self.ops.constant(np.zeros((0,) * 4, np.float32)), zero,
                  none, none, none, none, _constant([], np.uint8), none]  # fmt: skip
        inputs = [
            *qkv.outputs(), *caches, *self.pages, scale, sliding_window, alibi_slopes, self.max_context_len, *unused
        ]  # fmt: skip
        attention = self.ov.op._PagedAttentionExtension([self._output(one) for one in inputs])
        for kind in ("k", "v"):
            attention.get_rt_info()[f"num_{kind}_heads"] = heads
            attention.get_rt_info()[f"{kind}_head_size"] = dim // heads
        return linear(attention.output(0), block.self_attention.out)

    def _cross_attention(self, x: Any, block: Block, layer: int) -> Any:
        attention = block.cross_attention
        assert attention is not None
        ops, dim, heads = self.ops, self.lm.config.dim, self.lm.config.num_heads
        head_dim = dim // heads
        key = self._input(f"cross_key.{layer}", [-1, heads, head_dim, -1])
        value = self._input(f"cross_value.{layer}", [-1, heads, -1, head_dim])
        rows = ops.gather(ops.shape_of(key), _constant([0]), _constant(0))
        split = ops.concat([rows, _constant([-1, heads, head_dim], np.int64)], 0)
        swap = _constant([0, 2, 1, 3])
        query = ops.transpose(ops.reshape(linear(x, attention.query), split, False), swap)
        # Not the fused operation, which would transpose the keys at every step: here they are stored transposed.
        scores = ops.add(ops.matmul(query, key, False, False), self.cross_mask)
        attended = ops.matmul(ops.softmax(scores, -1), value, False, False)
        merged = ops.reshape(ops.transpose(attended, swap), _constant([-1, dim]), False)
        return linear(merged, attention.out)

    def _norm(self, x: Any, norm: nn.LayerNorm) -> Any:
        normalised = self.ops.mvn(x, np.array([-1]), True, norm.eps, "inside_sqrt")
        return self.ops.add(self.ops.multiply(normalised, _shared(norm.weight)), _shared(norm.bias))

    def _output(self, node: Any) -> Any:
        return node if isinstance(node, self.ov.Output) else node.output(0)

    def _input(self, name: str, shape: list[int], kind: Any = None) -> Any:
        parameter = self.ops.parameter(shape, kind or self.ov.Type.f32, name=name)
        parameter.get_output_tensor(0).set_names({name})
        self.parameters.append(parameter)
        return parameter


def linear(x: Any, layer: nn.Module) -> Any:
    """Returns the node x @ weight.T.

    Args:
        x: A node [..., in].
        layer: nn.Linear without bias, Int8Linear or Int4Linear. Its tensors are shared, not copied.
    """
    from openvino import opset15 as ops

    return ops.matmul(x, _weight(layer), False, True)


def _weight(layer: nn.Module) -> Any:
    """A node [out, in]; of quantised layers with the dequantisation, which OpenVINO fuses into the product."""
    from openvino import opset15 as ops

    if isinstance(layer, Int8Linear):
        return ops.multiply(_shared(layer.codes), _shared(layer.scale))
    if isinstance(layer, Int4Linear):
        outputs, groups, half = layer.codes.shape
        codes, zero = _shared_uint4(layer.codes, 2 * half), _shared_uint4(layer.zero, 1)
        scaled = ops.multiply(ops.subtract(codes, zero), _shared(layer.scale))
        return ops.reshape(scaled, _constant([outputs, groups * 2 * half]), False)
    assert isinstance(layer, nn.Linear)
    return _shared(layer.weight)


def _shared_uint4(packed: torch.Tensor, last: int) -> Any:
    """Bytes of two nibbles [rows, ...] -> float32 node [rows, n, last] on the same memory."""
    import openvino
    from openvino import opset15 as ops

    count = 2 * packed.numel()
    rows = packed.shape[0]
    tensor = openvino.Tensor(packed.numpy(), [rows, count // rows // last, last], openvino.Type.u4)
    return ops.convert(openvino.op.Constant(tensor), openvino.Type.f32)


def _shared(tensor: torch.Tensor) -> Any:
    """A float32 node on the memory of a tensor of any type."""
    import openvino
    from openvino import opset15 as ops

    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        bits = openvino.Tensor(tensor.view(torch.int16).numpy(), list(tensor.shape), openvino.Type.bf16)
        return ops.convert(openvino.op.Constant(bits), openvino.Type.f32)
    constant = ops.constant(tensor.numpy(), shared_memory=True)
    return constant if tensor.dtype == torch.float32 else ops.convert(constant, openvino.Type.f32)


def _constant(values: Any, dtype: Any = np.int32) -> Any:
    from openvino import opset15 as ops

    return ops.constant(np.array(values, dtype=dtype))
