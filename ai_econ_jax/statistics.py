"""Mean and confidence interval over seeds."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


class Interval(NamedTuple):
    """A mean and the half-width of its confidence interval, each f64[...]."""

    mean: np.ndarray
    half_width: np.ndarray


def mean_interval(values: ArrayLike, axis: int = 0, confidence: float = 0.95) -> Interval:
    """Returns the mean over seeds and the half-width of its Student t interval.

    Args:
        values: f[..., S, ...], one value per seed along ``axis``.
        axis: The seeds.
        confidence: Coverage of the interval, in (0, 1).

    Returns:
        Mean ± half-width. The half-width is NaN for a single seed, which says nothing about spread.

    Raises:
        ValueError: If there is no seed at all.
    """
    values = np.asarray(values, np.float64)
    count = values.shape[axis]
    if count == 0:
        raise ValueError("mean_interval needs at least one seed")
    mean = values.mean(axis)
    if count == 1:
        return Interval(mean, np.full_like(mean, np.nan))
    error = values.std(axis, ddof=1) / np.sqrt(count)
    return Interval(mean, stats.t.ppf((1 + confidence) / 2, count - 1) * error)
