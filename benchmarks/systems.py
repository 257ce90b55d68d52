"""This project and its peers behind one interface: prompts -> waveforms, with the same random weights.

Speed does not depend on the values of the weights, so the published shapes with random weights represent the published models.
Each system runs in a separate process.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoTokenizer,
    EncodecConfig,
    MusicgenConfig,
    MusicgenDecoderConfig,
    MusicgenForConditionalGeneration,
    PreTrainedTokenizerFast,
    T5Config,
)

import musicgen

SHAPES = {"small": (1024, 24, 16), "medium": (1536, 48, 24), "large": (2048, 48, 32), "mini": (256, 6, 4)}
"""Width, layers, heads."""
PROMPT = "90s rock song with electric guitar and heavy drums"
FRAME_RATE = 50

Generate = Callable[[float, int], torch.Tensor]
"""Seconds of music, clips in one batch -> waveforms [clips, channels, samples]."""


def encodec_config() -> EncodecConfig:
    """The published EnCodec at 32 kHz."""
    return EncodecConfig(
        target_bandwidths=[2.2], sampling_rate=32_000, num_filters=64, upsampling_ratios=[8, 5, 4, 4],
        codebook_size=2048, use_causal_conv=False, use_conv_shortcut=False, pad_mode="constant",
    )  # fmt: skip


def t5_config() -> T5Config:
    """T5-base."""
    return T5Config(d_model=768, d_ff=3072, num_layers=12, num_heads=12, d_kv=64)


def write_tokenizer(folder: Path) -> None:
    """A tokeniser of the prompt's words."""
    words = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", *sorted(set(PROMPT.split()))])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)


def write_weights(shape: str, folder: Path, *, half: bool = False) -> Path:
    """A random text model of a published shape, in the transformers layout. Its language model has float32 numbers that 16 bits
    hold, as the published ones, which were stored in half precision before. half: store them all in float16."""
    dim, layers, heads = SHAPES[shape]
    torch.manual_seed(0)
    decoder = MusicgenDecoderConfig(
        hidden_size=dim, num_hidden_layers=layers, num_attention_heads=heads, ffn_dim=4 * dim
    )
    parts = {"text_encoder": t5_config().to_dict(), "audio_encoder": encodec_config().to_dict()}
    config = MusicgenConfig(**parts, decoder=decoder.to_dict())
    model = MusicgenForConditionalGeneration(config)
    model.decoder.half().float()
    model.generation_config.decoder_start_token_id = model.generation_config.pad_token_id = 2048
    (model.half() if half else model).save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def ours(folder: Path, device: str, precision: str) -> Generate:
    model = musicgen.load(folder, device=device, precision=precision)

    def generate(duration: float, batch: int) -> torch.Tensor:
        return model.generate([PROMPT] * batch, duration, seed=0).cpu()

    return generate


def transformers(folder: Path, device: str, precision: str, *, compiled: bool = False) -> Generate:
    """transformers at its own best: `precision` float32, bfloat16 or float16; the decoder's step compiled, if asked for, with
    dynamic shapes, since its cache grows."""
    model = MusicgenForConditionalGeneration.from_pretrained(folder, dtype=getattr(torch, precision)).to(device).eval()
    if compiled:
        model.decoder.compile(dynamic=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def generate(duration: float, batch: int) -> torch.Tensor:
        tokens = tokenizer([PROMPT] * batch, return_tensors="pt").to(device)
        steps = round(duration * FRAME_RATE) + 3
        return (
            model.generate(**tokens, do_sample=True, top_k=250, guidance_scale=3.0, max_new_tokens=steps).float().cpu()
        )

    return generate


def audiocraft(folder: Path, device: str, _: str) -> Generate:
    """audiocraft, if it is installed (it is not in the requirements)."""
    from audiocraft.models import MusicGen as Peer  # type: ignore[import-not-found]
    from audiocraft.modules import conditioners

    exported = Path(tempfile.mkdtemp()) / "audiocraft"
    musicgen.save(musicgen.load(folder, device="cpu", precision="float32"), exported, layout="audiocraft")
    # Its checkpoints name T5, which it fetches from the hub; the benchmark's stands in the folder.
    whole = MusicgenForConditionalGeneration.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    conditioners.T5EncoderModel = SimpleNamespace(from_pretrained=lambda _: whole.text_encoder)
    conditioners.T5Tokenizer = SimpleNamespace(from_pretrained=lambda _: tokenizer)
    model = Peer.get_pretrained(str(exported), device=device)

    def generate(duration: float, batch: int) -> torch.Tensor:
        model.set_generation_params(duration=duration, top_k=250, cfg_coef=3.0)
        return model.generate([PROMPT] * batch).cpu()

    return generate


SYSTEMS: dict[str, Callable[[Path, str, str], Generate]] = {
    "ours": ours,
    "transformers": transformers,
    "transformers-compiled": functools.partial(transformers, compiled=True),
    "audiocraft": audiocraft,
}
