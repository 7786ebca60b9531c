"""Who sets the marginal rates of a tax period. A new tax model is one more entry of ``TAX_MODELS``.

Source: AI Economist, arXiv 2108.02755, component ``PeriodicBracketTax``; spec sections 2.5 and 3.6.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ai_econ_jax.envs.economy import saez
from ai_econ_jax.envs.gather_trade_build.actions import Actions
from ai_econ_jax.envs.gather_trade_build.params import Params
from ai_econ_jax.envs.gather_trade_build.state import State, StepNoise
from ai_econ_jax.envs.gather_trade_build.world import World


class TaxModel(NamedTuple):
    """How rates come about.

    Attributes:
      set_rates: ``(state, action, noise, params, world) -> state`` with new ``rates``, on the first
        day of a period.
      starting_rates: ``(state, params, world) -> f32[B]``, at a reset, before the cap.
      record: ``state -> state`` after taxes were collected; None to remember nothing.
      shows_last_rates: Whether the first observation of an episode still shows the rates that the
        last episode ended with, as the official code does for ``saez``.
    """

    set_rates: Callable[[State, Actions, StepNoise, Params, World], State]
    starting_rates: Callable[[State, Params, World], jax.Array]
    record: Callable[[State], State] | None = None
    shows_last_rates: bool = False


def set_planner_rates(
    state: State, action: Actions, noise: StepNoise, params: Params, world: World
) -> State:
    """The planner's choice among the discrete rates; the mask, not this, enforces the cap."""
    del noise
    index = jnp.where(action.rate >= 0, action.rate, state.rate_index)
    rates = jnp.asarray(world.rates, state.rates.dtype)[index]
    return dataclasses.replace(state, rate_index=index, rates=rates)


def set_fixed_rates(
    state: State, action: Actions, noise: StepNoise, params: Params, world: World
) -> State:
    """The constant rates of the parameters, below the cap."""
    del action, noise, world
    return dataclasses.replace(state, rates=jnp.minimum(params.fixed_rates, state.meta.rate_cap))


def set_saez_rates(
    state: State, action: Actions, noise: StepNoise, params: Params, world: World
) -> State:
    """The Saez formula on observed incomes; random rates until the buffer is full."""
    del action
    estimated = saez.update_elasticity(
        state.meta.saez.elasticity,
        state.meta.saez.incomes,
        state.meta.saez.marginal_rates,
        state.meta.saez.is_recorded,
    )
    elasticity = jnp.where(jnp.isnan(params.saez_elasticity), estimated, params.saez_elasticity)
    rates, memory = saez.next_rates_with_noise(
        noise.saez,
        state.meta.saez,
        params.cutoffs,
        rate_min=params.rate_min,
        cap=state.meta.rate_cap,
        pareto_weights=world.config.pareto_weights,
        fixed_elasticity=elasticity,
    )
    return dataclasses.replace(
        state, rates=rates, meta=dataclasses.replace(state.meta, saez=memory)
    )


def record_for_saez(state: State) -> State:
    """Adds the period's incomes and marginal rates to the buffer."""
    memory = saez.record(state.meta.saez, state.last_income, state.last_marginal_rate)
    return dataclasses.replace(state, meta=dataclasses.replace(state.meta, saez=memory))


def _lowest_rates(state: State, params: Params, world: World) -> jax.Array:
    return jnp.full_like(state.rates, world.rates[0])


def _fixed_rates(state: State, params: Params, world: World) -> jax.Array:
    return jnp.minimum(params.fixed_rates, state.meta.rate_cap)


def _running_rates(state: State, params: Params, world: World) -> jax.Array:
    return jnp.minimum(state.meta.saez.running_rates, state.meta.rate_cap)


# `us_federal`, `flat`, `disabled` differ from `fixed` in the rates that `make_params` gives them.
_CONSTANT = TaxModel(set_fixed_rates, _fixed_rates)
TAX_MODELS: dict[str, TaxModel] = {
    "planner": TaxModel(set_planner_rates, _lowest_rates),
    "us_federal": _CONSTANT,
    "fixed": _CONSTANT,
    "flat": _CONSTANT,
    "saez": TaxModel(set_saez_rates, _running_rates, record_for_saez, shows_last_rates=True),
    "disabled": _CONSTANT,
}


def validate_name(name: str) -> None:
    """Checks the name of a tax model.

    Raises:
      ValueError: Unknown name; the message lists the valid ones.
    """
    if name not in TAX_MODELS:
        raise ValueError(f"tax_model {name!r} is unknown; valid: {', '.join(TAX_MODELS)}")
