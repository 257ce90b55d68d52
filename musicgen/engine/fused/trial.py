"""Whether the kernels run on a device, and give what the modules give there."""

from __future__ import annotations

import logging

import torch

from musicgen.engine.pool import TorchPool
from musicgen.lm import Conditions, LanguageModel

log = logging.getLogger(__name__)
STEPS = 3
TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.1, torch.bfloat16: 0.1}
"""Relative distance of the logits. Rounding in 16 bits moves them by about a hundredth, anything wrong by about one."""


def agree(lm: LanguageModel) -> bool:
    """Make a few steps of a clip both ways. Kernels need more than a driver (a C compiler, for one); a machine that lacks it
    makes its steps without them."""
    try:
        apart = _distance(lm)
    except Exception as error:
        log.warning("steps are made without fused kernels: %s: %s", type(error).__name__, error)
        return False
    if not apart < TOLERANCE[lm.embedding.weight.dtype]:
        log.warning(
            "steps are made without fused kernels: their logits are %.1f %% from the modules' here", 100 * apart
        )
        return False
    return True


@torch.no_grad()
def _distance(lm: LanguageModel) -> float:
    from musicgen.engine.fused.pool import FusedPool

    config, like = lm.config, lm.embedding.weight
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(2, 5, config.dim, generator=generator).to(like)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2], device=like.device)
    conditions = Conditions(vectors, mask) if config.cross_attention else Conditions(prefix=vectors, prefix_mask=mask)
    codes = torch.randint(0, config.codebook_size, (2, config.num_codebooks, STEPS), generator=generator).to(
        like.device
    )
    made = []
    for kind in (FusedPool, TorchPool):
        pool = kind(lm, 2, 5 + STEPS, 5)
        pool.join(codes[:, :, :1], conditions)
        steps = []
        for step in range(1, STEPS):
            steps.append(pool.step(codes[:, :, step : step + 1]))
            pool.advance()
        made.append(torch.stack(steps))
    fused, expected = made
    return float((fused - expected).norm() / expected.norm())
