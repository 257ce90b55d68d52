"""Self-check of the Triton kernels on a device: they must run, and agree with the PyTorch modules."""

from __future__ import annotations

import logging

import torch

from musicgen.engine.backends.torch.pool import TorchPool
from musicgen.lm import Conditions, LanguageModel

log = logging.getLogger(__name__)
STEPS = 3
TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.1, torch.bfloat16: 0.1}
"""Relative error of the logits, by type of the weights. Rounding to 16 bits causes about 0.01, a wrong kernel about 1."""


def matches_reference(lm: LanguageModel) -> bool:
    """Whether the kernels run on a model's device and give its logits within the tolerance; if not, the reason is logged.

    Triton needs more than a driver, for example a C compiler; where that is missing the engine uses PyTorch instead.
    """
    try:
        error = _relative_error(lm)
    except Exception as failure:
        log.warning("Triton kernels are disabled: %s: %s", type(failure).__name__, failure)
        return False
    if not error < TOLERANCE[lm.embedding.weight.dtype]:
        log.warning("Triton kernels are disabled: their logits differ from PyTorch's by %.1f %%", 100 * error)
        return False
    return True


@torch.no_grad()
def _relative_error(lm: LanguageModel) -> float:
    """Of the logits of a few steps of one clip, in the norm of all of them."""
    from musicgen.engine.backends.triton.pool import TritonPool

    config, like = lm.config, lm.embedding.weight
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(2, 5, config.dim, generator=generator).to(like)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2], device=like.device)
    conditions = Conditions(vectors, mask) if config.cross_attention else Conditions(prefix=vectors, prefix_mask=mask)
    codes = torch.randint(0, config.codebook_size, (2, config.num_codebooks, STEPS), generator=generator).to(
        like.device
    )
    results = []
    for kind in (TritonPool, TorchPool):
        pool = kind(lm, 2, 5 + STEPS, 5)
        pool.admit(codes[:, :, :1], conditions)
        steps = []
        for step in range(1, STEPS):
            steps.append(pool.step(codes[:, :, step : step + 1]))
            pool.advance()
        results.append(torch.stack(steps))
    actual, expected = results
    return float((actual - expected).norm() / expected.norm())
