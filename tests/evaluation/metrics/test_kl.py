"""KL against known distributions, PyTorch's kl_div, and additivity."""

import math

import numpy as np
import pytest
import torch

from evaluation.metrics import kl
from musicgen.errors import InputError


def logits(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape) * 2


def test_known_distributions():
    p, q = np.array([[0.5, 0.25, 0.25]]), np.array([[0.25, 0.25, 0.5]])
    forward, reverse, both = kl.divergence(np.log(p), np.log(q)).means
    assert forward == pytest.approx(0.5 * math.log(2) + 0.25 * math.log(0.5), abs=1e-5)
    assert reverse == pytest.approx(0.25 * math.log(0.5) + 0.5 * math.log(2), abs=1e-5)
    assert both == pytest.approx((forward + reverse) / 2)


def test_it_is_pytorchs_with_epsilon_in_the_second():
    reference, generated = logits(3, 527), logits(3, 527, seed=1)
    p = torch.from_numpy(reference).softmax(-1)
    q = torch.from_numpy(generated).softmax(-1)
    expected = torch.nn.functional.kl_div((q + 1e-6).log(), p, reduction="none").sum(-1).mean()
    reverse = torch.nn.functional.kl_div((p + 1e-6).log(), q, reduction="none").sum(-1).mean()
    assert kl.divergence(reference, generated).means[:2] == pytest.approx((float(expected), float(reverse)))


def test_the_same_sound_is_0_apart():
    same = logits(2, 10)
    assert kl.divergence(same, same).means == pytest.approx((0, 0, 0), abs=1e-4)


def test_parts_add_up_by_segment():
    a, b = kl.divergence(logits(1, 9), logits(1, 9, seed=1)), kl.divergence(logits(3, 9, seed=2), logits(3, 9, seed=3))
    whole = kl.divergence(
        np.concatenate([logits(1, 9), logits(3, 9, seed=2)]),
        np.concatenate([logits(1, 9, seed=1), logits(3, 9, seed=3)]),
    )
    assert kl.merge([b, a]).means == pytest.approx(whole.means)


def test_large_logits_do_not_overflow():
    assert math.isfinite(kl.divergence(np.array([[1e4, 0.0]]), np.array([[0.0, 1e4]])).means[2])


def test_errors_name_the_value():
    with pytest.raises(InputError, match=r"\[1, 3\] and \[2, 3\]"):
        kl.divergence(np.zeros((1, 3)), np.zeros((2, 3)))
    with pytest.raises(InputError, match="NaN"):
        kl.divergence(np.full((1, 3), np.nan), np.zeros((1, 3)))
    with pytest.raises(InputError, match="at least one segment"):
        _ = kl.merge([]).means
