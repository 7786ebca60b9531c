import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ai_econ_jax.agents.ai_economist import curricula


@pytest.mark.parametrize(
    ("episodes", "cap"),
    [(0, 0.1), (1, 0.101), (100, 0.2), (500, 0.6), (900, 1.0), (2000, 1.0)],
)
def test_tax_cap_has_the_official_values(episodes, cap):
    """Spec, appendix B.5: warm-up -100, slope 0.001."""
    np.testing.assert_allclose(curricula.tax_cap(episodes, -100, 0.001, 1.0), cap, rtol=1e-6)


def test_tax_cap_is_never_below_zero_and_scales_with_the_highest_rate():
    np.testing.assert_allclose(curricula.tax_cap(5, 50, 0.001, 1.0), 0.0)
    np.testing.assert_allclose(curricula.tax_cap(100, -100, 0.001, 0.5), 0.1)
    np.testing.assert_allclose(curricula.tax_cap(2000, -100, 0.001, 0.5), 0.5)


def test_labor_cost_warms_up_exponentially():
    episodes = jnp.array([0, 1, 1000, 2000])
    got = jax.vmap(curricula.labor_cost_weight, (0, None))(episodes, 1000.0)
    np.testing.assert_allclose(got, 1 - np.exp([0, -0.001, -1, -2]), rtol=1e-4)


def test_without_warm_up_labor_costs_all_from_the_beginning():
    """Traced too: whether there is a warm-up may be swept."""
    got = jax.jit(jax.vmap(curricula.labor_cost_weight, (None, 0)))(0, jnp.array([0.0, 10.0]))
    np.testing.assert_array_equal(got, [1.0, 0.0])


def test_linear_anneal_goes_from_start_to_end_and_stays():
    progress = jnp.array([0.0, 0.2, 0.4, 0.8, 1.0])
    got = curricula.linear_anneal(progress, 0.5, 0.1, 0.8)
    np.testing.assert_allclose(got, [0.5, 0.4, 0.3, 0.1, 0.1], rtol=1e-6)
    np.testing.assert_allclose(curricula.linear_anneal(jnp.float32(-1), 0.5, 0.1, 0.8), 0.5)
