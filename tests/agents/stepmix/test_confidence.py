"""Presets against their formulas written out per cell, and what every preset must respect."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax.agents.stepmix import confidence
from ai_econ_jax.agents.stepmix.confidence import PRESETS, Estimate, Sizes

pytestmark = pytest.mark.usefixtures("x64")

HORIZON, STATES, CELLS, DELTA, REACH = 7, 4, 84, 0.05, 3
SIZES = Sizes(CELLS, STATES, HORIZON, DELTA)


def random_cells(count, seed=0, most=60):
    """Counts f64[X, N, 1], upper and lower next values f64[X, N, 1] in [0, REACH]."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.exponential(most / STATES, (STATES, count, 1)))
    counts[0] += counts.sum(0) == 0
    low, high = np.sort(rng.uniform(0, REACH, (2, STATES, count, 1)), 0)
    return counts.astype(float), high, low


def bounds(name, counts, high, low, sizes=SIZES, reach=REACH):
    bonus = PRESETS[name](sizes)
    known = jax.tree.map(lambda x: x[0], confidence.estimate(bonus, jnp.asarray(counts)[None]))
    given = jnp.asarray(high), jnp.asarray(low), jnp.asarray(float(reach))
    return tuple(np.asarray(f(bonus, known, *given)) for f in (confidence.upper, confidence.lower))


def half_width(name, p, n, values, high, low):
    """The formulas of the spec's table, section 2.3, of one cell; bpi has one for each side."""
    mean = p @ values
    variance = p @ (values - mean) ** 2
    if name == "kl_closed":
        binomial = math.comb(int(n) + STATES - 1, STATES - 1)
        beta = math.log(CELLS / DELTA) + math.log(binomial)
        return 2 * math.sqrt(variance * beta / n) + 3.5 * REACH * beta / n
    if name == "bernstein":
        log_term = math.log(CELLS / DELTA)
        return math.sqrt(2 * variance * log_term / n) + REACH * log_term / (3 * n)
    if name == "mp":
        if n < 2:
            return REACH
        log_term = math.log(2 * CELLS * n * (n + 1) / DELTA)
        return math.sqrt(2 * variance * log_term / (n - 1)) + 7 * REACH * log_term / (3 * (n - 1))
    if name == "simple":
        return 1 / math.sqrt(n) + (REACH + 1) / n
    if name == "zero":
        return 0.0
    raise AssertionError(name)


def bpi(p, n, high, low):
    growth = math.log(8 * math.e * (n + 1))
    spread = math.log(3 * CELLS / DELTA) + growth
    rate = math.log(3 * CELLS / DELTA) + STATES * growth
    noise = 3 * math.sqrt(p @ (high - p @ high) ** 2 * spread / n)
    up = p @ high + noise + 14 * HORIZON**2 * rate / n + p @ (high - low) / HORIZON
    return up, p @ low - noise - 22 * HORIZON**2 * rate / n - 2 * p @ (high - low) / HORIZON


@pytest.mark.parametrize("name", ["kl_closed", "bernstein", "mp", "bpi", "zero", "simple"])
def test_a_preset_is_its_formula_clipped_to_the_range_of_next_values(name):
    # bpi is so wide that only a million visits show more than the clipping.
    counts, high, low = random_cells(200, most=3e6 if name == "bpi" else 60)
    found_up, found_low = bounds(name, counts, high, low)
    for i in range(counts.shape[1]):
        n, up, down = counts[:, i, 0].sum(), high[:, i, 0], low[:, i, 0]
        p = counts[:, i, 0] / n
        if name == "bpi":
            expected_up, expected_low = bpi(p, n, up, down)
        else:
            expected_up = p @ up + half_width(name, p, n, up, up, down)
            expected_low = p @ down - half_width(name, p, n, down, up, down)
        assert found_up[i, 0] == pytest.approx(np.clip(expected_up, up.min(), up.max()), abs=1e-9)
        expected_low = np.clip(expected_low, down.min(), down.max())
        assert found_low[i, 0] == pytest.approx(expected_low, abs=1e-9)


def test_the_closed_form_contains_the_ball():
    counts, high, low = random_cells(2000)
    (ball_up, ball_low), (closed_up, closed_low) = (
        bounds(name, counts, high, low) for name in ("kl", "kl_closed")
    )
    assert (closed_up >= ball_up - 1e-9).all()
    assert (closed_low <= ball_low + 1e-9).all()


@pytest.mark.parametrize("name", list(PRESETS))
def test_an_unseen_cell_leads_to_the_best_and_to_the_worst_state(name):
    _, high, low = random_cells(5)
    up, down = bounds(name, np.zeros_like(high), high, low)
    np.testing.assert_array_equal(up, high.max(0))
    np.testing.assert_array_equal(down, low.min(0))


@pytest.mark.parametrize("name", list(PRESETS))
def test_where_nothing_lies_ahead_nothing_is_uncertain(name):
    counts, high, _ = random_cells(5)
    for bound in bounds(name, counts, 0 * high, 0 * high, reach=0):
        np.testing.assert_array_equal(bound, 0)


@pytest.mark.parametrize("name", ["kl", "kl_closed", "bernstein", "mp", "bpi"])
def test_less_scale_is_less_width(name):
    counts, high, _ = random_cells(50, most=1e6)
    wide, narrow = (
        np.subtract(*bounds(name, counts, high, high, Sizes(CELLS, STATES, HORIZON, DELTA, scale)))
        for scale in (1.0, 0.1)
    )
    assert (narrow <= wide + 1e-12).all()
    assert narrow.mean() < 0.8 * wide.mean()


def test_an_estimate_has_the_empirical_laws():
    counts, _, _ = random_cells(3)
    known = confidence.estimate(PRESETS["zero"](SIZES), jnp.asarray(counts)[None])
    assert isinstance(known, Estimate)
    np.testing.assert_allclose(
        jax.tree.map(lambda x: x[0], known).probabilities, counts / counts.sum(0)
    )
