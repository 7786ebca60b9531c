"""Utilities against the official figures (specification, appendix B.2)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_econ_jax.envs.economy import utility

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.parametrize("compiled", [lambda f: f, jax.jit], ids=["plain", "jit"])
def test_isoelastic_utility_is_the_official_one(compiled):
    coin = jnp.array([0.0, 1, 10, 100, 1000])
    expected = [-1.2987013, 0, 6.3486189, 43.7320586, 263.8620707]
    np.testing.assert_allclose(compiled(utility.isoelastic)(coin, 0.0, 0.23, 1.0), expected, 1e-7)


def test_labor_costs_utility_linearly_when_isoelastic():
    idle, working = utility.isoelastic(jnp.array([7.0, 7.0]), jnp.array([0.0, 3.0]), 0.23, 0.21)
    np.testing.assert_allclose(idle - working, 0.63, rtol=1e-12)


def test_eta_one_is_the_logarithm_and_zero_below_one_coin():
    coin = jnp.array([0.0, 0.5, 1.0, np.e, 100.0])
    expected = [0, 0, 0, 1, np.log(100)]
    np.testing.assert_allclose(utility.isoelastic(coin, 0.0, 1.0, 1.0), expected, atol=1e-12)


def test_eta_zero_is_linear_in_coin():
    coin = jnp.array([0.0, 1.0, 40.0])
    np.testing.assert_allclose(utility.isoelastic(coin, 0.0, 0.0, 1.0), coin - 1, atol=1e-12)


def test_float32_keeps_its_precision_as_eta_approaches_one():
    eta = np.float32(1 - 2**-16)
    value = utility.isoelastic(jnp.float32(100), jnp.float32(0), eta, jnp.float32(1))
    assert value.dtype == jnp.float32
    exponent = 1 - float(eta)
    np.testing.assert_allclose(value, (100**exponent - 1) / exponent, rtol=1e-6)


def test_eta_can_be_vmapped_through_one():
    values = jax.vmap(utility.isoelastic, (None, None, 0, None))(
        10.0, 0.0, jnp.array([0, 0.5, 1]), 1.0
    )
    np.testing.assert_allclose(values, [9, 2 * (np.sqrt(10) - 1), np.log(10)], rtol=1e-12)


@settings(max_examples=50)
@given(
    coin=st.floats(0, 1e4, allow_subnormal=False),
    extra=st.floats(0.01, 100),
    eta=st.floats(0, 0.999, allow_subnormal=False),
)
def test_coin_raises_isoelastic_utility_ever_less(coin, extra, eta):
    values = utility.isoelastic(jnp.array([coin, coin + extra, coin + 2 * extra]), 0.0, eta, 1.0)
    first, second = jnp.diff(values)
    assert first > 0
    assert second <= first * (1 + 1e-6) + 1e-9


def test_coin_minus_labor_cost_is_coin_minus_a_power_of_labor():
    value = utility.coin_minus_labor_cost(jnp.array(50.0), jnp.array(10), 3.0, 0.0005)
    np.testing.assert_allclose(value, 49.5, rtol=1e-12)
