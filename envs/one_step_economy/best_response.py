"""Exact best responses of workers to a tax schedule, on whole hours.

A worker who pays tax T gets T/N of it back in the equal rebate. So work pays at the effective
marginal rate ``rate * (1 - 1/N)``, and the choice maximises

    utility(z - (1 - 1/N) T(z) + R / N, hours),    z = skill * hours,

where R is the tax paid by the others. With utility linear in coin, R drops out and choices are
independent. With isoelastic utility they are a Nash equilibrium, found by letting workers respond
in turn until nobody changes. Axes: N workers, L = max_hours + 1 possible hours, B brackets.

Ties go to the fewest hours. Values that differ by rounding only count as tied, so that the choice
does not depend on the order of operations (``first_best``).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ai_econ_jax.envs.economy import brackets
from ai_econ_jax.envs.one_step_economy.outcome import Outcome, outcome_of, utility_of
from ai_econ_jax.envs.one_step_economy.params import EconomyParams

MAX_SWEEPS = 100

# Rounding error of a gain, in units of the dtype's machine epsilon.
_TIE_EPSILONS = 16.0


class Response(NamedTuple):
    """Hours that nobody wants to change alone.

    Attributes:
      hours: i32[N].
      converged: bool[], whether a whole sweep changed nothing; always true with linear utility.
      sweeps: i32[], turns taken by every worker.
    """

    hours: jax.Array
    converged: jax.Array
    sweeps: jax.Array


def respond(params: EconomyParams, rates: jax.Array, max_sweeps: int = MAX_SWEEPS) -> Response:
    """The best hours of every worker under a schedule; pure, for jit and vmap over schedules.

    Args:
      params: The economy.
      rates: f32[B], marginal rates in [0, 1].
      max_sweeps: Cap on the sweeps with isoelastic utility; static. Whole hours can make responses
        cycle, so look at ``converged``.
    """
    skills = jnp.asarray(params.skills)
    hours = jnp.arange(params.max_hours + 1, dtype=skills.dtype)
    income = skills[:, None] * hours  # f32[N, L]
    tax = brackets.tax_due(income, rates, params.cutoffs)
    own_coin = income - (1.0 - 1.0 / params.num_workers) * tax
    independent = first_best(utility_of(params, own_coin, hours), axis=-1)
    if params.utility == "coin_minus_labor_cost":
        return Response(independent, jnp.array(True), jnp.array(1, dtype=jnp.int32))
    return _nash_response(params, own_coin, tax, independent, max_sweeps)


def equilibrium(params: EconomyParams, rates: jax.Array) -> Outcome:
    """The outcome when every worker responds best to ``rates`` f32[B]."""
    return outcome_of(params, respond(params, rates).hours, rates)


def first_best(values: jax.Array, axis: int) -> jax.Array:
    """Index of the first entry along ``axis`` that is the maximum up to rounding, i32[...].

    The slack is 16 machine epsilons of ``1 + |maximum|``: about 1e-4 coin at 50 coin in float32,
    2e-13 in float64. Some slack is needed in any case: compiled code may compute ``values`` twice,
    rounded apart, and then nothing would reach the maximum.
    """
    best = jnp.max(values, axis=axis, keepdims=True)
    slack = _TIE_EPSILONS * jnp.finfo(values.dtype).eps * (1.0 + jnp.abs(best))
    return jnp.argmax(values >= best - slack, axis=axis).astype(jnp.int32)


def _nash_response(
    params: EconomyParams, own_coin: jax.Array, tax: jax.Array, start: jax.Array, max_sweeps: int
) -> Response:
    """Workers respond in turn, in index order, until a sweep changes nothing.

    Args:
      params: The economy.
      own_coin: f32[N, L], coin of each worker at each number of hours if the others paid no tax.
      tax: f32[N, L], tax of each worker at each number of hours.
      start: i32[N], hours before the first sweep.
      max_sweeps: Cap on the sweeps.
    """
    hours_grid = jnp.arange(own_coin.shape[1], dtype=own_coin.dtype)
    workers = jnp.arange(params.num_workers)

    def take_turn(hours, worker):
        paid = tax[workers, hours]
        rebate = (jnp.sum(paid) - paid[worker]) / params.num_workers
        choice = first_best(utility_of(params, own_coin[worker] + rebate, hours_grid), axis=-1)
        return hours.at[worker].set(choice), None

    def sweep(response):
        hours, _ = jax.lax.scan(take_turn, response.hours, workers)
        return Response(hours, jnp.all(hours == response.hours), response.sweeps + 1)

    def unfinished(response):
        return ~response.converged & (response.sweeps < max_sweeps)

    first = Response(start, jnp.array(False), jnp.array(0, dtype=jnp.int32))
    return jax.lax.while_loop(unfinished, sweep, first)
