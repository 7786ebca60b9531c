"""Moving, and gathering what lies on the cell.

Workers move one after the other, in random order. A worker gathers where it stands after its own
turn; it stays there until the step ends, so no two gather on one cell, and all can gather at once
after all have moved.

Source: AI Economist, arXiv 2108.02755, component ``Gather``; spec section 3.5.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax import lax

from ai_econ_jax.envs.gather_trade_build import ground
from ai_econ_jax.envs.gather_trade_build.actions import MOVES, Actions
from ai_econ_jax.envs.gather_trade_build.params import Params
from ai_econ_jax.envs.gather_trade_build.state import State, StepNoise
from ai_econ_jax.envs.gather_trade_build.world import World

# Up to this many workers the turns are unrolled; more would only make compilation longer.
_UNROLL = 10


def gather(state: State, action: Actions, noise: StepNoise, params: Params, world: World) -> State:
    """Everybody moves in turn, then takes what lies there: also those who did not move."""
    location = move(state, action.move, noise.gather_order, world)
    has_moved = jnp.any(location != state.location, axis=-1)

    row, column = location[:, 0], location[:, 1]
    kind = jnp.arange(2)[:, None]
    is_found = state.resources[kind, row, column] > 0  # bool[2, N]
    units = 1 + (noise.gather < state.bonus)
    gathered = jnp.where(is_found, units, 0).T.astype(jnp.int32)
    resources = state.resources.at[kind, row, column].add(
        -is_found.astype(state.resources.dtype), unique_indices=True, mode="promise_in_bounds"
    )
    return dataclasses.replace(
        state,
        location=location,
        inventory=state.inventory + gathered,
        resources=resources,
        labor=state.labor
        + jnp.where(has_moved, params.move_labor, 0.0)
        + jnp.sum(is_found, axis=0) * params.gather_labor,
        events=dataclasses.replace(state.events, gathered=gathered),
    )


def move(state: State, direction: jax.Array, order: jax.Array, world: World) -> jax.Array:
    """Where everybody stands after all turns, i32[N, 2].

    Args:
      state: Before the turns.
      direction: i32[N], index into ``MOVES``.
      order: i32[N], workers in the order of their turns.
      world: The map.
    """
    num_workers = direction.shape[0]
    target = state.location + jnp.asarray(MOVES)[direction]
    cells = ground.pack(state, world, border=1)[target[:, 0] + 1, target[:, 1] + 1]
    is_open = ground.is_open(cells) & (direction > 0)
    # One integer per place, and a turn for each worker, so that a turn is a few comparisons.
    width = world.width + 2
    place = state.location[:, 0] * width + state.location[:, 1]
    goal = target[:, 0] * width + target[:, 1]
    turn = jnp.argsort(order)

    def take_turn(number: jax.Array | int, place: jax.Array) -> jax.Array:
        is_turn = turn == number
        own_goal = jnp.sum(jnp.where(is_turn, goal, 0))
        is_occupied = jnp.any(place == own_goal)
        return jnp.where(is_turn & is_open & ~is_occupied, goal, place)

    place = lax.fori_loop(0, num_workers, take_turn, place, unroll=num_workers <= _UNROLL or None)
    has_moved = place == goal
    return jnp.where(has_moved[:, None], target, state.location)
