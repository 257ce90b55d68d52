"""A language model as an OpenVINO graph: the next steps of many rows, each at a position of its own.

    x [tokens, D] --L blocks--> [tokens, D] --last token of each row, norm, heads--> logits [rows, K * N]

Keys and values live in blocks of a shared store ("paged attention"): row r owns the blocks that `blocks` lists from
`block_begins[r]` to `block_begins[r + 1]`, `past[r]` positions of it are filled, and tokens `begins[r]` to `begins[r + 1]`
enter now. The constants share the memory of the module's weights. The graph is the twin of `lm.py` and `transformer.py`,
which say what it has to compute; embedding and positions are theirs.
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

EMPTY = -1e9
"""Added to the score of a position that is padding."""


def build(lm: LanguageModel) -> openvino.Model:
    """Inputs: x, past, begins, blocks, block_begins, longest (positions of the longest row), last (each row's last token);
    for every layer key_cache.l and value_cache.l. With cross-attention every row has the same number of tokens, and there are
    cross_mask [rows, 1, 1, T], added to the scores, and for every layer cross_key.l [rows, H, D / H, T], scaled, and
    cross_value.l [rows, H, T, D / H]."""
    return _Builder(lm).model()


class _Builder:
    def __init__(self, lm: LanguageModel) -> None:
        import openvino
        from openvino import opset15

        self.ov, self.ops, self.lm = openvino, opset15, lm
        self.parameters: list[Any] = []
        integers = openvino.Type.i32
        self.x = self._input("x", [-1, lm.config.dim])
        names = ("past", "begins", "blocks", "block_begins")
        self.pages = [self._input(name, [-1], integers) for name in names]
        self.longest = self._input("longest", [], integers)
        self.last = self._input("last", [-1], integers)
        self.cross_mask = self._input("cross_mask", [-1, 1, 1, -1]) if lm.config.cross_attention else None

    def model(self) -> openvino.Model:
        lm, x = self.lm, self.x
        for layer, block in enumerate(lm.blocks):
            assert isinstance(block, Block)
            x = self._block(x, block, layer)
        x = self.ops.gather(x, self.last, _numbers(0))
        return self.ov.Model([product(self._norm(x, lm.norm), lm.heads)], self.parameters, "language model")

    def _block(self, x: Any, block: Block, layer: int) -> Any:
        add = self.ops.add
        x = add(x, self._self_attention(self._norm(x, block.norm_self), block, layer))
        if block.norm_cross is not None:
            x = add(x, self._cross_attention(self._norm(x, block.norm_cross), block, layer))
        inner = product(self._norm(x, block.norm_ffn), block.ffn_in)
        inner = self.ops.gelu(inner, "erf") if self.lm.config.activation == "gelu" else self.ops.relu(inner)
        return add(x, product(inner, block.ffn_out))

    def _self_attention(self, x: Any, block: Block, layer: int) -> Any:
        dim, heads = self.lm.config.dim, self.lm.config.num_heads
        stores = [
            self._input(f"{kind}_cache.{layer}", [-1, heads, -1, -1], self.ov.Type.dynamic) for kind in ("key", "value")
        ]
        projected = self.ops.variadic_split(product(x, block.self_attention.qkv), -1, np.array([dim] * 3))
        none, floats = _numbers([]), _numbers([], np.float32)
        zero = _numbers(0)
        scale = _numbers((dim // heads) ** -0.5, np.float32)
        window, slopes = zero, floats
        # Further inputs are for what is not used here: scores, rotation, sparse attention, sinks, eviction, drafts.
        unused = [none, none, none, floats, floats, zero, zero, self.ops.constant(np.zeros((0,) * 4, np.float32)), zero,
                  none, none, none, none, _numbers([], np.uint8), none]  # fmt: skip
        inputs = [*projected.outputs(), *stores, *self.pages, scale, window, slopes, self.longest, *unused]
        attention = self.ov.op._PagedAttentionExtension([self._output(one) for one in inputs])
        for kind in ("k", "v"):
            attention.get_rt_info()[f"num_{kind}_heads"] = heads
            attention.get_rt_info()[f"{kind}_head_size"] = dim // heads
        return product(attention.output(0), block.self_attention.out)

    def _cross_attention(self, x: Any, block: Block, layer: int) -> Any:
        attention = block.cross_attention
        assert attention is not None
        ops, dim, heads = self.ops, self.lm.config.dim, self.lm.config.num_heads
        head = dim // heads
        key = self._input(f"cross_key.{layer}", [-1, heads, head, -1])
        value = self._input(f"cross_value.{layer}", [-1, heads, -1, head])
        rows = ops.gather(ops.shape_of(key), _numbers([0]), _numbers(0))
        split = ops.concat([rows, _numbers([-1, heads, head], np.int64)], 0)
        swap = _numbers([0, 2, 1, 3])
        query = ops.transpose(ops.reshape(product(x, attention.query), split, False), swap)
        # Written out, with the keys as columns: the fused operation would turn them over at every step.
        scores = ops.add(ops.matmul(query, key, False, False), self.cross_mask)
        attended = ops.matmul(ops.softmax(scores, -1), value, False, False)
        merged = ops.reshape(ops.transpose(attended, swap), _numbers([-1, dim]), False)
        return product(merged, attention.out)

    def _norm(self, x: Any, norm: nn.LayerNorm) -> Any:
        normal = self.ops.mvn(x, np.array([-1]), True, norm.eps, "inside_sqrt")
        return self.ops.add(self.ops.multiply(normal, _tensor(norm.weight)), _tensor(norm.bias))

    def _output(self, node: Any) -> Any:
        return node if isinstance(node, self.ov.Output) else node.output(0)

    def _input(self, name: str, shape: list[int], kind: Any = None) -> Any:
        parameter = self.ops.parameter(shape, kind or self.ov.Type.f32, name=name)
        parameter.get_output_tensor(0).set_names({name})
        self.parameters.append(parameter)
        return parameter


def product(x: Any, layer: nn.Module) -> Any:
    """The node x [..., in] times a linear layer's weight -> [..., out]. The constants share the memory of the weight."""
    from openvino import opset15 as ops

    return ops.matmul(x, _weight(layer), False, True)


def _weight(layer: nn.Module) -> Any:
    from openvino import opset15 as ops

    if isinstance(layer, Int8Linear):
        return ops.multiply(_tensor(layer.codes), _tensor(layer.scale))
    if isinstance(layer, Int4Linear):
        outputs, groups, half = layer.codes.shape
        codes, zero = _nibbles(layer.codes, 2 * half), _nibbles(layer.zero, 1)
        scaled = ops.multiply(ops.subtract(codes, zero), _tensor(layer.scale))
        return ops.reshape(scaled, _numbers([outputs, groups * 2 * half]), False)
    assert isinstance(layer, nn.Linear)
    return _tensor(layer.weight)


def _nibbles(packed: torch.Tensor, last: int) -> Any:
    import openvino
    from openvino import opset15 as ops

    count = 2 * packed.numel()
    rows = packed.shape[0]
    tensor = openvino.Tensor(packed.numpy(), [rows, count // rows // last, last], openvino.Type.u4)
    return ops.convert(openvino.op.Constant(tensor), openvino.Type.f32)


def _tensor(tensor: torch.Tensor) -> Any:
    import openvino
    from openvino import opset15 as ops

    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        bits = openvino.Tensor(tensor.view(torch.int16).numpy(), list(tensor.shape), openvino.Type.bf16)
        return ops.convert(openvino.op.Constant(bits), openvino.Type.f32)
    constant = ops.constant(tensor.numpy(), shared_memory=True)
    return constant if tensor.dtype == torch.float32 else ops.convert(constant, openvino.Type.f32)


def _numbers(values: Any, dtype: Any = np.int32) -> Any:
    from openvino import opset15 as ops

    return ops.constant(np.array(values, dtype=dtype))
