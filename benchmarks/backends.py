"""python -m benchmarks.backends: time of the matrix products of one decoding step, on every back end that is installed.

Matrix products take most of the time of a step: the equivalent of 14 matrices of D x D in each layer, and the heads. They are
measured without attention and norms, in the order of a step and with the same random weights, so all back ends do the same work
without a model written for each. The passes of the back ends are interleaved; times are medians. The error is that of the
result, relative to float32 weights.

Back ends: PyTorch's own kernels (also compiled), torchao, ONNX Runtime (MatMul, MatMulInteger, MatMulNBits), OpenVINO
(`engine/backends/openvino/lm.py`), and this project's kernels (`engine/backends/x86/`). torchao, onnx and onnxruntime are not
in the requirements; install them to include them.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from benchmarks import instructions, machine, store
from benchmarks.systems import SHAPES
from musicgen.engine.backends import x86
from musicgen.engine.backends.openvino import lm as openvino_lm
from musicgen.engine.backends.openvino.runtime import compile_graph
from musicgen.engine.linear import INT4_GROUP, Int4Linear, Int8Linear
from musicgen.lm import LMConfig

CODES = 4 * 2048
PAUSE = 0.2
"""Seconds in which the threads of the back end before stop waiting for work."""
Pass = Callable[[torch.Tensor], torch.Tensor]
"""[rows, D] -> [rows, CODES]."""


class Layer(nn.Module):
    """The products of one layer, in the order of a step: [rows, D] -> [rows, D]."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        sizes = {"qkv": (dim, 3 * dim), "out": (dim, dim), "query": (dim, dim), "text_out": (dim, dim),
                 "ffn_in": (dim, 4 * dim), "ffn_out": (4 * dim, dim)}  # fmt: skip
        for name, size in sizes.items():
            self.add_module(name, nn.Linear(*size, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.out(self.qkv(x)[:, : self.dim].contiguous())
        x = x + self.text_out(self.query(x))
        return x + self.ffn_out(torch.relu(self.ffn_in(x)))


class Products(nn.Module):
    """The matrices of a step: [rows, D] -> [rows, CODES]."""

    def __init__(self, dim: int, num_layers: int) -> None:
        super().__init__()
        self.dim = dim
        self.layers = nn.ModuleList([Layer(dim) for _ in range(num_layers)])
        self.heads = nn.Linear(dim, CODES, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.heads(x)

    def map(self, change: Callable[[nn.Linear], nn.Module]) -> Products:
        """The same with every matrix changed."""
        other = Products.__new__(Products)
        nn.Module.__init__(other)
        other.dim, other.layers, other.heads = self.dim, nn.ModuleList(), change(self.heads)
        for layer in self.layers:
            changed = Layer.__new__(Layer)
            nn.Module.__init__(changed)
            changed.dim = self.dim
            for name, linear in layer.named_children():
                changed.add_module(name, change(linear))
            other.layers.append(changed)
        return other

    def compiled(self) -> Products:
        """Layer by layer: all of them share what is compiled for the first."""
        for layer in self.layers:
            layer.compile()
        return self


def torch_float32(products: Products) -> Pass:
    return products


def torch_bfloat16(products: Products) -> Pass:
    return _in_bfloat16(copy.deepcopy(products).bfloat16())


def torch_bfloat16_compiled(products: Products) -> Pass:
    return _in_bfloat16(copy.deepcopy(products).bfloat16().compiled())


def torch_int8(products: Products) -> Pass:
    """Weights in 8 bits, one scale for each output; products in bfloat16."""

    class Kernel(nn.Module):
        def __init__(self, linear: nn.Linear) -> None:
            super().__init__()
            layer = Int8Linear(linear)
            self.codes, self.scale = layer.codes, layer.scale[:, 0].bfloat16()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch._weight_int8pack_mm(x, self.codes, self.scale)

    return _in_bfloat16(products.map(Kernel))


def torch_int4(products: Products) -> Pass:
    """Weights in 4 bits, a scale and a zero for each group; products in bfloat16."""

    class Kernel(nn.Module):
        def __init__(self, linear: nn.Linear) -> None:
            super().__init__()
            layer = Int4Linear(linear)
            codes = torch.stack([layer.codes & 15, layer.codes >> 4], dim=-1).flatten(1).int()
            self.codes = torch._convert_weight_to_int4pack_for_cpu(codes, 1)
            # There w = scale * (q - 8) + zero.
            scale = layer.scale[..., 0]
            self.scales = torch.stack([scale, 8 * scale - layer.shift], dim=-1).transpose(0, 1).contiguous().bfloat16()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch._weight_int4pack_mm_for_cpu(x, self.codes, INT4_GROUP, self.scales)

    return _in_bfloat16(products.map(Kernel))


def torch_int8_dynamic(products: Products) -> Pass:
    """Weights and activations in 8 bits (PyTorch's dynamic quantisation)."""
    return torch.ao.quantization.quantize_dynamic(copy.deepcopy(products), {nn.Linear}, dtype=torch.qint8)


def torchao_int8(products: Products) -> Pass:
    from torchao.quantization import Int8WeightOnlyConfig

    return _in_bfloat16(_torchao(products, Int8WeightOnlyConfig()))


def torchao_int8_dynamic(products: Products) -> Pass:
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig

    return _in_bfloat16(_torchao(products, Int8DynamicActivationInt8WeightConfig()))


def torchao_int4(products: Products) -> Pass:
    from torchao.prototype.quantization.int4 import PrototypeInt4WeightOnlyConfig

    return _in_bfloat16(_torchao(products, PrototypeInt4WeightOnlyConfig(group_size=INT4_GROUP)))


def torchao_int4_dynamic(products: Products) -> Pass:
    """Weights in 4 bits, activations in 8."""
    from torchao.prototype.quantization.int4 import Int8DynamicActivationInt4WeightConfig

    return _in_bfloat16(_torchao(products, Int8DynamicActivationInt4WeightConfig(group_size=INT4_GROUP)))


def onnx_float32(products: Products) -> Pass:
    def node(graph: _Onnx, x: str, linear: nn.Linear) -> str:
        return graph.add("MatMul", x, graph.constant(linear.weight.detach().numpy().T.copy()))

    return _Onnx(products, node).run


def onnx_int8_dynamic(products: Products) -> Pass:
    """Weights and activations in 8 bits: what `quantize_dynamic` writes."""

    def node(graph: _Onnx, x: str, linear: nn.Linear) -> str:
        layer = Int8Linear(linear)
        codes, step, zero = graph.nodes("DynamicQuantizeLinear", [x], 3)
        sums = graph.add("MatMulInteger", codes, graph.constant(layer.codes.numpy().T.copy()), zero)
        scale = graph.add("Mul", step, graph.constant(layer.scale[:, 0].numpy()))
        return graph.add("Mul", graph.add("Cast", sums, to=1), scale)

    return _Onnx(products, node).run


def onnx_int8(products: Products) -> Pass:
    def node(graph: _Onnx, x: str, linear: nn.Linear) -> str:
        layer = Int8Linear(linear)
        codes = (layer.codes.int() + 128).to(torch.uint8).unflatten(1, (-1, INT4_GROUP))
        return _n_bits(graph, x, linear, 8, codes, layer.scale.expand(-1, codes.shape[1]), None)

    return _Onnx(products, node).run


def onnx_int4(products: Products) -> Pass:
    def node(graph: _Onnx, x: str, linear: nn.Linear) -> str:
        layer = Int4Linear(linear)
        return _n_bits(graph, x, linear, 4, layer.codes, layer.scale[..., 0], layer.zero)

    return _Onnx(products, node).run


def openvino_float32(products: Products) -> Pass:
    return _openvino(products)


def openvino_bfloat16(products: Products) -> Pass:
    return _openvino(products, hint="bf16")


def openvino_int8(products: Products) -> Pass:
    return _openvino(products.map(Int8Linear), group=INT4_GROUP)


def openvino_int4(products: Products) -> Pass:
    return _openvino(products.map(Int4Linear), group=INT4_GROUP)


def x86_float32(products: Products) -> Pass:
    """Weights that are exact in float16 as float16, products in float32."""
    return _x86(products)


def x86_int8(products: Products) -> Pass:
    return _x86(products.map(Int8Linear))


def x86_int4(products: Products) -> Pass:
    return _x86(products.map(Int4Linear))


BACKENDS = (
    torch_float32, torch_bfloat16, torch_bfloat16_compiled, torch_int8, torch_int8_dynamic, torch_int4,
    torchao_int8, torchao_int8_dynamic, torchao_int4, torchao_int4_dynamic,
    onnx_float32, onnx_int8, onnx_int8_dynamic, onnx_int4,
    openvino_float32, openvino_bfloat16, openvino_int8, openvino_int4,
    x86_float32, x86_int8, x86_int4,
)  # fmt: skip


def measure(dim: int, num_layers: int, rows: int, runs: int) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """A row of figures for each back end, and why others cannot run."""
    torch.manual_seed(0)
    products = Products(dim, num_layers)
    for weight in products.parameters():
        weight.copy_(weight.half())  # as published ones are: stored in half precision before
    x = torch.randn(rows, dim)
    exact = products(x).double()
    size = sum(weight.numel() for weight in products.parameters())
    ready: dict[str, Pass] = {}
    failures: dict[str, str] = {}
    errors: dict[str, float] = {}
    for backend in tqdm(BACKENDS, desc="back ends", file=sys.stderr):
        try:
            run = backend(products)
            for _ in range(3):  # compiles, packs, chooses
                result = run(x)
        except Exception as reason:  # whatever a back end raises, the others go on
            failures[backend.__name__] = (
                f"{type(reason).__name__}: {str(reason).splitlines()[0] if str(reason) else ''}"
            )
            continue
        ready[backend.__name__] = run
        errors[backend.__name__] = float((result.double() - exact).norm() / exact.norm())
    times: dict[str, list[float]] = {name: [] for name in ready}
    for _ in tqdm(range(runs), desc="rounds", file=sys.stderr):
        for name, run in ready.items():
            time.sleep(PAUSE)
            run(x)  # another back end's weights lie in the caches
            start = time.perf_counter()
            run(x)
            times[name].append(time.perf_counter() - start)
    table = []
    for name, each in times.items():
        seconds = statistics.median(each)
        table.append({"backend": name, "ms": round(1000 * seconds, 2), "error": round(errors[name], 5),
                      "weights_per_second": round(size / seconds / 1e9, 1)})  # fmt: skip
    return table, failures


def text(results: dict[str, Any]) -> str:
    """Markdown."""
    lines = ["| back end | ms a pass | 1e9 weights a second | relative error |", "|---|---|---|---|"]
    lines += [
        f"| {row['backend']} | {row['ms']} | {row['weights_per_second']} | {row['error']} |"
        for row in results["results"]
    ]
    return "\n".join(lines + [f"{name}: {why}" for name, why in results["failures"].items()])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backends", description=__doc__)
    parser.add_argument("--shape", default="small", choices=SHAPES)
    parser.add_argument("--rows", type=int, default=2, help="of a batch: 2 for a clip with guidance (default: 2)")
    parser.add_argument("--runs", type=int, default=20, help="counted passes (default: 20)")
    parser.add_argument("--threads", type=int, default=2, help="processor cores (default: 2)")
    parser.add_argument("--json", type=Path, help="write the results here")
    instructions.add_option(parser)
    options = parser.parse_args()
    instructions.apply(options)
    torch.set_num_threads(options.threads)
    dim, num_layers, _ = SHAPES[options.shape]
    with torch.inference_mode():
        rows, failures = measure(dim, num_layers, options.rows, options.runs)
    results = {
        "command": store.command("backends"), "shape": options.shape,
        "rows": options.rows, "n": options.runs, "machine": machine.describe("cpu", options.threads), "results": rows,
        "failures": failures,
    }  # fmt: skip
    store.publish(results, options.json, text(results))
    return 0


def _in_bfloat16(run: Pass) -> Pass:
    return lambda x: run(x.bfloat16())


def _torchao(products: Products, config: Any) -> Pass:
    """Compiled, as torchao's manual says."""
    from torchao.quantization import quantize_

    changed = copy.deepcopy(products).bfloat16()
    quantize_(changed, config)
    return changed.compiled()


def _openvino(products: Products, hint: str = "f32", group: int = 0) -> Pass:
    """group: numbers of an activation that are rounded to 8 bits together, 0 for none."""
    import openvino
    from openvino import opset15 as ops

    x = ops.parameter([-1, products.dim], openvino.Type.f32)
    thirds = np.array([products.dim] * 3)
    y = _chain(
        products,
        x,
        times=lambda layer, x: openvino_lm.linear(x, layer),
        first=lambda x: ops.variadic_split(x, -1, thirds).output(0),
        add=ops.add,
        relu=ops.relu,
    )
    model = openvino.Model([y], [x], "products")
    settings = {"INFERENCE_PRECISION_HINT": hint, "DYNAMIC_QUANTIZATION_GROUP_SIZE": str(group)}
    request = compile_graph(model, settings).create_infer_request()

    def run(rows: torch.Tensor, _held: Products = products) -> torch.Tensor:  # the graph reads the layers' own memory
        return torch.from_numpy(request.infer([rows.numpy()])[0])

    return run


def _x86(products: Products) -> Pass:
    if not x86.supports(LMConfig(products.dim, products.dim // x86.HEAD_DIM, 1, 4), "int8"):
        raise RuntimeError("not of this width, or not on this processor")
    # Here, as Numba is loaded with them.
    from musicgen.engine.backends.x86.gemv import OUT_FEATURES
    from musicgen.engine.backends.x86.step import linear
    from musicgen.engine.backends.x86.weights import table_entry

    held: list[torch.Tensor] = []
    entries = {
        layer: np.array(table_entry(layer, held), dtype=np.int64)
        for layer in products.modules()
        if isinstance(layer, nn.Linear | Int8Linear | Int4Linear)
    }
    widest = 4 * products.dim

    def times(layer: nn.Module, x: np.ndarray) -> np.ndarray:
        weight = entries[layer]
        y = np.empty((len(x), weight[OUT_FEATURES]), np.float32)
        codes, scales, sums = (np.empty((len(x), widest), kind) for kind in (np.int8, np.float32, np.float32))
        linear(weight, x, codes, scales, sums, y, False)
        return y

    def first(x: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(x[:, : products.dim])

    def relu(x: np.ndarray) -> np.ndarray:
        return np.maximum(x, 0)

    def run(rows: torch.Tensor, _held: list[torch.Tensor] = held) -> torch.Tensor:  # entries are addresses
        return torch.from_numpy(_chain(products, rows.numpy(), times, first, np.add, relu))

    return run


def _chain(products: Products, x: Any, times: Any, first: Any, add: Any, relu: Any) -> Any:
    """`Products.forward` in other terms: times(layer, x), first(x) of three parts, add(x, y), relu(x)."""
    for layer in products.layers:
        x = add(x, times(layer.out, first(times(layer.qkv, x))))
        x = add(x, times(layer.text_out, times(layer.query, x)))
        x = add(x, times(layer.ffn_out, relu(times(layer.ffn_in, x))))
    return times(products.heads, x)


class _Onnx:
    """The products as an ONNX graph in ONNX Runtime. node: adds one product, and names its result."""

    def __init__(self, products: Products, node: Callable[[_Onnx, str, nn.Linear], str]) -> None:
        import onnxruntime
        from onnx import TensorProto, helper

        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        dim = products.dim
        begin, end, axis = (self.constant(np.array([number])) for number in (0, dim, 1))
        y = _chain(
            products,
            "x",
            times=lambda layer, x: node(self, x, layer),
            first=lambda x: self.add("Slice", x, begin, end, axis),
            add=lambda x, y: self.add("Add", x, y),
            relu=lambda x: self.add("Relu", x),
        )
        given, made = (
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", width])
            for name, width in (("x", dim), (y, CODES))
        )
        whole = helper.make_graph(self._nodes, "products", [given], [made], self._constants)
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        content = helper.make_model(whole, opset_imports=opsets, ir_version=10).SerializeToString()
        self._session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])

    def run(self, x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self._session.run(None, {"x": x.numpy()})[0])

    def constant(self, array: np.ndarray) -> str:
        from onnx import numpy_helper

        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def nodes(self, kind: str, inputs: list[str], outputs: int, domain: str = "", **attributes: Any) -> list[str]:
        from onnx import helper

        names = [f"n{len(self._nodes)}.{number}" for number in range(outputs)]
        self._nodes.append(helper.make_node(kind, inputs, names, domain=domain, **attributes))
        return names

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        return self.nodes(kind, list(inputs), 1, **attributes)[0]


def _n_bits(
    graph: _Onnx,
    x: str,
    linear: nn.Linear,
    bits: int,
    codes: torch.Tensor,
    scale: torch.Tensor,
    zero: torch.Tensor | None,
) -> str:
    """ONNX Runtime's product with packed weights, activations rounded to 8 bits (its fastest)."""
    inputs = [x, graph.constant(codes.numpy()), graph.constant(scale.contiguous().flatten().numpy())]
    if zero is not None:
        inputs.append(graph.constant(zero.flatten().numpy()))
    outputs, size = linear.weight.shape
    return graph.nodes(
        "MatMulNBits", inputs, 1, "com.microsoft", K=size, N=outputs, bits=bits, block_size=INT4_GROUP, accuracy_level=4
    )[0]


if __name__ == "__main__":
    sys.exit(main())
