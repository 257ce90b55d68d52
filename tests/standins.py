"""Tiny random models in the layout and the names of the published ones."""

import json
import shutil
from fractions import Fraction
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import (
    EncodecConfig,
    EncodecModel,
    MusicgenConfig,
    MusicgenDecoderConfig,
    MusicgenForConditionalGeneration,
    MusicgenMelodyConfig,
    MusicgenMelodyDecoderConfig,
    MusicgenMelodyForConditionalGeneration,
    T5Config,
    T5EncoderModel,
)

from musicgen.checkpoint.tokenizers import load_tokenizer
from musicgen.checkpoint.transformers_layout import load_t5
from musicgen.conditioners.t5 import T5Encoder
from musicgen.tokenizers import EncodecTokenizer

GOLDEN = Path(__file__).parent / "golden"
CODEBOOK_BITS = 6


def publish(cache: Path, repository: str, folder: Path) -> Path:
    """Put a folder's files into a hub cache as the newest revision of `repository`."""
    root = cache / f"models--{repository.replace('/', '--')}"
    snapshot = root / "snapshots" / "0123456789abcdef"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(folder, snapshot)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(snapshot.name)
    return snapshot


def t5_config(width: int, gated: bool = False) -> T5Config:
    """T5's first form, or the gated one of FLAN-T5."""
    kind = "gated-gelu" if gated else "relu"
    return T5Config(vocab_size=80, d_model=width, d_kv=8, d_ff=32, num_layers=2, num_heads=2, feed_forward_proj=kind)


def encodec_config(num_codebooks: int) -> EncodecConfig:
    """EnCodec at 32 kHz and 50 Hz like the published one, but narrow."""
    config = EncodecConfig(
        target_bandwidths=[num_codebooks * 50 * CODEBOOK_BITS / 1000],
        sampling_rate=32_000,
        upsampling_ratios=[8, 5, 4, 4],
        num_filters=4,
        hidden_size=16,
        codebook_size=2**CODEBOOK_BITS,
        codebook_dim=16,
        use_causal_conv=False,
        pad_mode="constant",
        use_conv_shortcut=False,
    )
    assert config.num_quantizers == num_codebooks
    return config


def encodec_tokenizer(model: EncodecModel) -> EncodecTokenizer:
    """The tokeniser that the files of transformers' model would load as."""
    config = json.loads(model.config.to_json_string(use_diff=False))
    return load_tokenizer(config, model.state_dict(), "a stand-in")


def t5_encoder(model: T5EncoderModel) -> T5Encoder:
    """The text encoder that the files of transformers' model would load as."""
    return load_t5(json.loads(model.config.to_json_string(use_diff=False)), model.state_dict(), "a stand-in")


def _spread(model: torch.nn.Module) -> None:
    """Larger weights than a fresh model's, so that greedy choices have a margin and every part matters."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("audio_encoder"):
                continue
            if parameter.dim() > 1:
                parameter.normal_(0.0, 1.5 / parameter.shape[-1] ** 0.5, generator=generator)
            else:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
        for name, buffer in model.named_buffers():
            if name.endswith("codebook.embed"):
                buffer.normal_(0.0, 1.0, generator=generator)


def transformers_model(
    *, width: int = 32, heads: int = 4, layers: int = 2, codebooks: int = 4, stereo: bool = False,
    text_width: int = 24, melody: bool = False, seed: int = 0, gated: bool = False,
) -> MusicgenForConditionalGeneration:  # fmt: skip
    """A random model of transformers' own class. `codebooks` counts those of one channel."""
    torch.manual_seed(seed)
    shape = {
        "vocab_size": 2**CODEBOOK_BITS,
        "num_hidden_layers": layers,
        "ffn_dim": 3 * width,
        "num_attention_heads": heads,
        "hidden_size": width,
        "num_codebooks": codebooks * (2 if stereo else 1),
        "audio_channels": 2 if stereo else 1,
        "pad_token_id": 2**CODEBOOK_BITS,
        "bos_token_id": 2**CODEBOOK_BITS,
        "dropout": 0.0,
    }
    parts = {
        "text_encoder": t5_config(text_width, gated).to_dict(),
        "audio_encoder": encodec_config(codebooks).to_dict(),
    }
    if melody:
        decoder = MusicgenMelodyDecoderConfig(**shape).to_dict()
        model = MusicgenMelodyForConditionalGeneration(MusicgenMelodyConfig(**parts, decoder=decoder))
    else:
        decoder = MusicgenDecoderConfig(**shape).to_dict()
        model = MusicgenForConditionalGeneration(MusicgenConfig(**parts, decoder=decoder))
    _spread(model)
    special = 2**CODEBOOK_BITS
    model.generation_config.decoder_start_token_id = special
    model.generation_config.pad_token_id = special
    model.generation_config.bos_token_id = special
    return model.eval()


def publish_demucs(cache: Path, folder: Path) -> None:
    """A tiny random Hybrid Transformer Demucs in the form of the published hub repository."""
    from demucs.htdemucs import HTDemucs

    torch.manual_seed(0)
    sources = ["drums", "bass", "other", "vocals"]
    shape = {"sources": sources, "channels": 8, "t_layers": 1, "t_heads": 2}
    model = HTDemucs(**shape, segment=Fraction(39, 5))
    segment = {"_type": "fraction", "numerator": 39, "denominator": 5}
    metadata = {"klass": "demucs.htdemucs.HTDemucs", "args": "[]", "kwargs": json.dumps(shape | {"segment": segment})}
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()},
        folder / "955717e8.safetensors",
        metadata,
    )
    (folder / "htdemucs.yaml").write_text("models: ['955717e8']\n")
    publish(cache, "adefossez/HTDemucs", folder)


def write(model: MusicgenForConditionalGeneration, folder: Path) -> Path:
    """`save_pretrained`, and the golden T5's tokeniser beside it."""
    model.save_pretrained(folder)
    add_text_tokenizer(folder)
    return folder


def add_text_tokenizer(folder: Path) -> None:
    """The golden T5's tokeniser."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(GOLDEN / "t5_tiny" / name, folder)
