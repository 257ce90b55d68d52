"""Writes audiocraft's layout, which `audiocraft_layout` reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from musicgen.checkpoint import audiocraft_style, components, conditioners
from musicgen.checkpoint.audiocraft_layout import LM_FILE, OURS, TOKENIZER_FILE, melody_length
from musicgen.checkpoint.audiocraft_names import encodec_name, lm_names, projection_name
from musicgen.checkpoint.audiocraft_settings import (
    MAGNET,
    MASKED,
    MELODY,
    SPAN_ARRANGEMENTS,
    SPAN_SCORES,
    TEXT,
    TRANSFORMER,
)
from musicgen.checkpoint.tensors import scatter
from musicgen.chroma import NUM_CHROMA, SAMPLE_RATE
from musicgen.conditioners.clap import ClapConditioner
from musicgen.conditioners.melody import MelodyConditioner
from musicgen.conditioners.style import StyleConditioner
from musicgen.conditioners.text import NoText, T5Conditioner
from musicgen.errors import CheckpointError
from musicgen.generators import AutoregressiveGenerator, MaskedGenerator
from musicgen.model import MusicGen
from musicgen.tokenizers import frames_of
from musicgen.tokenizers.encodec_network import ConvTranspose1d, EncodecConfig, EncodecNetwork

T5_NAMES = tuple(f"t5-{size}" for size in ("small", "base", "large", "3b", "11b")) + tuple(
    f"google/flan-t5-{size}" for size in ("small", "base", "large", "xl", "xxl")
)
"""The text encoders that audiocraft takes."""


def save(model: MusicGen, folder: Path, text_encoder: str | None = None) -> None:
    """Write a model into an existing folder. audiocraft does not store the text encoder: it is named, `text_encoder` or as the
    model's own configuration has it, and compared with what that name stands for.

    Raises CheckpointError for what the layout cannot say: a loaded export would make other music.
    """
    network = model.tokenizer.network
    if not isinstance(network, EncodecNetwork):
        raise CheckpointError("audiocraft's layout is for EnCodec models")
    style = conditioners.others(model).get("style")
    followed = [name for name in ("melody", "style", "text") if name in model.conditioners]
    if (
        len(followed) < len(model.conditioners)
        or not isinstance(style, StyleConditioner | None)
        or model.text is None
        or {"melody", "style"} <= set(followed)
    ):
        raise CheckpointError(
            "audiocraft's layout is written for text, with melody or style: this model is conditioned by "
            f"{' and '.join(model.conditioners)}"
        )
    way = "cross" if model.lm.config.cross_attention else "prefix"
    if list(model.fuser.fusions.items()) != [(name, way) for name in followed]:
        raise CheckpointError(
            f"audiocraft's layout is written for the conditions {', '.join(followed)} by {way}, in this order: this model's "
            f"fusions are {model.fuser.fusions}"
        )
    _check_generator(model)
    if isinstance(model.text, ClapConditioner):
        raise CheckpointError("audiocraft's layout is written for T5 models, not CLAP")
    if model.pattern.kind != "delay" or model.pattern.flatten_first or model.pattern.empty_initial:
        raise CheckpointError(f"audiocraft's layout is written for delay patterns, not {model.pattern.kind!r}")
    if model.melody is not None and model.melody.length != melody_length(model.max_duration):
        raise CheckpointError(
            f"audiocraft's layout takes the melody's length from the context, {melody_length(model.max_duration)} chroma "
            f"frames for {model.max_duration:g} s: this model has {model.melody.length}"
        )
    name = None if isinstance(model.text, NoText) else _text_encoder_name(model.text, text_encoder)
    dim = model.lm.config.dim
    state = _join_cross_attention(scatter(lm_names(model.lm.config), model.lm.state_dict()))
    for condition, conditioner in ((TEXT, model.text), (MELODY, model.melody)):
        if isinstance(conditioner, (T5Conditioner, MelodyConditioner)):
            tensors = _projection(conditioner.projection, dim).state_dict()
            state |= {f"{projection_name(condition)}.{key}": value for key, value in tensors.items()}
    if isinstance(style, StyleConditioner):
        audiocraft_style.check_features(style)
        state |= audiocraft_style.tensors(style)
    torch.save(_package(state, _lm_settings(model, name)), folder / LM_FILE)
    reverse = {encodec_name(name): name for name in _encodec_names(network)}
    weights = {reverse[name]: tensor for name, tensor in network.state_dict().items()}
    torch.save(_package(weights, _encodec_settings(network.config)), folder / TOKENIZER_FILE)


def _check_generator(model: MusicGen) -> None:
    """Refuse ways of generating that the layout cannot say."""
    generator = model.generator
    if isinstance(generator, AutoregressiveGenerator):
        return
    if not isinstance(generator, MaskedGenerator):
        raise CheckpointError(f"audiocraft's layout has no generator {generator.kind!r}")
    if not model.lm.config.cross_attention or any(model.pattern.delays):
        raise CheckpointError("audiocraft's MAGNeT models read the text by cross-attention and have no delays")
    frames = frames_of(model.tokenizer, model.max_duration)
    own = generator.defaults.decoding_steps
    usual = MaskedGenerator(frames).defaults.decoding_steps
    if generator.num_frames != frames or own != usual:
        raise CheckpointError(
            f"audiocraft's layout has no place for MAGNeT's passes, {own} in place of {usual}, nor for {generator.num_frames} "
            f"frames in a context of {frames}"
        )


def _text_encoder_name(text: T5Conditioner, given: str | None) -> str:
    """The name that stands for a model's text encoder, if one does."""
    only = "audiocraft's layout names the text encoder and does not store it"
    if text.length:
        raise CheckpointError(
            f"audiocraft's layout has no texts of a fixed length: this model's have {text.length} vectors"
        )
    name = (given or text.encoder.config.name_or_path or "").removeprefix("google-t5/")
    if not name:
        raise CheckpointError(
            f"{only}, and this model does not say which one it has: keep an encoder of its own in the transformers layout, or ",
            python='pass its name, text_encoder="t5-base"',
            shell="pass its name, --text-encoder t5-base",
            page="name it",
        )
    if name not in T5_NAMES:
        raise CheckpointError(f"{only}: {name!r} is none that audiocraft takes, which are {', '.join(T5_NAMES)}")
    named, tokenizer = components.text_encoder(name)
    ours, theirs = text.encoder.state_dict(), named.state_dict()
    # Published files may be stored in float16.
    same = ours.keys() == theirs.keys() and all(
        ours[key].shape == theirs[key].shape and torch.allclose(ours[key].cpu(), theirs[key], rtol=1e-3, atol=1e-6)
        for key in ours
    )
    if not same or text.tokenizer.vocabulary != tokenizer.vocabulary:
        raise CheckpointError(f"{only}: this model's is not {name}, so only the transformers layout holds it")
    return name


def _projection(projection: nn.Module, dim: int) -> nn.Module:
    """audiocraft has a projection where the widths agree too."""
    if not isinstance(projection, nn.Identity):
        return projection
    linear = nn.Linear(dim, dim)
    with torch.no_grad():
        linear.weight.copy_(torch.eye(dim))
        linear.bias.zero_()
    return linear


def _encodec_names(model: EncodecNetwork) -> list[str]:
    """audiocraft's names of all tensors of an EnCodec model."""
    out = []
    transposed = {
        f"decoder.layers.{i}." for i, layer in enumerate(model.decoder.layers) if isinstance(layer, ConvTranspose1d)
    }
    for name in model.state_dict():
        conv = "convtr.convtr" if any(name.startswith(prefix) for prefix in transposed) else "conv.conv"
        theirs = re.sub(r"\.conv\.(?=bias|parametrizations)", f".{conv}.", name)
        theirs = theirs.replace("encoder.layers.", "encoder.model.").replace("decoder.layers.", "decoder.model.")
        theirs = theirs.replace("quantizer.layers.", "quantizer.vq.layers.").replace(".codebook.", "._codebook.")
        theirs = theirs.replace(".parametrizations.weight.original0", ".weight_g")
        out.append(theirs.replace(".parametrizations.weight.original1", ".weight_v"))
    return out


def _join_cross_attention(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    out = dict(state)
    for name in [name for name in out if name.endswith("cross_attention.query")]:
        base = name.removesuffix("query")
        out[f"{base}in_proj_weight"] = torch.cat([out.pop(name), out.pop(f"{base}key_value")])
    return out


def _package(state: dict[str, torch.Tensor], settings: dict[str, Any]) -> dict[str, Any]:
    tensors = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
    return {"best_state": tensors, "xp.cfg": yaml.safe_dump(settings), "version": "1.4.0a2", "exported": True}


def _lm_settings(model: MusicGen, text_encoder: str | None) -> dict[str, Any]:
    c = model.lm.config
    described: dict[str, Any] = {}
    if text_encoder is not None:
        t5 = {"name": text_encoder, "finetune": False, "word_dropout": 0.0, "normalize_text": False}
        described[TEXT] = {"model": "t5", "t5": t5}
    ours: dict[str, Any] = {}
    if model.melody is not None:
        if not model.melody.separated:
            ours[OURS] = {"melody_separated": False}
        chroma: dict[str, Any] = {"sample_rate": SAMPLE_RATE, "n_chroma": NUM_CHROMA, "radix2_exp": 14, "argmax": True}
        chroma |= {"match_len_on_eval": False, "eval_wavs": None, "n_eval_wavs": 100, "cache_path": None}
        described[MELODY] = {"model": "chroma_stem", "chroma_stem": chroma}
    style = model.named_conditioners.get("style")
    if isinstance(style, StyleConditioner):
        described[MELODY] = {"model": audiocraft_style.KIND, audiocraft_style.KIND: audiocraft_style.settings(style)}
    masked = model.generator if isinstance(model.generator, MaskedGenerator) else None
    duration = model.max_duration
    prepend = [] if c.cross_attention else [name for name in (MELODY, TEXT) if name in described]
    cross = [TEXT] if c.cross_attention else []
    return {
        "solver": "musicgen" if masked is None else "magnet",
        "device": "cpu",
        "dtype": "float32",
        "sample_rate": model.sample_rate,
        "channels": model.channels,
        # MAGNeT's masks need a whole number.
        "dataset": {"segment_duration": int(duration) if duration == int(duration) else duration},
        "compression_model_checkpoint": "//pretrained/facebook/encodec_32khz",
        "interleave_stereo_codebooks": {"use": model.channels == 2, "per_timestep": False},
        "lm_model": "transformer_lm" if masked is None else MAGNET,
        "transformer_lm": {name: supported for name, (supported, _) in TRANSFORMER.items()}
        | {
            "dim": c.dim, "num_heads": c.num_heads, "num_layers": c.num_layers, "hidden_scale": c.ffn_dim / c.dim,
            "n_q": c.num_codebooks, "card": c.codebook_size, "activation": c.activation, "dropout": 0.0, "emb_lr": None,
            "custom": False, "memory_efficient": True, "attention_as_float32": False,
            "checkpointing": "none", "weight_init": "gaussian", "depthwise_init": "current", "zero_bias_init": True,
            "cross_attention": c.cross_attention, "attention_dropout": None,
        }
        | ({} if masked is None else _masked_transformer(masked)),
        "codebooks_pattern": {
            "modeling": "delay",
            "delay": {"delays": list(model.pattern.delays), "flatten_first": 0, "empty_initial": 0},
        },
        **({} if masked is None else _masked(masked)),
        "classifier_free_guidance": {"training_dropout": 0.2, "inference_coef": 3.0},
        **ours,
        "attribute_dropout": {},
        "fuser": {
            "cross_attention_pos_emb": False, "cross_attention_pos_emb_scale": 1, "sum": [], "prepend": prepend,
            "cross": cross, "input_interpolate": [],
        },
        "conditioners": described or None,
    }  # fmt: skip


def _masked_transformer(generator: MaskedGenerator) -> dict[str, Any]:
    """The additional settings of MAGNeT's language model. audiocraft sets the last three when it loads."""
    return {
        "causal": False, "subcodes_context": -1 if generator.reach is None else generator.reach,
        "compression_model_framerate": 50, "segment_duration": 0, "span_len": -1,
    }  # fmt: skip


def _masked(generator: MaskedGenerator) -> dict[str, Any]:
    """MAGNeT's sections: the pattern without a special first step, spans, decoding."""
    own = generator.defaults
    assert own.masked_guidance is not None  # of a generator's defaults, all are set
    first, last = own.masked_guidance
    arrangements = {ours: theirs for theirs, ours in SPAN_ARRANGEMENTS.items()}
    scores = {ours: theirs for theirs, ours in SPAN_SCORES.items()}
    return {
        "codebooks_pattern": {"modeling": "parallel", "parallel": {"empty_initial": -1}},
        "masking": {"span_len": generator.span},
        "generate": {"lm": {name: supported for name, (supported, _) in MASKED.items()} | {
            "temp": own.masked_temperature, "top_p": own.masked_top_p, "max_cfg_coef": first, "min_cfg_coef": last,
            "decoding_steps": list(own.decoding_steps or ()), "span_scoring": scores[generator.score],
            "span_arrangement": arrangements[generator.arrangement],
        }},
    }  # fmt: skip


def _encodec_settings(config: EncodecConfig) -> dict[str, Any]:
    return {
        "solver": "compression",
        "device": "cpu",
        "dtype": "float32",
        "sample_rate": config.sampling_rate,
        "channels": config.audio_channels,
        "compression_model": "encodec",
        "encodec": {
            "autoencoder": "seanet", "quantizer": "rvq", "sample_rate": config.sampling_rate,
            "channels": config.audio_channels, "causal": config.use_causal_conv, "renormalize": config.normalize,
        },
        "seanet": {
            "dimension": config.hidden_size, "channels": config.audio_channels, "causal": config.use_causal_conv,
            "n_filters": config.num_filters, "n_residual_layers": config.num_residual_layers,
            "ratios": list(config.upsampling_ratios), "activation": "ELU", "activation_params": {"alpha": 1.0},
            "norm": config.norm_type, "norm_params": {}, "kernel_size": config.kernel_size,
            "residual_kernel_size": config.residual_kernel_size, "last_kernel_size": config.last_kernel_size,
            "dilation_base": config.dilation_growth_rate, "pad_mode": config.pad_mode,
            "true_skip": not config.use_conv_shortcut, "compress": config.compress, "lstm": config.num_lstm_layers,
            "disable_norm_outer_blocks": 0,
            "decoder": {
                "trim_right_ratio": config.trim_right_ratio, "final_activation": None, "final_activation_params": None
            },
            "encoder": {},
        },
        "rvq": {
            "n_q": config.num_quantizers, "q_dropout": False, "bins": config.codebook_size, "decay": 0.99,
            "kmeans_init": True, "kmeans_iters": 50, "threshold_ema_dead_code": 2, "orthogonal_reg_weight": 0.0,
            "orthogonal_reg_active_codes_only": False,
        },
    }  # fmt: skip
