"""Sampling: logits -> codes by temperature, top-k (Fan et al. 2018) and top-p (Holtzman et al. 2020), with one random stream
per clip.

A clip's stream gives one uniform random number per codebook and step (in stereo one for both channels); the code is found by
inverting the cumulative distribution. So a clip's codes depend only on its seed and its logits, not on the other clips in the
batch or on the device.
"""

from __future__ import annotations

import operator
import secrets
from collections.abc import Sequence

import numpy as np
import torch

from musicgen.errors import InputError
from musicgen.options import GenerationOptions
from musicgen.text_format import counted

MAX_SEED = 2**63 - 1


class ClipStream:
    """The random numbers of one clip: Philox, a counter-based generator that is the same on every machine.

    Attributes:
        seed: 0 to 2^63 - 1.
        together: Neighbouring codebooks that share a number. 2 for stereo, where left and right of a level are sampled in one
            step: each channel keeps its distribution, and equal distributions give equal codes. With numbers of their own,
            the channels of a centred sound would differ at random.
    """

    def __init__(self, seed: int, together: int = 1) -> None:
        self.seed, self.together = check_seed(seed), together
        self._generator = np.random.Generator(np.random.Philox(self.seed))

    def uniforms(self, num_steps: int, num_codebooks: int) -> torch.Tensor:
        """The next numbers in [0, 1), float64 [num_steps, num_codebooks]."""
        drawn = self._generator.random((num_steps, num_codebooks // self.together))
        return torch.from_numpy(drawn.repeat(self.together, axis=1))


def check_seed(seed: object) -> int:
    """`seed` as an int, if it is a whole number that the random stream takes: Python's, NumPy's or PyTorch's."""
    whole = _whole(seed)
    if whole is None or not 0 <= whole <= MAX_SEED:
        raise InputError(f"seed is {seed!r}: it must be a whole number from 0 to 2^63 - 1")
    return whole


def clip_seeds(seed: int | Sequence[int] | None, batch: int) -> list[int]:
    """One seed for each clip.

    Args:
        seed: One for all (clip i gets `seed + i`), one for each, or None to draw them from the operating system.
        batch: B.

    Raises:
        InputError: A seed is out of range, or their number is not B.
    """
    if seed is None:
        return [secrets.randbelow(2**31) for _ in range(batch)]
    if _whole(seed) is not None:
        return [check_seed(check_seed(seed) + i) for i in range(batch)]
    try:
        each = list(seed)  # type: ignore[arg-type]
    except TypeError:
        each = [check_seed(seed)]
    seeds = [check_seed(one) for one in each]
    if len(seeds) != batch:
        raise InputError(f"{counted(len(seeds), 'seed')} for {counted(batch, 'clip')}: pass one, or one a clip")
    return seeds


def _whole(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def sample(logits: torch.Tensor, options: GenerationOptions, uniforms: torch.Tensor | None = None) -> torch.Tensor:
    """Sample codes.

    Args:
        logits: [..., N].
        options: Temperature, top-k, top-p; without `do_sample` the most likely code is taken.
        uniforms: float64 [...] in [0, 1); not needed without `do_sample`.

    Returns:
        int64 [...].
    """
    if not options.do_sample:
        return logits.argmax(dim=-1)
    if uniforms is None:
        raise InputError("sampling needs one uniform number for each code")
    probabilities = filtered_probabilities(logits, options)
    cumulative = probabilities.cumsum(dim=-1)
    # Scaled to the computed sum, which rounding and top-p make differ from 1. The copy is asynchronous, so that the host can
    # prepare the next step while a GPU computes this one.
    numbers = uniforms.to(cumulative.device, cumulative.dtype, non_blocking=True)
    threshold = numbers[..., None] * cumulative[..., -1:]
    return (cumulative <= threshold).sum(dim=-1).clamp(max=logits.shape[-1] - 1).to(logits.device)


def with_float64(device: torch.device) -> torch.device:
    """The device to sample on: MPS has no float64."""
    return torch.device("cpu") if device.type == "mps" else device


def filtered_probabilities(logits: torch.Tensor, options: GenerationOptions) -> torch.Tensor:
    """Probabilities after temperature, top-k and top-p, in this order: float64 [..., N], not renormalised after top-p."""
    logits = logits.to(with_float64(logits.device)).double() / options.temperature
    size = logits.shape[-1]
    if 0 < options.top_k < size:
        kth = logits.topk(options.top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < kth, -torch.inf)
    probabilities = logits.softmax(dim=-1)
    if 0 < options.top_p < 1:
        ordered, order = probabilities.sort(dim=-1, descending=True)
        before = ordered.cumsum(dim=-1) - ordered
        # A code is kept while the codes before it have not reached p, so the most likely one always is.
        kept = ordered.masked_fill(before >= options.top_p, 0.0)
        probabilities = torch.zeros_like(probabilities).scatter_(-1, order, kept)
    return probabilities
