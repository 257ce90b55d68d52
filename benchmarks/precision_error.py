"""How far a precision moves the logits from float32, on codes that the float32 model drew itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import musicgen
from benchmarks.systems import PROMPT
from musicgen.conditioners.condition import join


@torch.no_grad()
def measure(source: str | Path, device: str, precisions: list[str], duration: float) -> list[dict[str, Any]]:
    """Mean cosine similarity of the logits and mean KL(float32 || precision) in nats, a row for each precision."""
    model = musicgen.load(source, device=device, precision="float32")
    codes = model.generate_codes([PROMPT], duration, seed=0)
    special = model.lm.config.special_token
    sequence = model.pattern.layout(codes.shape[2]).build(codes, special)

    def logits(one: musicgen.MusicGen) -> torch.Tensor:
        text = one.text([PROMPT])
        melody = None if one.melody is None else one.melody(one.melody.frames([None]))
        conditions = join(text, melody, cross_attention=one.lm.config.cross_attention)
        steps = one.lm(sequence[:, :, :-1], conditions).double()
        return steps[sequence[:, :, 1:] != special]

    exact = logits(model)
    rows = []
    for precision in precisions:
        ours = logits(musicgen.load(source, device=device, precision=precision))
        divergence = exact.softmax(-1) * (exact.log_softmax(-1) - ours.log_softmax(-1))
        cosine = torch.nn.functional.cosine_similarity(exact, ours, dim=-1)
        row = {"precision": precision, "cosine": round(float(cosine.mean()), 6),
               "kl": round(float(divergence.sum(-1).mean()), 6), "n": len(exact)}  # fmt: skip
        rows.append(row)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = ["| precision | cosine to float32 | KL from float32, nats | distributions |", "|---|---|---|---|"]
    lines += [f"| {row['precision']} | {row['cosine']} | {row['kl']} | {row['n']} |" for row in rows]
    return "\n".join(lines)
