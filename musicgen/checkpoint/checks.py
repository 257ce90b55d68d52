"""Modules are built from a configuration only after their shapes were compared with the tensors beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from musicgen.checkpoint.tensors import check_shapes, fill
from musicgen.checks import follow

M = TypeVar("M", bound=nn.Module)


def outline(make: Callable[[], M], source: str) -> M:
    """A module without memory for its weights."""

    def on_meta() -> M:
        with torch.device("meta"):
            return make()

    return follow(on_meta, source)


def build(
    make: Callable[[], M],
    state: dict[str, torch.Tensor],
    source: str,
    part: Callable[[M], nn.Module] = lambda module: module,
) -> M:
    """A module with the weights of `state`. Its shapes are compared before memory is taken for them.

    Args:
        make: Makes the module.
        state: The weights.
        source: The checkpoint, for errors.
        part: The submodule that the weights are of; the module itself by default.
    """
    check_shapes(part(outline(make, source)).state_dict(), state, source)
    module = follow(make, source)
    fill(part(module), state, source)
    return module
