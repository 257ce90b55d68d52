"""The style conditioner in audiocraft's files, read and written. MERT is not among them: it comes from the hub."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

from musicgen import catalog, config_checks
from musicgen.checkpoint import components
from musicgen.checkpoint.audiocraft_names import block_names
from musicgen.checkpoint.audiocraft_settings import MELODY, AudiocraftSettings
from musicgen.checkpoint.module_building import build
from musicgen.checkpoint.tensors import Names, below, gather, scatter
from musicgen.conditioners.style import StyleConditioner, StyleShape, feature_extractor
from musicgen.errors import CheckpointError
from musicgen.options import STYLE_SECONDS

KIND = "style"
"""audiocraft's name of the conditioner."""
_ROOT = f"condition_provider.conditioners.{MELODY}."
_HEADS = {"xsmall": 8, "default": 8, "large": 16}
"""audiocraft's sizes of the transformer -> its heads; width and layers are those of the tensors."""
_TRAINING = re.compile(r"rvq\.vq\.layers\.\d+\._codebook\.(inited|cluster_size|embed_avg)")


def names(state: Mapping[str, torch.Tensor]) -> set[str]:
    """The tensors of a file that belong to the style conditioner."""
    return {name for name in state if name.startswith(_ROOT)}


def load(settings: AudiocraftSettings, dim: int, state: Mapping[str, torch.Tensor]) -> StyleConditioner:
    """The conditioner of a language model.

    Args:
        settings: Of the file.
        dim: Width of the language model.
        state: All tensors of the file.

    Raises:
        CheckpointError: Settings and tensors do not agree, or MERT is not available.
    """
    source, own = settings.source, below(_ROOT, state)
    shape = config_checks.wrap_errors(lambda: _shape(settings, own), source)
    tensor_names = _names(shape)
    books = [f"{_book(q)}.embed" for q in range(shape.num_quantisers)]
    known = {part for parts_ in tensor_names.values() for part in parts_} | set(books)
    unexpected = sorted(name for name in own if name not in known and not _TRAINING.fullmatch(name))
    if unexpected:
        raise CheckpointError(f"{source}: the tensor {_ROOT + unexpected[0]!r} is none of a style conditioner's")
    tensors = gather(tensor_names | {"quantiser.codebooks": books}, own, source)
    tensors["quantiser.codebooks"] = tensors["quantiser.codebooks"].unflatten(0, (shape.num_quantisers, -1))
    config, features = components.mert()
    tensors |= {f"features.{name}": tensor for name, tensor in features.items()}
    return build(lambda: StyleConditioner(feature_extractor(config), shape, dim), tensors, f"{source} (style)").eval()


def check_features(style: StyleConditioner) -> None:
    """Refuse a conditioner whose feature extractor is not the published MERT, which a loaded export would have.

    Raises:
        CheckpointError: It differs, or MERT is not available to compare it with.
    """
    config, published = components.mert()
    ours = style.features.state_dict()
    same = ours.keys() <= published.keys() and all(
        ours[name].shape == published[name].shape
        and torch.allclose(ours[name].cpu(), published[name].float(), rtol=1e-3)
        for name in ours
    )
    if not same or style.config()["features"] != feature_extractor(config).config.to_diff_dict():  # type: ignore[union-attr, operator]
        raise CheckpointError(
            f"audiocraft's layout does not store the style's feature extractor, which is {catalog.MERT.name}: this model's is "
            "another one, so only the transformers layout holds it"
        )


def tensors(style: StyleConditioner) -> dict[str, torch.Tensor]:
    """The tensors of a conditioner under their names in a file, with those that training needs."""
    state = scatter(_names(style.shape), style.state_dict())
    for q, book in enumerate(style.quantiser.codebooks):
        state |= {
            f"{_book(q)}.inited": torch.ones(1), f"{_book(q)}.cluster_size": torch.ones(book.shape[0]),
            f"{_book(q)}.embed": book, f"{_book(q)}.embed_avg": book,
        }  # fmt: skip
    return {_ROOT + name: tensor for name, tensor in state.items()}


def settings(style: StyleConditioner) -> dict[str, Any]:
    """The settings of a conditioner.

    Raises:
        CheckpointError: audiocraft has no size of this number of heads.
    """
    shape = style.shape
    scale = {16: "large", 8: "default"}.get(shape.heads)
    if scale is None:
        raise CheckpointError(f"audiocraft's style conditioners have 8 or 16 heads: this model's has {shape.heads}")
    return {
        "model_name": "mert", "transformer_scale": scale, "sample_rate": shape.rate,
        "encodec_checkpoint": "//pretrained/facebook/encodec_32khz", "encodec_n_q": 3, "length": shape.seconds,
        "ds_factor": shape.every, "n_q_out": shape.num_quantisers, "eval_q": shape.codebooks, "q_dropout": True,
        "bins": shape.num_entries, "varying_lengths": list(STYLE_SECONDS), "batch_norm": True, "compute_mask": True,
        "num_codebooks_lm": 4, "ds_rate_compression": 640, "use_middle_of_segment": False,
        "rvq_threshold_ema_dead_code": 0.1,
    }  # fmt: skip


def _book(quantiser: int) -> str:
    return f"rvq.vq.layers.{quantiser}._codebook"


def _shape(settings: AudiocraftSettings, own: Mapping[str, torch.Tensor]) -> StyleShape:
    root = f"conditioners.{MELODY}.{KIND}."
    scale = settings.at(f"{root}transformer_scale", "default")
    if scale not in _HEADS:
        raise CheckpointError(
            f"{settings.source}: {root}transformer_scale is {scale!r}: one of {', '.join(_HEADS)} is supported"
        )
    if "embed.weight" not in own:
        raise CheckpointError(f"{settings.source}: the tensor {_ROOT + 'embed.weight'!r} is missing")
    quantisers = settings.at(f"{root}n_q_out", 6)
    width = own["embed.weight"].shape[0]
    return StyleShape(
        width=width,
        heads=_HEADS[scale],
        layers=len({name.split(".")[2] for name in own if name.startswith("transformer.layers.")}),
        num_quantisers=config_checks.check_count(
            "style codebooks", quantisers, r"rvq\.vq\.layers\.(\d+)\.", own, settings.source
        ),
        num_entries=config_checks.check_positive_integer(
            f"{root}bins", settings.at(f"{root}bins", 1024), settings.source
        ),
        codebooks=config_checks.check_positive_integer(
            f"{root}eval_q", settings.at(f"{root}eval_q", 3), settings.source
        ),
        every=config_checks.check_positive_integer(
            f"{root}ds_factor", settings.at(f"{root}ds_factor", 15), settings.source
        ),
        seconds=float(settings.at(f"{root}length")),
        rate=config_checks.check_positive_integer(
            f"{root}sample_rate", settings.at(f"{root}sample_rate"), settings.source
        ),
    )


def _names(shape: StyleShape) -> Names:
    found: Names = {}
    for ours, theirs in (("embedding", "embed"), ("projection", "output_proj")):
        found |= {f"{ours}.{part}": [f"{theirs}.{part}"] for part in ("weight", "bias")}
    for part in ("running_mean", "running_var", "num_batches_tracked"):
        found[f"norm.{part}"] = [f"batch_norm.{part}"]
    for i in range(shape.layers):
        found |= block_names(f"blocks.{i}", f"transformer.layers.{i}", cross_attention=False)
    return found
