"""Inter-rater agreement: Krippendorff's alpha for interval data (Krippendorff 2011, "Computing Krippendorff's alpha")."""

from __future__ import annotations

import numpy as np

from .ratings import Matrix


def alpha(z: Matrix) -> float | None:
    """1 - observed/expected disagreement.

    Args:
        z: ratings [raters, samples], NaN where missing.

    Returns:
        Alpha; None where no sample has two ratings, or all ratings are equal.
    """
    given = ~np.isnan(z)
    z = z[:, given.sum(axis=0) >= 2]
    given = ~np.isnan(z)
    n = int(given.sum())
    if n == 0:
        return None
    values = z[given]
    # Sum of squared differences over ordered pairs = 2 n Σv² - 2 (Σv)²; within a sample each pair weighs 1/(m - 1).
    expected = 2 * (n * np.sum(values**2) - np.sum(values) ** 2) / (n * (n - 1))
    if expected <= 1e-12:
        return None
    observed = 0.0
    for column, mask in zip(z.T, given.T, strict=True):
        own = column[mask]
        observed += 2 * (len(own) * np.sum(own**2) - np.sum(own) ** 2) / (len(own) - 1)
    return float(1 - observed / n / expected)
