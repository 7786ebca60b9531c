"""What actions mean: from the integers of a policy to orders, houses and moves.

One action per worker, in ``0 .. 5 + 4 P`` (P prices): 0 nothing; 1 build; then for Stone and for
Wood a bid at each price and an ask at each price; then left, right, up, down. With several actions
per worker there are six of them, each with 0 for nothing: build, bid for Stone, ask for Stone, bid
for Wood, ask for Wood, move. Planner: per bracket 0 keeps the rate, ``k`` sets rate ``k - 1``.

Source: AI Economist, arXiv 2108.02755, official code; spec section 3.1.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from ai_econ_jax import spaces
from ai_econ_jax.envs.economy.roles import PerRole
from ai_econ_jax.envs.gather_trade_build.config import Config
from ai_econ_jax.envs.gather_trade_build.world import World

# Rows and columns of nothing, left, right, up, down.
MOVES = np.array([[0, 0], [0, -1], [0, 1], [-1, 0], [1, 0]], np.int32)


@struct.dataclass
class Actions:
    """What everybody tries to do in one step. An action out of range tries nothing.

    Attributes:
      build: bool[N].
      bid: i32[2, N], price of a new bid in coin, -1 for none.
      ask: i32[2, N], price of a new ask in coin, -1 for none.
      move: i32[N], index into ``MOVES``.
      rate: i32[B], index among the planner's rates, -1 to keep the rate.
    """

    build: jax.Array
    bid: jax.Array
    ask: jax.Array
    move: jax.Array
    rate: jax.Array


def worker_sizes(config: Config) -> tuple[int, ...]:
    """Number of actions of each of a worker's choices: one entry, or six."""
    prices = config.num_prices
    if config.multi_action:
        return (2, *(prices + 1,) * 4, 5)
    return (2 + 4 * prices + 4,)


def planner_sizes(world: World) -> tuple[int, ...]:
    """Number of actions of each of the planner's choices."""
    if not world.planner_acts:
        return (1,)
    return (len(world.rates) + 1,) * world.num_brackets


def action_space(world: World) -> PerRole:
    """Actions i32[N] or i32[N, 6] of the workers, and i32[B] (i32[1] if passive) of the planner."""
    sizes = worker_sizes(world.config)
    num_workers = world.config.num_workers
    if world.config.multi_action:
        workers: spaces.MultiDiscrete | spaces.Grid = spaces.Grid(sizes, num_workers)
    else:
        workers = spaces.MultiDiscrete(sizes * num_workers)
    return PerRole(workers=workers, planner=spaces.MultiDiscrete(planner_sizes(world)))


def decode(action: PerRole, world: World) -> Actions:
    """The meaning of ``action``, whose fields have the shapes of ``action_space``."""
    config = world.config
    prices = config.num_prices
    workers = jnp.asarray(action.workers, jnp.int32)
    if config.multi_action:
        valid = (workers >= 0) & (workers < np.array(worker_sizes(config)))
        workers = jnp.where(valid, workers, 0)
        build, orders, move = workers[:, 0] == 1, workers[:, 1:5].T - 1, workers[:, 5]
    else:
        build = workers == 1
        first_price = 2 + prices * np.arange(4, dtype=np.int32)[:, None]
        price = workers - first_price
        orders = jnp.where((price >= 0) & (price < prices), price, -1)
        direction = workers - (1 + 4 * prices)
        move = jnp.where((direction >= 1) & (direction <= 4), direction, 0)
    if world.planner_acts:
        rate = jnp.asarray(action.planner, jnp.int32)
        rate = jnp.where((rate >= 0) & (rate <= len(world.rates)), rate, 0) - 1
    else:
        rate = jnp.full(world.num_brackets, -1, jnp.int32)
    return Actions(build=build, bid=orders[0::2], ask=orders[1::2], move=move, rate=rate)
