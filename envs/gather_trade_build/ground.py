"""The map as one integer per cell, so that reading a place or a window costs one gather.

Fields of a cell, from the lowest bit: units of Stone (3 bits) and of Wood (3), House, Water,
StoneSource, WoodSource, inside the world (1 each), owner of the house (8), worker on the cell (8).
Owner and worker are 0 for nobody, ``j + 2`` for worker ``j``. Cells beyond the border are 0.
"""

import jax
import jax.numpy as jnp
import numpy as np

from ai_econ_jax.envs.gather_trade_build.actions import MOVES
from ai_econ_jax.envs.gather_trade_build.state import STONE, WOOD, State
from ai_econ_jax.envs.gather_trade_build.world import World

# Lowest bit and mask of the seven channels of the map.
CHANNELS = ("Stone", "Wood", "House", "Water", "StoneSource", "WoodSource", "inside")
CHANNEL_SHIFT = np.array([0, 3, 6, 7, 8, 9, 10], np.int32)
CHANNEL_MASK = np.array([7, 7, 1, 1, 1, 1, 1], np.int32)
_HOUSE, _WATER, _SOURCES, _INSIDE = 1 << 6, 1 << 7, 3 << 8, 1 << 10
_OWNER_SHIFT, _WORKER_SHIFT, _CODE_MASK = 11, 19, 255
_NOTHING_BUILDABLE_ON = 63 | _HOUSE | _WATER | _SOURCES


def owner(cells: jax.Array) -> jax.Array:
    """Code of the owner of the house on each of ``cells`` i32[...]."""
    return (cells >> _OWNER_SHIFT) & _CODE_MASK


def worker(cells: jax.Array) -> jax.Array:
    """Code of the worker on each of ``cells`` i32[...]."""
    return (cells >> _WORKER_SHIFT) & _CODE_MASK


def pack(state: State, world: World, border: int = 0) -> jax.Array:
    """The map i32[H + 2 border, W + 2 border], without workers."""
    source = episode_source(state, world).astype(jnp.int32)
    resources = state.resources.astype(jnp.int32)
    has_house = state.house_owner >= 0
    code = jnp.where(has_house, state.house_owner.astype(jnp.int32) + 2, 0)
    cells = (
        resources[STONE]
        | (resources[WOOD] << 3)
        | jnp.where(has_house, _HOUSE, 0)
        | np.where(world.water, _WATER | _INSIDE, _INSIDE).astype(np.int32)
        | (source[STONE] << 8)
        | (source[WOOD] << 9)
        | (code << _OWNER_SHIFT)
    )
    return jnp.pad(cells, border)


def add_workers(cells: jax.Array, state: State, border: int) -> jax.Array:
    """``cells`` of ``pack`` with the workers on them."""
    row, column = state.location[:, 0] + border, state.location[:, 1] + border
    codes = (jnp.arange(row.shape[0], dtype=jnp.int32) + 2) << _WORKER_SHIFT
    return cells.at[row, column].add(codes, unique_indices=True, mode="promise_in_bounds")


def around(cells: jax.Array, location: jax.Array, border: int) -> jax.Array:
    """The worker's own cell and the four that it could move to, i32[N, 5], as ``MOVES``."""
    places = location[:, None, :] + (MOVES + border)
    return cells.at[places[..., 0], places[..., 1]].get(mode="promise_in_bounds")


def windows(cells: jax.Array, location: jax.Array, radius: int) -> jax.Array:
    """The cells within ``radius`` of each worker, i32[N, V, V]; needs a border of ``radius``."""
    offset = np.arange(2 * radius + 1, dtype=np.int32)
    row = location[:, 0, None, None] + offset[:, None]
    column = location[:, 1, None, None] + offset
    return cells.at[row, column].get(mode="promise_in_bounds")


def is_free_ground(cells: jax.Array) -> jax.Array:
    """Whether nothing on ``cells`` hinders building: no resource, source, house or water."""
    return (cells & _NOTHING_BUILDABLE_ON) == 0


def is_open(cells: jax.Array) -> jax.Array:
    """Whether each worker may stand on its row of ``cells`` i32[N, ...], were nobody there."""
    codes = jnp.arange(cells.shape[0], dtype=jnp.int32) + 2
    house_of = owner(cells)
    own = house_of == codes.reshape(-1, *(1,) * (cells.ndim - 1))
    is_dry = (cells & (_INSIDE | _WATER)) == _INSIDE
    return is_dry & (own | (house_of == 0))


def episode_source(state: State, world: World) -> jax.Array | np.ndarray:
    """Where resources grow: a constant of the program unless every episode has its own map."""
    return state.source if world.has_new_maps else world.source
