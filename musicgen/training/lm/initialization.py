"""The initial model of a run: new weights, or a pretrained model, unchanged, converted to melody or stereo, or with
adapters."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from tokenizers import Tokenizer as FastTokenizer
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import nn

from musicgen import checkpoint, chroma, patterns
from musicgen.checkpoint import components
from musicgen.conditioners.base import Conditioner
from musicgen.conditioners.melody import MelodyConditioner
from musicgen.conditioners.registry import build
from musicgen.conditioners.t5 import T5Config, T5Encoder
from musicgen.conditioners.text import MAX_TOKENS, T5Conditioner
from musicgen.conditioners.text_tokenizer import TextTokenizer
from musicgen.errors import InputError
from musicgen.lm import LanguageModel, LMConfig
from musicgen.model import MusicGen
from musicgen.tokenizers import StereoTokenizer, Tokenizer
from musicgen.training.lm.attention_initialization import initialize_melody_attention
from musicgen.training.lm.caption_augmentation import spoken_fields
from musicgen.training.lm.clap_text import ClapText
from musicgen.training.lm.config import LMRecipe, NewText

ADAPTED = ("qkv", "out", "query", "key_value", "ffn_in", "ffn_out")
"""The linear layers that get LoRA adapters."""


def audio_tokenizer(recipe: LMRecipe) -> Tokenizer:
    """The audio tokeniser of a new model."""
    mono = components.audio_tokenizer(recipe.data.tokenizer)
    return StereoTokenizer(mono) if recipe.shape.stereo else mono


def new_model(
    recipe: LMRecipe,
    tokenizer: Tokenizer,
    text: tuple[T5Encoder, TextTokenizer] | ClapText,
) -> MusicGen:
    """A model with new weights.

    Args:
        recipe: Its shape, and the seed of the weights.
        tokenizer: The audio tokeniser.
        text: T5's encoder and tokeniser, or CLAP's network and codebooks.
    """
    shape = recipe.shape
    generator = torch.Generator().manual_seed(recipe.seed)
    config = LMConfig(
        dim=shape.dim,
        num_heads=shape.num_heads,
        num_layers=shape.num_layers,
        num_codebooks=tokenizer.num_codebooks,
        codebook_size=tokenizer.codebook_size,
        ffn_dim=shape.ffn_dim,
        activation=shape.activation,
        cross_attention=not shape.melody,
    )
    lm = LanguageModel(config)
    _initialise(lm, generator)
    if recipe.start.tables:
        _copy_code_tables(lm, recipe.start.tables)
    width = text.embedder.dim if isinstance(text, ClapText) else text[0].config.d_model
    # transformers has no projection where the widths agree.
    projection = nn.Identity() if width == shape.dim else _linear(width, shape.dim, generator)
    conditioners: dict[str, Conditioner] = {}
    if shape.melody:
        conditioners["melody"] = _melody(shape.dim, recipe.data.seconds, generator)
    if isinstance(text, ClapText):
        conditioners["text"] = text.conditioner(projection)
    else:
        conditioners["text"] = T5Conditioner(*text, projection, recipe.text.length)
    return MusicGen(
        lm,
        patterns.named(shape.pattern, tokenizer.num_codebooks),
        tokenizer,
        conditioners,
        max_duration=recipe.data.seconds,
    )


def fine_tuned_model(recipe: LMRecipe) -> MusicGen:
    """The pretrained model of `start.model`, converted as the recipe says. Longer crops extend its context.

    Raises:
        InputError: The model cannot be converted or trained like this.
    """
    model = checkpoint.load(recipe.start.model, "cpu", "float32")
    model.engine = None  # it is compiled for constant weights
    if not model.generator.autoregressive:
        raise InputError(f"{recipe.start.model} does not generate step by step (MAGNeT): it cannot be fine-tuned here")
    if not isinstance(model.text, T5Conditioner):
        raise InputError(f"{recipe.start.model} is conditioned by CLAP: only T5 models can be fine-tuned")
    if recipe.start.melody:
        model = melody_from_text(model, recipe.data.seconds, recipe.seed)
        model.text.length = recipe.text.length
        if recipe.start.align:
            initialize_melody_attention(model, recipe.seed)
    if recipe.start.stereo:
        model = stereo_from_mono(model)
    if recipe.start.pattern:
        model.pattern = patterns.named(recipe.start.pattern, model.pattern.num_codebooks)
    if model.melody is not None and recipe.data.seconds != model.max_duration:
        raise InputError(
            f"data.seconds is {recipe.data.seconds:g}: the melody model {recipe.start.model} has a context of "
            f"{model.max_duration:g} s, and its prefix is as long"
        )
    # Positions are computed, not learnt: longer crops make the context longer.
    model.max_duration = max(model.max_duration, recipe.data.seconds)
    return model


def with_conditioners(model: MusicGen, recipe: LMRecipe) -> MusicGen:
    """The model with the further conditioners of the recipe.

    Raises:
        InputError: The model has a conditioner of this name already.
        CheckpointError: A kind is not registered, or the language model cannot read a condition in the way of the recipe.
    """
    if not recipe.conditioners:
        return model
    for name in recipe.conditioners:
        if name in model.conditioners:
            raise InputError(f"conditioners.{name}: the model has a conditioner of this name already")
    # Modules draw their weights from the global generator: it is seeded here and restored afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(recipe.seed)
        added = {
            name: build(new.kind, new.config, model.lm.config.dim, f"conditioners.{name}")
            for name, new in recipe.conditioners.items()
        }
    return MusicGen(
        model.lm,
        model.pattern,
        model.tokenizer,
        {**added, **model.named_conditioners},
        fusions={**{name: new.fusion for name, new in recipe.conditioners.items()}, **model.fuser.fusions},
        max_duration=model.max_duration,
        name=model.name,
    )


def melody_from_text(model: MusicGen, seconds: float, seed: int) -> MusicGen:
    """A melody model with the weights of a text model, without its cross-attention, and a new melody projection."""
    if model.melody is not None:
        raise InputError(f"{model.name} follows melodies already: leave start.melody out")
    config = model.lm.config
    lm = LanguageModel(LMConfig(**{**vars(config), "cross_attention": False}))
    names = lm.state_dict()
    lm.load_state_dict({name: value for name, value in model.lm.state_dict().items() if name in names})
    generator = torch.Generator().manual_seed(seed)
    return MusicGen(
        lm,
        model.pattern,
        model.tokenizer,
        {"melody": _melody(config.dim, seconds, generator), **model.named_conditioners},
        generator=model.generator,
        max_duration=seconds,
        name=model.name,
    )


def _melody(dim: int, seconds: float, generator: torch.Generator) -> MelodyConditioner:
    # Frames are one-hot: weights of unit variance give vectors with the norm of the music's embeddings.
    projection = _linear(chroma.NUM_CHROMA, dim, generator, std=1.0)
    return MelodyConditioner(projection, chroma.num_frames(round(seconds * chroma.SAMPLE_RATE)))


def stereo_from_mono(model: MusicGen) -> MusicGen:
    """A stereo model that predicts for both channels what the mono model predicts, if both have the same codes.

    The published stereo models are fine-tuned from mono ones too (paper section 4.3).

    Raises:
        InputError: The model is stereo already, or has no delay pattern.
    """
    if model.channels == 2:
        raise InputError(f"{model.name} is stereo already: leave start.stereo out")
    if model.pattern != patterns.delay(model.pattern.num_codebooks):
        raise InputError(f"{model.name} has no delay pattern: only such a model becomes stereo")
    config = model.lm.config
    tables = config.codebook_size + 1
    lm = LanguageModel(LMConfig(**{**vars(config), "num_codebooks": 2 * config.num_codebooks}))
    state = model.lm.state_dict()
    # Codebooks [1L, 1R, 2L, 2R, ...]; twice as many embeddings are summed, so each is halved.
    state["embedding.weight"] = _repeat_codebooks(state["embedding.weight"], tables) / 2
    state["heads.weight"] = _repeat_codebooks(state["heads.weight"], config.codebook_size)
    lm.load_state_dict(state)
    return MusicGen(
        lm,
        patterns.stereo_partial_delay(2 * config.num_codebooks),
        StereoTokenizer(model.tokenizer),
        model.named_conditioners,
        fusions=model.fuser.fusions,
        generator=model.generator,
        max_duration=model.max_duration,
        name=model.name,
    )


def add_adapters(lm: LanguageModel, rank: int, alpha: float) -> None:
    """Add LoRA adapters (Hu et al. 2021) to the linear layers of the blocks, and freeze everything else."""
    lm.requires_grad_(False)
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(ADAPTED)), lm)


def merge_adapters(lm: LanguageModel) -> LanguageModel:
    """A copy with the adapters merged into their linear layers."""
    merged = copy.deepcopy(lm)
    for parent in list(merged.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, LoraLayer):
                child.merge(safe_merge=True)
                setattr(parent, name, child.get_base_layer())
    return merged


def new_text_encoder(
    options: NewText, captions: Iterable[str], folder: Path, seed: int
) -> tuple[T5Encoder, TextTokenizer]:
    """A new T5 encoder, and a tokeniser trained on `captions` and stored in `folder`."""
    if not folder.is_dir():
        folder.mkdir(parents=True)
        _vocabulary(options.vocabulary, captions).save(folder)
    tokenizer = TextTokenizer.load(folder)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=options.dim,
        d_kv=options.dim // options.num_heads,
        d_ff=options.ffn_dim,
        num_layers=options.num_layers,
        num_heads=options.num_heads,
        dropout_rate=0.0,
        feed_forward_proj="gated-gelu",
    )
    # The weights are drawn from the global generator: it is seeded here and restored afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return T5Encoder(config), tokenizer


def _vocabulary(size: int, captions: Iterable[str]) -> TextTokenizer:
    """A byte pair encoding (Sennrich et al. 2016) with T5's special tokens: <pad> 0, </s> 1 at the end of texts, <unk> 2."""
    special = ["<pad>", "</s>", "<unk>"]
    fast = FastTokenizer(models.BPE(unk_token="<unk>"))
    fast.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    fast.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()])
    fast.decoder = decoders.Metaspace()
    # Not T5's unigram model, whose training is not deterministic.
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=special, show_progress=False)
    fast.train_from_iterator(captions, trainer)
    fast.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return TextTokenizer.new(fast, MAX_TOKENS)


def _repeat_codebooks(weight: torch.Tensor, rows: int) -> torch.Tensor:
    """[K * rows, D] -> [2 K * rows, D], the rows of every codebook twice."""
    return weight.unflatten(0, (-1, rows)).repeat_interleave(2, dim=0).flatten(0, 1).clone()


@torch.no_grad()
def _initialise(lm: LanguageModel, generator: torch.Generator) -> None:
    """Gaussian weights that keep unit variance: scaled by fan-in; layers that write into the residual stream also by
    1 / sqrt(2 L), so that the variance does not grow with depth (Radford et al. 2019); embeddings by 1 / sqrt(K)."""
    config = lm.config
    for name, parameter in lm.named_parameters():
        if parameter.dim() < 2:
            continue
        std = 1 / math.sqrt(parameter.shape[1])
        if name == "embedding.weight":
            std = 1 / math.sqrt(config.num_codebooks)
        elif name.endswith(("out.weight", "ffn_out.weight")):
            std /= math.sqrt(2 * config.num_layers)
        elif name == "heads.weight":
            std /= 10  # nearly uniform predictions at first
        parameter.normal_(0.0, std, generator=generator)


def _copy_code_tables(lm: LanguageModel, name: str) -> None:
    """Copy embedding tables, final norm and heads from the model `name`."""
    state = checkpoint.load(name, "cpu", "float32").lm.state_dict()
    taken = {key: state[key] for key in ("embedding.weight", "norm.weight", "norm.bias", "heads.weight")}
    ours = lm.state_dict()
    for key, value in taken.items():
        if value.shape != ours[key].shape:
            raise InputError(
                f"start.tables: {key} of {name} is {list(value.shape)} and here {list(ours[key].shape)}: width, codebooks and "
                "their entries must be the same"
            )
    lm.load_state_dict(ours | taken)


def _linear(width: int, dim: int, generator: torch.Generator, std: float | None = None) -> nn.Linear:
    """A linear layer with Gaussian weights, scaled by fan-in if `std` is None, and zero bias."""
    layer = nn.Linear(width, dim)
    with torch.no_grad():
        layer.weight.normal_(0.0, 1 / math.sqrt(width) if std is None else std, generator=generator)
        layer.bias.zero_()
    return layer


def captions(metadata: Iterable[dict[str, Any]]) -> Iterable[str]:
    """The texts that a vocabulary is trained on: all descriptions, and the merged fields as text."""
    for fields in metadata:
        yield from [str(text) for text in fields.get("descriptions") or [fields.get("description") or ""]]
        yield ". ".join(spoken_fields(fields))
