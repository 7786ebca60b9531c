"""Building houses: one Wood and one Stone become a house, and coin for the builder.

Source: AI Economist, arXiv 2108.02755, component ``Build``; spec section 3.3.
"""

import dataclasses

import jax
import jax.numpy as jnp

from ai_econ_jax.envs.gather_trade_build import ground
from ai_econ_jax.envs.gather_trade_build.actions import Actions
from ai_econ_jax.envs.gather_trade_build.params import Params
from ai_econ_jax.envs.gather_trade_build.state import State, StepNoise
from ai_econ_jax.envs.gather_trade_build.world import World


def can_build(own_cell: jax.Array, inventory: jax.Array) -> jax.Array:
    """Who could build now, bool[N]: both resources at hand (escrow does not count), free ground.

    Args:
      own_cell: i32[N], cells of ``ground.pack``.
      inventory: i32[N, 2].
    """
    return ground.is_free_ground(own_cell) & jnp.all(inventory >= 1, axis=-1)


def build(state: State, action: Actions, noise: StepNoise, params: Params, world: World) -> State:
    """Workers who want to and can build do so. They never share a cell, so order is irrelevant."""
    del noise
    row, column = state.location[:, 0], state.location[:, 1]
    own_cell = ground.pack(state, world)[row, column]
    built = action.build & can_build(own_cell, state.inventory)
    workers = jnp.arange(row.shape[0], dtype=state.house_owner.dtype)
    house_owner = state.house_owner.at[row, column].max(
        jnp.where(built, workers, jnp.int8(-1)), mode="promise_in_bounds"
    )
    return dataclasses.replace(
        state,
        inventory=state.inventory - built[:, None],
        house_owner=house_owner,
        coin=state.coin + jnp.where(built, state.build_payment, 0.0),
        labor=state.labor + jnp.where(built, params.build_labor, 0.0),
        events=dataclasses.replace(state.events, built=built),
    )
