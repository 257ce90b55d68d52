"""An audio tokeniser from the configuration and the tensors of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from musicgen.checkpoint.checks import build
from musicgen.tokenizers import Tokenizer, find


def load_tokenizer(config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], source: str) -> Tokenizer:
    """A tokeniser of the kind that the configuration names.

    Args:
        config: In transformers' form: `model_type` is the kind.
        tensors: Of its network.
        source: The checkpoint, for errors.

    Raises:
        CheckpointError: The kind is not registered, or tensors and configuration do not agree.
    """
    cls = find(config.get("model_type"), source)
    source = f"{source} (audio encoder)"
    cls.check(config, tensors.keys(), source)
    state = {cls.tensor_name(name): tensor for name, tensor in tensors.items()}
    return build(lambda: cls.from_config(config), state, source, lambda tokenizer: tokenizer.network).eval()
