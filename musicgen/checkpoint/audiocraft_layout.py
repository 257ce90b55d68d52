"""audiocraft's layout: `state_dict.bin` (the language model and its projections) and `compression_state_dict.bin` (EnCodec,
or a pointer to it), both `torch.save` files with the training configuration as YAML inside.

The text encoder is not stored: it comes from the hub under the name in the configuration. The files are read without running
code from them. `audiocraft_export` writes this layout.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from musicgen import config_checks
from musicgen.checkpoint import audiocraft_style, components, tokenizers
from musicgen.checkpoint.audiocraft_names import encodec_name, lm_names, projection_name, split_cross_attention
from musicgen.checkpoint.audiocraft_settings import (
    MAGNET,
    MASKED,
    MELODY,
    SPAN_ARRANGEMENTS,
    SPAN_SCORES,
    TEXT,
    TRANSFORMER,
    AudiocraftSettings,
    check_encodec,
    check_kind,
    conditions,
)
from musicgen.checkpoint.module_building import build, build_meta
from musicgen.checkpoint.tensors import below, fill_parts, read_pickle, unwrapped
from musicgen.chroma import NUM_CHROMA, SAMPLE_RATE, num_frames
from musicgen.conditioners.base import Conditioner
from musicgen.conditioners.melody import MelodyConditioner
from musicgen.conditioners.text import NoText, T5Conditioner
from musicgen.engine.precision import Conversion
from musicgen.errors import CheckpointError
from musicgen.generators import AutoregressiveGenerator, Generator, MaskedGenerator
from musicgen.lm import LanguageModel, LMConfig
from musicgen.model import MusicGen
from musicgen.patterns import Pattern
from musicgen.tokenizers import EncodecTokenizer, StereoTokenizer, Tokenizer, frames_of
from musicgen.tokenizers.encodec_network import EncodecConfig

LM_FILE = "state_dict.bin"
TOKENIZER_FILE = "compression_state_dict.bin"
OURS = "musicgen"
"""The section of the configuration with what audiocraft does not know: melodies that were not separated in training."""
_IGNORED = {f"condition_provider.conditioners.{MELODY}.chroma.spec.window"}


def is_layout(names: Sequence[str]) -> bool:
    """Whether files of these names are a checkpoint in this layout."""
    return LM_FILE in names


def needed(names: Sequence[str]) -> list[str]:
    """The files of a repository that are read."""
    return [name for name in (LM_FILE, TOKENIZER_FILE) if name in names]


def load(folder: Path, name: str, conversion: Conversion) -> MusicGen:
    """Read a folder in audiocraft's layout. conversion: of the language model, while it is read."""
    source = str(folder / LM_FILE)
    package = read_pickle(folder / LM_FILE)
    if "n_bands" in package:
        raise CheckpointError(f"{source}: a multi-band diffusion decoder, not a MusicGen model")
    state = _tensors(package, source)
    settings = AudiocraftSettings.of(package, source)
    check_kind(settings)
    named = conditions(settings)
    state = split_cross_attention(state, source)
    lm_config = _lm_config(settings, state, cross_attention=bool(settings.at("fuser.cross", None)))
    names = lm_names(lm_config)
    lm = build_meta(lambda: LanguageModel(lm_config), source)
    max_duration = config_checks.wrap_errors(lambda: float(settings.at("dataset.segment_duration")), source)
    mono = load_tokenizer(folder)
    generator = config_checks.wrap_errors(lambda: _generator(settings, max_duration, mono), source)
    conversion.start(lm_config, autoregressive=generator.autoregressive)
    fill_parts(lm, lm.parts, names, state, source, partial(conversion.convert, lm))

    known = {part for parts in names.values() for part in parts} | _IGNORED
    known |= {f"{projection_name(c)}.{part}" for c in named for part in ("weight", "bias")}
    known |= audiocraft_style.names(state) if named.get(MELODY) == audiocraft_style.KIND else set()
    unexpected = sorted(set(state) - known)
    if unexpected:
        raise CheckpointError(f"{source}: the tensor {unexpected[0]!r} belongs to a model of another kind")
    found: dict[str, Conditioner] = {}
    if named.get(MELODY) == audiocraft_style.KIND:
        found["style"] = audiocraft_style.load(settings, lm_config.dim, state)
    elif MELODY in named:
        projection = _projection(MELODY, NUM_CHROMA, lm_config.dim, state, source)
        length = config_checks.wrap_errors(lambda: melody_length(max_duration), source)
        separated = bool(settings.at(f"{OURS}.melody_separated", True))
        found["melody"] = MelodyConditioner(projection, length, separated=separated)
    found["text"] = _text(settings, lm_config.dim, state) if TEXT in named else NoText(lm_config.dim)
    return MusicGen(
        lm,
        config_checks.wrap_errors(lambda: _pattern(settings, lm_config.num_codebooks), source),
        StereoTokenizer(mono) if settings.at("interleave_stereo_codebooks.use", False) else mono,
        found,
        generator=generator,
        max_duration=max_duration,
        name=name,
    )


def _generator(settings: AudiocraftSettings, max_duration: float, tokenizer: Tokenizer) -> Generator:
    """How the model's codes are generated; MAGNeT's configuration has its sampling too."""
    if settings.at("lm_model", "transformer_lm") != MAGNET:
        return AutoregressiveGenerator()

    def at(name: str, default: Any) -> Any:
        value = settings.at(f"generate.lm.{name}", None)
        return default if value is None else value

    if not settings.at("fuser.cross", None):
        raise CheckpointError(f"{settings.source}: a MAGNeT model without cross-attention is not supported")
    settings.demand("generate.lm.", MASKED)
    reach = settings.at("transformer_lm.subcodes_context", 5)
    arrangement, score = at("span_arrangement", "nonoverlap"), at("span_scoring", "max")
    return MaskedGenerator(
        frames_of(tokenizer, max_duration),
        span=config_checks.check_positive_integer("masking.span_len", settings.at("masking.span_len"), settings.source),
        reach=None if reach == -1 else reach,
        temperature=at("temp", 3.0),
        top_p=at("top_p", 0.9),
        guidance=(at("max_cfg_coef", 10.0), at("min_cfg_coef", 1.0)),
        arrangement=SPAN_ARRANGEMENTS.get(arrangement, arrangement),
        score=SPAN_SCORES.get(score, score),
    )


def load_tokenizer(folder: Path) -> Tokenizer:
    """The EnCodec model beside a language model, or the one on the hub that the file points to."""
    path = folder / TOKENIZER_FILE
    if not path.is_file():
        raise CheckpointError(f"{path}: missing: the checkpoint is incomplete, download it again")
    package = read_pickle(path)
    if "pretrained" in package:
        # audiocraft's own settings write a published model's name so.
        tokenizer = components.audio_tokenizer(str(package["pretrained"]).removeprefix("//pretrained/"))
        if tokenizer.kind != EncodecTokenizer.kind:
            raise CheckpointError(f"{path}: points to {package['pretrained']!r}, which is no EnCodec model")
        return tokenizer
    source = str(path)
    state = {encodec_name(name): tensor for name, tensor in _tensors(package, source).items()}
    settings = AudiocraftSettings.of(package, source)
    check_encodec(settings)
    config = config_checks.wrap_errors(lambda: _encodec_config(settings), source)
    return tokenizers.load_tokenizer(config.to_dict(), state, source)


def _tensors(package: Mapping[str, Any], source: str) -> dict[str, torch.Tensor]:
    """The tensors of an exported file, or of a training checkpoint."""
    if "best_state" not in package or "xp.cfg" not in package:
        raise CheckpointError(
            f"{source}: not an exported audiocraft checkpoint (no 'best_state' or no 'xp.cfg' inside)"
        )
    # A model that was trained with FSDP has its best weights there, and nothing in the other place.
    state = package.get("fsdp_best_state") or package["best_state"]
    if isinstance(state, Mapping):
        state = state.get("model", state)
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise CheckpointError(f"{source}: 'best_state' does not hold tensors by name")
    return unwrapped(state)


def _lm_config(settings: AudiocraftSettings, state: Mapping[str, torch.Tensor], *, cross_attention: bool) -> LMConfig:
    magnet = settings.at("lm_model", "transformer_lm") == MAGNET
    settings.demand("transformer_lm.", TRANSFORMER | ({"causal": (False, False)} if magnet else {}))

    def at(name: str, default: int | None = None) -> int:
        path = f"transformer_lm.{name}"
        value = settings.at(path) if default is None else settings.at(path, default)
        return config_checks.check_positive_integer(path, value, settings.source)

    dim = at("dim", 128)
    scale = settings.at("transformer_lm.hidden_scale", 4)
    ffn_dim = config_checks.wrap_errors(lambda: int(scale * dim), settings.source)
    return LMConfig(
        dim=dim,
        num_heads=at("num_heads", 8),
        num_layers=config_checks.check_count(
            "layers", at("num_layers"), r"transformer\.layers\.(\d+)\.", state, settings.source
        ),
        num_codebooks=config_checks.check_count("codebooks", at("n_q", 8), r"emb\.(\d+)\.", state, settings.source),
        codebook_size=at("card", 1024),
        ffn_dim=config_checks.check_positive_integer(
            "transformer_lm.hidden_scale times transformer_lm.dim", ffn_dim, settings.source
        ),
        activation=str(settings.at("transformer_lm.activation", "relu")),
        cross_attention=cross_attention,
    )


def _pattern(settings: AudiocraftSettings, num: int) -> Pattern:
    kind = settings.at("codebooks_pattern.modeling")
    values = settings.part(f"codebooks_pattern.{kind}")
    if kind is None:
        # The first models' way to say it.
        kind, values = settings.at("transformer_lm.q_modeling"), {}
    if kind == "parallel":
        # MAGNeT's has one empty step less than none: its codes are not shifted, and the pattern is not used.
        empty = 0 if settings.at("lm_model", None) == MAGNET else values.get("empty_initial", 0)
        return Pattern("delay", num, delays=(0,) * num, empty_initial=empty)
    if kind == "delay":
        return Pattern(
            "delay", num, tuple(values.get("delays") or range(num)), flatten_first=values.get("flatten_first", 0),
            empty_initial=values.get("empty_initial", 0),
        )  # fmt: skip
    if kind == "unroll":
        flattening = values.get("flattening") or range(num)
        return Pattern("unroll", num, delays=tuple(values.get("delays") or (0,) * num), flattening=tuple(flattening))
    if kind == "coarse_first":
        return Pattern("coarse_first", num, delays=tuple(values.get("delays") or (0,) * (num - 1)))
    if kind == "musiclm":
        # Configurations call the section "music_lm", which audiocraft does not find.
        return Pattern("grouped", num, group=values.get("group_by", 2))
    raise CheckpointError(f"{settings.source}: unknown codebooks_pattern.modeling {kind!r}")


def melody_length(duration: float) -> int:
    """Chroma frames of a context of `duration` seconds."""
    return num_frames(int(duration * SAMPLE_RATE))


def _projection(condition: str, width: int, dim: int, state: Mapping[str, torch.Tensor], source: str) -> nn.Linear:
    own = below(f"{projection_name(condition)}.", state)
    return build(lambda: nn.Linear(width, dim), own, f"{source} ({condition})")


def _text(settings: AudiocraftSettings, dim: int, state: Mapping[str, torch.Tensor]) -> T5Conditioner:
    encoder, tokenizer = components.text_encoder(str(settings.at(f"conditioners.{TEXT}.t5.name")))
    return T5Conditioner(encoder, tokenizer, _projection(TEXT, encoder.config.d_model, dim, state, settings.source))


def _encodec_config(settings: AudiocraftSettings) -> EncodecConfig:
    at = settings.at
    rate, ratios = at("sample_rate"), at("seanet.ratios", [8, 5, 4, 2])
    hop = math.prod(ratios)
    num_codebooks, size = at("rvq.n_q", 8), at("rvq.bins", 1024)
    bits = (size - 1).bit_length()
    return EncodecConfig(
        target_bandwidths=[num_codebooks * -(-rate // hop) * bits / 1000],
        sampling_rate=rate,
        audio_channels=at("channels"),
        hidden_size=at("seanet.dimension", 128),
        num_filters=at("seanet.n_filters", 32),
        num_residual_layers=at("seanet.n_residual_layers", 3),
        upsampling_ratios=ratios,
        norm_type=at("seanet.norm", "none"),
        kernel_size=at("seanet.kernel_size", 7),
        last_kernel_size=at("seanet.last_kernel_size", 7),
        residual_kernel_size=at("seanet.residual_kernel_size", 3),
        dilation_growth_rate=at("seanet.dilation_base", 2),
        use_causal_conv=at("seanet.causal", False),
        pad_mode=at("seanet.pad_mode", "reflect"),
        compress=at("seanet.compress", 2),
        num_lstm_layers=at("seanet.lstm", 0),
        trim_right_ratio=float(at("seanet.decoder.trim_right_ratio", 1.0)),
        codebook_size=size,
        codebook_dim=at("seanet.dimension", 128),
        use_conv_shortcut=not at("seanet.true_skip", True),
        normalize=at("encodec.renormalize", False),
    )
