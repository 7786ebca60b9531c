"""The Saez baseline of the one-step economy: the official formula iterated on its own outcomes.

Iteration: workers respond best to the rates; their incomes join the last 500; the formula gives the
next rates from these incomes, with the true elasticity and inverse-income weights. The first rates
are 0 (the free market), and the formula is used from the first incomes on, without the random rates
that the training-time baseline sets until its buffer is full.

That start gives 35.97 (R1) and 30.83 (R2) under inverse-income utility. R2
forgets its start; R1, whose 4 workers need 125 iterations to fill the buffer, does not within 400:
a buffer full of free-market incomes gives 36.28 there, the spread to read its figure with.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ai_econ_jax.envs.economy import saez, welfare
from ai_econ_jax.envs.one_step_economy.best_response import equilibrium
from ai_econ_jax.envs.one_step_economy.params import EconomyParams


@dataclasses.dataclass(frozen=True)
class SaezFixedPoint:
    """Averages over the last iterations.

    Attributes:
      welfare: Mean of each social welfare function.
      rates: f64[B], mean rates.
      welfare_deviation: Standard deviation of each social welfare function.
    """

    welfare: dict[str, float]
    rates: np.ndarray
    welfare_deviation: dict[str, float]


def iterate_saez(
    params: EconomyParams,
    elasticity: float | None = None,
    num_iterations: int = 400,
    num_averaged: int = 200,
) -> SaezFixedPoint:
    """Iterates the Saez formula and averages the end; in float64 whatever the default precision.

    Args:
      params: The economy.
      elasticity: Elasticity of income in the formula; None for the true one, ``1 / (exponent -
        1)``, which exists with utility ``coin_minus_labor_cost`` only.
      num_iterations: Number of iterations.
      num_averaged: How many of the last ones to average.

    Raises:
      ValueError: Isoelastic utility without an elasticity, or more iterations to average than run.
    """
    if elasticity is None and params.utility != "coin_minus_labor_cost":
        raise ValueError(f"elasticity is None, must be given with utility {params.utility!r}")
    if not 1 <= num_averaged <= num_iterations:
        raise ValueError(f"num_averaged is {num_averaged}, must lie in [1, {num_iterations}]")
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype=jnp.float64), params)
        true_elasticity = 1.0 / (params.labor_exponent - 1.0)
        used = true_elasticity if elasticity is None else jnp.asarray(elasticity)
        values, rates = jax.device_get(_iterate(params, used, num_iterations=num_iterations))
    last = {name: values[name][-num_averaged:] for name in welfare.WELFARE_FUNCTIONS}
    return SaezFixedPoint(
        welfare={name: float(np.mean(history)) for name, history in last.items()},
        rates=np.mean(rates[-num_averaged:], axis=0),
        welfare_deviation={name: float(np.std(history)) for name, history in last.items()},
    )


@partial(jax.jit, static_argnames="num_iterations")
def _iterate(params: EconomyParams, elasticity: jax.Array, num_iterations: int):
    """Welfare f64[I] by name and rates f64[I, B] of I iterations."""

    def iteration(carry, _):
        state, rates = carry
        end = equilibrium(params, rates)
        state = saez.record(state, end.production, end.marginal_rate)
        formula = saez.schedule(state.incomes, state.is_recorded, elasticity, params.cutoffs)
        return (state, jnp.clip(formula, 0.0, 1.0)), (end.welfare, rates)

    start = (saez.init(params.num_brackets), jnp.zeros(params.num_brackets))
    _, history = jax.lax.scan(iteration, start, length=num_iterations)
    return history
