"""The precisions in which a language model computes, and giving one to it.

float32 is the readable path's own, also where it is read from 16 bits that hold all of it (`packed`). bfloat16 and float16
halve what a step reads, int8 and int4 (of the weights; what they are multiplied with is rounded to 8 bits on the CPU, keys and
values to 8 or 6; on CUDA keys and values are bfloat16) halve it again and again. What each costs in accuracy is tested
(tests/engine/test_precision.py).
"""

from __future__ import annotations

import torch
from torch import nn

from musicgen.engine import packed
from musicgen.engine.linear import Int4Linear, Int8Linear, fits_int4
from musicgen.errors import InputError
from musicgen.lm import LanguageModel, LMConfig

ON_DEVICE = {
    "cpu": ("float32", "bfloat16", "int8", "int4"),
    "cuda": ("float32", "bfloat16", "float16", "int8", "int4"),
    "mps": ("float32",),
}
"""Device -> the precisions that it has kernels for."""
PRECISIONS = ON_DEVICE["cuda"]
"""All of them."""
AUTO = "auto"
"""The precision that suits model and device: `resolve`."""
PUBLISHED_WIDTH = 1024
"""Of the smallest published model. Rounding costs models of that size little and saves much; smaller ones are fast anyway."""


def check(precision: str, device: torch.device) -> None:
    """Refuse a precision that the device lacks."""
    known = ON_DEVICE.get(device.type, ("float32",))
    if precision not in (AUTO, *known):
        raise InputError(f"precision {precision!r} is not to be had on {device.type}: one of {', '.join(known)}")


def resolve(precision: str, device: torch.device, config: LMConfig) -> str:
    """The precision that "auto" stands for; any other stands for itself.

    Models narrower than the smallest published one stay in float32. The others take on CUDA bfloat16, before Ampere, which
    lacks it, float16; on the CPU int8 where the compiled steps have it; float32 elsewhere.

    Args:
        precision: "auto" or a precision.
        device: where the model is going to compute.
        config: the shape of its language model.
    """
    if precision != AUTO:
        return precision
    if config.dim < PUBLISHED_WIDTH:
        return "float32"
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float16"
    return "int8" if device.type == "cpu" and packed.fits(config, "int8") else "float32"


def apply(lm: LanguageModel, precision: str, device: torch.device) -> None:
    """Convert a float32 language model in place, for a device that it is moved to then. The heads keep 8 bits where the layers
    have 4: every error there is an error of the distribution itself."""
    if precision == "float32":
        return
    if precision in ("float16", "bfloat16"):
        lm.to(getattr(torch, precision))
    else:
        for block in lm.blocks:
            _pack(block, precision)
        lm.heads = Int8Linear(lm.heads)  # type: ignore[assignment]
        if device.type == "cuda":
            lm.to(torch.bfloat16)


def _pack(module: nn.Module, precision: str) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            packed = Int4Linear(child) if precision == "int4" and fits_int4(child) else Int8Linear(child)
            setattr(module, name, packed)
        else:
            _pack(child, precision)


def precision_of(lm: LanguageModel) -> str:
    """The precision that a language model was given."""
    kinds = {type(module) for module in lm.modules()}
    if Int4Linear in kinds:
        return "int4"
    if Int8Linear in kinds:
        return "int8"
    return str(lm.embedding.weight.dtype).removeprefix("torch.")
