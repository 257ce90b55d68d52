"""EnCodec's convolutions behind the LSTM, compiled: latent frames [B, D, T] -> waveform [B, 1, T * hop].

They take most of the decoder's time. The sequence goes through in slices with the neighbours that they depend on, so that
what is between two layers stays in the caches and memory does not grow with the length.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from transformers.models.encodec.modeling_encodec import EncodecConv1d, EncodecConvTranspose1d, EncodecResnetBlock

from musicgen.engine.compiled import compile_graph, serves
from musicgen.engine.derived import Derived
from musicgen.streaming import encodec_radius
from musicgen.tokenizer import EncodecTokenizer

if TYPE_CHECKING:
    import openvino

SLICE = 100
"""Frames."""


class Upsampler:
    """Stands for `EncodecTokenizer.upsample` while the weights are float32 on a CPU that graphs are compiled for."""

    def __init__(self, tokenizer: EncodecTokenizer) -> None:
        self._network = nn.Sequential(*tokenizer.tail)
        self._hop, self._radius = tokenizer.hop, encodec_radius(tokenizer.model.config)
        self._compiled = Derived(self._network, build)
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._lock = threading.Lock()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if not serves(x.device) or x.dtype != torch.float32:
            return self._network(x)
        length = x.shape[2]
        out = x.new_empty(x.shape[0], 1, length * self._hop)
        with self._lock:
            request = self._compiled.get().create_infer_request()
            for clip in range(x.shape[0]):
                for start in range(0, length, SLICE):
                    low, end = max(0, start - self._radius), min(length, start + SLICE)
                    part = x[clip : clip + 1, :, low : min(length, end + self._radius)].contiguous().numpy()
                    wave = torch.from_numpy(request.infer({0: part}, share_inputs=True)[0])
                    out[clip, :, start * self._hop : end * self._hop] = wave[
                        0, :, (start - low) * self._hop : (end - low) * self._hop
                    ]
        return out


def fits(tokenizer: EncodecTokenizer) -> bool:
    """Whether all that stands behind the LSTM is what `build` knows."""
    config = tokenizer.model.config
    return config.norm_type == "weight_norm" and config.pad_mode == "constant"


def build(network: nn.Sequential) -> openvino.CompiledModel:
    """[B, D, T] -> [B, 1, T * hop]."""
    import openvino
    from openvino import opset15 as ops

    def convolution(x: Any, layer: EncodecConv1d | EncodecConvTranspose1d) -> Any:
        conv = layer.conv
        weight = ops.constant(conv.weight.detach().numpy())
        (kernel,), (stride,), (dilation,) = conv.kernel_size, conv.stride, conv.dilation
        total = (kernel - 1) * dilation + 1 - stride
        if isinstance(layer, EncodecConvTranspose1d):
            right = int(np.ceil(total * layer.trim_right_ratio)) if layer.causal else total // 2
            x = ops.convolution_backprop_data(x, weight, [stride], pads_begin=[total - right], pads_end=[right])
        else:
            right = 0 if layer.causal else total // 2
            x = ops.convolution(x, weight, [stride], [total - right], [right], [dilation])
        return ops.add(x, ops.constant(conv.bias.detach().numpy()[None, :, None]))

    def apply(x: Any, layer: nn.Module) -> Any:
        if isinstance(layer, nn.ELU):
            return ops.elu(x, layer.alpha)
        if isinstance(layer, EncodecResnetBlock):
            inner = x
            for part in layer.block:
                inner = apply(inner, part)
            return ops.add(apply(x, layer.shortcut), inner)
        if isinstance(layer, nn.Identity):
            return x
        assert isinstance(layer, (EncodecConv1d, EncodecConvTranspose1d))
        return convolution(x, layer)

    first = next(layer for layer in network if isinstance(layer, EncodecConvTranspose1d))
    x = parameter = ops.parameter([-1, first.conv.in_channels, -1], openvino.Type.f32)
    for layer in network:
        x = apply(x, layer)
    return compile_graph(openvino.Model([x], [parameter], "upsampling"), {"INFERENCE_PRECISION_HINT": "f32"})
