"""Best flat taxes: in closed form for continuous hours, and on a grid of rates for whole hours.

The closed forms hold for utility ``coin - cost * hours^exponent`` when no worker hits the cap on
hours and all earn at least 1 coin. With the elasticity ``e = 1 / (exponent - 1)`` of income,
incomes are proportional to ``skill^(1+e) (1 - rate m)^e`` where ``m = 1 - 1/N``: a worker gets 1/N
of the own tax back. With few and very unequal workers the unconstrained optimum exceeds 1, where
the order of coin would reverse; it is clipped. Derived here and checked numerically in the tests.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ai_econ_jax.envs.economy import brackets, welfare
from ai_econ_jax.envs.one_step_economy.best_response import equilibrium
from ai_econ_jax.envs.one_step_economy.params import EconomyParams


class FlatOptimum(NamedTuple):
    """The best flat rate for one social welfare function, and its welfare."""

    rate: float
    welfare: float


def continuous_inverse_income_rate(params: EconomyParams) -> jax.Array:
    """Flat rate that maximises inverse-income-weighted utility, f32[], in [0, 1].

    ``rate m = (1 - h) / ((1 - h) + e (1 - h/N))``, clipped, with h the harmonic over the arithmetic
    mean of incomes.
    """
    relative_income, elasticity = _income_profile(params)
    num_workers = params.num_workers
    h = 1.0 / (jnp.mean(1.0 / relative_income) * jnp.mean(relative_income))
    effective = (1.0 - h) / ((1.0 - h) + elasticity * (1.0 - h / num_workers))
    return jnp.minimum(effective / (1.0 - 1.0 / num_workers), 1.0)


def continuous_equality_productivity_rate(params: EconomyParams) -> jax.Array:
    """Flat rate that maximises equality times productivity, f32[], in [0, 1].

    ``(G - e m (1 - G)) / (G m (1 + e))``, clipped, with G the Gini index of incomes, in the
    economy's own Gini mode.
    """
    relative_income, elasticity = _income_profile(params)
    gini = welfare.gini(relative_income, params.gini_mode)
    lost_share = 1.0 - 1.0 / params.num_workers  # of the own tax; the rest comes back
    gain = gini - elasticity * lost_share * (1.0 - gini)
    return jnp.clip(gain / (gini * lost_share * (1.0 + elasticity)), 0.0, 1.0)


def best_flat_tax(params: EconomyParams, rate_step: float = 0.05) -> dict[str, FlatOptimum]:
    """The best flat rate on a grid for each social welfare function, with exact best responses.

    Runs in float64 whatever the default precision. Ties go to the lowest rate.

    Args:
      params: The economy; any utility.
      rate_step: Distance of neighbouring rates.

    Raises:
      ValueError: As ``brackets.rate_grid``.
    """
    grid = brackets.rate_grid(rate_step)
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype=jnp.float64), params)
        values = jax.device_get(_flat_tax_welfare(params, jnp.asarray(grid)))
    best = {}
    for name in welfare.WELFARE_FUNCTIONS:
        index = int(np.argmax(values[name]))
        best[name] = FlatOptimum(float(grid[index]), float(values[name][index]))
    return best


@jax.jit
def _flat_tax_welfare(params: EconomyParams, grid: jax.Array) -> dict[str, jax.Array]:
    """Welfare f32[R] by name at each flat rate of ``grid`` f32[R]."""

    def at_rate(rate):
        return equilibrium(params, jnp.full(params.num_brackets, rate)).welfare

    return jax.lax.map(at_rate, grid)


def _income_profile(params: EconomyParams) -> tuple[jax.Array, jax.Array]:
    """Incomes up to a common factor, f32[N], and their elasticity, f32[]."""
    elasticity = 1.0 / (params.labor_exponent - 1.0)
    return params.skills ** (1.0 + elasticity), elasticity
