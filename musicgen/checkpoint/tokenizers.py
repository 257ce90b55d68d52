"""Audio tokenisers from the configuration and the tensors of a checkpoint, and in folders of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from musicgen.checkpoint.module_building import build
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


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write an audio tokeniser into a folder, as transformers' class of its kind loads it.

    Args:
        tokenizer: Of one channel; its weights are stored as they are.
        folder: Made if it is missing.
    """
    from transformers import EncodecFeatureExtractor

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.contiguous() for name, tensor in tokenizer.network.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(
        json.dumps(tokenizer.config(), indent=2, sort_keys=True) + "\n", encoding="utf-8"
    )
    reader = EncodecFeatureExtractor(feature_size=tokenizer.channels, sampling_rate=tokenizer.sample_rate)
    reader.save_pretrained(folder)
