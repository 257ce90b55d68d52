"""EnCodec's decoder convolutions (all layers behind the LSTM) as an OpenVINO graph: latents [B, D, T] -> waveform [B,
1, T * hop].

They take most of the decoder's time. The input is processed in slices, overlapped by the receptive field, so that intermediate
results stay in the CPU caches and memory does not grow with the length of the clip.
"""

from __future__ import annotations

import importlib.util
import threading
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from musicgen.engine.backends.openvino.runtime import compile_graph
from musicgen.engine.cpu_support import is_usable
from musicgen.tokenizers.encodec import EncodecTokenizer, encodec_radius
from musicgen.tokenizers.encodec_network import Conv1d, ConvTranspose1d, ResidualBlock
from musicgen.weight_cache import WeightCache

if TYPE_CHECKING:
    import openvino

SLICE_FRAMES = 100
"""Frames per slice."""


class Upsampler:
    """Replaces `EncodecTokenizer.upsample`; falls back to PyTorch where the graph cannot run or the weights are not float32.

    Args:
        tokenizer: The tokeniser whose convolutions are compiled on first use.
    """

    def __init__(self, tokenizer: EncodecTokenizer) -> None:
        self._network = nn.Sequential(*tokenizer.tail)
        self._hop, self._radius = tokenizer.hop, encodec_radius(tokenizer.model.config)
        self._compiled = WeightCache(self._network, compile_decoder)
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._lock = threading.Lock()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Latents [B, D, T] -> waveform [B, 1, T * hop]."""
        if not is_usable(x.device) or x.dtype != torch.float32:
            return self._network(x)
        length = x.shape[2]
        out = x.new_empty(x.shape[0], 1, length * self._hop)
        with self._lock:
            request = self._compiled.get().create_infer_request()
            for clip in range(x.shape[0]):
                for start in range(0, length, SLICE_FRAMES):
                    low, end = max(0, start - self._radius), min(length, start + SLICE_FRAMES)
                    part = x[clip : clip + 1, :, low : min(length, end + self._radius)].contiguous().numpy()
                    wave = torch.from_numpy(request.infer({0: part}, share_inputs=True)[0])
                    out[clip, :, start * self._hop : end * self._hop] = wave[
                        0, :, (start - low) * self._hop : (end - low) * self._hop
                    ]
        return out


def accelerate(tokenizer: EncodecTokenizer) -> None:
    """Let a tokeniser decode with compiled code, in place, where that is supported."""
    if supports(tokenizer):
        tokenizer.engine = Upsampler(tokenizer)


def supports(tokenizer: EncodecTokenizer) -> bool:
    """Whether OpenVINO is installed and `compile_decoder` supports the layers: weight norm and zero padding."""
    config = tokenizer.model.config
    if importlib.util.find_spec("openvino") is None:
        return False
    return config.norm_type == "weight_norm" and config.pad_mode == "constant"


def compile_decoder(network: nn.Sequential) -> openvino.CompiledModel:
    """Compile the layers behind the LSTM: [B, D, T] -> [B, 1, T * hop]."""
    import openvino
    from openvino import opset15 as ops

    def convolution(x: Any, layer: Conv1d | ConvTranspose1d) -> Any:
        conv = layer.conv
        weight = ops.constant(conv.weight.detach().numpy())
        (stride,) = conv.stride
        if isinstance(layer, ConvTranspose1d):
            x = ops.convolution_backprop_data(x, weight, [stride], pads_begin=[layer.left], pads_end=[layer.right])
        else:
            left, right = layer.padding(0)
            x = ops.convolution(x, weight, [stride], [left], [right], list(conv.dilation))
        assert conv.bias is not None
        return ops.add(x, ops.constant(conv.bias.detach().numpy()[None, :, None]))

    def apply(x: Any, layer: nn.Module) -> Any:
        if isinstance(layer, nn.ELU):
            return ops.elu(x, layer.alpha)
        if isinstance(layer, ResidualBlock):
            inner = x
            for part in layer.block:
                inner = apply(inner, part)
            return ops.add(apply(x, layer.shortcut), inner)
        if isinstance(layer, nn.Identity):
            return x
        assert isinstance(layer, (Conv1d, ConvTranspose1d))
        return convolution(x, layer)

    first = next(layer for layer in network if isinstance(layer, ConvTranspose1d))
    x = parameter = ops.parameter([-1, first.conv.in_channels, -1], openvino.Type.f32)
    for layer in network:
        x = apply(x, layer)
    return compile_graph(openvino.Model([x], [parameter], "EnCodec decoder"), {"INFERENCE_PRECISION_HINT": "f32"})
