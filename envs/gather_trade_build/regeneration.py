"""Resources grow back where they have their sources, also under workers.

In the official code the chance of a site is the sum over a window of d x d cells of the larger of
units and sources, times weight / d^2. With at most one unit on a cell, which lies on a source, that
is the number of sources: what was gathered does not matter.

Source: AI Economist, arXiv 2108.02755, official code; spec section 3.7.
"""

import dataclasses

import jax
import jax.numpy as jnp

from ai_econ_jax.envs.gather_trade_build import ground
from ai_econ_jax.envs.gather_trade_build.params import Params
from ai_econ_jax.envs.gather_trade_build.state import State, StepNoise
from ai_econ_jax.envs.gather_trade_build.world import World


def regenerate(state: State, noise: StepNoise, params: Params, world: World) -> State:
    """Each source without a unit grows one with its resource's probability.

    That is ``params.regeneration``, times the share of sources among the cells around it where
    ``Config.regeneration_halfwidth`` is not 0.
    """
    sites = world.sites
    kind = sites // (world.height * world.width)
    units = state.resources.reshape(-1)
    probability = params.regeneration[kind]
    if world.has_new_maps or any(world.config.regeneration_halfwidth):
        probability *= _share_around(state, world).reshape(-1)[sites].astype(probability.dtype)
    grows = noise.regeneration < probability
    units = units.at[sites].max(
        grows.astype(units.dtype),
        unique_indices=True,
        indices_are_sorted=True,
        mode="promise_in_bounds",
    )
    return dataclasses.replace(state, resources=units.reshape(state.resources.shape))


def _share_around(state: State, world: World) -> jax.Array:
    """Share of sources among the cells around each source, f32[2, H, W]; 0 where there is none."""
    source = jnp.asarray(ground.episode_source(state, world), float)
    shares = []
    for there, halfwidth in zip(source, world.config.regeneration_halfwidth, strict=True):
        width = 2 * halfwidth + 1
        total = jax.lax.reduce_window(there, 0.0, jax.lax.add, (width, width), (1, 1), "SAME")
        shares.append(there * total / width**2)
    return jnp.stack(shares)
