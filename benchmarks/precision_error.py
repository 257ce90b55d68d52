"""How far a precision moves the engine's logits from the readable path's, on codes that the model drew itself in float32.

Packed steps round keys and values to 4 bits, the last ones to 8; what that alone costs is measured on the readable path, so
that models whose shape the packed steps do not take tell it as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import musicgen
from benchmarks.systems import PROMPT
from musicgen.conditioners.condition import join
from musicgen.engine.packed import PAGE, RECENT
from musicgen.lm import Conditions
from musicgen.transformer import KVCache


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
    cache = _round(model.lm.new_cache(1, given.prefix_length + sequence.shape[2]))
    rounded = [model.lm(one, given, cache) for one in sequence[:, :, :-1].split(1, dim=2)]
    return [*rows, row("float32, keys and values in 4 and 8 bits", torch.cat(rounded, dim=2))]


def _round(cache: KVCache) -> KVCache:
    """The same, but what enters is rounded as `engine.packed.cache` does it, and once more when its page settles."""
    keep, settled = cache.update, [0] * len(cache.keys)

    def update(layer: int, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        k, v = keep(layer, _recent(k), _recent(v))
        while (end := (settled[layer] + 1) * PAGE) <= (k.shape[2] - 1) // PAGE * PAGE - (RECENT - 1) * PAGE:
            for numbers in (k, v):
                numbers[:, :, end - PAGE : end] = _settled(numbers[:, :, end - PAGE : end])
            settled[layer] += 1
        return k, v

    cache.update = update  # type: ignore[method-assign]
    return cache


def _recent(numbers: torch.Tensor) -> torch.Tensor:
    """[..., S, D] in 8 bits, each position of a head with a scale."""
    scale = (numbers.abs().amax(-1, keepdim=True).clamp_min(1e-20) / 127).bfloat16().to(numbers.dtype)
    return (numbers / scale).round() * scale


def _settled(page: torch.Tensor) -> torch.Tensor:
    """[..., PAGE, D] in 4 bits, each number with a step and an offset, which have 8 bits."""
    least, most = page.amin(-2, keepdim=True), page.amax(-2, keepdim=True)
    unit = (most - least).amax(-1, keepdim=True).clamp_min(1e-20) / (15 * 255)
    other = least.abs().amax(-1, keepdim=True).clamp_min(1e-20) / 127
    step = ((most - least) / (15 * unit)).round().clamp_min(1) * unit
    least = (least / other).round() * other
    return ((page - least) / step).round().clamp(0, 15) * step + least


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = ["| precision | cosine to float32 | KL from float32, nats | distributions |", "|---|---|---|---|"]
    lines += [f"| {row['precision']} | {row['cosine']} | {row['kl']} | {row['n']} |" for row in rows]
    return "\n".join(lines)
