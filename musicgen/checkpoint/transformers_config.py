"""The configuration files of the transformers layout, as transformers' own classes write them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import transformers
from transformers import (
    EncodecFeatureExtractor,
    GenerationConfig,
    MusicgenDecoderConfig,
    MusicgenMelodyDecoderConfig,
    MusicgenMelodyFeatureExtractor,
)

from musicgen.checkpoint import conditioners
from musicgen.chroma import NUM_CHROMA
from musicgen.conditioners.clap import ClapConditioner
from musicgen.conditioners.t5 import T5Config
from musicgen.generators import AutoregressiveGenerator
from musicgen.model import MusicGen


def write(model: MusicGen, path: Path) -> None:
    """Write a model's configuration, and beside it those of generation and of the reader of recordings."""
    c = model.lm.config
    melody = model.melody is not None
    decoder = {
        "vocab_size": c.codebook_size,
        "num_hidden_layers": c.num_layers,
        "ffn_dim": c.ffn_dim,
        "num_attention_heads": c.num_heads,
        "hidden_size": c.dim,
        "activation_function": c.activation,
        "num_codebooks": c.num_codebooks,
        "audio_channels": len(model.tokenizer.sides),
        "pad_token_id": c.special_token,
        "bos_token_id": c.special_token,
    }
    decoder_class = MusicgenMelodyDecoderConfig if melody else MusicgenDecoderConfig
    ours: dict[str, Any] = {"pattern": model.pattern.as_dict(), "max_duration": model.max_duration}
    if model.fill_in_the_middle:
        ours["fill_in_the_middle"] = True
    ours |= conditioners.describe(model)
    if not isinstance(model.generator, AutoregressiveGenerator):
        ours["generator"] = {"kind": model.generator.kind, "config": model.generator.config()}
    if isinstance(model.text, ClapConditioner):
        ours["clap"] = dataclasses.asdict(model.text.options)
        text_encoder = T5Config()  # transformers' class demands one; it stands for nothing
    else:
        text_encoder = model.text.encoder.config
        if model.text.length:
            ours["text_length"] = model.text.length
    if model.melody is not None and not model.melody.separated:
        ours["melody_separated"] = False
    # Not through transformers' class for the whole, which calls the decoder's padding, the entry behind the codes, a fault.
    values = {
        "model_type": "musicgen_melody" if melody else "musicgen",
        "architectures": [f"Musicgen{'Melody' if melody else ''}ForConditionalGeneration"],
        "is_encoder_decoder": True,
        "transformers_version": transformers.__version__,
        "text_encoder": text_encoder.to_dict(),
        "audio_encoder": model.tokenizer.config(),
        "decoder": decoder_class(**decoder).to_dict(),
        "musicgen": ours,
    }
    if model.melody is not None:
        values |= {"num_chroma": NUM_CHROMA, "chroma_length": model.melody.length}
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    steps = model.pattern.layout(round(model.max_duration * model.frame_rate)).num_steps
    guidance_scale = model.generator.defaults.guidance_scale
    GenerationConfig(
        max_length=steps, do_sample=True, guidance_scale=guidance_scale, top_k=250, pad_token_id=c.special_token,
        bos_token_id=c.special_token, decoder_start_token_id=c.special_token,
    ).save_pretrained(path.parent)  # fmt: skip
    if melody:
        extractor = MusicgenMelodyFeatureExtractor(
            sampling_rate=model.sample_rate, chunk_length=round(model.max_duration), num_chroma=NUM_CHROMA
        )
    else:
        extractor = EncodecFeatureExtractor(
            feature_size=model.channels, sampling_rate=model.sample_rate, padding_side="left"
        )
    extractor.save_pretrained(path.parent)
