"""Parts of a model that are stored separately: audio tokenisers and text encoders, from the hub or a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from musicgen import catalog, textfiles
from musicgen.checkpoint import tokenizers, transformers_layout
from musicgen.checkpoint.tensors import below, read_weights
from musicgen.conditioners.t5 import T5Encoder
from musicgen.conditioners.text_tokenizer import TextTokenizer
from musicgen.errors import CheckpointError
from musicgen.folders import is_folder
from musicgen.tokenizers import Tokenizer
from musicgen.tokenizers.base import modern_weight_norm


def audio_tokenizer(name: str) -> Tokenizer:
    """An audio tokeniser by hub name or folder; of a whole MusicGen model, also an embedded one, its tokeniser."""
    folder = _folder(name)
    config, tensors = _config(folder), read_weights(folder)
    if "audio_encoder" in config:
        config, tensors = config["audio_encoder"], below("audio_encoder.", tensors)
    return tokenizers.load_tokenizer(config, tensors, str(folder))


def text_encoder(name: str) -> tuple[T5Encoder, TextTokenizer]:
    """A T5 encoder and its tokeniser by hub name or folder; of a whole MusicGen model, its text encoder.
    The configuration keeps the hub name."""
    folder = _folder(name)
    config, tensors = _config(folder), read_weights(folder)
    if "text_encoder" in config:
        config, tensors = config["text_encoder"], below("text_encoder.", tensors)
    encoder = transformers_layout.load_t5(config, tensors, str(folder))
    if not is_folder(name):
        encoder.config.name_or_path = name
    return encoder, TextTokenizer.load(folder)


def mert() -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The configuration and the tensors of MusicGen-Style's frozen feature extractor, which its checkpoints do not hold."""
    folder = _folder(catalog.MERT.name)
    tensors = {modern_weight_norm(name): tensor for name, tensor in read_weights(folder).items()}
    config = _config(folder)
    if config.get("feature_extractor_cqt") or config.get("deepnorm"):
        raise CheckpointError(f"{folder}: a MERT with features of its own (CQT or deep norm), which is no HuBERT")
    return config, tensors


def _folder(name: str) -> Path:
    if is_folder(name):
        return Path(name)
    if name in catalog.embedded():
        return catalog.PRETRAINED / name
    from musicgen.checkpoint import hub

    return hub.download(name, transformers_layout.needed, "network that the model reads its conditions with")


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        values = json.loads(textfiles.contents(path))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a readable configuration ({error})") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: no settings in this configuration")
    return values
