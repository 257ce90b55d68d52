"""How far a precision moves the engine's logits from the readable path's, on codes that the model drew itself in float32.

Packed steps round keys and values to 6 bits; what that alone costs is measured on the readable path, so that models whose
shape the packed steps do not take tell it as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import musicgen
from benchmarks.systems import PROMPT
from musicgen.conditioners.condition import join
from musicgen.engine.packed import CACHE_BITS
from musicgen.lm import Conditions


@torch.no_grad()
def measure(source: str | Path, device: str, precisions: list[str], duration: float) -> list[dict[str, Any]]:
    """Mean cosine similarity of the logits and mean KL(float32 || precision) in nats, a row for each precision."""
    model = musicgen.load(source, device=device, precision="float32")
    codes = model.generate_codes([PROMPT], duration, seed=0)
    special = model.lm.config.special_token
    sequence = model.pattern.layout(codes.shape[2]).build(codes, special)
    known = sequence[:, :, 1:] != special

    def conditions(one: musicgen.MusicGen) -> Conditions:
        melody = None if one.melody is None else one.melody(one.melody.frames([None]))
        return join(one.text([PROMPT]), melody, cross_attention=one.lm.config.cross_attention)

    exact = model.lm(sequence[:, :, :-1], conditions(model)).double()[known]

    def row(name: str, logits: torch.Tensor) -> dict[str, Any]:
        ours = logits.double()[known]
        divergence = exact.softmax(-1) * (exact.log_softmax(-1) - ours.log_softmax(-1))
        cosine = torch.nn.functional.cosine_similarity(exact, ours, dim=-1)
        return {"precision": name, "cosine": round(float(cosine.mean()), 6),
                "kl": round(float(divergence.sum(-1).mean()), 6), "n": len(exact)}  # fmt: skip

    rows = []
    for precision in precisions:
        other = musicgen.load(source, device=device, precision=precision)
        assert other.engine is not None
        predict = other.engine.start(conditions(other), 1, sequence.shape[2])
        # As in generation, step by step: keys and values are rounded too.
        rows.append(row(precision, torch.stack([predict(one) for one in sequence[:, :, :-1].split(1, dim=2)], dim=2)))
    given = conditions(model)
    cache = model.lm.new_cache(1, given.prefix_length + sequence.shape[2])
    keep = cache.update
    cache.update = lambda layer, k, v: keep(layer, _rounded(k), _rounded(v))  # type: ignore[method-assign]
    name = f"float32, keys and values in {CACHE_BITS} bits"
    return [*rows, row(name, model.lm(sequence[:, :, :-1], given, cache))]


def _rounded(numbers: torch.Tensor) -> torch.Tensor:
    """Keys or values [..., D], each position's of a head with a scale, as `engine.packed.cache` rounds them."""
    most = 2 ** (CACHE_BITS - 1) - 1
    scale = (numbers.abs().amax(-1, keepdim=True).clamp_min(1e-20) / most).bfloat16().to(numbers.dtype)
    return (numbers / scale).round() * scale


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = ["| precision | cosine to float32 | KL from float32, nats | distributions |", "|---|---|---|---|"]
    lines += [f"| {row['precision']} | {row['cosine']} | {row['kl']} | {row['n']} |" for row in rows]
    return "\n".join(lines)
