"""The precisions of a language model, and converting a model to one of them.

    float32              the reference; where all weights are exact in float16, the x86-64 kernels read them as float16
    bfloat16, float16    half the bytes per step
    int8, int4           quantised weights (`linear`); on a CPU activations (int8) and KV cache (int8 and int4) are
                         quantised as well, on CUDA the KV cache is bfloat16

tests/engine/test_precision.py bounds how far each moves the logits.
"""

from __future__ import annotations

import torch
from torch import nn

from musicgen.engine.backends import x86
from musicgen.engine.linear import Int4Linear, Int8Linear, fits_int4
from musicgen.errors import InputError
from musicgen.lm import LanguageModel, LMConfig

ON_DEVICE = {
    "cpu": ("float32", "bfloat16", "int8", "int4"),
    "cuda": ("float32", "bfloat16", "float16", "int8", "int4"),
    "mps": ("float32",),
}
"""Supported precisions by device type."""
PRECISIONS = ON_DEVICE["cuda"]
"""All of them."""
AUTO = "auto"
"""The precision is chosen by model and device: `resolve`."""
PUBLISHED_WIDTH = 1024
"""Of the smallest published model. Quantising models of that size costs little and saves much; smaller ones are fast anyway."""


def check(precision: str, device: torch.device) -> None:
    """Check that a device supports a precision.

    Raises:
        InputError: If it does not.
    """
    known = ON_DEVICE.get(device.type, ("float32",))
    if precision not in (AUTO, *known):
        raise InputError(f"precision {precision!r} is not available on {device.type}: one of {', '.join(known)}")


def resolve(precision: str, device: torch.device, config: LMConfig, *, autoregressive: bool = True) -> str:
    """The precision that "auto" selects; other values are returned unchanged.

    Models narrower than the smallest published one stay in float32. Other models use bfloat16 on CUDA (float16 before Ampere,
    which lacks bfloat16), int8 on CPUs whose compiled steps support it, and float32 elsewhere.

    Args:
        precision: "auto" or a precision.
        device: where the model will run.
        config: the shape of its language model.
        autoregressive: whether it runs step by step, as the compiled steps do; passes over all frames are compute-bound, and
            quantised weights do not make them faster.
    """
    if precision != AUTO:
        return precision
    if config.dim < PUBLISHED_WIDTH:
        return "float32"
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float16"
    return "int8" if autoregressive and device.type == "cpu" and x86.supports(config, "int8") else "float32"


def apply(lm: LanguageModel, precision: str, device: torch.device) -> None:
    """Convert a float32 language model in place.

    Args:
        lm: The model, in float32.
        precision: One that `device` supports.
        device: Where the model will be moved to afterwards.
    """
    for part in lm.parts:
        _convert(lm, part, precision, device)


class Conversion:
    """Converts a language model to its precision part by part, while its weights are read: only one part of it is in memory in
    float32 at a time.

    Args:
        precision: "auto", or one that `device` supports.
        device: Where the model will be moved to afterwards.

    Attributes:
        precision: After `start`, the precision that "auto" selected.
    """

    def __init__(self, precision: str, device: torch.device) -> None:
        self.precision, self.device = precision, device

    def start(self, config: LMConfig, *, autoregressive: bool) -> None:
        """Choose the precision, before the first weights are read; the arguments are those of `resolve`."""
        self.precision = resolve(self.precision, self.device, config, autoregressive=autoregressive)

    def convert(self, lm: LanguageModel, part: str) -> None:
        """Convert one of the model's `parts`, which has its weights in float32."""
        _convert(lm, part, self.precision, self.device)


def _convert(lm: LanguageModel, part: str, precision: str, device: torch.device) -> None:
    """The output heads stay int8 in an int4 model, because their rounding errors affect the distribution directly."""
    if precision == "float32":
        return
    module = lm.get_submodule(part)
    if precision in ("float16", "bfloat16"):
        module.to(getattr(torch, precision))
        return
    if module is lm.heads:
        lm.heads = Int8Linear(lm.heads)  # type: ignore[assignment]
    else:
        _quantize(module, precision)
    if device.type == "cuda":
        lm.get_submodule(part).to(torch.bfloat16)


def _quantize(module: nn.Module, precision: str) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            quantized = Int4Linear(child) if precision == "int4" and fits_int4(child) else Int8Linear(child)
            setattr(module, name, quantized)
        else:
            _quantize(child, precision)


def precision_of(lm: LanguageModel) -> str:
    """Returns the precision that a language model was converted to."""
    kinds = {type(module) for module in lm.modules()}
    if Int4Linear in kinds:
        return "int4"
    if Int8Linear in kinds:
        return "int8"
    return str(lm.embedding.weight.dtype).removeprefix("torch.")
