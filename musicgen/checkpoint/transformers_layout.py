"""The transformers layout: `config.json`, `model.safetensors` (one file or shards), the text tokeniser's files.

`MusicgenForConditionalGeneration.from_pretrained` loads what is written here. Settings that transformers does not have (another
pattern than delay, another context than 30 s, CLAP for text, texts of a fixed length, melodies that were not separated in
training, further conditioners) are stored in the configuration under "musicgen".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from safetensors.torch import save_file
from torch import nn

from musicgen import config_checks, generators, patterns, textfiles
from musicgen.checkpoint import conditioners, joint_embeddings, tokenizers
from musicgen.checkpoint.module_building import build, build_meta
from musicgen.checkpoint.tensors import Names, below, fill, fill_parts, read_weights, scatter, weight_files
from musicgen.chroma import NUM_CHROMA
from musicgen.conditioners import text_tokenizer
from musicgen.conditioners.base import Conditioner
from musicgen.conditioners.clap import ClapConditioner, ClapOptions
from musicgen.conditioners.melody import MelodyConditioner
from musicgen.conditioners.t5 import T5Config, T5Encoder
from musicgen.conditioners.text import NoText, T5Conditioner
from musicgen.conditioners.text_tokenizer import TextTokenizer
from musicgen.engine.precision import Conversion
from musicgen.errors import CheckpointError
from musicgen.generators import AutoregressiveGenerator, Generator
from musicgen.lm import LanguageModel, LMConfig
from musicgen.model import MusicGen
from musicgen.options import PAPER_GUIDANCE
from musicgen.patterns import Pattern
from musicgen.safe_unpickle import check_kind
from musicgen.tokenizers import StereoTokenizer

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
GENERATION_CONFIG = "generation_config.json"
"""transformers' defaults of sampling, of which the guidance scale is read."""
_CLAP_CODEBOOKS = "clap_quantiser.codebooks"

MAX_DURATION = 30.0
"""Seconds of the published models' training segments."""


class DecoderConfig(BaseModel):
    """What is read of the section "decoder". transformers leaves values out of some files that equal its defaults, which stand
    here."""

    model_config = ConfigDict(strict=True, extra="ignore")

    vocab_size: int = 2_048
    num_hidden_layers: int = 24
    ffn_dim: int = 4_096
    num_attention_heads: int = 16
    hidden_size: int = 1_024
    num_codebooks: int = 4
    activation_function: str = "gelu"
    scale_embedding: bool = False


def is_layout(names: Sequence[str]) -> bool:
    """Whether files of these names are a checkpoint in this layout."""
    return CONFIG in names and bool(weight_files(names))


def needed(names: Sequence[str]) -> list[str]:
    """The files of a repository that are read."""
    if not is_layout(names):
        raise CheckpointError(f"no {CONFIG} with weights beside it among the files {', '.join(sorted(names)[:8])}")
    optional = (GENERATION_CONFIG, *text_tokenizer.FILES)
    return [CONFIG, *weight_files(names), *(name for name in optional if name in names)]


def shape(folder: Path) -> tuple[LMConfig, bool]:
    """The shape of a folder's language model and whether it generates step by step, by its configuration alone."""
    config = _read_config(folder)
    values = config_checks.wrap_errors(lambda: DecoderConfig(**config["decoder"]), str(folder))
    found = LMConfig(
        values.hidden_size,
        values.num_attention_heads,
        values.num_hidden_layers,
        values.num_codebooks,
        cross_attention="cross" in _fusions(config, str(folder)).values(),
    )
    return found, _generator(config["musicgen"], folder).autoregressive


def load(folder: Path, name: str, conversion: Conversion) -> MusicGen:
    """Read a folder in the transformers layout. conversion: of the language model, while it is read."""
    config = _read_config(folder)
    tensors = read_weights(folder)
    melody_model = config["model_type"] == "musicgen_melody"
    ours = config.get("musicgen", {})
    fusions = _fusions(config, str(folder))
    cross_attention = "cross" in fusions.values()
    lm_config = _lm_config(config["decoder"], tensors, str(folder), cross_attention=cross_attention)
    lm = build_meta(lambda: LanguageModel(lm_config), str(folder))
    generator = _generator(ours, folder)
    conversion.start(lm_config, autoregressive=generator.autoregressive)
    fill_parts(lm, lm.parts, lm_names(lm_config), tensors, str(folder), partial(conversion.convert, lm))

    stereo = config["decoder"].get("audio_channels", 1) == 2
    mono = tokenizers.load_tokenizer(config["audio_encoder"], below("audio_encoder.", tensors), str(folder))
    load_text = _load_clap if "clap" in ours else _load_text
    found: dict[str, Conditioner] = {"text": load_text(config, tensors, lm_config.dim, folder)}
    if melody_model:
        projection = _projection("audio_enc_to_dec_proj", NUM_CHROMA, lm_config.dim, tensors, str(folder))
        separated = ours.get("melody_separated", True)
        found["melody"] = MelodyConditioner(projection, config.get("chroma_length", 235), separated=separated)
    found |= conditioners.load(ours, tensors, lm_config.dim, str(folder))
    return MusicGen(
        lm,
        _pattern(ours, lm_config.num_codebooks, stereo, str(folder)),
        StereoTokenizer(mono) if stereo else mono,
        {name: found[name] for name in fusions},
        fusions=fusions,
        generator=generator,
        max_duration=ours.get("max_duration", MAX_DURATION),
        fill_in_the_middle=ours.get("fill_in_the_middle") is True,
        name=name,
    )


def _generator(ours: dict[str, Any], folder: Path) -> Generator:
    source = str(folder)
    if "generator" not in ours:
        return config_checks.wrap_errors(lambda: AutoregressiveGenerator(_guidance_scale(folder)), source)
    entry = ours["generator"]
    return config_checks.wrap_errors(lambda: generators.build(entry["kind"], entry.get("config", {}), source), source)


def _guidance_scale(folder: Path) -> float:
    path = folder / GENERATION_CONFIG
    if not path.is_file():
        return PAPER_GUIDANCE
    try:
        given = json.loads(textfiles.contents(path)).get("guidance_scale")
    except (OSError, ValueError, RecursionError, AttributeError) as error:
        raise CheckpointError(f"{path}: not a readable configuration ({error})") from error
    return PAPER_GUIDANCE if given is None else given


def _fusions(config: dict[str, Any], source: str) -> dict[str, str]:
    return conditioners.fusions(config["musicgen"], source, melody=config["model_type"] == "musicgen_melody")


def save(model: MusicGen, folder: Path, stored: torch.dtype = torch.float32) -> None:
    """Write a model into an existing, empty folder."""
    if model.text is None or isinstance(model.text, NoText):
        raise CheckpointError("the transformers layout has no model without text: audiocraft's layout holds it")
    tensors = scatter(lm_names(model.lm.config), model.lm.state_dict())
    if isinstance(model.text, ClapConditioner):
        tensors[_CLAP_CODEBOOKS] = model.text.quantiser.codebooks
    else:
        tensors |= {f"text_encoder.{key}": value for key, value in _untied(model.text.encoder).items()}
        model.text.tokenizer.save(folder)
    tensors |= {f"audio_encoder.{key}": value for key, value in model.tokenizer.network.state_dict().items()}
    tensors |= {f"enc_to_dec_proj.{key}": value for key, value in model.text.projection.state_dict().items()}
    if model.melody is not None:
        state = model.melody.projection.state_dict()
        tensors |= {f"audio_enc_to_dec_proj.{key}": value for key, value in state.items()}
    tensors |= conditioners.state(model)
    contiguous = {
        key: value.detach().cpu().to(stored if value.is_floating_point() else value.dtype).clone().contiguous()
        for key, value in tensors.items()
    }
    save_file(contiguous, folder / WEIGHTS, metadata={"format": "pt"})
    # It takes transformers' classes, which take seconds to import.
    from musicgen.checkpoint.transformers_config import write

    write(model, folder / CONFIG)


def lm_names(config: LMConfig) -> Names:
    """Where this layout keeps the language model's tensors."""
    codebooks = range(config.num_codebooks)
    root = "decoder.model.decoder"
    names: Names = {
        "embedding.weight": [f"{root}.embed_tokens.{k}.weight" for k in codebooks],
        "heads.weight": [f"decoder.lm_heads.{k}.weight" for k in codebooks],
    }
    names |= {f"norm.{part}": [f"{root}.layer_norm.{part}"] for part in ("weight", "bias")}
    for i in range(config.num_layers):
        ours, theirs = f"blocks.{i}", f"{root}.layers.{i}"
        names[f"{ours}.self_attention.qkv.weight"] = [f"{theirs}.self_attn.{part}_proj.weight" for part in "qkv"]
        names[f"{ours}.self_attention.out.weight"] = [f"{theirs}.self_attn.out_proj.weight"]
        names[f"{ours}.ffn_in.weight"] = [f"{theirs}.fc1.weight"]
        names[f"{ours}.ffn_out.weight"] = [f"{theirs}.fc2.weight"]
        norms = {"norm_self": "self_attn_layer_norm", "norm_ffn": "final_layer_norm"}
        if config.cross_attention:
            names[f"{ours}.cross_attention.query.weight"] = [f"{theirs}.encoder_attn.q_proj.weight"]
            names[f"{ours}.cross_attention.key_value.weight"] = [f"{theirs}.encoder_attn.{p}_proj.weight" for p in "kv"]
            names[f"{ours}.cross_attention.out.weight"] = [f"{theirs}.encoder_attn.out_proj.weight"]
            norms["norm_cross"] = "encoder_attn_layer_norm"
        for norm, their_norm in norms.items():
            names |= {f"{ours}.{norm}.{part}": [f"{theirs}.{their_norm}.{part}"] for part in ("weight", "bias")}
    return names


def default_pattern(num_codebooks: int, stereo: bool) -> Pattern:
    """The published models' pattern."""
    return patterns.stereo_partial_delay(num_codebooks) if stereo else patterns.delay(num_codebooks)


def load_t5(config: dict[str, Any], tensors: dict[str, torch.Tensor], source: str) -> T5Encoder:
    """A T5 encoder from its transformers configuration and tensors; the two names of its embedding are one tensor."""
    if config.get("model_type") != "t5":
        raise CheckpointError(
            f"{source}: the text encoder is of the type {config.get('model_type')!r}: only t5 is known"
        )
    source = f"{source} (text encoder)"
    values = config_checks.wrap_errors(lambda: T5Config(**config), source)
    config_checks.check_count("layers", values.num_layers, r"encoder\.block\.(\d+)\.", tensors, source)
    encoder = build_meta(lambda: T5Encoder(values), source)
    shared, alias = "shared.weight", "encoder.embed_tokens.weight"
    embedding = tensors.get(shared, tensors.get(alias))
    both = {} if embedding is None else {shared: embedding, alias: embedding}
    fill(encoder, tensors | both, source)
    encoder.tie_weights()
    return encoder.eval()


def _read_config(folder: Path) -> dict[str, Any]:
    check_kind(folder / CONFIG)
    try:
        config = json.loads(textfiles.contents(folder / CONFIG))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{folder / CONFIG}: not JSON ({error})") from error
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind in ("encodec", "dac"):
        raise CheckpointError(f"{folder}: an audio tokeniser ({kind}), not a MusicGen model")
    if kind not in ("musicgen", "musicgen_melody"):
        raise CheckpointError(f"{folder}: a checkpoint of the type {kind!r}, not a MusicGen model")
    ours = config.setdefault("musicgen", {})
    if not isinstance(ours, dict):
        raise CheckpointError(f"{folder / CONFIG}: the section 'musicgen' is {ours!r}, no settings")
    parts = ["decoder", "audio_encoder"] + ([] if "clap" in ours else ["text_encoder"])
    missing = [part for part in parts if not isinstance(config.get(part), dict)]
    if missing:
        raise CheckpointError(f"{folder / CONFIG}: the section {missing[0]!r} is missing")
    return config


def _lm_config(
    decoder: dict[str, Any], tensors: dict[str, torch.Tensor], source: str, *, cross_attention: bool
) -> LMConfig:
    values = config_checks.wrap_errors(lambda: DecoderConfig(**decoder), source)
    root = r"decoder\.model\.decoder"
    if values.scale_embedding:
        raise CheckpointError("scaled embeddings are not part of MusicGen: this decoder's configuration asks for them")
    return LMConfig(
        dim=values.hidden_size,
        num_heads=values.num_attention_heads,
        num_layers=config_checks.check_count(
            "layers", values.num_hidden_layers, rf"{root}\.layers\.(\d+)\.", tensors, source
        ),
        num_codebooks=config_checks.check_count(
            "codebooks", values.num_codebooks, rf"{root}\.embed_tokens\.(\d+)\.", tensors, source
        ),
        codebook_size=values.vocab_size,
        ffn_dim=values.ffn_dim,
        activation=values.activation_function,
        cross_attention=cross_attention,
    )


def _pattern(ours: dict[str, Any], num_codebooks: int, stereo: bool, source: str) -> Pattern:
    if "pattern" not in ours:
        return default_pattern(num_codebooks, stereo)
    return config_checks.wrap_errors(lambda: Pattern.from_dict(ours["pattern"]), source)


def _projection(name: str, width: int, dim: int, tensors: dict[str, torch.Tensor], source: str) -> nn.Module:
    # transformers has no projection where the widths agree already.
    if width == dim:
        return nn.Identity()
    return build(lambda: nn.Linear(width, dim), below(f"{name}.", tensors), f"{source} ({name})")


def _load_text(config: dict[str, Any], tensors: dict[str, torch.Tensor], dim: int, folder: Path) -> T5Conditioner:
    encoder = load_t5(config["text_encoder"], below("text_encoder.", tensors), str(folder))
    projection = _projection("enc_to_dec_proj", encoder.config.d_model, dim, tensors, str(folder))
    length = config.get("musicgen", {}).get("text_length", 0)
    return T5Conditioner(encoder, TextTokenizer.load(folder), projection, length)


def _load_clap(config: dict[str, Any], tensors: dict[str, torch.Tensor], dim: int, folder: Path) -> ClapConditioner:
    codebooks = tensors.get(_CLAP_CODEBOOKS)
    if codebooks is None:
        raise CheckpointError(f"{folder}: the tensor {_CLAP_CODEBOOKS!r} is missing")
    options = config_checks.wrap_errors(lambda: ClapOptions(**config["musicgen"]["clap"]), str(folder))
    kind = joint_embeddings.find(options.embedder, str(folder))
    if list(codebooks.shape[:2]) != [options.num_quantisers, options.num_entries]:
        raise CheckpointError(f"{folder}: {_CLAP_CODEBOOKS!r} has the shape {list(codebooks.shape)}, unlike {options}")
    embedder = kind.load()
    if codebooks.shape[2:] != (embedder.dim,):
        raise CheckpointError(
            f"{folder}: {_CLAP_CODEBOOKS!r} has the shape {list(codebooks.shape)}, and {options.embedder} has "
            f"{embedder.dim} dimensions: the model was trained with another network"
        )
    projection = _projection("enc_to_dec_proj", embedder.dim, dim, tensors, str(folder))
    text = ClapConditioner(embedder, projection, options)
    fill(text.quantiser, {"codebooks": codebooks}, f"{folder} (CLAP's quantiser)")
    return text


def _untied(encoder: T5Encoder) -> dict[str, torch.Tensor]:
    return {name: value for name, value in encoder.state_dict().items() if name != "encoder.embed_tokens.weight"}
