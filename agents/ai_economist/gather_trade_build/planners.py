"""Planners that learn without a gradient: random rates, and a search for one static schedule.

Both draw the rates of each environment, as actions of the environment's planner. Axes: B
environments, K brackets, R rates.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

_ELITE_SHARE = 0.25
_SMOOTHING = 0.7  # weight of the elites in the new search distribution
_LEAST_DEVIATION = 0.05  # one step of the published grid of rates


@struct.dataclass
class Search:
    """Cross-entropy search over schedules: independent normal laws, cut to [0, 1].

    Rubinstein and Kroese (2004). Workers adapt while the search goes on, so that welfare is always
    that of workers who know the present law.

    Attributes:
      mean: f32[K].
      deviation: f32[K].
      num_fits: i32[], generations so far.
    """

    mean: jax.Array
    deviation: jax.Array
    num_fits: jax.Array


def init_search(num_brackets: int) -> Search:
    """A law that covers all rates."""
    return Search(
        mean=jnp.full(num_brackets, 0.5),
        deviation=jnp.full(num_brackets, 0.3),
        num_fits=jnp.zeros((), jnp.int32),
    )


def draw_schedules(keys: jax.Array, search: Search, grid: jax.Array, cap: jax.Array) -> jax.Array:
    """One schedule for each environment, as actions i32[B, K] of the planner.

    Args:
      keys: key[B].
      search: The law to draw from.
      grid: f32[R], the rates among which the planner chooses, ascending.
      cap: f32[B], highest rate allowed.
    """
    noise = jax.vmap(lambda key: jax.random.normal(key, search.mean.shape))(keys)
    return rates_to_actions(search.mean + search.deviation * noise, grid, cap[:, None])


def rates_to_actions(rates: jax.Array, grid: jax.Array, cap: jax.Array) -> jax.Array:
    """The planner's actions that set the rates of ``grid`` nearest to ``rates``, below ``cap``."""
    highest = jnp.searchsorted(grid, cap + 1e-6, side="right") - 1
    nearest = jnp.argmin(jnp.abs(rates[..., None] - grid), axis=-1)
    return 1 + jnp.minimum(nearest, highest).astype(jnp.int32)


def draw_uniform(keys: jax.Array, mask: jax.Array, num_brackets: int) -> jax.Array:
    """Uniform among the rates that the mask bool[B, K * (R + 1)] allows, i32[B, K]; else nothing.

    Never action 0 where a rate is allowed: the rates are new on each first day.
    """
    allowed = mask.reshape(mask.shape[0], num_brackets, -1)
    count = jnp.sum(allowed, axis=-1) - 1  # allowed rates are the lowest ones
    uniform = jax.vmap(lambda key: jax.random.uniform(key, (num_brackets,)))(keys)
    return jnp.where(count > 0, 1 + jnp.floor(uniform * count), 0).astype(jnp.int32)


def refit(search: Search, rates: jax.Array, goal: jax.Array, axis_name: str | None) -> Search:
    """The law of the schedules that did best.

    Args:
      search: The law that drew them.
      rates: f32[B, K], as they were.
      goal: f32[B], the planner's goal at the end of the episode.
      axis_name: The mapped axis over which B is sharded, if any.
    """
    if axis_name is not None:
        rates, goal = jax.lax.all_gather((rates, goal), axis_name, tiled=True)
    num_elites = max(2, round(_ELITE_SHARE * goal.shape[0]))
    elites = rates[jax.lax.top_k(goal, num_elites)[1]]
    mean = _SMOOTHING * jnp.mean(elites, axis=0) + (1.0 - _SMOOTHING) * search.mean
    deviation = _SMOOTHING * jnp.std(elites, axis=0) + (1.0 - _SMOOTHING) * search.deviation
    return Search(
        mean=mean,
        deviation=jnp.maximum(deviation, _LEAST_DEVIATION),
        num_fits=search.num_fits + 1,
    )
