"""The names of tensors in audiocraft's files."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from musicgen.checkpoint.tensors import Names
from musicgen.errors import CheckpointError
from musicgen.lm import LMConfig


def lm_names(config: LMConfig) -> Names:
    """Where this layout keeps the language model's tensors, cross-attention's stacked matrix taken apart."""
    codebooks = range(config.num_codebooks)
    names: Names = {
        "embedding.weight": [f"emb.{k}.weight" for k in codebooks],
        "heads.weight": [f"linears.{k}.weight" for k in codebooks],
    }
    names |= {f"norm.{part}": [f"out_norm.{part}"] for part in ("weight", "bias")}
    for i in range(config.num_layers):
        names |= block_names(f"blocks.{i}", f"transformer.layers.{i}", cross_attention=config.cross_attention)
    return names


def block_names(ours: str, theirs: str, *, cross_attention: bool) -> Names:
    """Where this layout keeps the tensors of one transformer layer.

    Args:
        ours: The layer's name here.
        theirs: Its name there.
        cross_attention: Whether it has cross-attention.
    """
    names: Names = {
        f"{ours}.self_attention.qkv.weight": [f"{theirs}.self_attn.in_proj_weight"],
        f"{ours}.self_attention.out.weight": [f"{theirs}.self_attn.out_proj.weight"],
        f"{ours}.ffn_in.weight": [f"{theirs}.linear1.weight"],
        f"{ours}.ffn_out.weight": [f"{theirs}.linear2.weight"],
    }
    norms = {"norm_self": "norm1", "norm_ffn": "norm2"}
    if cross_attention:
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


def projection_name(condition: str) -> str:
    return f"condition_provider.conditioners.{condition}.output_proj"


def split_cross_attention(state: Mapping[str, torch.Tensor], source: str) -> dict[str, torch.Tensor]:
    """The tensors, with cross-attention's stacked matrix taken apart. Attention by PyTorch's own module adds `mha` to names."""
    out = {name.replace(".mha.", "."): tensor for name, tensor in state.items()}
    for name in [name for name in out if name.endswith("cross_attention.in_proj_weight")]:
        stacked = out.pop(name)
        if stacked.dim() != 2 or stacked.shape[0] % 3:
            raise CheckpointError(f"{source}: {name!r} of shape {list(stacked.shape)} is no three matrices")
        query, key, value = stacked.chunk(3)
        base = name.removesuffix("in_proj_weight")
        out |= {f"{base}query": query, f"{base}key_value": torch.cat([key, value])}
    return out
