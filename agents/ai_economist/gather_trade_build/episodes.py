"""What an episode came to: the figures that training shows while it runs.

Axes: B environments, N workers.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from ai_econ_jax.envs.economy import welfare
from ai_econ_jax.envs.gather_trade_build import Params, State
from ai_econ_jax.envs.gather_trade_build.rewards import evaluate, labor_weight
from ai_econ_jax.envs.gather_trade_build.world import World

NAMES = (
    "utility",
    "least_utility",
    "productivity",
    "equality",
    "equality_times_productivity",
    "houses",
    "labor",
    "labor_weight",
    "rate",
)


def no_episodes() -> dict[str, jax.Array]:
    """Zeros, before any episode has ended."""
    return {name: jnp.zeros(()) for name in NAMES}


def summarize(states: State, params: Params, world: World) -> dict[str, jax.Array]:
    """Figures f32[B] of episodes in their last state; see ``NAMES``.

    Utility is at full labor cost, wherever its warm-up is; productivity is coin per worker;
    ``rate`` is the mean marginal rate of the last tax period over brackets.
    """
    at_full_cost = dataclasses.replace(params, warmup_constant=jnp.zeros(()))

    def one(state: State) -> dict[str, jax.Array]:
        utilities, _ = evaluate(state, at_full_cost, world)
        equality = welfare.equality(state.total_coin, world.config.gini_mode)
        productivity = jnp.mean(state.total_coin)
        return {
            "utility": jnp.mean(utilities),
            "least_utility": jnp.min(utilities),
            "productivity": productivity,
            "equality": equality,
            "equality_times_productivity": equality * productivity,
            "houses": jnp.sum(state.house_owner >= 0).astype(jnp.float32),
            "labor": jnp.mean(state.labor),
            "labor_weight": labor_weight(state.meta, params, world),
            "rate": jnp.mean(state.rates),
        }

    return jax.vmap(one)(states)
