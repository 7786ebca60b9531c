"""The periodic bracket tax: rates on the first day of a period, collection on the last.

Source: AI Economist, arXiv 2108.02755, component ``PeriodicBracketTax``; spec section 3.6.
"""

import dataclasses

import jax
import jax.numpy as jnp

from ai_econ_jax.envs.economy import brackets
from ai_econ_jax.envs.gather_trade_build.actions import Actions
from ai_econ_jax.envs.gather_trade_build.params import Params
from ai_econ_jax.envs.gather_trade_build.state import State, StepNoise
from ai_econ_jax.envs.gather_trade_build.tax_models import TAX_MODELS
from ai_econ_jax.envs.gather_trade_build.world import World

# Orders move coin to escrow and back, so an income of 0 can be off by rounding.
_INCOME_SLACK = 1e-4


def tax(state: State, action: Actions, noise: StepNoise, params: Params, world: World) -> State:
    """One day of the tax period."""
    model = TAX_MODELS[world.config.tax_model]
    is_first_day = state.tax_position == 1
    with_new_rates = model.set_rates(state, action, noise, params, world)
    with_new_rates = dataclasses.replace(with_new_rates, shown_rates=with_new_rates.rates)
    state = _select(is_first_day, with_new_rates, state)

    is_tax_day = state.tax_position >= params.tax_period
    taxed = collect(state, params, world)
    if model.record is not None:
        taxed = model.record(taxed)
    state = _select(is_tax_day, taxed, state)
    return dataclasses.replace(state, tax_position=jnp.where(is_tax_day, 1, state.tax_position + 1))


def collect(state: State, params: Params, world: World) -> State:
    """Taxes everybody's income of the period, and shares the revenue equally.

    Income is the change of coin with escrow, so it includes trade and may be negative. Coin in
    escrow cannot be taken. The lump sum is no income of the next period.
    """
    income = period_income(state, world)
    due = brackets.tax_due(income, state.rates, params.cutoffs)
    paid = jnp.minimum(state.coin, due)
    lump_sum = jnp.sum(paid) / paid.shape[0]
    coin = state.coin - paid + lump_sum
    return dataclasses.replace(
        state,
        coin=coin,
        last_coin=coin + state.escrow_coin,
        last_income=income,
        last_marginal_rate=brackets.marginal_rate(income, state.rates, params.cutoffs),
        events=dataclasses.replace(state.events, tax_paid=paid, lump_sum=lump_sum),
    )


def period_income(state: State, world: World) -> jax.Array:
    """Income of the tax period so far, f32[N], in coin; below the slack it is 0 (spec 3.11).

    Whether an income next to 0 is above it decides on its marginal rate, and on whether its
    logarithm enters the regression of the tax model ``saez``.
    """
    income = state.total_coin - state.last_coin
    if world.config.official_rounding:
        return income
    return jnp.where(jnp.abs(income) < _INCOME_SLACK, 0.0, income)


def current_marginal_rate(state: State, params: Params, world: World) -> jax.Array:
    """Rate on the next coin that each worker earns in this period, f32[N]."""
    return brackets.marginal_rate(period_income(state, world), state.rates, params.cutoffs)


def _select(chosen: jax.Array, yes: State, no: State) -> State:
    return jax.tree.map(lambda a, b: b if a is b else jnp.where(chosen, a, b), yes, no)
