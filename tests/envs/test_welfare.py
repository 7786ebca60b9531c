"""Inequality and social welfare against the official figures (appendix B.2) and plain numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_econ_jax.envs.economy import welfare

coins = st.lists(st.floats(0.01, 1e4), min_size=5, max_size=5).map(np.array)

pytestmark = pytest.mark.usefixtures("x64")


def pairwise_gini(coin):
    total = sum(abs(a - b) for a in coin for b in coin)
    return total / (2 * (len(coin) - 1) * sum(coin))


def cumulative_gini(coin):
    """The official formula from 30 workers on."""
    shares = np.cumsum(np.sort(coin)) / (np.sum(coin) + 1e-10)
    return 1 - 2 / (len(coin) + 1) * shares.sum()


@pytest.mark.parametrize("mode", welfare.GINI_MODES)
@pytest.mark.parametrize("compiled", [False, True], ids=["plain", "jit"])
@pytest.mark.parametrize(
    ("coin", "expected"),
    [
        ([1, 2, 3, 4], 0.333333),
        ([100, 20, 30, 0], 0.688889),
        ([0, 0, 0, 10], 1),
        ([0, 0, 0, 0], 0),
    ],
)
def test_gini_is_the_official_one(coin, expected, compiled, mode):
    gini = jax.jit(welfare.gini, static_argnames="mode") if compiled else welfare.gini
    np.testing.assert_allclose(gini(jnp.array(coin, dtype=float), mode=mode), expected, atol=1e-5)


def test_foundation_gini_falls_at_thirty_workers_and_the_exact_one_does_not():
    def range_gini(num_workers, mode):
        return float(welfare.gini(jnp.arange(1.0, num_workers + 1), mode))

    foundation = [range_gini(n, "foundation") for n in (29, 30, 100)]
    np.testing.assert_allclose(foundation, [0.33333, 0.31183, 0.32673], atol=5e-6)
    for num_workers in (29, 30, 100):
        np.testing.assert_allclose(range_gini(num_workers, "exact"), 1 / 3, rtol=1e-9)


def test_foundation_gini_from_thirty_workers_is_the_cumulative_formula():
    coin = np.random.default_rng(0).exponential(30, size=41)
    gini = welfare.gini(coin, "foundation")
    np.testing.assert_allclose(gini, cumulative_gini(coin), rtol=1e-12)
    np.testing.assert_allclose(gini, pairwise_gini(coin) * 40 / 42, rtol=1e-9)


def test_nobody_owning_anything_is_equal_except_in_the_foundation_formula_for_many():
    # Run with the official package: get_gini(zeros(29)) is 0, get_gini(zeros(31)) is 1.
    assert welfare.gini(jnp.zeros(29), "foundation") == 0
    assert welfare.gini(jnp.zeros(31), "foundation") == 1
    assert welfare.gini(jnp.zeros(31), "exact") == 0


@settings(max_examples=50)
@given(coin=coins, scale=st.floats(0.5, 100))
def test_gini_equals_pairwise_differences_and_ignores_scale_and_order(coin, scale):
    gini = welfare.gini(coin)
    np.testing.assert_allclose(gini, pairwise_gini(coin), atol=1e-6)
    np.testing.assert_allclose(welfare.gini(scale * coin[::-1]), gini, atol=1e-6)
    assert -1e-12 <= gini <= 1 + 1e-12


def test_equal_coin_in_float32_is_exactly_equal():
    coin = jnp.full(1000, 37.123, dtype=jnp.float32)
    assert welfare.equality(coin) == 1
    assert welfare.equality(coin).dtype == jnp.float32


@pytest.mark.parametrize(
    ("name", "coin", "expected"),
    [
        ("equality_times_productivity", [1, 2, 3, 4], 1.6666667),
        ("equality_times_productivity", [100, 20, 30, 0], 11.6666667),
        ("equality_times_productivity", [0, 0, 0, 0], 0),
        ("inverse_income_coin", [1, 2, 3, 4], 1.92),
        ("inverse_income_coin", [100, 20, 30, 0], 2.7439024),
        ("inverse_income_coin", [0, 0, 0, 10], 0.3225806),
    ],
)
def test_welfare_of_coin_is_the_official_one(name, coin, expected):
    coin = jnp.array(coin, dtype=float)
    # Income and utility that would show if these functions looked at them.
    value = welfare.WELFARE_FUNCTIONS[name](coin, coin[::-1] * 7 + 1, -coin)
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_every_welfare_function_against_its_definition():
    coin = np.array([0.5, 20.0, 30.0])
    income = np.array([0.25, 5.0, 50.0])
    utility = np.array([-1.0, 4.0, 11.0])
    weights = np.array([1, 1 / 5, 1 / 50])
    values = welfare.all_welfare(coin, income, utility)
    expected = {
        "utilitarian": 14 / 3,
        "inverse_income_utility": (weights @ utility) / weights.sum(),
        "inverse_income_coin": (0.5 + 1 + 1) / (1 + 1 / 20 + 1 / 30),
        "equality_times_productivity": (1 - pairwise_gini(coin)) * 50.5 / 3,
        "rawlsian": -1.0,
        "productivity": 50.5 / 3,
    }
    assert list(values) == list(expected)
    for name, value in values.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-9, err_msg=name)


def test_inverse_income_coin_is_the_harmonic_mean_when_all_own_one_or_more():
    coin = np.array([1.0, 3.0, 8.0, 90.0])
    value = welfare.inverse_income_coin(coin, None, None)
    np.testing.assert_allclose(value, 4 / np.sum(1 / coin), rtol=1e-12)


def test_gini_mode_reaches_equality_times_productivity():
    coin = jnp.arange(1.0, 31)
    by_mode = [welfare.all_welfare(coin, coin, coin, mode) for mode in welfare.GINI_MODES]
    exact, foundation = (values["equality_times_productivity"] for values in by_mode)
    np.testing.assert_allclose(exact, (1 - 1 / 3) * 15.5, rtol=1e-9)
    np.testing.assert_allclose(foundation, (1 - 29 / 31 / 3) * 15.5, rtol=1e-9)


def test_leading_axes_are_batch_axes():
    draws = np.random.default_rng(1).uniform(0.1, 50, size=(3, 2, 5, 35))
    all_welfare = jax.jit(welfare.all_welfare, static_argnames="gini_mode")
    for mode in welfare.GINI_MODES:
        batch = all_welfare(*draws, gini_mode=mode)
        for index in np.ndindex(2, 5):
            one = all_welfare(*draws[:, *index], gini_mode=mode)
            for name in one:
                np.testing.assert_allclose(batch[name][index], one[name], rtol=1e-12)


def test_unknown_names_list_the_valid_ones():
    with pytest.raises(ValueError, match="'happiness' is unknown; valid: utilitarian, inverse_"):
        welfare.welfare_function("happiness")
    with pytest.raises(ValueError, match="gini mode 'fast' is unknown; valid: exact, foundation"):
        welfare.gini(jnp.ones(3), "fast")
    assert welfare.welfare_function("rawlsian") is welfare.rawlsian
