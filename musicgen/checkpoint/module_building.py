"""Building modules from a configuration, after the shapes that it implies were compared with those of the checkpoint's
tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from musicgen.checkpoint.tensors import check_shapes, fill
from musicgen.config_checks import wrap_errors

M = TypeVar("M", bound=nn.Module)


def build_meta(make: Callable[[], M], source: str) -> M:
    """A module without memory for its weights."""

    def on_meta() -> M:
        with torch.device("meta"), _SkipInitialization():
            return make()

    return wrap_errors(on_meta, source)


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
    check_shapes(part(build_meta(make, source)).state_dict(), state, source)
    module = wrap_errors(make, source)
    fill(part(module), state, source)
    return module


class _SkipInitialization(TorchFunctionMode):
    """Skips what initialises weights. Without memory there is nothing to compute, and some functions of the meta device first
    import PyTorch's compiler, which takes longer than all else in loading a small model."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__module__", None) == nn.init.__name__ or func is torch.Tensor.normal_:
            return args[0] if args else (kwargs or {})["tensor"]
        if func is torch.norm_except_dim:  # of weight norm
            weight, _, kept = args
            return weight.new_empty([size if i == kept else 1 for i, size in enumerate(weight.shape)])
        return func(*args, **(kwargs or {}))
