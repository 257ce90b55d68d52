"""The error of a precision: the engine's logits compared with those of the reference implementation, on codes that the model
sampled in float32.

The x86-64 kernels quantise the KV cache to int4, and its last positions to int8. The KL divergence caused by this alone is
measured with the PyTorch modules, so that it is also known for models whose shape the kernels do not support.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import musicgen
from benchmarks.systems import PROMPT
from musicgen.engine.backends.x86 import PAGE_SIZE, RECENT_PAGES
from musicgen.lm import Conditions
from musicgen.request import GenerationRequest
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
        return one.guided(GenerationRequest.of(PROMPT, options={"guidance_scale": 1.0})).conditions

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
    """The same, but new keys and values are quantised as in `x86.kv_cache`, and requantised when their page is."""
    keep, int4_pages = cache.update, [0] * len(cache.keys)

    def update(layer: int, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        k, v = keep(layer, _int8(k), _int8(v))
        complete = ((k.shape[2] - 1) // PAGE_SIZE - (RECENT_PAGES - 1)) * PAGE_SIZE
        while (end := (int4_pages[layer] + 1) * PAGE_SIZE) <= complete:
            for numbers in (k, v):
                numbers[:, :, end - PAGE_SIZE : end] = _int4(numbers[:, :, end - PAGE_SIZE : end])
            int4_pages[layer] += 1
        return k, v

    cache.update = update  # type: ignore[method-assign]
    return cache


def _int8(numbers: torch.Tensor) -> torch.Tensor:
    """[..., S, D] in int8, with a scale per position and head."""
    scale = (numbers.abs().amax(-1, keepdim=True).clamp_min(1e-20) / 127).bfloat16().to(numbers.dtype)
    return (numbers / scale).round() * scale


def _int4(page: torch.Tensor) -> torch.Tensor:
    """[..., PAGE_SIZE, D] in int4, with a scale and an offset per channel, in 8 bits."""
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
