"""Which actions have an effect: advice to the policy, for an action without effect is legal.

Source: AI Economist, arXiv 2108.02755, official code; spec sections 2.4 and 3.8.
"""

import jax
import jax.numpy as jnp
import numpy as np

from ai_econ_jax.envs.gather_trade_build import ground
from ai_econ_jax.envs.gather_trade_build.auction import open_orders
from ai_econ_jax.envs.gather_trade_build.build import can_build
from ai_econ_jax.envs.gather_trade_build.state import State
from ai_econ_jax.envs.gather_trade_build.world import World

# A rate above the cap by rounding only is allowed.
_CAP_SLACK = 1e-6


def worker_mask(state: State, near: jax.Array, world: World) -> jax.Array:
    """Mask of the workers' actions, bool[N, A].

    Args:
      state: The state.
      near: i32[N, 5], the cells around each worker with everybody on them, see ``ground.around``.
      world: The map.
    """
    num_workers, prices = state.coin.shape[0], np.arange(world.config.num_prices)
    builds = can_build(near[:, 0], state.inventory)[:, None]
    has_slot = open_orders(state) < world.config.max_orders
    affordable = state.coin[:, None] >= prices
    has_stock = state.inventory.T > 0
    asks = jnp.broadcast_to(
        (has_slot & has_stock)[..., None], (2, num_workers, world.config.num_prices)
    )
    bids = has_slot[..., None] & affordable
    moves = ground.is_open(near[:, 1:]) & (ground.worker(near[:, 1:]) == 0)
    choices = [builds, bids[0], asks[0], bids[1], asks[1], moves]
    nothing = jnp.ones((num_workers, 1), bool)
    if world.config.multi_action:
        parts = [part for choice in choices for part in (nothing, choice)]
    else:
        parts = [nothing, *choices]
    return jnp.concatenate(parts, axis=-1)


def planner_mask(state: State, world: World) -> jax.Array:
    """Mask of the planner's actions, bool[B * (R + 1)]: rates on a period's first day only.

    A planner that has no say has one action.
    """
    if not world.planner_acts:
        return jnp.ones(1, bool)
    rates = np.asarray(world.rates)
    slack = 0.0 if world.config.official_rounding else _CAP_SLACK
    allowed = (rates <= state.meta.rate_cap + slack) & (state.tax_position == 1)
    per_bracket = jnp.concatenate([jnp.ones(1, bool), allowed])
    return jnp.tile(per_bracket, world.num_brackets)
