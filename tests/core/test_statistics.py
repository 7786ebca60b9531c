import numpy as np
import pytest
from scipy import stats

from ai_econ_jax import statistics


def test_interval_is_students_t():
    values = np.array([1.0, 2.0, 4.0, 4.5, 7.0])
    mean, half_width = statistics.mean_interval(values)
    low, high = stats.t.interval(0.95, 4, loc=values.mean(), scale=stats.sem(values))
    np.testing.assert_allclose([mean - half_width, mean + half_width], [low, high], rtol=1e-12)


def test_two_values_by_hand():
    # sd = sqrt(2), standard error = 1, and t with one degree of freedom at 97.5 % is 12.706.
    mean, half_width = statistics.mean_interval([0.0, 2.0])
    assert mean == 1.0
    np.testing.assert_allclose(half_width, 12.706, rtol=1e-4)


def test_seeds_may_lie_on_any_axis():
    values = np.random.default_rng(0).normal(size=(3, 5))
    along_last = statistics.mean_interval(values, axis=1)
    assert along_last.mean.shape == (3,)
    for row, mean, half_width in zip(values, *along_last, strict=True):
        np.testing.assert_allclose((mean, half_width), statistics.mean_interval(row))


def test_confidence_widens_the_interval():
    values = [1.0, 2.0, 3.0]
    narrow = statistics.mean_interval(values, confidence=0.5).half_width
    assert narrow < statistics.mean_interval(values).half_width


def test_one_seed_has_a_mean_but_no_interval():
    mean, half_width = statistics.mean_interval([3.0])
    assert mean == 3.0
    assert np.isnan(half_width)


def test_no_seed_is_an_error():
    with pytest.raises(ValueError, match="at least one seed"):
        statistics.mean_interval([])


def test_coverage_is_the_stated_confidence():
    samples = np.random.default_rng(0).normal(size=(4, 20_000))
    mean, half_width = statistics.mean_interval(samples)
    assert abs((np.abs(mean) <= half_width).mean() - 0.95) < 0.005
