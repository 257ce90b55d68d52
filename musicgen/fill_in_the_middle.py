"""Fill-in-the-middle (Bavarian et al. 2022, arXiv 2207.14255) in the order suffix, prefix, middle.

    |---- right ----|-- separator --|---- left ----|==== span ====|      order
    L               L + R           0              L - span       L      positions

A causal model that was trained on windows in this order has read what follows a span when it generates the span. Left and span,
L frames together, have the positions that they have in music, and the right, R frames, has those that follow: the position of a
frame says where it is in the beat, and where the span must meet the right. The separator is a frame of special tokens for each
codebook, so that delayed codes of the right end before the left begins. From there on the sequence is that of any music.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from musicgen.patterns import Layout

PATTERNS = ("delay", "unroll")
"""Kinds of patterns that go through the frames in order."""
SEPARATOR = -1
"""Stands for the special token in codes of training examples, which do not depend on the size of the codebooks."""


def arranged(frames: npt.NDArray[np.generic], right: int, codebooks: int, separator: float) -> npt.NDArray[np.generic]:
    """Frames in the order of fill-in-the-middle.

    Args:
        frames: [T, ...], music.
        right: How many of the last ones come first.
        codebooks: K.
        separator: The value of all elements of a separator.

    Returns:
        [T + K, ...].
    """
    between = np.full((codebooks, *frames.shape[1:]), separator, frames.dtype)
    return np.concatenate([frames[len(frames) - right :], between, frames[: len(frames) - right]])


def audio_prompt(left: torch.Tensor, right: torch.Tensor, special_token: int) -> torch.Tensor:
    """The frames of a window before its span.

    Args:
        left: int64 [B, K, L].
        right: int64 [B, K, R].
        special_token: Of the language model.

    Returns:
        int64 [B, K, R + K + L].
    """
    separator = right.new_full((right.shape[0], right.shape[1], right.shape[1]), special_token)
    return torch.cat([right, separator, left], dim=2)


def step_positions(layout: Layout, leading: int, frames: int, steps: int) -> torch.Tensor:
    """The positions of the first pattern steps of a window.

    Args:
        layout: Of the window.
        leading: Frames of right and separator.
        frames: Frames of the window, those included.
        steps: How many.

    Returns:
        int64 [steps].
    """
    first, behind = (layout.first_step_of_frame(frame) - 1 for frame in (leading, frames - leading))
    each = torch.arange(steps)
    return torch.where(each < first, each + behind, each - first)


def leading_frames(codes: torch.Tensor, separator: int) -> list[int]:
    """Frames of right and separator in each row; 0 for music in its order.

    Args:
        codes: int64 [B, K, T].
        separator: SEPARATOR, or the special token of the language model.
    """
    numbers = torch.arange(1, codes.shape[2] + 1, device=codes.device)
    return torch.where(codes[:, 0] == separator, numbers, 0).amax(dim=1).tolist()
