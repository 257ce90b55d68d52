"""audiocraft's layout: `state_dict.bin` (the language model and its projections) and `compression_state_dict.bin` (EnCodec,
or a pointer to it), both `torch.save` files with the training configuration as YAML inside.

The text encoder is not stored: it comes from the hub under the name in the configuration. The files are read without running
code from them. `audiocraft_export` writes this layout.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn
from transformers import EncodecConfig, EncodecModel

from musicgen.checkpoint import parts
from musicgen.checkpoint.tensors import Names, below, fill, gather, read_pickle
from musicgen.chroma import HOP, NUM_CHROMA, SAMPLE_RATE
from musicgen.conditioners.melody import MelodyConditioner
from musicgen.conditioners.text import T5Conditioner
from musicgen.errors import CheckpointError
from musicgen.lm import LanguageModel, LMConfig
from musicgen.model import MusicGen
from musicgen.patterns import Pattern
from musicgen.tokenizer import EncodecTokenizer, StereoTokenizer

LM_FILE = "state_dict.bin"
TOKENIZER_FILE = "compression_state_dict.bin"
OURS = "musicgen"
"""The section of the configuration with what audiocraft does not know: melodies that were not separated in training."""
FILES = [LM_FILE, TOKENIZER_FILE]
"""What a download of this layout fetches."""

TEXT, MELODY = "description", "self_wav"
"""audiocraft's names of the two conditions."""

_IGNORED = {f"condition_provider.conditioners.{MELODY}.chroma.spec.window"}
REQUIRED: dict[str, Any] = {
    "norm_first": True, "bias_ff": False, "bias_attn": False, "bias_proj": False, "norm": "layer_norm",
    "positional_embedding": "sin", "causal": True, "layer_scale": None, "qk_layer_norm": False,
    "qk_layer_norm_cross": False, "past_context": None, "kv_repeat": 1,
}  # fmt: skip
"""Settings that the published models share and our transformer is built for."""


def is_layout(folder: Path) -> bool:
    return (folder / LM_FILE).is_file()


def load(folder: Path, name: str) -> MusicGen:
    """Read a folder in audiocraft's layout."""
    source = str(folder / LM_FILE)
    package = read_pickle(folder / LM_FILE)
    config = _config(package, source)
    state = package["best_state"]
    state = _split_cross_attention(state.get("model", state))
    prepended = bool(_at(config, "fuser.prepend", source))
    lm_config = _lm_config(config, source, cross_attention=not prepended)
    names = lm_names(lm_config)
    with torch.device("meta"):
        lm = LanguageModel(lm_config)
    fill(lm, gather(names, state, source), source)

    conditioners = _at(config, "conditioners", source)
    known = {part for parts in names.values() for part in parts} | _IGNORED
    known |= {f"{projection_name(c)}.{part}" for c in (TEXT, MELODY) for part in ("weight", "bias")}
    unexpected = sorted(set(state) - known)
    if unexpected:
        raise CheckpointError(f"{source}: the tensor {unexpected[0]!r} belongs to a model of another kind")
    max_duration = float(_at(config, "dataset.segment_duration", source))
    melody = None
    if MELODY in conditioners:
        projection = _projection(MELODY, NUM_CHROMA, lm_config.dim, state, source)
        separated = (config.get(OURS) or {}).get("melody_separated", True)
        length = math.ceil(max_duration * SAMPLE_RATE / HOP)
        melody = MelodyConditioner(projection, length, separated=separated)
    stereo = bool(_at(config, "interleave_stereo_codebooks.use", source))
    mono = load_tokenizer(folder)
    return MusicGen(
        lm,
        _pattern(config, source),
        StereoTokenizer(mono) if stereo else mono,
        _text(config, lm_config.dim, state, source),
        melody,
        max_duration=max_duration,
        name=name,
    )


def load_tokenizer(folder: Path) -> EncodecTokenizer:
    """The EnCodec model beside a language model, or the one on the hub that the file points to."""
    path = folder / TOKENIZER_FILE
    if not path.is_file():
        raise CheckpointError(f"{path}: missing: the checkpoint is incomplete, download it again")
    package = read_pickle(path)
    if "pretrained" in package:
        tokenizer = parts.audio_tokenizer(str(package["pretrained"]))
        if not isinstance(tokenizer, EncodecTokenizer):
            raise CheckpointError(f"{path}: points to {package['pretrained']!r}, which is no EnCodec model")
        return tokenizer
    source = str(path)
    encodec = _encodec_config(_config(package, source), source)
    model = EncodecModel(encodec)
    state = package["best_state"]
    state = state.get("model", state)
    fill(model, {encodec_name(name): tensor for name, tensor in state.items()}, source)
    return EncodecTokenizer(model.eval())


def lm_names(config: LMConfig) -> Names:
    """Where this layout keeps the language model's tensors, cross-attention's stacked matrix taken apart."""
    codebooks = range(config.num_codebooks)
    names: Names = {
        "embedding.weight": [f"emb.{k}.weight" for k in codebooks],
        "heads.weight": [f"linears.{k}.weight" for k in codebooks],
    }
    names |= {f"norm.{part}": [f"out_norm.{part}"] for part in ("weight", "bias")}
    for i in range(config.num_layers):
        ours, theirs = f"blocks.{i}", f"transformer.layers.{i}"
        names[f"{ours}.self_attention.qkv.weight"] = [f"{theirs}.self_attn.in_proj_weight"]
        names[f"{ours}.self_attention.out.weight"] = [f"{theirs}.self_attn.out_proj.weight"]
        names[f"{ours}.ffn_in.weight"] = [f"{theirs}.linear1.weight"]
        names[f"{ours}.ffn_out.weight"] = [f"{theirs}.linear2.weight"]
        norms = {"norm_self": "norm1", "norm_ffn": "norm2"}
        if config.cross_attention:
            for part in ("query", "key_value"):
                names[f"{ours}.cross_attention.{part}.weight"] = [f"{theirs}.cross_attention.{part}"]
            names[f"{ours}.cross_attention.out.weight"] = [f"{theirs}.cross_attention.out_proj.weight"]
            norms["norm_cross"] = "norm_cross"
        for norm, their_norm in norms.items():
            names |= {f"{ours}.{norm}.{part}": [f"{theirs}.{their_norm}.{part}"] for part in ("weight", "bias")}
    return names


def encodec_name(name: str) -> str:
    """audiocraft's name of an EnCodec tensor -> transformers'."""
    name = name.replace("encoder.model.", "encoder.layers.").replace("decoder.model.", "decoder.layers.")
    name = name.replace(".conv.conv.", ".conv.").replace(".convtr.convtr.", ".conv.")
    name = name.replace("quantizer.vq.layers.", "quantizer.layers.").replace("._codebook.", ".codebook.")
    name = name.replace(".weight_g", ".parametrizations.weight.original0")
    return name.replace(".weight_v", ".parametrizations.weight.original1")


def _config(package: Mapping[str, Any], source: str) -> dict[str, Any]:
    if "best_state" not in package or "xp.cfg" not in package:
        raise CheckpointError(
            f"{source}: not an exported audiocraft checkpoint (no 'best_state' or no 'xp.cfg' inside)"
        )
    config = package["xp.cfg"]
    return yaml.safe_load(config) if isinstance(config, str) else dict(config)


def _at(config: Mapping[str, Any], path: str, source: str) -> Any:
    """The setting at a dotted path; a value `${other.path}` stands for the one at that path."""
    value: Any = config
    for part in path.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise CheckpointError(f"{source}: the configuration inside has no setting {path!r}")
        value = value[part]
    reference = re.fullmatch(r"\$\{([\w.]+)\}", value) if isinstance(value, str) else None
    return _at(config, reference[1], source) if reference else value


def _lm_config(config: Mapping[str, Any], source: str, *, cross_attention: bool) -> LMConfig:
    lm = _at(config, "transformer_lm", source)
    for setting, required in REQUIRED.items():
        if lm.get(setting, required) != required:
            raise CheckpointError(
                f"{source}: transformer_lm.{setting} is {lm[setting]!r}: only {required!r} is supported"
            )
    return LMConfig(
        dim=lm["dim"],
        num_heads=lm["num_heads"],
        num_layers=lm["num_layers"],
        num_codebooks=lm["n_q"],
        codebook_size=lm["card"],
        ffn_dim=int(lm["hidden_scale"] * lm["dim"]),
        activation=lm["activation"],
        cross_attention=cross_attention,
    )


def _pattern(config: Mapping[str, Any], source: str) -> Pattern:
    settings = _at(config, "codebooks_pattern", source)
    kind, num = settings["modeling"], _at(config, "transformer_lm.n_q", source)
    values = settings.get({"musiclm": "music_lm"}.get(kind, kind)) or {}
    if kind == "parallel":
        return Pattern("delay", num, delays=(0,) * num)
    if kind == "delay":
        delays = values.get("delays") or range(num)
        return Pattern(
            "delay", num, tuple(delays), flatten_first=values.get("flatten_first", 0),
            empty_initial=values.get("empty_initial", 0),
        )  # fmt: skip
    if kind == "unroll":
        return Pattern("unroll", num, delays=tuple(values["delays"]), flattening=tuple(values["flattening"]))
    if kind == "coarse_first":
        return Pattern("coarse_first", num, delays=tuple(values["delays"]))
    if kind == "musiclm":
        return Pattern("grouped", num, group=values["group_by"])
    raise CheckpointError(f"{source}: unknown codebooks_pattern.modeling {kind!r}")


def projection_name(condition: str) -> str:
    return f"condition_provider.conditioners.{condition}.output_proj"


def _projection(condition: str, width: int, dim: int, state: Mapping[str, torch.Tensor], source: str) -> nn.Linear:
    projection = nn.Linear(width, dim)
    fill(projection, below(f"{projection_name(condition)}.", state), f"{source} ({condition})")
    return projection


def _text(config: Mapping[str, Any], dim: int, state: Mapping[str, torch.Tensor], source: str) -> T5Conditioner:
    kind = _at(config, f"conditioners.{TEXT}.model", source)
    if kind != "t5":
        raise CheckpointError(f"{source}: the text conditioner is {kind!r}: only t5 is supported in this layout")
    name = _at(config, f"conditioners.{TEXT}.t5.name", source)
    encoder, tokenizer = parts.text_encoder(name)
    return T5Conditioner(encoder, tokenizer, _projection(TEXT, encoder.config.d_model, dim, state, source))


def _encodec_config(config: Mapping[str, Any], source: str) -> EncodecConfig:
    def at(path: str) -> Any:
        return _at(config, path, source)

    rate, ratios = at("sample_rate"), at("seanet.ratios")
    hop = 1
    for ratio in ratios:
        hop *= ratio
    num_codebooks, size = at("rvq.n_q"), at("rvq.bins")
    bits = (size - 1).bit_length()
    return EncodecConfig(
        target_bandwidths=[num_codebooks * -(-rate // hop) * bits / 1000],
        sampling_rate=rate,
        audio_channels=at("channels"),
        hidden_size=at("seanet.dimension"),
        num_filters=at("seanet.n_filters"),
        num_residual_layers=at("seanet.n_residual_layers"),
        upsampling_ratios=ratios,
        norm_type=at("seanet.norm"),
        kernel_size=at("seanet.kernel_size"),
        last_kernel_size=at("seanet.last_kernel_size"),
        residual_kernel_size=at("seanet.residual_kernel_size"),
        dilation_growth_rate=at("seanet.dilation_base"),
        use_causal_conv=at("seanet.causal"),
        pad_mode=at("seanet.pad_mode"),
        compress=at("seanet.compress"),
        num_lstm_layers=at("seanet.lstm"),
        trim_right_ratio=at("seanet.decoder.trim_right_ratio"),
        codebook_size=size,
        codebook_dim=at("seanet.dimension"),
        use_conv_shortcut=not at("seanet.true_skip"),
        normalize=at("encodec.renormalize"),
    )


def _split_cross_attention(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    out = dict(state)
    for name in [name for name in out if name.endswith("cross_attention.in_proj_weight")]:
        stacked = out.pop(name)
        query, key, value = stacked.chunk(3)
        base = name.removesuffix("in_proj_weight")
        out |= {f"{base}query": query, f"{base}key_value": torch.cat([key, value])}
    return out
